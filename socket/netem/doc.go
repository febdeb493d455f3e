// Package netem impairs packets the way a bad link does: it loses, delays,
// reorders, duplicates and corrupts them, and holds them to a rate.
//
// A [Link] is one direction of a wire, as a state machine: the caller pushes
// packets in with the time at which they were sent, asks when the next one
// arrives, and pops it then. It reads no clock and starts no goroutine, so the
// same Link serves a simulation that runs an hour in a second and a relay that
// runs on the wall clock. The zero [Config] is a perfect wire.
//
// # The path of a packet
//
//	Push → MTU → queue (tail drop) → rate or schedule → loss → corruption
//	     → delay + jitter (or reordering) → duplication → Pop
//
// The loss stands behind the bottleneck, as radio loss does behind a modem: a
// packet that is lost has still taken its time on the wire, and goodput is
// bounded by rate·(1−p).
//
// # Repeatable
//
// Packets are numbered from 1 in the order in which they are pushed (or as
// [Config.Index] says). What happens to packet i is drawn from a hash of the
// seed, the direction, i and the purpose of the draw, never from a running
// generator. So the fate of packet 17 does not depend on how fast the sixteen
// before it came, on which of them the queue dropped, or on whether jitter was
// asked for as well; and switching one impairment on leaves the others as they
// were. All draws and all times are integers: every platform makes the same.
//
// Only the queue and the rate look at time. A caller whose times repeat (a
// simulator) gets the same arrivals bit for bit.
//
// # Models
//
// Loss is Bernoulli ([Config.Loss]), Gilbert–Elliott in the parameters of
// netem's gemodel ([GilbertElliott]), and a list of packet numbers
// ([Config.Drop]); a packet is lost when any of them says so. Jitter is uniform
// in ±Jitter, or normal with Jitter as its standard deviation, cut off where
// the delay would be negative; jittered packets overtake each other, as they do
// in tc's netem, unless [Config.KeepOrder] is set. A reordered packet skips the
// delay, as in tc's netem; on a link without delay it is held back by
// [Config.HoldBack] instead, so that reordering always reorders. The queue
// counts bytes, including the packet that is on the wire, and drops what does
// not fit. [Schedule] replays a mahimahi delivery trace in place of a rate.
//
// # Memory
//
// A Link holds at most [Config.Limit] bytes of packets and forgets what has
// been popped; the buffers are used again. It is not safe for concurrent use.
package netem

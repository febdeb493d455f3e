package netem

import "time"

// Trace is told what a Link does. Its funcs are called from within
// [Link.Push]; nil ones are skipped.
type Trace struct {
	// Packet is called once for every packet pushed, when its fate is decided.
	Packet func(Decision)
}

// A Fate is what became of a packet.
type Fate uint8

const (
	Delivered Fate = iota // it arrives, perhaps late, twice or corrupted
	Lost                  // Loss, Gilbert or Drop
	TailDrop              // the queue was full
	TooBig                // longer than the MTU
	Overflow              // the Link's memory was full
)

func (f Fate) String() string {
	return [...]string{"delivered", "lost", "tail drop", "too big", "overflow"}[min(f, Overflow)]
}

// A Decision is everything that was decided about one packet.
type Decision struct {
	Direction uint64
	Index     uint64        // the packet's number
	Size      int           // bytes, without Header and Overhead
	At        time.Duration // when it was pushed
	Departs   time.Duration // when the bottleneck is done with it
	Arrives   time.Duration // when it can be popped
	Queued    int           // bytes in the queue, this packet included if it got in
	Fate      Fate
	// Reordered, Duplicated and Corrupted can only be set for a packet that is
	// Delivered. FlippedBit is the bit's number in the packet, counted from
	// the lowest bit of the first byte.
	Reordered, Duplicated, Corrupted bool
	FlippedBit                       int
}

// Stats counts what a Link has done. Bytes are those of packets as they were
// pushed, without Header and Overhead.
type Stats struct {
	Packets, Bytes                   uint64 // pushed
	Delivered, DeliveredBytes        uint64 // popped, duplicates included
	Lost                             uint64 // by Loss, Gilbert and Drop
	TailDrops                        uint64 // by the queue
	TooBig                           uint64 // by the MTU
	Overflows                        uint64 // by Limit
	Duplicated, Reordered, Corrupted uint64
	MaxQueue                         int // high-water mark of the queue, bytes
}

package arq

import "time"

// Between two processes on one host, or two hosts on one switch, a round trip
// takes 50 µs, and a goroutine that has something to read may wait for a processor
// for a hundred times as long. What the model sees of such a path is the
// schedulers at its ends. It would chase them: its phases would be over before
// their effect came back, its maxima would forget the bandwidth whenever the peer
// slept, and a window of two tiny bandwidth-delay products would leave the path
// empty until it woke. So no path counts as shorter, and no round as faster, than
// schedulers are.
const (
	// minLength is the shortest path: the in-flight limit and the phases count
	// on so much.
	minLength = time.Millisecond
	// minRound is the shortest round once the bandwidth was found.
	minRound = 10 * time.Millisecond
	// hostQueue is the round trip that busy hosts make by themselves.
	hostQueue = 5 * time.Millisecond
)

// length is the path's round trip without a queue, as far as it matters.
func (m *model) length() time.Duration { return max(m.base.value(), minLength) }

// rounds returns e without its round if that was too short to mean anything.
func (m *model) rounds(e ackEvent) ackEvent {
	if e.round && m.filled && e.now-m.lastRound < minRound {
		e.round = false
	}
	if e.round {
		m.lastRound = e.now
	}
	return e
}

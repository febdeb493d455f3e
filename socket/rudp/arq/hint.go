package arq

import "time"

// senderHint tells the receiver how a sender likes its ACKs, and below which
// packet number it needs none: every quarter of a round trip, or when it
// matters.
type senderHint struct {
	floor uint64
	at    time.Duration
	sent  bool
}

const (
	ackEvery    = 64
	minAckDelay = 200 * time.Microsecond
	maxAckDelay = 25 * time.Millisecond
)

// ackDelay is the longest the peer may wait with an ACK.
func (c *Conn) ackDelay() time.Duration {
	if c.rtt.samples == 0 {
		return 5 * time.Millisecond
	}
	return min(max(c.rtt.smoothed/8, minAckDelay), maxAckDelay)
}

// ackWish is how the peer shall acknowledge: each frame at once for a textbook
// protocol.
func (c *Conn) ackWish() (every int, delay time.Duration) {
	if c.book != nil {
		return 1, 0
	}
	return ackEvery, c.ackDelay()
}

func (c *Conn) hintDue(now time.Duration) bool {
	if !c.hint.sent {
		return true
	}
	return now-c.hint.at >= max(c.rtt.smoothed/4, time.Millisecond) && c.sent.floor != c.hint.floor ||
		c.sent.next-c.hint.floor > recvWindow/4 && c.sent.floor-c.hint.floor > recvWindow/16
}

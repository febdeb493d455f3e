package arq

import "time"

const (
	// trainTime is for how long at the pace packets may be held back so that
	// more of them leave in one system call. It is so short that a train is a
	// single packet below some 180 Mbit/s.
	trainTime = 64 * time.Microsecond
	// trainMax is about what one call takes (UDP_SEGMENT).
	trainMax = 64 << 10
	// trainShare is the part of the window that may stay unused meanwhile.
	trainShare = 8
)

// train is how many bytes the window and the pacer should have room for before
// a batch is begun. A walk through the network stack costs about the same for
// one packet as for forty, and a sender that used every little room at once would
// spend most of its time on it.
func (c *Conn) train(size int) int {
	if !c.send.lost.empty() {
		return size // the reader waits for it
	}
	n := min(c.cc.window()/trainShare, int(c.send.unsent(c.peerLimit)), trainMax)
	if c.pacer.rate > 0 {
		n = min(n, int(c.pacer.rate*trainTime.Seconds()))
	}
	return max(n, size)
}

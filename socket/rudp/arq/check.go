package arq

import "fmt"

// Check verifies what must hold of a connection at any time between calls. It
// costs time proportional to the packets in flight and is for simulations and
// tests.
func (c *Conn) Check() error {
	if c.state >= StateClosing {
		return nil
	}
	inFlight := 0
	flying := uint64(0)
	for n := c.sent.floor; n < c.sent.next; n++ {
		p := c.sent.at(n)
		if p.state == packetInFlight {
			if n < c.sent.scan {
				return fmt.Errorf("packet %d in flight is below the scan at %d", n, c.sent.scan)
			}
			inFlight += int(p.size)
			flying++
			if p.flags&hasData != 0 && p.off+uint64(p.n) > c.send.nxt {
				return fmt.Errorf("packet %d carries bytes up to %d, beyond NXT %d", n, p.off+uint64(p.n), c.send.nxt)
			}
		}
	}
	if inFlight != c.inFlight {
		return fmt.Errorf("%d bytes in flight are accounted as %d", inFlight, c.inFlight)
	}
	// A packet is acknowledged or lost exactly once, or in flight.
	if want := c.stats.PacketsAcked + c.stats.PacketsLost + flying; want != c.elicitSent {
		return fmt.Errorf("%d packets sent, but %d acknowledged + %d lost + %d in flight",
			c.elicitSent, c.stats.PacketsAcked, c.stats.PacketsLost, flying)
	}
	s := &c.send
	if s.una > s.nxt || s.nxt > s.end || s.end-s.una > uint64(s.limit) {
		return fmt.Errorf("send buffer out of order: UNA %d NXT %d end %d", s.una, s.nxt, s.end)
	}
	if s.nxt > c.peerLimit {
		return fmt.Errorf("sent up to %d, allowed up to %d", s.nxt, c.peerLimit)
	}
	for _, x := range []*rangeSet{&s.acked, &s.lost, &c.recv.above, &c.loss.acked} {
		for i, sp := range x.spans() {
			if sp.lo >= sp.hi || i > 0 && x.spans()[i-1].hi >= sp.lo {
				return fmt.Errorf("range set broken at %v", sp)
			}
		}
	}
	for _, sp := range s.lost.spans() {
		if s.acked.within(sp.lo, sp.hi) > 0 || sp.lo < s.una || sp.hi > s.nxt {
			return fmt.Errorf("bytes [%d, %d) are lost and acknowledged", sp.lo, sp.hi)
		}
	}
	if t := c.book; t != nil {
		if err := t.check(s); err != nil {
			return err
		}
	}
	if c.book.inOrder() && !c.recv.above.empty() {
		return fmt.Errorf("a go-back-N receiver holds bytes out of order")
	}
	r := &c.recv
	if r.read > r.nxt || r.nxt > r.limit || r.top > r.limit || r.limit-r.read > c.flow.window {
		return fmt.Errorf("receive buffer out of order: read %d NXT %d top %d limit %d", r.read, r.nxt, r.top, r.limit)
	}
	// What is neither acknowledged, nor lost, nor in flight would never
	// arrive.
	if c.inFlight == 0 && s.una < s.nxt && s.lost.empty() && c.loss.timer == never {
		return fmt.Errorf("bytes [%d, %d) are forgotten", s.una, s.nxt)
	}
	return nil
}

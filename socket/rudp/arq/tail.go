package arq

// tailGuard protects the end of a transfer: when nothing new is left to send,
// a packet that is lost costs a whole round trip with an idle link. So the
// idle capacity carries copies of what is still in flight, as many as the
// measured loss makes worthwhile. The newest bytes go first: what is older will have
// been heard of before its copy could arrive.
type tailGuard struct {
	next   uint64 // stream offset from which copies go on, downwards
	rounds int    // passes made over the bytes in flight
	end    uint64 // end of stream the passes are for
}

// EndTurn tells that nothing more will be written until the peer has answered what
// was. What is in flight then is protected as the end of the stream is: the peer
// can but wait for the rest of it.
func (c *Conn) EndTurn() { c.turn = c.send.end }

// shortFlight is how many bytes in flight are protected in the midst of a stream.
const shortFlight = 8 << 10

// tailCopies is how many copies make the loss of all of them improbable.
func tailCopies(p float64, packets int) int {
	if p < .0005 || packets == 0 {
		return 0
	}
	// Expected packets lost in every copy: packets·p^(k+1).
	left := float64(packets) * p
	k := 0
	for left > .05 && k < 3 {
		left *= p
		k++
	}
	return k
}

// seek finds the next bytes to copy, if any, in at most copies passes.
func (g *tailGuard) seek(s *sendBuffer, copies int) bool {
	if g.end != s.end {
		g.end, g.rounds, g.next = s.end, 0, s.nxt
	}
	for g.rounds < copies {
		g.next = min(g.next, s.nxt)
		if g.next > s.una {
			if over := s.acked.overlap(g.next-1, g.next); len(over) > 0 {
				g.next = over[0].lo
			}
		}
		if g.next > s.una {
			return true
		}
		g.rounds++
		g.next = s.nxt
	}
	return false
}

// take returns the chunk that seek found.
func (g *tailGuard) take(s *sendBuffer, n int) (off uint64, size int) {
	lo := max(s.una, g.next-min(g.next, uint64(n)))
	if over := s.acked.overlap(lo, g.next); len(over) > 0 {
		lo = over[len(over)-1].hi
	}
	size = int(g.next - lo)
	g.next = lo
	return lo, size
}

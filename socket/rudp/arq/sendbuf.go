package arq

// sendBuffer holds what the application wrote until the peer acknowledges it.
//
//	 una            nxt            end
//	  |  in flight,  |  not yet     |  free
//	  |  lost, acked |  sent        |
//	--+--------------+--------------+------>
type sendBuffer struct {
	blocks
	una, nxt, end uint64
	limit         int      // bytes held at most
	ahead         int      // bytes held at most that were never sent
	acked         rangeSet // within [una, nxt)
	lost          rangeSet // within [una, nxt): to be sent again
	fin           bool     // no more will be written
	finSent       bool
	finAcked      bool
	finLost       bool
}

// minAhead is how much may always wait to be sent. What lies between writing
// and sending should still be in the processor's cache, and whoever writes should
// not be asked for more every few packets.
const minAhead = 1 << 20

// space is how much may be written. However much the limit lets be held for the
// peer to acknowledge, little of it is written ahead: what is sent would be old by
// then, and cold.
func (s *sendBuffer) space() int {
	return min(s.limit-int(s.end-s.una), s.ahead-int(s.end-s.nxt))
}

func (s *sendBuffer) write(b []byte) int {
	n := min(len(b), s.space())
	if n <= 0 {
		return 0
	}
	s.blocks.write(s.end, b[:n])
	s.end += uint64(n)
	return n
}

// pending reports whether anything waits to be sent, given the peer's window.
func (s *sendBuffer) pending(limit uint64) bool {
	return !s.lost.empty() || s.finLost || (s.nxt < s.end && s.nxt < limit) ||
		(s.fin && !s.finSent && s.nxt == s.end)
}

// unsent is how much may be sent that never was.
func (s *sendBuffer) unsent(limit uint64) uint64 {
	return min(s.end, max(limit, s.nxt)) - s.nxt
}

// take picks the next chunk of at most n bytes: lost ones first, for the
// reader at the other end waits for them.
func (s *sendBuffer) take(n int, limit uint64) (off uint64, size int, fin, again bool) {
	if !s.lost.empty() {
		f := s.lost.first()
		size = int(min(f.hi-f.lo, uint64(n)))
		off = f.lo
		s.lost.removeBelow(off + uint64(size))
		again = true
	} else {
		off = s.nxt
		hi := min(s.end, max(limit, s.nxt))
		size = int(min(hi-off, uint64(n)))
		s.nxt += uint64(size)
		again = size == 0 && s.finLost
	}
	if s.fin && off+uint64(size) == s.end && (!s.finSent || s.finLost) {
		s.finSent, s.finLost, fin = true, false, true
	}
	return off, size, fin, again
}

// ack marks [lo, hi) as received and frees what became contiguous. It
// returns how many bytes were new.
func (s *sendBuffer) ack(lo, hi uint64) (fresh uint64) {
	if lo < s.una {
		lo = s.una
	}
	if lo >= hi {
		return 0
	}
	if !s.lost.empty() {
		s.lost.remove(lo, hi)
	}
	if lo == s.una && s.acked.empty() {
		fresh = hi - lo
		s.una = hi
		s.release(hi)
		return fresh
	}
	before := s.acked.within(lo, hi)
	s.acked.add(lo, hi)
	fresh = hi - lo - before
	if f := s.acked.first(); f.lo == s.una {
		s.una = f.hi
		s.release(f.hi)
		s.acked.removeBelow(s.una)
	}
	return fresh
}

// lose queues what is still wanted of [lo, hi) to be sent again.
func (s *sendBuffer) lose(lo, hi uint64) {
	if lo < s.una {
		lo = s.una
	}
	if lo >= hi {
		return
	}
	if s.acked.empty() {
		s.lost.add(lo, hi)
		return
	}
	for _, a := range s.acked.overlap(lo, hi) {
		if a.lo > lo {
			s.lost.add(lo, a.lo)
		}
		lo = max(lo, a.hi)
	}
	if lo < hi {
		s.lost.add(lo, hi)
	}
}

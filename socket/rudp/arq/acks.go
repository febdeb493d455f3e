package arq

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// recvWindow is how far below the largest packet number others are still
// told apart; what is older is dropped, its sender has long given it up.
const recvWindow = 1 << 16

// ackState remembers which packet numbers arrived and when to say so.
type ackState struct {
	seen     [recvWindow / 64]uint64 // bit n%recvWindow: number n arrived
	any      bool
	largest  uint64
	floor    uint64 // the sender does not care about numbers below
	arrived  time.Duration
	ect, ce  uint32
	every    int           // packets between ACKs, as the sender wishes
	maxDelay time.Duration // longest wait, as the sender wishes

	pending  int           // eliciting packets not yet acknowledged
	now      bool          // do not wait
	deadline time.Duration // of the ACK, or never
}

func (a *ackState) init() {
	a.every = 2
	a.maxDelay = 5 * time.Millisecond
	a.deadline = never
}

func (a *ackState) bit(n uint64) (*uint64, uint64) {
	n %= recvWindow
	return &a.seen[n/64], 1 << (n % 64)
}

// status tells a fresh number from a known or a forgotten one.
func (a *ackState) status(n uint64) (dup, old bool) {
	if !a.any || n > a.largest {
		return false, false
	}
	if a.largest-n >= recvWindow || n < a.floor {
		return false, true
	}
	w, m := a.bit(n)
	return *w&m != 0, false
}

// record notes the arrival of n, which status called fresh.
func (a *ackState) record(now time.Duration, n uint64, ecn ECN, eliciting bool) {
	gap := false
	switch {
	case !a.any:
		a.any = true
		a.largest = n
		a.arrived = now
		gap = n != 0
	case n > a.largest:
		gap = n != a.largest+1
		a.clear(a.largest+1, n)
		a.largest = n
		a.arrived = now
	}
	w, m := a.bit(n)
	*w |= m
	switch ecn {
	case ECT0, ECT1:
		a.ect++
	case CE:
		a.ce++
		a.now = true
	}
	if !eliciting {
		return
	}
	a.pending++
	if gap || a.pending >= a.every {
		a.now = true
	}
	if a.deadline == never {
		a.deadline = now + a.maxDelay
	}
}

// clear forgets the numbers [lo, hi], which come into the window.
func (a *ackState) clear(lo, hi uint64) {
	if hi-lo >= recvWindow-1 {
		clear(a.seen[:])
		return
	}
	for lo <= hi {
		if lo%64 == 0 && hi-lo >= 63 {
			a.seen[lo%recvWindow/64] = 0
			lo += 64
			continue
		}
		w, m := a.bit(lo)
		*w &^= m
		lo++
	}
}

// due reports whether an ACK should leave now.
func (a *ackState) due(now time.Duration) bool {
	return a.pending > 0 && (a.now || now >= a.deadline) || a.any && a.now
}

// duplicate asks for an ACK after a packet came twice: the sender may have
// missed the last one.
func (a *ackState) duplicate(now time.Duration) {
	if a.deadline == never {
		a.pending++
		a.deadline = now + a.maxDelay
	}
}

func (a *ackState) sent() {
	a.pending = 0
	a.now = false
	a.deadline = never
}

// bottom is the lowest number an ACK needs to speak of.
func (a *ackState) bottom() uint64 {
	lo := a.floor
	if a.largest >= recvWindow-1 {
		lo = max(lo, a.largest-recvWindow+1)
	}
	return min(lo, a.largest)
}

// runBelow returns the length of the run of equal bits that ends at n (going
// down, not below lo).
func (a *ackState) runBelow(n, lo uint64, set bool) uint64 {
	start := n
	for {
		w := a.seen[n%recvWindow/64]
		if !set {
			w = ^w
		}
		w <<= 63 - n%64 // n is now the top bit
		k := uint64(bits.LeadingZeros64(^w))
		left := n%64 + 1
		if k < left {
			return min(start-n+k, start-lo+1)
		}
		if n-lo < left {
			return start - lo + 1
		}
		n -= left
	}
}

// append writes an ACK frame of at most room bytes onto b, or nothing if it
// does not fit or nothing arrived yet.
func (a *ackState) append(b []byte, now time.Duration, room int) []byte {
	if !a.any || room < ackFrameLen+8 {
		return b
	}
	lo := a.bottom()
	start := len(b)
	b = append(b, byte(frameAck), ackFormRanges, 0, 0)
	b = binary.BigEndian.AppendUint64(b, a.largest)
	b = binary.BigEndian.AppendUint32(b, micros(now-a.arrived))
	b = binary.BigEndian.AppendUint32(b, uint32(now/time.Microsecond))
	b = binary.BigEndian.AppendUint32(b, a.ect)
	b = binary.BigEndian.AppendUint32(b, a.ce)
	room -= ackFrameLen
	bitmap := int((a.largest-lo)/8 + 1)
	limit := min(room/4, max(2, (min(bitmap, room)+3)/4))

	body := len(b)
	n := 0
	cur := a.largest
	complete := false
	gap := uint64(0)
	for n < limit {
		run := min(a.runBelow(cur, lo, true), 1<<16-1)
		b = binary.BigEndian.AppendUint16(b, uint16(gap))
		b = binary.BigEndian.AppendUint16(b, uint16(run))
		n++
		if cur-lo < run {
			complete = true
			break
		}
		cur -= run
		if gap = min(a.runBelow(cur, lo, false), 1<<16-1); gap == 0 {
			continue
		}
		if cur-lo < gap {
			complete = true
			break
		}
		cur -= gap
	}
	if complete || room < 1 || 4*n >= room {
		binary.BigEndian.PutUint16(b[start+2:], uint16(n))
		return b
	}
	// Ranges would take more room than a bit a number: bit 7 of the first
	// byte is the largest, then downward.
	b = b[:body]
	b[start+1] = ackFormBitmap
	k := min(bitmap, room)
	cur = a.largest
	for i := 0; i < k; i++ {
		b = append(b, a.bits8(cur, lo))
		cur -= 8 // wraps below lo on the last turn only, where it is not used
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(k))
	return b
}

// bits8 returns the bits of n, n-1, … n-7, n in the most significant place.
func (a *ackState) bits8(n, lo uint64) (out byte) {
	for i := uint64(0); i < 8 && n-lo >= i && i <= n; i++ {
		w, m := a.bit(n - i)
		if *w&m != 0 {
			out |= 0x80 >> i
		}
	}
	return out
}

// ackSpans decodes an ACK's ranges into spans, highest first. The body is
// bounded by the datagram, and so is the result.
func ackSpans(dst []span, f *ackFrame) ([]span, error) {
	dst = dst[:0]
	cur := f.largest + 1 // one above the next number to be told of
	if f.form == ackFormBitmap {
		for i, x := range f.body {
			top := f.largest + 1 - uint64(i)*8 // numbers top-1 … top-8
			if uint64(i)*8 > f.largest {
				if x != 0 {
					return nil, errFrame
				}
				continue
			}
			for x != 0 {
				z := uint64(bits.LeadingZeros8(x))
				ones := uint64(bits.LeadingZeros8(^(x << z)))
				if z+ones > top {
					return nil, errFrame
				}
				s := span{top - z - ones, top - z}
				if n := len(dst); n > 0 && dst[n-1].lo == s.hi {
					dst[n-1].lo = s.lo
				} else {
					dst = append(dst, s)
				}
				x = x << (z + ones) >> (z + ones)
				x &= 0xff >> (z + ones)
			}
		}
		if len(dst) == 0 || dst[0].hi != f.largest+1 {
			return nil, errFrame
		}
		return dst, nil
	}
	for b := f.body; len(b) >= 4; b = b[4:] {
		gap := uint64(binary.BigEndian.Uint16(b))
		run := uint64(binary.BigEndian.Uint16(b[2:]))
		if gap+run > cur || (gap == 0 && run == 0 && len(dst) == 0) {
			return nil, errFrame
		}
		cur -= gap
		if run > 0 {
			s := span{cur - run, cur}
			if n := len(dst); n > 0 && dst[n-1].lo == s.hi {
				dst[n-1].lo = s.lo
			} else {
				dst = append(dst, s)
			}
			cur -= run
		}
	}
	if len(dst) == 0 || dst[0].hi != f.largest+1 {
		return nil, errFrame
	}
	return dst, nil
}

package arq

import "sort"

// span is the half-open interval [lo, hi) of packet numbers or stream offsets.
type span struct{ lo, hi uint64 }

// rangeSet is a set of numbers kept as sorted, disjoint, non-adjacent spans.
// A transfer works at both ends of it (new numbers arrive at the top, the
// bottom is forgotten), which cost O(1); a change in the middle moves the
// spans above it.
type rangeSet struct {
	s    []span
	head int // s[:head] is forgotten and reclaimed when it outweighs the rest
}

func (r *rangeSet) spans() []span { return r.s[r.head:] }
func (r *rangeSet) len() int      { return len(r.s) - r.head }
func (r *rangeSet) empty() bool   { return len(r.s) == r.head }
func (r *rangeSet) first() span   { return r.s[r.head] }

func (r *rangeSet) clear() { r.s, r.head = r.s[:0], 0 }

// find returns the index in spans() of the first span with hi >= v.
func (r *rangeSet) find(v uint64) int {
	s := r.spans()
	// The top is where most changes happen.
	if n := len(s); n > 0 && s[n-1].lo <= v {
		if s[n-1].hi >= v {
			return n - 1
		}
		return n
	}
	return sort.Search(len(s), func(i int) bool { return s[i].hi >= v })
}

// add inserts [lo, hi).
func (r *rangeSet) add(lo, hi uint64) {
	if lo >= hi {
		return
	}
	s := r.spans()
	i := r.find(lo)
	if i == len(s) {
		if r.head > 0 && len(r.s) == cap(r.s) {
			n := copy(r.s, s)
			r.s, r.head = r.s[:n], 0
		}
		r.s = append(r.s, span{lo, hi})
		return
	}
	if hi < s[i].lo { // a new span before s[i]
		r.s = append(r.s, span{})
		s = r.spans()
		copy(s[i+1:], s[i:])
		s[i] = span{lo, hi}
		return
	}
	if lo < s[i].lo {
		s[i].lo = lo
	}
	j := i
	for j+1 < len(s) && s[j+1].lo <= hi {
		j++
	}
	if s[j].hi > hi {
		hi = s[j].hi
	}
	if hi > s[i].hi {
		s[i].hi = hi
	}
	if j > i {
		n := copy(s[i+1:], s[j+1:])
		r.s = r.s[:r.head+i+1+n]
	}
}

// remove takes [lo, hi) out.
func (r *rangeSet) remove(lo, hi uint64) {
	if lo >= hi || r.empty() {
		return
	}
	s := r.spans()
	if hi <= s[0].lo || lo >= s[len(s)-1].hi {
		return
	}
	if lo <= s[0].lo {
		r.removeBelow(hi)
		return
	}
	i := r.find(lo + 1) // first span with hi > lo
	if i == len(s) {
		return
	}
	if s[i].lo < lo && s[i].hi > hi { // split
		r.s = append(r.s, span{})
		s = r.spans()
		copy(s[i+1:], s[i:])
		s[i].hi = lo
		s[i+1].lo = hi
		return
	}
	if s[i].lo < lo {
		s[i].hi = lo
		i++
	}
	j := i
	for j < len(s) && s[j].hi <= hi {
		j++
	}
	if j < len(s) && s[j].lo < hi {
		s[j].lo = hi
	}
	if j > i {
		n := copy(s[i:], s[j:])
		r.s = r.s[:r.head+i+n]
	}
}

// removeBelow forgets everything below v.
func (r *rangeSet) removeBelow(v uint64) {
	for r.head < len(r.s) && r.s[r.head].hi <= v {
		r.head++
	}
	if r.head == len(r.s) {
		r.clear()
		return
	}
	if r.s[r.head].lo < v {
		r.s[r.head].lo = v
	}
}

// contains reports whether v is in the set.
func (r *rangeSet) contains(v uint64) bool {
	s := r.spans()
	i := r.find(v + 1)
	return i < len(s) && s[i].lo <= v
}

// overlap returns the spans that share a number with [lo, hi).
func (r *rangeSet) overlap(lo, hi uint64) []span {
	s := r.spans()
	i := r.find(lo + 1)
	j := i
	for j < len(s) && s[j].lo < hi {
		j++
	}
	return s[i:j]
}

// within is the count of numbers in the set within [lo, hi).
func (r *rangeSet) within(lo, hi uint64) (n uint64) {
	for _, s := range r.overlap(lo, hi) {
		n += min(s.hi, hi) - max(s.lo, lo)
	}
	return n
}

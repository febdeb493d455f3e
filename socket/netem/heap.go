package netem

import "time"

// An arrival is a packet on its way.
type arrival struct {
	at   time.Duration
	seq  uint64 // breaks ties in the order of pushing
	data []byte
}

func (a *arrival) before(b *arrival) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// heap is a binary heap with the next arrival at the front. container/heap
// would box every arrival in an interface.
type heap []arrival

func (h *heap) push(a arrival) {
	*h = append(*h, a)
	s := *h
	i := len(s) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !a.before(&s[parent]) {
			break
		}
		s[i] = s[parent]
		i = parent
	}
	s[i] = a
}

func (h *heap) pop() arrival {
	s := *h
	top := s[0]
	n := len(s) - 1
	last := s[n]
	s[n] = arrival{}
	s = s[:n]
	*h = s
	if n == 0 {
		return top
	}
	i := 0
	for {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && s[c+1].before(&s[c]) {
			c++
		}
		if !s[c].before(&last) {
			break
		}
		s[i] = s[c]
		i = c
	}
	s[i] = last
	return top
}

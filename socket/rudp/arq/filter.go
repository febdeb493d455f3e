package arq

import "time"

// maxByRound is the maximum over the last rounds.
type maxByRound struct {
	v    [12]float64
	i    int
	best float64
}

func (m *maxByRound) add(x float64) {
	if x > m.v[m.i] {
		m.v[m.i] = x
		m.best = max(m.best, x)
	}
}

func (m *maxByRound) round() {
	m.i = (m.i + 1) % len(m.v)
	m.v[m.i] = 0
	m.best = 0
	for _, x := range m.v {
		m.best = max(m.best, x)
	}
}

// minByTime is the minimum over the last span of time, kept in two halves.
type minByTime struct {
	cur, prev time.Duration
	began     time.Duration
	seen      time.Duration // when something close to the minimum was last seen
}

func (m *minByTime) value() time.Duration {
	switch {
	case m.cur == 0:
		return m.prev
	case m.prev == 0:
		return m.cur
	}
	return min(m.cur, m.prev)
}

func (m *minByTime) add(now, d, span time.Duration) {
	if d <= 0 {
		return
	}
	if now-m.began > span/2 {
		m.prev, m.cur, m.began = m.cur, 0, now
	}
	if m.cur == 0 || d < m.cur {
		m.cur = d
	}
	if v := m.value(); d <= v+v/32+200*time.Microsecond {
		m.seen = now
	}
}

// rttRound is the range of round-trip times in the last round and in this. It
// looks at the longest of each three in a row, because single packets and ACKs
// overtake others and say nothing about the length of the path.
type rttRound struct {
	min, max, curMin, curMax time.Duration
	last                     [5]time.Duration
	i, n, seen               int           // n: samples in this round
	recent                   time.Duration // the last, so taken
	jitter                   time.Duration // from one sample to the next, smoothed as in RFC 3550
}

// add returns what it made of the sample.
func (r *rttRound) add(d time.Duration) time.Duration {
	k := len(r.last)
	if before := r.last[(r.i+k-1)%k]; before > 0 {
		r.jitter += (max(d-before, before-d) - r.jitter) / 16
	}
	r.last[r.i] = d
	d = max(d, r.last[(r.i+k-1)%k], r.last[(r.i+k-2)%k])
	r.i = (r.i + 1) % k
	if r.curMin == 0 || d < r.curMin {
		r.curMin = d
	}
	r.curMax = max(r.curMax, d)
	r.recent = d
	r.n++
	r.seen++
	return d
}

// restart forgets the round before and what there is of this one.
func (r *rttRound) restart() {
	r.n = 0
	r.round()
	r.min, r.max = 0, 0
}

func (r *rttRound) round() {
	if r.n > 0 {
		r.min, r.max = r.curMin, r.curMax
	}
	r.curMin, r.curMax, r.n = 0, 0, 0
}

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

package arq

import (
	"math"
	"time"
)

// rival is the play against somebody who keeps the queue full: CUBIC (RFC
// 9438), on the losses in excess of the floor. Its share is fair by
// convention. Now and then the model dips, to see whether he has gone.
type rival struct {
	cub     cubic
	met     time.Duration // when last known to be there; 0 is never
	lastDip time.Duration
	events  int              // congestion events since the last dip
	resume  float64          // window to return to after a dip
	low     time.Duration    // shortest round trip of this dip
	lower   time.Duration    // when it last became shorter
	before  [3]time.Duration // shortest round trips of the last rounds
}

const (
	competeStart = 2.0 // slow start up to so many first windows, as a newcomer has
	dipEvery     = 3 * time.Second
	dipFall      = 8 // a queue that falls by 1/dipFall of the round trip at once
)

// meet begins to compete. The first window is what half of what the path ever
// gave needs, so as not to take minutes to get there; soon after the last time it
// is that of then.
func (m *model) meet(e *ackEvent) {
	r := &m.rival
	w := max(m.stand.window, .4*m.bwEver*e.srtt.Seconds())
	start := competeStart
	if r.met > 0 && e.now-r.met < suspicion {
		w, start = max(m.stand.window, r.resume), 1.1
	}
	m.stand = standing{}
	r.cub = *newCubic()
	r.cub.cwnd, r.cub.ssthresh, r.cub.wMax = w, start*w, w
	r.events = 0
	r.lastDip = e.now
	r.met = e.now
	r.before = [3]time.Duration{}
	m.enter(e.now, phaseCompete)
}

// compete plays CUBIC.
func (m *model) compete(e *ackEvent, congested bool) {
	now := e.now
	r := &m.rival
	if m.phase == phaseDip {
		m.dip(e)
		return
	}
	r.met = now
	c := *e
	// With a clean path every loss is somebody's overflow; otherwise only
	// what chance does not explain, which it takes a round to tell.
	if m.floor.value > .0005 {
		c.lost, c.lostPackets = 0, 0
		if congested && now-e.srtt > m.judged {
			c.lost, c.lostSent = m.mtu, now
			m.judged = now
		}
	}
	before := r.cub.recover
	r.cub.onAck(&c)
	if r.cub.recover != before {
		r.events++
	}
	if !e.round {
		return
	}
	// When somebody steps back is the time to see whether the queue drains:
	// all who hear of the same overflow do it together, and one of our own
	// that dips is heard by the others.
	top := max(r.before[0], r.before[1], r.before[2])
	fell := top > 0 && m.rtts.min < top-top/dipFall
	r.before = [3]time.Duration{r.before[1], r.before[2], m.rtts.min}
	if fell && now-r.lastDip > dipEvery/3 || r.events >= 2 && now-r.lastDip > dipEvery {
		r.events = 0
		r.lastDip = now
		r.resume = r.cub.cwnd
		r.low, r.lower = 0, now
		m.enter(now, phaseDip)
	}
}

// dip waits for the queue to drain, as long as it becomes shorter.
func (m *model) dip(e *ackEvent) {
	now := e.now
	r := &m.rival
	if e.rtt > 0 && (r.low == 0 || e.rtt < r.low-r.low/32) {
		r.low, r.lower = e.rtt, now
	}
	base := m.base.value()
	switch {
	case r.low > 0 && r.low-base <= m.theta():
		m.bwLo = math.Inf(1)
		m.stand = standing{}
		m.startCruise(now)
	case m.roundsIn >= 1 && now-r.lower > base/2:
		r.cub.cwnd = r.resume
		r.before = [3]time.Duration{}
		m.enter(now, phaseCompete)
	}
}

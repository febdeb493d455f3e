package arq

import "time"

// Whose queue is it?
//
// A queue that stands round after round belongs to somebody. If all who fill it
// listen to delay, as this model does, it goes away when each of them sends less
// than arrives: while it stands, their arrivals add up to what the link carries,
// however much each overestimates its share. Sending the share g of what arrives
// then lets the delay fall by 1-g of the time that passes. They all see the same
// queue, so they yield together. If some of them listen to loss only, the delay
// falls more slowly, by as much as the share of those who yield is less than one,
// or not at all: then it is time to compete. That is a test for cross traffic that
// does not listen to delay, as Nimbus has (Goyal et al., Elasticity Detection,
// SIGCOMM 2022), on the one signal that is sure to be there, and it needs to know
// neither the capacity of the link nor the length of the path.

const (
	yieldAfter = 4   // rounds with a queue
	yieldGain  = .75 // of what arrives
	// At least slackRounds are looked at before a verdict, suspectRounds soon
	// after a rival was met, at most yieldRounds.
	slackRounds   = 4
	suspectRounds = 3
	yieldRounds   = 8
	yieldShare    = .5 // of the traffic that must seem to yield
	suspicion     = 10 * time.Second
	// pardon is for how many rounds a queue that is hardly one is let be,
	// when yielding made no difference: the path is less steady than it looks.
	pardon = 24
)

// standing is what is known about a queue that does not drain.
type standing struct {
	rounds int           // in which the queue did not drain
	began  time.Duration // the first of them
	window float64       // in flight before the model yielded
	rate   float64       // that arrived while the queue stood
	from   time.Duration // longest queue since this flow's yielding shows
	since  time.Duration // when that was; 0 is not yet
	looked int           // rounds in which its yielding showed

	delivered uint64 // when the queue began to stand
}

// arrivals is the rate of delivery over the last round as a whole. Samples of
// single ACKs are higher where ACKs come in bunches.
type arrivals struct {
	rate      float64 // bytes/s; 0 is unknown
	delivered uint64
	since     time.Duration
}

func (a *arrivals) round(now time.Duration, delivered uint64) {
	if d := now - a.since; a.since > 0 && d > 0 {
		a.rate = float64(delivered-a.delivered) / d.Seconds()
	}
	a.since, a.delivered = now, delivered
}

// watch counts rounds in which the queue does not drain.
func (m *model) watch(e *ackEvent) {
	if m.queue() <= m.theta() || m.phase == phaseDrain {
		m.stand = standing{}
		return
	}
	if m.stand.rounds++; m.stand.rounds <= 1 {
		m.stand.began, m.stand.delivered = e.now, e.delivered
	}
	if m.stand.rounds < yieldAfter || m.arrivals.rate == 0 || e.appLimited {
		return
	}
	m.stand.window = float64(e.prior)
	m.stand.rate = max(m.arrivals.rate, float64(e.delivered-m.stand.delivered)/(e.now-m.stand.began).Seconds())
	m.stand.since, m.stand.looked = 0, 0
	m.enter(e.now, phaseYield)
}

// yield waits for the queue to drain, and judges how fast it does.
func (m *model) yield(e *ackEvent) {
	if !e.round {
		return
	}
	s := &m.stand
	q := m.queue()
	drained := q <= m.theta()
	if s.since == 0 && !drained {
		s.from, s.since = q, e.now // what shows now is what this flow did
		return
	}
	s.looked++
	if q > s.from {
		s.from, s.since = q, e.now // a newcomer, or somebody who fills it
	}
	// Twice as long as it takes if everybody yields, or a little longer: not
	// all of them begin at the same time.
	rounds := slackRounds
	if m.rival.met > 0 && e.now-m.rival.met < suspicion {
		rounds = suspectRounds
	}
	passed := (e.now - s.since).Seconds()
	fall := (1 - yieldGain) * passed // if everybody yields
	switch {
	case drained && (s.since == 0 || fall*yieldShare < (s.from+m.srtt/8).Seconds()):
		// What arrived while the queue stood is this flow's share.
		m.bwLo = min(m.bwLo, s.rate)
		m.stand = standing{}
		m.startCruise(e.now)
	case e.appLimited: // this flow sends nothing that it could leave out
	case drained:
		m.meet(e)
	case s.looked < rounds || s.looked < yieldRounds && fall*yieldShare < s.from.Seconds():
	case (s.from - q).Seconds() > fall*yieldShare:
		s.from, s.since, s.looked = q, e.now, 0 // it does fall
	case s.from > 3*m.theta():
		m.meet(e)
	case s.looked > 2*yieldRounds:
		m.stand = standing{rounds: -pardon}
		m.startCruise(e.now)
	}
}

package arq

import (
	"math"
	"time"
)

// phase is what the model is doing.
type phase int

const (
	phaseStartup  phase = iota // find the bandwidth
	phaseDrain                 // empty the queue that left behind
	phaseDown                  // send less: measure the path's own loss
	phaseCruise                // send as much as arrives
	phaseUp                    // send more: is there more?
	phaseProbeRTT              // send little: how short is the path?
	phaseCompete               // somebody else keeps the queue full
	phaseDip                   // competing: has he gone?
)

func (p phase) String() string {
	return [...]string{"startup", "drain", "down", "cruise", "up", "probe-rtt", "compete", "dip"}[p]
}

// model paces at the measured bandwidth. The path is a pipe with a bandwidth,
// a length, and a share of packets it loses by itself; the model measures the
// three, keeps the pipe full and the queue before it short.
//
//	startup --> drain --> down --> cruise --> up --+
//	                       ^  ^      |             |
//	                       |  |      +-> probe-rtt |   every 10 s without
//	                       |  +--------------------+   a fresh minimum
//	                       |
//	  queue is empty again |      queue never empty for 12 rounds
//	                      dip <--> compete  <---- from down, cruise, up
//
// Loss says nothing by itself: what counts is loss in excess of the floor
// that the down phases measure. Delay says more: the cruise gain sinks as the
// queue grows. A queue that does not sink with it belongs to somebody who
// does not listen to delay, and against him the model plays CUBIC, whose
// share is fair by convention.
type model struct {
	plain bool // no loss floor, no governor, no competing: like BBR v1
	rng   func() uint64
	mtu   int
	srtt  time.Duration

	phase      phase
	since      time.Duration // phase began
	roundsIn   int           // rounds since
	cruise     int           // rounds to cruise
	bw         maxByRound    // bytes/s delivered
	bwLo       float64       // limit after excess loss, until the next up
	bwEver     float64       // slowly forgotten maximum
	base       minByTime
	rtts       rttRound
	led        ledger
	floor      lossFloor
	lossy      int // consecutive periods with excess but without a queue
	fullBw     float64
	fullRounds int
	slow       float64 // slow start's window in bytes: bandwidth samples lag
	startLoss  float64 // in the last round of startup that is known
	filled     bool    // startup is over
	lastRound  time.Duration

	standing int     // rounds in which the queue did not drain
	press    float64 // the governor's memory: several that overestimate
	cub      cubic
	events   int // congestion events since the last dip
	lastDip  time.Duration
	judged   time.Duration // packets sent before belong to the last event
	resume   float64       // window to return to after a dip
	low      time.Duration // shortest round trip of this phase
}

// rttRound is the range of round-trip times in the last round and in this. It
// looks at the longest of each three in a row, because single packets and ACKs
// overtake others and say nothing about the length of the path.
type rttRound struct {
	min, max, curMin, curMax time.Duration
	last                     [3]time.Duration
	i, n                     int           // n: samples in this round
	jitter                   time.Duration // from one sample to the next, smoothed as in RFC 3550
}

// add returns what it made of the sample.
func (r *rttRound) add(d time.Duration) time.Duration {
	if before := r.last[(r.i+2)%3]; before > 0 {
		r.jitter += (max(d-before, before-d) - r.jitter) / 16
	}
	r.last[r.i] = d
	r.i = (r.i + 1) % len(r.last)
	d = max(r.last[0], r.last[1], r.last[2])
	if r.curMin == 0 || d < r.curMin {
		r.curMin = d
	}
	r.curMax = max(r.curMax, d)
	r.n++
	return d
}

func (r *rttRound) round() {
	if r.n > 0 {
		r.min, r.max = r.curMin, r.curMax
	}
	r.curMin, r.curMax, r.n = 0, 0, 0
}

const (
	startupGain   = 2.77
	upGain        = 1.25
	downGain      = 0.75
	downComp      = 1.15
	cruiseRounds  = 6
	windowGain    = 2.0
	paceMargin    = 0.99 // so that rounding does not fill the queue
	backoff       = 0.7
	excessLimit   = 0.02
	standingLimit = 12
	competeStart  = 1.45 // slow start up to so many first windows, as a newcomer has
	upStanding    = 4    // rounds with a queue after which up is left out
	minQueue      = 2 * time.Millisecond
	pressStep     = .04
	pressMax      = .4
	baseSpan      = 30 * time.Second
	probeRTTEvery = 10 * time.Second
	minWindow     = 4 // packets
)

func newModel(plain bool, rng func() uint64) *model {
	m := &model{plain: plain, rng: rng, mtu: MinDatagram, bwLo: math.Inf(1), cub: *newCubic()}
	m.led.begin(phaseStartup)
	return m
}

func (m *model) onSend(now time.Duration, size, inFlight int, appLimited bool) uint32 {
	m.led.at(m.led.current).sent++
	return m.led.current
}

func (m *model) onPacket(fate packetFate, p *sentPacket) {
	if m.led.current-p.epoch >= uint32(len(m.led.book)) {
		return
	}
	b := m.led.at(p.epoch)
	switch fate {
	case fateAcked:
		b.acked++
	case fateLost:
		b.lost++
	case fateSpurious:
		b.lost--
		b.acked++
	}
}

func (m *model) bandwidth() float64 { return min(m.bw.best, m.bwLo) }

// keep is the share of packets that arrive.
func (m *model) keep() float64 {
	if m.plain {
		return 1
	}
	return 1 - m.floor.value
}

func (m *model) bdp() float64 { return m.bandwidth() * m.length().Seconds() }

// theta is the queue that is nothing to worry about.
func (m *model) theta() time.Duration {
	return max(minQueue, hostQueue-m.base.value(), m.base.value()/20, 2*m.rtts.jitter)
}

// queue is the delay that stood in the queue all through the last round.
func (m *model) queue() time.Duration {
	if m.rtts.min == 0 {
		return 0
	}
	return max(m.rtts.min-m.base.value(), 0)
}

func (m *model) enter(now time.Duration, p phase) {
	m.phase, m.since, m.roundsIn, m.low = p, now, 0, 0
	m.led.begin(p)
}

func (m *model) onAck(ack *ackEvent) {
	event := m.rounds(*ack)
	e := &event
	now := e.now
	m.mtu, m.srtt = e.mtu, e.srtt
	if e.rtt > 0 {
		d := m.rtts.add(e.rtt)
		m.base.add(now, d, baseSpan)
		if m.low == 0 || d < m.low {
			m.low = d
		}
	}
	if e.round {
		m.rtts.round()
		m.bw.round()
		m.roundsIn++
		m.bwEver *= .998
		m.led.begin(m.phase)
	}
	if e.rate > 0 && (!e.rateLimited || e.rate > m.bw.best) {
		m.bw.add(e.rate)
		m.bwEver = max(m.bwEver, e.rate)
	}
	congested := false // in excess of the floor
	for p := m.led.settled(); p != nil; p = m.led.settled() {
		congested = m.judge(p) || congested
	}
	if e.ce > 0 && now-e.srtt > m.judged {
		congested = true
	}
	if e.persistent {
		m.bw = maxByRound{}
		m.bw.add(m.bwEver / 8)
		m.slow = 0
		m.enter(now, phaseStartup)
		m.fullBw, m.fullRounds = 0, 0
		return
	}
	if m.phase == phaseCompete || m.phase == phaseDip {
		m.compete(e, congested)
		return
	}
	if congested && m.filled {
		m.bwLo = max(backoff*m.bandwidth(), min(e.rate, m.bandwidth()))
		m.judged = now
	}
	m.advance(e)
	if e.round && m.filled && !m.plain {
		m.watch(e)
	}
}

// judge draws conclusions from a period whose packets' fate is known, and
// reports whether it shows congestion.
func (m *model) judge(p *period) bool {
	if m.plain || p.sent < 8 {
		if p.phase == phaseDown && !m.plain {
			m.floor.add(p.sent, p.lost)
		}
		return false
	}
	if p.phase == phaseDown {
		m.floor.add(p.sent, p.lost)
		return false
	}
	if p.phase == phaseStartup {
		m.startLoss = float64(p.lost) / float64(p.sent)
	}
	if p.phase == phaseCompete {
		return m.floor.excess(p)*float64(p.sent) > 1
	}
	if p.phase != phaseCruise {
		return false
	}
	if m.floor.excess(p) <= excessLimit {
		m.lossy = 0
		return false
	}
	if m.rtts.max-m.base.value() > m.theta() {
		return true
	}
	// Nothing stood in the queue: a burst of the path's own, unless it goes
	// on (a queue too short to be seen).
	m.lossy++
	return m.lossy >= 3
}

// advance moves through the phases.
func (m *model) advance(e *ackEvent) {
	now := e.now
	base := m.base.value()
	length := m.length()
	elapsed := now - m.since
	switch m.phase {
	case phaseStartup:
		if m.slow == 0 {
			m.slow = m.first()
		}
		if !e.appLimited {
			m.slow += 1.25 * float64(e.acked)
		}
		// A queue that stands from the start of a round shows it soonest,
		// as in HyStart++ (RFC 9406).
		full := !m.plain && m.roundsIn > 2 && m.rtts.n >= 8 &&
			m.rtts.curMin > base+min(max(base/8, 4*time.Millisecond), 16*time.Millisecond)
		if !e.round && !full {
			return
		}
		if full {
		} else if m.bw.best >= m.fullBw*1.25 {
			m.fullBw, m.fullRounds = m.bw.best, 0
		} else if !e.rateLimited && startupGain*m.bw.best > m.firstPace() {
			m.fullRounds++
			// Growth that ends in losses has ended.
			full = m.fullRounds >= 3 || m.fullRounds == 2 && m.startLoss > excessLimit && !m.plain
		}
		if full {
			m.filled = true
			m.enter(now, phaseDrain)
		}
	case phaseDrain:
		if float64(e.inFlight) <= m.bdp()/m.keep() || m.roundsIn > 8 {
			m.enter(now, phaseDown)
		}
	case phaseDown:
		if elapsed < length {
			return
		}
		if float64(e.inFlight) <= m.bdp()/m.keep() || elapsed > 3*length {
			m.startCruise(now)
		}
	case phaseCruise:
		if !m.plain && now-m.base.seen > probeRTTEvery && elapsed > 0 {
			m.base.seen = now
			m.enter(now, phaseProbeRTT)
			return
		}
		if elapsed >= time.Duration(m.cruise)*length {
			m.bwLo = math.Inf(1)
			if m.standing >= upStanding && !m.plain {
				// There is a queue: more cannot be had by sending more.
				m.enter(now, phaseDown)
				return
			}
			m.enter(now, phaseUp)
		}
	case phaseUp:
		if elapsed >= length && (elapsed >= 2*length || float64(e.inFlight) >= upGain*m.bdp() || e.lost > 0 && !m.plain) {
			m.enter(now, phaseDown)
		}
	case phaseProbeRTT:
		if m.roundsIn >= 2 && elapsed > length {
			m.startCruise(now)
		}
	}
}

func (m *model) startCruise(now time.Duration) {
	m.enter(now, phaseCruise)
	// Flows must not probe in step.
	m.cruise = cruiseRounds + int(m.rng()%3)
}

// watch counts rounds in which the queue does not drain.
func (m *model) watch(e *ackEvent) {
	if m.queue() <= m.theta() || m.phase == phaseDrain {
		m.standing = 0
		m.press = max(m.press-2*pressStep, 0)
		return
	}
	m.press = min(m.press+pressStep, pressMax)
	if m.standing++; m.standing < standingLimit {
		return
	}
	m.standing = 0
	// Somebody fills the queue. Begin with the window that a good half of
	// what the path ever gave needs, so as not to take minutes to get there.
	w := max(float64(e.prior), .6*m.bwEver*e.srtt.Seconds())
	m.cub = *newCubic()
	m.cub.cwnd, m.cub.ssthresh, m.cub.wMax = w, competeStart*w, w
	m.events = 0
	m.lastDip = e.now
	m.enter(e.now, phaseCompete)
}

// compete plays CUBIC on the losses in excess of the floor.
func (m *model) compete(e *ackEvent, congested bool) {
	now := e.now
	if m.phase == phaseDip {
		if m.low > 0 && m.low-m.base.value() <= m.theta() {
			m.cub.cwnd = m.resume
			m.bwLo = math.Inf(1)
			m.standing, m.press = 0, 0
			m.enter(now, phaseDown)
			return
		}
		if m.roundsIn >= 3 {
			m.cub.cwnd = m.resume
			m.enter(now, phaseCompete)
		}
		return
	}
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
	before := m.cub.recover
	m.cub.onAck(&c)
	if m.cub.recover != before {
		m.events++
		// Right after an overflow, when all who heard of it step back
		// together, is the time to see whether the queue drains.
		if m.events >= 2 && now-m.lastDip > 3*time.Second {
			m.events = 0
			m.lastDip = now
			m.resume = m.cub.cwnd
			m.enter(now, phaseDip)
		}
	}
}

func (m *model) pace() float64 {
	bw := m.bandwidth()
	if bw == 0 {
		return m.firstPace()
	}
	comp := paceMargin / m.keep()
	if m.plain {
		comp = paceMargin
	}
	switch m.phase {
	case phaseStartup:
		// The first packets are few and far between: they say nothing.
		return max(startupGain*bw, m.firstPace(), 1.25*m.slow/max(m.srtt, time.Millisecond).Seconds())
	case phaseDrain:
		return bw / startupGain
	case phaseDown:
		// Hardly compensated, so that an overestimated floor cannot keep
		// itself up by filling the queue.
		return downGain * bw * min(comp, downComp)
	case phaseUp:
		return upGain * bw * comp
	case phaseCompete:
		return 1.2 * m.cub.cwnd / m.keep() / max(m.srtt, time.Millisecond).Seconds()
	case phaseDip, phaseProbeRTT:
		return bw
	}
	return m.govern() * bw * comp
}

// first is the window before anything is known, firstPace its pace.
func (m *model) first() float64 {
	n := initialRate * m.srtt.Seconds() / float64(m.mtu)
	return min(max(n, initialWindow), initialWindowMax) * float64(m.mtu)
}

func (m *model) firstPace() float64 {
	rtt := max(m.srtt, time.Millisecond)
	if m.srtt == 0 {
		rtt = 100 * time.Millisecond
	}
	return m.first() / rtt.Seconds()
}

// govern is the cruise gain: 1, and less as the queue grows.
func (m *model) govern() float64 {
	if m.plain {
		return 1
	}
	over := max(m.queue()-m.theta(), 0)
	return 1 - min(.5, over.Seconds()/(2*max(m.base.value(), minRound).Seconds())+m.press)
}

func (m *model) window() int {
	bw := m.bandwidth()
	if bw == 0 || m.base.value() == 0 {
		return int(m.first())
	}
	floor := minWindow * m.mtu
	// What a host's scheduling and the batching of ACKs take at any speed.
	slack := bw*.001 + 2*float64(m.mtu)
	var w float64
	switch m.phase {
	case phaseStartup:
		w = max(startupGain*m.bdp()+slack, m.slow)
		floor = int(m.first())
	case phaseCompete:
		w = m.cub.cwnd / m.keep()
	case phaseDip:
		w = .4 * m.bdp()
	case phaseProbeRTT:
		w = .5 * m.bdp()
	default:
		w = windowGain*m.bdp()/m.keep() + slack
	}
	return max(int(w), floor)
}

func (m *model) state(s *ControllerState) {
	s.Phase = m.phase.String()
	s.Bandwidth = m.bandwidth()
	s.LossFloor = m.floor.value
	s.MinRTT = m.base.value()
	s.Queue = m.queue()
}

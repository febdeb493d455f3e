package arq

import (
	"math"
	"slices"
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
	phaseProbeRTT              // send little: how long is the path?
	phaseYield                 // a queue stands: send less than arrives
	phaseCompete               // it stays: somebody else keeps it full
	phaseDip                   // competing: has he gone?
)

func (p phase) String() string {
	return [...]string{"startup", "drain", "down", "cruise", "up", "probe-rtt", "yield", "compete", "dip"}[p]
}

// model paces at the measured bandwidth. The path is a pipe with a bandwidth,
// a length, and a share of packets it loses by itself; the model measures the
// three, keeps the pipe full and the queue before it short. The skeleton is
// BBR's (Cardwell et al., ACM Queue 14-5, 2016; draft-ietf-ccwg-bbr).
//
//	startup --> drain ----------> cruise --> up --> down --+
//	              |                ^ ^  |                  |
//	              |                | +--|------------------+
//	              +--> probe-rtt --+    |   every 10 s without a fresh minimum
//	                        ^-----------+
//
//	cruise, up, down -- the queue stands for 4 rounds --> yield
//	yield ---- it drains as fast as it does if all yield ---> cruise
//	yield ---- it does not: somebody listens to loss only --> compete
//	compete <--> dip -- the queue drains: he has gone ------> cruise
//
// What each phase does and why:
//
//   - startup sends more than twice as much each round trip, until the rate stops
//     to grow or a queue stands for a quarter of one (compare HyStart++, RFC 9406).
//   - drain sends little until no more is in flight than the path holds. What is
//     lost then the path loses by itself, as in down.
//   - down sends three quarters for a round trip: the queue is empty then, so
//     what is lost the path loses by itself. That is the loss floor.
//   - cruise sends what arrives, divided by the share that arrives, for six to
//     eight round trips (a random number, so that flows do not probe in step),
//     less as the queue grows (the governor).
//   - up sends a quarter more for a round trip or two: is there more? What
//     arrives at best in twelve rounds is the bandwidth. A part of the increase
//     is so many packets whatever the rate, which makes shares equal. Where more
//     arrived and no queue grew, the next up follows at once, and is larger.
//   - probe-rtt keeps the pipe half empty for a round trip: only then the length
//     of a path shows on which others keep a queue, or on which this flow
//     measured its own. If what it finds is shorter it goes on. After startup it
//     is left out where the rate rose for three rounds and the delay did not.
//   - yield and compete: see the files of these names.
//
// Loss says nothing by itself: what counts is loss in excess of the floor
// that the down phases measure, and of what chance explains, given how
// unequal those measurements are.
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
	slow       float64       // slow start's window in bytes: bandwidth samples lag
	startLoss  float64       // in the last round of startup that is known
	lateSince  time.Duration // since when round trips of startup have been long
	lates      int           // how many
	filled     bool          // startup is over
	lastRound  time.Duration

	judged   time.Duration // packets sent before belong to the last event
	surge    float64       // factor on the gain of up, while up finds more; 0 is not in up
	upFrom   float64       // bandwidth before up
	steady   int           // rounds in which the rate rose and the delay did not
	dug      time.Duration // length of the path before it was measured anew
	digs     int           // measurements in a row
	arrivals arrivals
	stand    standing
	rival    rival
}

const (
	startupGain   = 2.77
	slowGain      = 1.75 // slow start has 1
	upGain        = 1.25
	downGain      = 0.75
	downComp      = 1.15
	cruiseRounds  = 6
	windowGain    = 2.0
	paceMargin    = 0.99 // so that rounding does not fill the queue
	backoff       = 0.7
	excessLimit   = 0.02
	minQueue      = 2 * time.Millisecond
	baseSpan      = 30 * time.Second
	probeRTTEvery = 10 * time.Second
	maxDigs       = 6  // measurements of the length in a row
	steadyRounds  = 3  // of startup after which the length is known
	upPackets     = 16 // a round trip
	minWindow     = 4  // packets
	surgeStep     = 1.1
	surgeMax      = 1.6
)

func newModel(plain bool, rng func() uint64) *model {
	m := &model{plain: plain, rng: rng, mtu: MinDatagram, bwLo: math.Inf(1)}
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
	case fateVoid:
		b.sent--
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

// theta is the queue that is nothing to worry about. Where round trips differ by
// themselves from one to the next, the shortest of a round differs, too.
func (m *model) theta() time.Duration {
	return max(minQueue, hostQueue-m.base.value(), m.base.value()/20, 4*m.rtts.jitter)
}

// queue is the delay that stood in the queue all through the last round.
func (m *model) queue() time.Duration {
	if m.rtts.min == 0 {
		return 0
	}
	return max(m.rtts.min-m.base.value(), 0)
}

func (m *model) enter(now time.Duration, p phase) {
	m.phase, m.since, m.roundsIn = p, now, 0
	m.led.begin(p)
}

func (m *model) onAck(ack *ackEvent) {
	event := m.rounds(*ack)
	e := &event
	now := e.now
	m.mtu, m.srtt = e.mtu, e.srtt
	if e.rtt > 0 {
		d := m.rtts.add(e.rtt)
		if m.rtts.seen <= len(m.rtts.last) {
			m.base = minByTime{} // a single one may have overtaken others
		}
		if d < m.base.value()-m.base.value()/16 {
			// So much shorter at once must be seen five times in a row.
			d = slices.Max(m.rtts.last[:])
		}
		m.base.add(now, d, baseSpan)
	}
	if e.round {
		m.arrivals.round(now, e.delivered)
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
	switch m.phase {
	case phaseCompete, phaseDip:
		m.compete(e, congested)
		return
	case phaseYield:
		m.yield(e)
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
	if p.phase == phaseDown || p.phase == phaseProbeRTT || p.phase == phaseDrain {
		m.floor.add(p.sent, p.lost)
		return false
	}
	if p.phase == phaseStartup {
		m.startLoss = float64(p.lost) / float64(p.sent)
	}
	if p.phase == phaseCompete {
		return m.floor.excess(p, 1)*float64(p.sent) > 1
	}
	if p.phase != phaseCruise {
		return false
	}
	if m.floor.excess(p, m.floor.spread) <= excessLimit {
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
			m.slow += slowGain * float64(e.acked)
		}
		full := m.late(e)
		if !e.round && !full {
			return
		}
		if full {
		} else if m.bw.best >= m.fullBw*1.25 {
			m.fullBw, m.fullRounds = m.bw.best, 0
			if m.rtts.min > 0 && m.rtts.min <= base+max(base/64, 500*time.Microsecond) && m.startLoss < 2*excessLimit {
				m.steady++
			}
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
			switch {
			case m.plain:
				m.enter(now, phaseDown)
				return
			case m.steady >= steadyRounds:
				m.rtts.restart() // the queue that was here is gone
				m.startCruise(now)
				return
			}
			m.digs = 0
			m.dig(now)
		}
	case phaseDown:
		if elapsed < length {
			return
		}
		if float64(e.inFlight) > m.bdp()/m.keep() && elapsed <= 3*length {
			return
		}
		if m.surge > 0 && !m.plain && m.bandwidth() > surgeStep*m.upFrom && m.queue() <= m.theta() {
			// More did arrive, and no queue: there may be much more, where
			// startup ended too soon or somebody left.
			m.surge = min(m.surge*1.25, surgeMax)
			m.up(now)
			return
		}
		m.surge = 0
		m.startCruise(now)
	case phaseCruise:
		if !m.plain && now-m.base.seen > probeRTTEvery && elapsed > 0 {
			m.base.seen = now
			m.digs = 0
			m.dig(now)
			return
		}
		if elapsed >= time.Duration(m.cruise)*length {
			m.bwLo = math.Inf(1)
			m.surge = 1
			m.up(now)
		}
	case phaseUp:
		if elapsed >= length && (elapsed >= 2*length || float64(e.inFlight) >= m.surge*upGain*m.bdp()+upPackets*float64(m.mtu) || e.lost > 0 && m.floor.value < .001 && !m.plain) {
			m.enter(now, phaseDown)
		}
	case phaseProbeRTT:
		if m.roundsIn < 2 || elapsed <= length {
			return
		}
		// As long as it becomes shorter it was not the path that was measured
		// but somebody's queue, which this pause helps to drain.
		if fell := m.dug - base; fell > max(m.dug/64, m.rtts.jitter) && m.digs < maxDigs {
			m.dig(now)
			return
		}
		m.startCruise(now)
	}
}

// late reports whether a queue stands since a part of a round trip, which ends
// startup. A round as a whole would tell it a round trip later, and by then the
// queue has become as long as the path.
func (m *model) late(e *ackEvent) bool {
	base := m.base.value()
	if m.plain || e.rtt == 0 {
		return false
	}
	if m.rtts.recent <= base+min(max(base/8, 4*time.Millisecond), 16*time.Millisecond) {
		m.lateSince, m.lates = e.now, 0
		return false
	}
	m.lates++
	return m.roundsIn > 2 && m.lates >= 4 && e.now-m.lateSince > base/4
}

// up looks for more bandwidth.
func (m *model) up(now time.Duration) {
	m.upFrom = m.bandwidth()
	m.enter(now, phaseUp)
}

// dig measures the length of the path.
func (m *model) dig(now time.Duration) {
	m.dug = m.base.value()
	m.digs++
	m.enter(now, phaseProbeRTT)
}

func (m *model) startCruise(now time.Duration) {
	m.enter(now, phaseCruise)
	// Flows must not probe in step.
	m.cruise = cruiseRounds + int(m.rng()%3)
}

func (m *model) state(s *ControllerState) {
	s.Phase = m.phase.String()
	s.Bandwidth = m.bandwidth()
	s.LossFloor = m.floor.value
	s.MinRTT = m.base.value()
	s.Queue = m.queue()
}

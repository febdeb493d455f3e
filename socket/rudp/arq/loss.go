package arq

import "time"

// lossDetector is RFC 9002, section 6, with the reordering threshold of
// RFC 8985: as long as no reordering was seen three later packets prove a
// loss; once a packet came late, only time does, and the wait adapts to how
// late packets come.
type lossDetector struct {
	largest    uint64 // largest acknowledged, if any
	any        bool
	acked      rangeSet      // packet numbers acknowledged, above the ring's floor
	timer      time.Duration // of the next thing to do, or never
	isPTO      bool          // the timer is a probe timeout
	ptoCount   int
	fired      time.Duration // the last probe timeout
	probes     int           // packets that may be sent regardless of windows
	reordering bool          // packets do come late here
	wait       time.Duration // beyond a round trip, how late they come
	calm       int           // rounds since the last late one
}

const (
	packetThreshold = 3
	// calmRounds is after how many rounds without a late packet the wait
	// shrinks (RFC 8985 takes 16 recoveries).
	calmRounds = 64
	// minPTO and minOutage keep a peer that waits for a processor from being
	// taken for a path that is broken.
	minPTO    = 5 * time.Millisecond
	minOutage = 100 * time.Millisecond
	// unanswered is after how many probe timeouts without an ACK one fires
	// even though packets still leave.
	unanswered = 4
)

func (l *lossDetector) init() { l.timer = never }

// delay is how long after it left a packet is lost, if a later one arrived.
func (l *lossDetector) delay(r *rttEstimator) time.Duration {
	rtt := max(r.latest, r.smoothed)
	return rtt + max(rtt/8, l.wait, granularity)
}

// late learns from a packet that was acknowledged after it was given up:
// over is how much longer than the round trip it took.
func (l *lossDetector) late(over time.Duration, r *rttEstimator) {
	l.reordering = true
	l.calm = 0
	l.wait = min(max(l.wait, over+over/4), max(r.smoothed, granularity))
}

func (l *lossDetector) onRound() {
	if l.calm++; l.calm >= calmRounds {
		l.calm = 0
		if l.wait /= 2; l.wait < 100*time.Microsecond {
			l.reordering, l.wait = false, 0
		}
	}
}

// detectLoss finds the packets that are lost by now, and sets the timer for
// those that may be soon.
func (c *Conn) detectLoss(now time.Duration, e *ackEvent) {
	if c.book != nil {
		return // the textbooks know timers only
	}
	l := &c.loss
	soon := never
	if l.any {
		delay := l.delay(&c.rtt)
		for n := c.sent.scan; n < c.sent.next && n < l.largest; n++ {
			p := c.sent.at(n)
			if p.state != packetInFlight {
				if n == c.sent.scan {
					c.sent.scan++
				}
				continue
			}
			trigger := LossTime
			if p.time+delay > now {
				if l.reordering || l.largest-n < packetThreshold {
					// Later packets left later: none of them is lost.
					soon = p.time + delay
					break
				}
				trigger = LossReorder
			}
			c.lose(now, n, p, trigger, e)
			if n == c.sent.scan {
				c.sent.scan++
			}
		}
	}
	l.timer, l.isPTO = soon, false
}

// lose gives a packet up.
func (c *Conn) lose(now time.Duration, n uint64, p *sentPacket, trigger LossTrigger, e *ackEvent) {
	p.state = packetLost
	c.inFlight -= int(p.size)
	c.stats.PacketsLost++
	if t := c.cfg.Trace; t != nil && t.PacketLost != nil {
		t.PacketLost(now, n, trigger)
	}
	if p.flags&hasData != 0 {
		c.send.lose(p.off, p.off+uint64(p.n))
	}
	if p.flags&hasFin != 0 && !c.send.finAcked {
		c.send.finLost = true
	}
	if p.flags&hasWindow != 0 {
		c.flow.sure = 0
	}
	if p.flags&hasSender != 0 {
		c.hint.sent = false
	}
	if p.flags&isMTUProbe != 0 {
		c.pmtu.onProbeLost(now, int(p.size))
		c.cc.onPacket(fateVoid, p)
		return // says nothing about congestion
	}
	before := c.pmtu.size
	c.pmtu.onLost(now, int(p.size))
	if t := c.cfg.Trace; t != nil && t.MTU != nil && c.pmtu.size != before {
		t.MTU(now, c.pmtu.size)
	}
	e.lost += int(p.size)
	e.lostPackets++
	e.lostSent = max(e.lostSent, p.time)
	c.cc.onPacket(fateLost, p)
}

// armPTO sets the probe timer when no loss timer runs.
func (c *Conn) armPTO(now time.Duration) {
	if c.book != nil {
		c.book.update(c, now)
		return
	}
	l := &c.loss
	if !l.isPTO && l.timer != never {
		return
	}
	l.timer, l.isPTO = never, true
	if c.inFlight == 0 {
		return
	}
	// The backoff ends at a second more, so that a path that loses most
	// packets is tried often enough before it is given up.
	pto := max(c.rtt.pto(c.ackDelay()), minPTO)
	wait := min(pto<<min(l.ptoCount, 6), pto+time.Second)
	l.timer = c.lastSent + wait
	// A wide window lets packets leave for long although none is answered;
	// RFC 9002 would wait for the last of them.
	if c.owed != never {
		l.timer = min(l.timer, max(c.owed+unanswered*wait, l.fired+wait))
	}
}

// onLossTimer fires the loss timer or the probe timer.
func (c *Conn) onLossTimer(now time.Duration) {
	if c.book != nil {
		c.book.expire(c, now)
		return
	}
	e := ackEvent{now: now, minRTT: c.rtt.min, srtt: c.rtt.smoothed, prior: c.inFlight,
		delivered: c.rate.delivered, mtu: c.pmtu.size}
	if !c.loss.isPTO {
		c.detectLoss(now, &e)
		if e.lost > 0 {
			e.inFlight = c.inFlight
			c.cc.onAck(&e)
			c.updatePace()
			c.traceController(now)
		}
		c.settle(now)
		c.armPTO(now)
		return
	}
	l := &c.loss
	l.ptoCount++
	l.fired = now
	if t := c.cfg.Trace; t != nil && t.ProbeTimeout != nil {
		t.ProbeTimeout(now, l.ptoCount)
	}
	l.probes = 2
	c.stats.ProbeTimeouts++
	// The oldest is asked for again; if it was only late, its bytes are
	// recognised as already there.
	queued := 0
	for n := c.sent.scan; n < c.sent.next && queued < 2; n++ {
		p := c.sent.at(n)
		if p.state != packetInFlight {
			continue
		}
		if p.flags&(hasData|hasFin|hasWindow) == 0 {
			continue // nothing in it that anybody waits for
		}
		if p.flags&hasData != 0 {
			c.send.lose(p.off, p.off+uint64(p.n))
		}
		if p.flags&hasFin != 0 && !c.send.finAcked {
			c.send.finLost = true
		}
		if p.flags&hasWindow != 0 {
			c.flow.sure = 0
		}
		queued++
	}
	c.needPing = true
	if l.ptoCount >= 3 && now-c.owed >= minOutage {
		// Everything in flight is gone: count it, make room, start anew.
		for n := c.sent.scan; n < c.sent.next; n++ {
			if p := c.sent.at(n); p.state == packetInFlight && p.time+c.rtt.pto(c.ackDelay()) <= now {
				c.lose(now, n, p, LossProbe, &e)
			}
		}
		e.persistent = true
		e.inFlight = c.inFlight
		c.cc.onAck(&e)
		c.updatePace()
		c.traceController(now)
		c.settle(now)
	}
	l.timer = never
	c.lastSent = now
	c.armPTO(now)
}

func (c *Conn) traceController(now time.Duration) {
	if t := c.cfg.Trace; t != nil && t.Controller != nil {
		t.Controller(now, c.controllerState())
	}
}

// settle forgets packets whose fate is known for good.
func (c *Conn) settle(now time.Duration) {
	c.sent.settle(now - 2*c.rtt.smoothed - 2*c.loss.wait - 10*time.Millisecond)
}

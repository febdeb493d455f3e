package arq

import "time"

// pace is how fast to send in the phase, in bytes a second.
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
		// In part by so many packets, whoever has how much: that is what lets
		// shares become equal (Chiu and Jain, 1989).
		more := upPackets * float64(m.mtu) / max(m.base.value(), time.Millisecond).Seconds()
		if m.plain {
			more = 0
		}
		return (max(m.surge, 1)*upGain*bw + min(more, bw/2)) * comp
	case phaseCompete:
		return 1.2 * m.rival.cub.cwnd / m.keep() / max(m.srtt, time.Millisecond).Seconds()
	case phaseYield:
		return max(yieldGain*min(m.arrivals.rate, bw), .25*bw) * comp
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
	return 1 - min(.5, over.Seconds()/(2*max(m.base.value(), minRound).Seconds()))
}

// window is how much may be in flight in the phase, in bytes.
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
		w = m.rival.cub.cwnd / m.keep()
	case phaseDip:
		w = .4 * m.bdp()
	case phaseProbeRTT:
		w = .5 * m.bdp()
	default:
		w = windowGain*m.bdp()/m.keep() + slack
	}
	return max(int(w), floor)
}

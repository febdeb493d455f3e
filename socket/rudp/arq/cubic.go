package arq

import (
	"math"
	"time"
)

// cubic is CUBIC (RFC 9438) with the slow start exit of HyStart++ left to
// loss, paced as Linux paces it: at 2 windows a round trip in slow start, 1.2
// after it.
type cubic struct {
	mss      int
	cwnd     float64 // bytes
	ssthresh float64
	wMax     float64
	k        float64 // seconds
	epoch    time.Duration
	have     bool // an epoch began
	wEst     float64
	srtt     time.Duration
	recover  time.Duration // losses of packets sent before belong to the last event
	any      bool

	// to undo a reduction that was none (RFC 9438, 4.9)
	undoCwnd, undoSsthresh, undoWMax float64
	undoLost                         int
}

const (
	cubicBeta  = 0.7
	cubicC     = 0.4
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

func newCubic() *cubic {
	return &cubic{mss: MinDatagram, cwnd: 10 * MinDatagram, ssthresh: math.Inf(1)}
}

func (c *cubic) onSend(now time.Duration, size, inFlight int, appLimited bool) uint32 { return 0 }

func (c *cubic) onPacket(fate packetFate, p *sentPacket) {
	switch fate {
	case fateLost:
		c.undoLost += int(p.size)
	case fateSpurious:
		c.undoLost -= int(p.size)
		if c.undoLost <= 0 && c.undoCwnd > c.cwnd {
			c.cwnd, c.ssthresh, c.wMax = c.undoCwnd, c.undoSsthresh, c.undoWMax
			c.have = false
			c.undoCwnd = 0
		}
	}
}

func (c *cubic) onAck(e *ackEvent) {
	c.srtt = e.srtt
	c.mss = e.mtu
	mss := float64(c.mss)
	if e.persistent {
		c.ssthresh = max(c.cwnd*cubicBeta, 2*mss)
		c.cwnd = 2 * mss
		c.have = false
		return
	}
	if (e.lost > 0 && e.lostSent >= c.recover || e.ce > 0 && e.now-c.srtt >= c.recover) || e.lost > 0 && !c.any {
		c.any = true
		c.undoCwnd, c.undoSsthresh, c.undoWMax, c.undoLost = c.cwnd, c.ssthresh, c.wMax, e.lost
		c.recover = e.now
		if c.cwnd < c.wMax { // fast convergence (4.7)
			c.wMax = c.cwnd * (1 + cubicBeta) / 2
		} else {
			c.wMax = c.cwnd
		}
		c.cwnd = max(c.cwnd*cubicBeta, 2*mss)
		c.ssthresh = c.cwnd
		c.have = false
		return
	}
	// A window that is not used does not grow (RFC 9002, 7.8).
	if e.acked == 0 || float64(e.prior) < c.cwnd/2 {
		return
	}
	if c.cwnd < c.ssthresh {
		c.cwnd += float64(e.acked)
		return
	}
	if !c.have {
		c.have = true
		c.epoch = e.now
		c.wEst = c.cwnd
		if c.wMax < c.cwnd {
			c.wMax = c.cwnd
		}
		c.k = math.Cbrt((c.wMax - c.cwnd) / mss / cubicC)
	}
	t := (e.now - c.epoch + e.srtt).Seconds()
	d := t - c.k
	target := cubicC*d*d*d*mss + c.wMax
	target = min(max(target, c.cwnd), 1.5*c.cwnd)
	alpha := cubicAlpha
	if c.wEst >= c.wMax {
		alpha = 1
	}
	c.wEst += alpha * mss * float64(e.acked) / c.cwnd
	grow := (target - c.cwnd) * float64(e.acked) / c.cwnd
	c.cwnd += grow
	c.cwnd = max(c.cwnd, c.wEst)
}

func (c *cubic) window() int { return int(c.cwnd) }

func (c *cubic) pace() float64 {
	if c.srtt == 0 {
		return 0
	}
	gain := 1.2
	if c.cwnd < c.ssthresh {
		gain = 2
	}
	return gain * c.cwnd / c.srtt.Seconds()
}

func (c *cubic) state(s *ControllerState) {
	s.Phase = "avoidance"
	if c.cwnd < c.ssthresh {
		s.Phase = "slow-start"
	}
}

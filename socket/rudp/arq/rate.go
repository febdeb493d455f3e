package arq

import "time"

// rateSampler estimates the delivery rate, after
// draft-cheng-iccrg-delivery-rate-estimation: every packet remembers how much
// was delivered when it left, and when it is acknowledged the difference over
// the time (the longer of sending it and acknowledging it) is a sample.
type rateSampler struct {
	delivered     uint64 // bytes
	deliveredTime time.Duration
	firstSent     time.Duration
	appLimited    uint64 // samples are limited until this much is delivered
	nextRound     uint64

	// of the ACK being processed
	prior                 uint64
	priorTime             time.Duration
	sendElapsed, sentTime time.Duration
	limited               bool
	have                  bool
}

func (r *rateSampler) onSend(now time.Duration, p *sentPacket, inFlight int) {
	if inFlight == 0 {
		r.firstSent, r.deliveredTime = now, now
	}
	p.delivered, p.deliveredTime, p.firstSent = r.delivered, r.deliveredTime, r.firstSent
	if r.appLimited != 0 {
		p.flags |= isAppLimited
	}
}

func (r *rateSampler) onAcked(now time.Duration, p *sentPacket) {
	r.delivered += uint64(p.size)
	r.deliveredTime = now
	if !r.have || p.delivered > r.prior || p.delivered == r.prior && p.time > r.sentTime {
		r.have = true
		r.prior, r.priorTime = p.delivered, p.deliveredTime
		r.sendElapsed, r.sentTime = p.time-p.firstSent, p.time
		r.limited = p.flags&isAppLimited != 0
		r.firstSent = p.time
	}
}

// finish returns the sample of an ACK.
func (r *rateSampler) finish(now, minRTT time.Duration) (rate float64, limited, round bool) {
	if r.appLimited != 0 && r.delivered > r.appLimited {
		r.appLimited = 0
	}
	if !r.have {
		return 0, false, false
	}
	r.have = false
	if r.prior >= r.nextRound {
		r.nextRound = r.delivered
		round = true
	}
	interval := max(r.sendElapsed, now-r.priorTime)
	if interval < minRTT || interval <= 0 {
		return 0, r.limited, round
	}
	return float64(r.delivered-r.prior) / interval.Seconds(), r.limited, round
}

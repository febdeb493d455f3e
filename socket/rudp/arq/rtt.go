package arq

import "time"

const (
	initialRTT  = 333 * time.Millisecond // RFC 9002, 6.2.2
	granularity = time.Millisecond       // RFC 9002, 6.1.2
)

// rttEstimator is RFC 9002, section 5.
type rttEstimator struct {
	latest, min, smoothed, variance time.Duration
	samples                         uint64
	seeded                          bool // by the handshake: the first sample replaces it
	hist                            histogram
}

// update takes a sample; ackDelay is what the peer says it waited.
func (r *rttEstimator) update(sample, ackDelay time.Duration) {
	if sample <= 0 {
		sample = 1
	}
	r.latest = sample
	r.samples++
	if r.samples == 1 || r.seeded {
		r.seeded = false
		r.min, r.smoothed, r.variance = sample, sample, sample/2
		r.hist.add(sample)
		return
	}
	r.min = min(r.min, sample)
	adjusted := sample
	// The delay is only believed as far as it does not undercut the minimum.
	if sample-ackDelay >= r.min {
		adjusted = sample - ackDelay
	}
	r.latest = adjusted
	r.hist.add(adjusted)
	diff := r.smoothed - adjusted
	if diff < 0 {
		diff = -diff
	}
	r.variance += (diff - r.variance) / 4
	r.smoothed += (adjusted - r.smoothed) / 8
}

// pto is the probe timeout without backoff (RFC 9002, 6.2.1).
func (r *rttEstimator) pto(maxAckDelay time.Duration) time.Duration {
	if r.samples == 0 {
		return 2 * initialRTT
	}
	return r.smoothed + max(4*r.variance, granularity) + maxAckDelay
}

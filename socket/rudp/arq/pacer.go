package arq

import "time"

const (
	// maxBurst is the longest burst, in time at the pace.
	maxBurst = 500 * time.Microsecond
	// quantum is what the pacer waits for before it asks to be called
	// again: a timer a packet would cost more than it smoothes.
	quantum = 250 * time.Microsecond
)

// pacer spreads packets over time: a token bucket that holds maxBurst.
type pacer struct {
	rate   float64 // bytes/s; 0 is unlimited
	tokens float64
	last   time.Duration
	// late is by how much the owner missed the time that release named. What
	// should have left meanwhile may leave at once, or a busy machine, whose
	// timers come late every time, would send at a fraction of the rate.
	late   time.Duration
	single bool // no two datagrams together, if not for maxBurst
}

// maxCredit bounds the time that a late wake-up is made good for.
const maxCredit = 5 * time.Millisecond

// refill accounts for the time that passed; at least two datagrams of size
// may always leave together.
func (p *pacer) refill(now time.Duration, size int) {
	if p.rate <= 0 {
		return
	}
	dt := now - p.last
	p.last = now
	if dt <= 0 {
		return
	}
	p.tokens = min(p.tokens+p.rate*dt.Seconds(), p.depth(size)+p.rate*p.late.Seconds())
	p.late = 0
}

func (p *pacer) depth(size int) float64 {
	if p.single {
		return max(p.rate*maxBurst.Seconds(), float64(size))
	}
	return max(p.rate*maxBurst.Seconds(), 2*float64(size))
}

func (p *pacer) ready(size int) bool { return p.rate <= 0 || p.tokens >= float64(size) }

func (p *pacer) spend(size int) {
	if p.rate > 0 {
		p.tokens -= float64(size)
	}
}

// release is when to look again.
func (p *pacer) release(now time.Duration, size int) time.Duration {
	if p.rate <= 0 {
		return now
	}
	want := max(float64(size), p.rate*quantum.Seconds()) - p.tokens
	if want <= 0 {
		return now
	}
	return now + max(time.Duration(want/p.rate*1e9), 1)
}

package bulk

import "math"

// control decides how many queries a server may have in flight: additive
// increase, multiplicative decrease, with two amendments for the DNS.
//
// A loss is only known by silence, so it says little of where it happened. If
// the share of lost queries stays as it was after the window was cut, the link
// loses packets whatever we do: that share becomes the floor, the window is
// put back, and only loss well above the floor counts from then on. (Halving
// for every loss would leave five queries in flight on a link that loses 5%.)
//
// A window larger than what the server and the path hold only makes a queue,
// and in the end overflows it. So growth stops where it no longer brings
// answers sooner, which is tried again now and then.
//
// All times are nanoseconds since the run began.
type control struct {
	window float64
	max    float64

	srtt, rttvar, minRTT int64

	// The round: what came back since it began.
	roundStart int64
	roundOK    int
	roundMin   int64 // smallest round-trip time
	full       bool  // the window, and nothing else, held queries back

	rate     float64 // answers a second when the window was last judged
	grown    bool    // the window grew in the round before, so this one is judged
	settling bool    // the first round after a growth tells of both windows
	hold     bool    // growth has stopped paying
	before   float64 // window before the last growth
	probeAt  int64   // when to try growth again
	linear   bool    // a loss of our making has ended the doubling

	// Loss is counted by cohorts: the queries sent in a stretch of time, of
	// which those unanswered a timeout after its end are lost. They are a
	// ring, from the oldest not judged to the one being sent.
	cohorts     [32]cohort
	oldest, cur int

	floor   float64 // share of losses that does not depend on us
	cutFrom float64 // window before a series of cuts; 0 outside one
	cutAt   int64   // cohorts begun before it tell nothing of the window after it
	cutLoss float64 // what led to the last cut

	wasLinear bool // before the series
}

type cohort struct {
	start, end int64
	sent, ok   int
}

const (
	windowStart = 128
	windowMin   = 4

	rtoMin     = 200e6 // a busy host is easily late by tens of milliseconds
	rtoInitial = 1e9   // RFC 6298, 2.1, and what stub resolvers wait at least

	roundLeast  = 8e6 // shorter rounds measure the scheduler
	cohortLeast = 50e6
	cohortSent  = 100
	lossMargin  = 0.02
	floorMost   = 0.4 // a server that loses more than this is drowned or dead
	cutTo       = 0.6
	probeEvery  = 1e9
)

func newControl(most int) control {
	return control{window: math.Min(windowStart, float64(most)), max: float64(most)}
}

// rto is how long to wait for an answer before the query counts as lost
// (RFC 6298).
func (c *control) rto() int64 {
	if c.srtt == 0 {
		return rtoInitial
	}
	return max(c.srtt+4*c.rttvar, rtoMin)
}

// sent tells of a query sent at now.
func (c *control) sent(now int64) {
	k := &c.cohorts[c.cur]
	if k.sent == 0 {
		k.start = now
	} else if now-k.start >= max(cohortLeast, 2*c.srtt) && k.sent >= cohortSent {
		// With the ring full the last cohort goes on: nothing is forgotten.
		if next := (c.cur + 1) % len(c.cohorts); next != c.oldest {
			k.end = now
			c.cur = next
			k = &c.cohorts[next]
			*k = cohort{start: now}
		}
	}
	k.sent++
	if c.oldest != c.cur && now >= c.cohorts[c.oldest].end+c.rto() {
		k := c.cohorts[c.oldest]
		c.oldest = (c.oldest + 1) % len(c.cohorts)
		c.judge(now, k)
	}
}

// cohort returns the cohort of a query sent at sent, or nil if it has been
// judged.
func (c *control) cohort(sent int64) *cohort {
	for i := c.cur; ; i = (i + len(c.cohorts) - 1) % len(c.cohorts) {
		if k := &c.cohorts[i]; sent >= k.start {
			return k
		}
		if i == c.oldest {
			return nil
		}
	}
}

// unsent takes back a sent: the answer is no longer wanted.
func (c *control) unsent(sent int64) {
	if k := c.cohort(sent); k != nil {
		k.sent--
	}
}

// answered tells of an answer at now to a query sent at sent.
func (c *control) answered(now, sent int64) {
	rtt := now - sent
	if c.srtt == 0 {
		c.srtt, c.rttvar, c.minRTT = rtt, rtt/2, rtt
		c.roundStart = now
	} else {
		d := rtt - c.srtt
		c.srtt += d / 8
		if d < 0 {
			d = -d
		}
		c.rttvar += (d - c.rttvar) / 4
		c.minRTT = min(c.minRTT, rtt)
	}
	if k := c.cohort(sent); k != nil {
		k.ok++
	}
	if c.roundOK == 0 || rtt < c.roundMin {
		c.roundMin = rtt
	}
	c.roundOK++
	if now-c.roundStart >= max(c.srtt, roundLeast) {
		c.endRound(now)
	}
}

func (c *control) endRound(now int64) {
	rate := float64(c.roundOK) * 1e9 / float64(now-c.roundStart)
	queued := c.roundMin-c.minRTT > c.minRTT/4+5e5
	full := c.full
	c.roundStart, c.roundOK, c.full = now, 0, false

	switch {
	case c.settling:
		c.settling = false
		return
	case c.grown:
		c.grown = false
		if rate < 1.08*c.rate && queued {
			// More in flight, no more answers, and a queue: this was enough.
			c.hold, c.probeAt = true, now+probeEvery
			c.window = math.Max(c.before, windowMin)
			return
		}
	}
	if c.hold && now >= c.probeAt {
		c.hold = false
	}
	if !full || c.hold || c.cutFrom != 0 || c.window >= c.max {
		return
	}
	c.rate, c.before = rate, c.window
	if c.linear {
		c.window += math.Max(4, c.before/16)
	} else {
		c.window *= 2
	}
	c.window = math.Min(c.window, c.max)
	c.grown, c.settling = true, true
}

// judge looks at a cohort whose outcome is known.
func (c *control) judge(now int64, k cohort) {
	if k.start < c.cutAt || k.sent <= 0 {
		return
	}
	n := float64(k.sent)
	share := math.Max(0, 1-float64(k.ok)/n)
	sigma := math.Sqrt(c.floor * (1 - c.floor) / n)
	if share <= c.floor+lossMargin+3*sigma {
		if share < c.floor {
			c.floor += (share - c.floor) / 8
		}
		c.cutFrom = 0
		return
	}
	if c.cutFrom != 0 && share > cutTo*c.cutLoss && share <= floorMost {
		// The cut changed nothing, so what is lost is lost elsewhere.
		c.floor = (share + c.cutLoss) / 2
		c.window, c.cutFrom = c.cutFrom, 0
		c.linear, c.cutAt = c.wasLinear, now
		return
	}
	if c.cutFrom == 0 {
		c.cutFrom, c.wasLinear = c.window, c.linear
	}
	c.linear = true
	c.cutLoss, c.cutAt = share, now
	c.window = math.Max(windowMin, c.window*cutTo)
	c.grown, c.settling, c.hold = false, false, false
}

// bucket is a token bucket: rate queries a second, in bursts of what 10 ms
// bring, but at least one.
type bucket struct {
	rate   float64 // a second; 0 is no limit
	tokens float64
	at     int64
}

// take takes one token if there is one at now.
func (b *bucket) take(now int64) bool {
	if b.rate == 0 {
		return true
	}
	b.fill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// has reports whether take would succeed.
func (b *bucket) has(now int64) bool {
	if b.rate == 0 {
		return true
	}
	b.fill(now)
	return b.tokens >= 1
}

func (b *bucket) fill(now int64) {
	b.tokens = math.Min(b.tokens+float64(now-b.at)*b.rate/1e9, math.Max(1, b.rate/100))
	b.at = now
}

// wait returns the nanoseconds until there is a token.
func (b *bucket) wait(now int64) int64 {
	if b.has(now) {
		return 0
	}
	return int64(math.Ceil((1 - b.tokens) * 1e9 / b.rate))
}

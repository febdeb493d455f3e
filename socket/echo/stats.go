package echo

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Distribution sums up round-trip times. All are zero when there were none.
type Distribution struct {
	Min, Mean, Median, P99, Max time.Duration
	StdDev                      time.Duration // of the population
}

// Result is what a ping found.
type Result struct {
	Network string // "tcp" or "udp"
	Address string // as given
	Peer    string // the address that it came to
	Size    int    // bytes in a probe

	Lookup  time.Duration // finding the address; 0 for an IP address
	Connect time.Duration // TCP's handshake, the attempt that won; 0 on UDP
	Elapsed time.Duration // from the first probe to the end

	Sent       int64
	Received   int64 // probes answered in time, each counted once
	Lost       int64 // probes not answered in time; Sent - Received - Pending
	Pending    int64 // probes still in time when the run was cut short
	Late       int64 // answers to probes already counted as lost
	Duplicates int64 // further answers to a probe
	Corrupt    int64 // answers that differ from what was sent
	Foreign    int64 // datagrams that answer nothing of this run
	SendErrors int64 // probes that the system refused to send; they count as lost

	// Reordered counts the answers that came after one with a higher number
	// (RFC 4737 section 3, Type-P-Reordered), and MaxExtent is the greatest
	// distance by which one was late, in packets (section 4.2.2). Duplicates and
	// late answers do not count.
	Reordered int64
	MaxExtent int

	RTT Distribution
	// Jitter is the smoothed difference between the round-trip times of
	// successive answers, by the formula of RFC 3550 section 6.4.1.
	Jitter time.Duration
}

// LossRatio returns Lost / Sent without those pending, from 0 to 1.
func (r *Result) LossRatio() float64 {
	if n := r.Sent - r.Pending; n > 0 {
		return float64(r.Lost) / float64(n)
	}
	return 0
}

const (
	// maxOutstanding is for how many probes back it is remembered what became
	// of them.
	maxOutstanding = 1 << 16
	// maxSamples is how many round-trip times are kept for the quantiles.
	maxSamples = 1 << 20
	// maxExtent is how far back reordering is measured.
	maxExtent = 1 << 10
)

type fate uint8

const (
	waiting fate = iota + 1
	answered
	lost
)

// stats follows the probes of a run. It neither sends nor reads a clock: all
// times are given, as time since the run began.
type stats struct {
	res     Result
	timeout time.Duration

	ring []struct { // of the last probes, at seq modulo its length
		sent time.Duration
		fate fate
	}
	next   uint64 // number of the next probe
	oldest uint64 // no probe before this one waits

	rtts    []time.Duration
	squares float64 // of deviations from the mean (Welford's M2)
	mean    float64
	last    time.Duration // RTT of the last answer
	jitter  float64
	pick    *rand.Rand

	nextExp  uint64   // RFC 4737's NextExp
	arrivals []uint64 // the last numbers that came, oldest first
}

// newStats expects count probes, or an unknown number if it is 0.
func newStats(count int, timeout time.Duration) *stats {
	n := maxOutstanding
	if count > 0 {
		n = min(n, count)
	}
	s := &stats{timeout: timeout, pick: rand.New(rand.NewPCG(0, 0))}
	s.ring = make([]struct {
		sent time.Duration
		fate fate
	}, n)
	return s
}

// send notes that the next probe goes out and returns its number.
func (s *stats) send(now time.Duration) uint64 {
	seq := s.next
	// When the ring is full the oldest probe is given up, in time or not.
	if s.next-s.oldest == uint64(len(s.ring)) {
		s.giveUp(s.oldest)
		s.oldest++
	}
	slot := &s.ring[seq%uint64(len(s.ring))]
	slot.sent, slot.fate = now, waiting
	s.next++
	s.res.Sent++
	return seq
}

func (s *stats) giveUp(seq uint64) bool {
	slot := &s.ring[seq%uint64(len(s.ring))]
	if slot.fate != waiting {
		return false
	}
	slot.fate = lost
	s.res.Lost++
	return true
}

// expire gives up the probes whose time is over, and calls f with each.
func (s *stats) expire(now time.Duration, f func(seq uint64)) {
	for ; s.oldest < s.next; s.oldest++ {
		slot := &s.ring[s.oldest%uint64(len(s.ring))]
		if slot.fate == waiting && now-slot.sent < s.timeout {
			return
		}
		if s.giveUp(s.oldest) && f != nil {
			f(s.oldest)
		}
	}
}

// pending reports whether any probe waits, and when the first of them expires.
func (s *stats) pending() (deadline time.Duration, ok bool) {
	for ; s.oldest < s.next; s.oldest++ {
		if slot := &s.ring[s.oldest%uint64(len(s.ring))]; slot.fate == waiting {
			return slot.sent + s.timeout, true
		}
	}
	return 0, false
}

// receive notes an answer.
func (s *stats) receive(now time.Duration, seq uint64) Reply {
	r := Reply{Seq: seq}
	if seq >= s.next {
		r.Kind = ReplyForeign
		s.res.Foreign++
		return r
	}
	if s.next-seq > uint64(len(s.ring)) {
		// Too long ago to know whether it had been answered.
		r.Kind = ReplyLate
		s.res.Late++
		return r
	}
	slot := &s.ring[seq%uint64(len(s.ring))]
	r.RTT = now - slot.sent
	switch {
	case slot.fate == answered:
		r.Kind = ReplyDuplicate
		s.res.Duplicates++
		return r
	case slot.fate == lost || r.RTT >= s.timeout:
		// Late also if expire has not been called since: what is reported must
		// not hang on when the timer ran.
		if s.giveUp(seq) {
			r.justLost = true
		}
		r.Kind = ReplyLate
		s.res.Late++
		return r
	}
	slot.fate = answered
	s.res.Received++
	s.sample(r.RTT)
	r.Reordered = s.order(seq)
	return r
}

// order keeps RFC 4737's singleton metric and the extent.
func (s *stats) order(seq uint64) (reordered bool) {
	if seq >= s.nextExp {
		s.nextExp = seq + 1
	} else {
		reordered = true
		s.res.Reordered++
		// "the reordering extent, e, of packet i: e = i-j for the minimum j
		// such that s[j] > s[i]" (section 4.2.2).
		j := slices.IndexFunc(s.arrivals, func(a uint64) bool { return a > seq })
		if j >= 0 {
			s.res.MaxExtent = max(s.res.MaxExtent, len(s.arrivals)-j)
		}
	}
	if len(s.arrivals) == 2*maxExtent {
		s.arrivals = s.arrivals[:copy(s.arrivals, s.arrivals[maxExtent:])]
	}
	s.arrivals = append(s.arrivals, seq)
	return reordered
}

func (s *stats) sample(rtt time.Duration) {
	n := s.res.Received
	d := &s.res.RTT
	if n == 1 {
		d.Min, d.Max = rtt, rtt
	} else {
		d.Min, d.Max = min(d.Min, rtt), max(d.Max, rtt)
		// RFC 3550: J(i) = J(i-1) + (|D(i-1,i)| - J(i-1))/16.
		s.jitter += (math.Abs(float64(rtt-s.last)) - s.jitter) / 16
	}
	s.last = rtt
	delta := float64(rtt) - s.mean
	s.mean += delta / float64(n)
	s.squares += delta * (float64(rtt) - s.mean)
	if len(s.rtts) < maxSamples {
		s.rtts = append(s.rtts, rtt)
	} else if i := s.pick.Int64N(n); i < maxSamples {
		// A uniform sample of all from here on (Vitter's algorithm R): a ping
		// that runs for weeks takes no more memory.
		s.rtts[i] = rtt
	}
}

// result sums up. The probes that still wait are pending, not lost.
func (s *stats) result() *Result {
	r := s.res
	r.Pending = r.Sent - r.Received - r.Lost
	r.Jitter = time.Duration(s.jitter)
	if r.Received > 0 {
		sorted := slices.Sorted(slices.Values(s.rtts))
		r.RTT.Mean = time.Duration(s.mean)
		r.RTT.StdDev = time.Duration(math.Sqrt(s.squares / float64(r.Received)))
		r.RTT.Median = quantile(sorted, 0.5)
		r.RTT.P99 = quantile(sorted, 0.99)
	}
	return &r
}

// quantile interpolates between the two samples beside the rank (Hyndman and
// Fan's type 7, which R, NumPy and spreadsheets use).
func quantile(sorted []time.Duration, q float64) time.Duration {
	rank := q * float64(len(sorted)-1)
	lo := int(rank)
	if lo+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	frac := rank - float64(lo)
	return sorted[lo] + time.Duration(math.Round(frac*float64(sorted[lo+1]-sorted[lo])))
}

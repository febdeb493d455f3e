package echo

import (
	"math"
	"testing"
	"time"
)

const ms = time.Millisecond

// script replays a run: probes go out every 10 ms, and each step is an answer.
type step struct {
	at  time.Duration
	seq uint64
}

func replay(t *testing.T, count int, timeout time.Duration, steps []step) *Result {
	t.Helper()
	s := newStats(count, timeout)
	next := time.Duration(0)
	for _, st := range append(steps, step{at: time.Hour, seq: math.MaxUint64}) {
		for ; int(s.next) < count && next <= st.at; next += 10 * ms {
			s.expire(next, nil)
			s.send(next)
		}
		if st.seq != math.MaxUint64 {
			s.receive(st.at, st.seq)
		}
	}
	s.expire(time.Hour, nil)
	if _, ok := s.pending(); ok {
		t.Error("a probe still waits after an hour")
	}
	return s.result()
}

func TestStats(t *testing.T) {
	for _, tt := range []struct {
		name  string
		count int
		steps []step
		want  Result
	}{
		{"all answered", 3, []step{{5 * ms, 0}, {15 * ms, 1}, {25 * ms, 2}},
			Result{Sent: 3, Received: 3, RTT: Distribution{5 * ms, 5 * ms, 5 * ms, 5 * ms, 5 * ms, 0}}},
		{"none answered", 3, nil, Result{Sent: 3, Lost: 3}},
		{"one lost", 2, []step{{15 * ms, 1}},
			Result{Sent: 2, Received: 1, Lost: 1, RTT: Distribution{5 * ms, 5 * ms, 5 * ms, 5 * ms, 5 * ms, 0}}},
		{"duplicated", 1, []step{{4 * ms, 0}, {5 * ms, 0}, {6 * ms, 0}},
			Result{Sent: 1, Received: 1, Duplicates: 2, RTT: Distribution{4 * ms, 4 * ms, 4 * ms, 4 * ms, 4 * ms, 0}}},
		// Late is what comes after its time, before or after it was given up.
		{"late", 2, []step{{100 * ms, 0}, {500 * ms, 1}, {501 * ms, 1}}, Result{Sent: 2, Lost: 2, Late: 3}},
		{"in the nick of time", 1, []step{{100*ms - 1, 0}},
			Result{Sent: 1, Received: 1, RTT: Distribution{100*ms - 1, 100*ms - 1, 100*ms - 1, 100*ms - 1, 100*ms - 1, 0}}},
		{"never sent", 1, []step{{4 * ms, 7}}, Result{Sent: 1, Lost: 1, Foreign: 1}},
		// RFC 4737 section 3.3: s = 0 2 1: "NextExp" is 3 when 1 comes.
		{"reordered", 3, []step{{21 * ms, 0}, {22 * ms, 2}, {23 * ms, 1}},
			Result{Sent: 3, Received: 3, Reordered: 1, MaxExtent: 1, Jitter: 1800781 * time.Nanosecond, RTT: Distribution{2 * ms, 12 * ms, 13 * ms, 0, 21 * ms, 0}}},
		// RFC 4737 section 4.2.3's way of counting: the one that is late by
		// four has extent 4; the others are in order.
		{"one late by four", 5, []step{{41 * ms, 1}, {42 * ms, 2}, {43 * ms, 3}, {44 * ms, 4}, {45 * ms, 0}},
			Result{Sent: 5, Received: 5, Reordered: 1, MaxExtent: 4}},
		{"backwards", 3, []step{{21 * ms, 2}, {22 * ms, 1}, {23 * ms, 0}},
			Result{Sent: 3, Received: 3, Reordered: 2, MaxExtent: 2}},
		// Loss alone reorders nothing.
		{"gaps", 5, []step{{1 * ms, 0}, {21 * ms, 2}, {41 * ms, 4}}, Result{Sent: 5, Received: 3, Lost: 2}},
	} {
		got := replay(t, tt.count, 100*ms, tt.steps)
		g, w := *got, tt.want
		if w.RTT.Max == 0 { // the case is about something else
			g.RTT, g.Jitter = Distribution{}, 0
		} else if w.RTT.P99 == 0 {
			g.RTT.P99, g.RTT.StdDev = 0, 0
			if d := g.Jitter - w.Jitter; d.Abs() > time.Microsecond {
				t.Errorf("%s: jitter %v, want about %v", tt.name, g.Jitter, w.Jitter)
			}
			g.Jitter = w.Jitter
		}
		if g != w {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, g, w)
		}
		if g.Sent != g.Received+g.Lost+g.Pending {
			t.Errorf("%s: %d sent, but %d + %d + %d", tt.name, g.Sent, g.Received, g.Lost, g.Pending)
		}
	}
}

// The formula of RFC 3550 by hand: differences of 10 and 5 ms.
func TestJitter(t *testing.T) {
	s := newStats(3, time.Second)
	for i, rtt := range []time.Duration{10 * ms, 20 * ms, 15 * ms} {
		at := time.Duration(i) * 100 * ms
		s.receive(at+rtt, s.send(at))
	}
	j := 10.0 / 16
	j += (5 - j) / 16
	if got, want := s.result().Jitter, time.Duration(j*float64(ms)); (got - want).Abs() > time.Microsecond {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDistribution(t *testing.T) {
	s := newStats(0, time.Hour)
	for i := range 101 {
		// 0 to 100 ms, stirred
		at := time.Duration(i) * time.Second
		s.receive(at+time.Duration(i*37%101)*ms, s.send(at))
	}
	d := s.result().RTT
	want := Distribution{Min: 0, Mean: 50 * ms, Median: 50 * ms, P99: 99 * ms, Max: 100 * ms}
	sd := time.Duration(math.Sqrt((101*101-1)/12.0) * float64(ms))
	if (d.StdDev-sd).Abs() > time.Microsecond || (d.Mean-want.Mean).Abs() > time.Microsecond {
		t.Errorf("mean %v, standard deviation %v; want %v, %v", d.Mean, d.StdDev, want.Mean, sd)
	}
	d.StdDev, d.Mean = 0, want.Mean
	if d != want {
		t.Errorf("%+v, want %+v", d, want)
	}
	one := []time.Duration{7}
	if quantile(one, .99) != 7 || quantile([]time.Duration{0, 10}, .5) != 5 {
		t.Error("quantile of few")
	}
}

// A run without an end takes no more memory, and forgets no probe uncounted.
func TestStatsBounded(t *testing.T) {
	s := newStats(0, time.Hour)
	const n = 3 * maxOutstanding
	for i := range n {
		seq := s.send(time.Duration(i))
		if i%2 == 0 {
			s.receive(time.Duration(i+5), seq)
		}
	}
	// An answer to what is long forgotten is late, whatever became of it.
	if r := s.receive(n, 1); r.Kind != ReplyLate {
		t.Errorf("%+v", r)
	}
	r := s.result()
	if len(s.ring) != maxOutstanding || r.Received != n/2 || r.Lost+r.Pending != n/2 || r.Pending > maxOutstanding {
		t.Errorf("%+v", r)
	}
	if cap(s.arrivals) > 4*maxExtent {
		t.Errorf("%d arrivals are kept", cap(s.arrivals))
	}
}

func FuzzParseProbe(f *testing.F) {
	b := make([]byte, 40)
	probe{1, 2, 3}.put(b)
	f.Add(b, uint64(1))
	f.Add(b[:MinSize], uint64(1))
	f.Add([]byte("wpng"), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, session uint64) {
		p, err := parseProbe(b, session, len(b))
		if err != nil {
			return
		}
		again := make([]byte, len(b))
		p.put(again)
		if string(again) != string(b) {
			t.Errorf("%x is read as %+v, which is written as %x", b, p, again)
		}
	})
}

// Whatever answers come and when, the counts add up.
func FuzzStats(f *testing.F) {
	f.Add([]byte{0, 0, 5, 1, 0, 1, 200, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		s := newStats(0, 50*ms)
		now := time.Duration(0)
		var seen int64
		for i := 0; i+1 < len(ops); i += 2 {
			now += time.Duration(ops[i]) * ms / 4
			s.expire(now, func(uint64) { seen++ })
			if ops[i+1] == 0 {
				s.send(now)
				continue
			}
			if s.receive(now, s.next-uint64(ops[i+1])).justLost {
				seen++
			}
		}
		r := s.result()
		if r.Sent != r.Received+r.Lost+r.Pending || r.Pending < 0 || r.Lost != seen {
			t.Errorf("%+v; %d were told to be lost", r, seen)
		}
		if r.Reordered > r.Received || r.MaxExtent > maxExtent*2 || r.RTT.Max >= 50*ms || r.RTT.Min > r.RTT.Median || r.RTT.Median > r.RTT.Max {
			t.Errorf("%+v", r)
		}
	})
}

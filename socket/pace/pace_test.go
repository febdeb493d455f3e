package pace

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// In any window of time no more passes than the rate gives, and one portion.
func TestReserveIsEven(t *testing.T) {
	const rate = 1_250_000
	l := New(rate)
	now := time.Unix(0, 0)
	type at struct {
		when time.Time
		n    int
	}
	var passed []at
	for i := range 5000 {
		n := 1 + i*7919%portion(rate)
		if i%100 == 99 {
			now = now.Add(3 * time.Second) // a pause saves up nothing
		}
		now = now.Add(l.Reserve(now, n))
		passed = append(passed, at{now, n})
	}
	for i := range passed {
		sum := 0
		for j := i; j < min(len(passed), i+200); j++ {
			sum += passed[j].n
			d := passed[j].when.Sub(passed[i].when)
			if limit := int(rate*d.Seconds()) + 3*portion(rate); sum > limit {
				t.Fatalf("%d bytes in %v (from %d), at most %d should have", sum, d, i, limit)
			}
		}
	}
}

// copyFor moves data through a paced pair of connections of simulated time, and
// returns what came each 10 ms.
func copyFor(t *testing.T, total int, wrap func(a, b net.Conn) (net.Conn, net.Conn)) (elapsed time.Duration, buckets []int) {
	t.Helper()
	a, b := net.Pipe()
	in, out := wrap(a, b)
	start := time.Now()
	go func() {
		buf := make([]byte, 300_000)
		for left := total; left > 0; {
			n, err := in.Write(buf[:min(left, len(buf))])
			left -= n
			if err != nil {
				t.Error(err)
				break
			}
		}
		in.Close()
	}()
	buf := make([]byte, 1<<20)
	for {
		n, err := out.Read(buf)
		i := int(time.Since(start) / (10 * time.Millisecond))
		for len(buckets) <= i {
			buckets = append(buckets, 0)
		}
		buckets[i] += n
		if err == io.EOF {
			return time.Since(start), buckets
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnHoldsTheRate(t *testing.T) {
	const rate, total = 1_250_000, 2_500_000 // 10 Mbit/s, two seconds
	for name, wrap := range map[string]func(a, b net.Conn) (net.Conn, net.Conn){
		"write": func(a, b net.Conn) (net.Conn, net.Conn) { return NewConn(a, nil, New(rate)), b },
		"read":  func(a, b net.Conn) (net.Conn, net.Conn) { return a, NewConn(b, New(rate), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				elapsed, buckets := copyFor(t, total, wrap)
				if elapsed < 1980*time.Millisecond || elapsed > 2020*time.Millisecond {
					t.Errorf("took %v, want 2 s", elapsed)
				}
				for i, n := range buckets[:len(buckets)-1] {
					if want := rate / 100; n > want+2*portion(rate) || i > 0 && n < want-2*portion(rate) {
						t.Errorf("%d bytes in the 10 ms from %d ms, want about %d", n, 10*i, want)
					}
				}
			})
		})
	}
}

func TestRateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1_000_000)
		time.AfterFunc(time.Second, func() { l.SetRate(4_000_000) })
		elapsed, _ := copyFor(t, 3_000_000, func(a, b net.Conn) (net.Conn, net.Conn) { return NewConn(a, nil, l), b })
		if elapsed < 1480*time.Millisecond || elapsed > 1520*time.Millisecond {
			t.Errorf("took %v, want 1.5 s", elapsed)
		}
	})
}

// Connections that share a Limiter share its rate.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(1_000_000)
		done := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				d, _ := copyFor(t, 500_000, func(a, b net.Conn) (net.Conn, net.Conn) { return NewConn(a, nil, l), b })
				done <- d
			}()
		}
		for range 2 {
			if d := <-done; d < 960*time.Millisecond || d > 1020*time.Millisecond {
				t.Errorf("took %v, want 1 s", d)
			}
		}
	})
}

func TestCloseEndsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		c := NewConn(a, nil, New(1))
		time.AfterFunc(time.Second, func() { c.Close() })
		if _, err := c.Write(make([]byte, 10_000)); err == nil {
			t.Error("a write of hours ended well")
		}
		b.Close()
	})
}

type told struct {
	net.Conn
	rates []int64
}

func (t *told) SetPacingRate(r int64) error { t.rates = append(t.rates, r); return nil }

func TestKernelIsTold(t *testing.T) {
	a, b := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	defer b.Close()
	k, l := &told{Conn: a}, New(1<<30)
	c := NewConn(k, nil, l)
	for _, r := range []int64{1 << 30, 1 << 29} {
		l.SetRate(r)
		for range 2 {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(k.rates) != 2 || k.rates[0] != 1<<30 || k.rates[1] != 1<<29 {
		t.Errorf("told %v", k.rates)
	}
}

package echo

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// fakeWire is a datagram socket on a simulated path: answer says when the copies
// of the nth datagram come back, and how they were changed.
type fakeWire struct {
	net.Conn // nil: what is not defined here is not called
	answer   func(n int, b []byte) []copyOf
	n        int
	in       chan []byte
	errs     chan error
	closed   chan struct{}
	once     sync.Once
}

type copyOf struct {
	after time.Duration
	b     []byte
}

func newFakeWire(answer func(n int, b []byte) []copyOf) *fakeWire {
	return &fakeWire{answer: answer, in: make(chan []byte, 100), errs: make(chan error, 100), closed: make(chan struct{})}
}

func (w *fakeWire) Write(b []byte) (int, error) {
	for _, c := range w.answer(w.n, append([]byte(nil), b...)) {
		time.AfterFunc(c.after, func() { w.in <- c.b })
	}
	w.n++
	return len(b), nil
}

func (w *fakeWire) Read(b []byte) (int, error) {
	select {
	case d := <-w.in:
		return copy(b, d), nil
	case err := <-w.errs:
		return 0, err
	case <-w.closed:
		return 0, net.ErrClosed
	}
}

func (w *fakeWire) Close() error                     { w.once.Do(func() { close(w.closed) }); return nil }
func (w *fakeWire) SetWriteDeadline(time.Time) error { return nil }

func TestPingSimulated(t *testing.T) {
	// n -> what comes back: 10 ms as a rule; 2 twice; 3 never; 4 after 5's
	// answer; 6 too late; 7 changed; and something foreign.
	wire := func(n int, b []byte) []copyOf {
		switch n {
		case 2:
			return []copyOf{{10 * ms, b}, {11 * ms, b}}
		case 3:
			return nil
		case 4:
			return []copyOf{{35 * ms, b}}
		case 6:
			return []copyOf{{205 * ms, b}}
		case 7:
			b[len(b)-1]++
			return []copyOf{{10 * ms, b}, {12 * ms, []byte("hello")}}
		}
		return []copyOf{{10 * ms, b}}
	}
	synctest.Test(t, func(t *testing.T) {
		var sent, lost []uint64
		var replies []Reply
		p := Pinger{Count: 10, Interval: 20 * ms, Timeout: 200 * ms, Trace: &PingTrace{
			Sent:  func(seq uint64) { sent = append(sent, seq) },
			Lost:  func(seq uint64) { lost = append(lost, seq) },
			Reply: func(r Reply) { replies = append(replies, r) },
		}}
		start := time.Now()
		res, err := p.run(t.Context(), newFakeWire(wire))
		if err != nil {
			t.Fatal(err)
		}
		// Probe 7 went out at 140 ms and nothing good came back until 340 ms.
		if got := time.Since(start); got != 340*ms || res.Elapsed != got {
			t.Errorf("took %v, and said %v", got, res.Elapsed)
		}
		want := Result{Size: DefaultSize, Elapsed: res.Elapsed, Sent: 10, Received: 7, Lost: 3, Late: 1, Duplicates: 1, Corrupt: 1, Foreign: 1,
			Reordered: 1, MaxExtent: 1, RTT: res.RTT, Jitter: res.Jitter}
		if *res != want {
			t.Errorf("\n got %+v\nwant %+v", *res, want)
		}
		if d := res.RTT; d.Min != 10*ms || d.Median != 10*ms || d.Max != 35*ms {
			t.Errorf("RTT %+v", d)
		}
		if len(sent) != 10 || len(lost) != 3 || lost[0] != 3 || lost[1] != 6 || lost[2] != 7 {
			t.Errorf("sent %v, lost %v", sent, lost)
		}
		if len(replies) != 7+1+1+1+1 {
			t.Errorf("replies %+v", replies)
		}
	})
}

// Probes leave on time whatever the answers do.
func TestPingKeepsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var times []time.Duration
		p := Pinger{Count: 5, Interval: 100 * ms, Trace: &PingTrace{Sent: func(uint64) { times = append(times, time.Since(start)) }}}
		p.run(t.Context(), newFakeWire(func(n int, b []byte) []copyOf { return []copyOf{{time.Duration(n) * 33 * ms, b}} }))
		for i, at := range times {
			if at != time.Duration(i)*100*ms {
				t.Errorf("probe %d left at %v", i, at)
			}
		}
	})
}

func TestPingNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := Pinger{Count: 3}
		res, err := p.run(t.Context(), newFakeWire(func(int, []byte) []copyOf { return nil }))
		if !errors.Is(err, socket.ErrTimeout) || res.Sent != 3 || res.Lost != 3 || time.Since(start) != 5*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(start), res, err)
		}
	})
}

// A refusal before any answer ends the run; after one, the server is being
// restarted.
func TestPingRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := os.NewSyscallError("read", syscall.ECONNREFUSED)
		p := Pinger{Count: 3}
		w := newFakeWire(func(int, []byte) []copyOf { return nil })
		w.errs <- refused
		res, err := p.run(t.Context(), w)
		if !errors.Is(err, socket.ErrRefused) || res.Sent > 1 {
			t.Errorf("%+v, %v", res, err)
		}
		w = newFakeWire(nil)
		w.answer = func(n int, b []byte) []copyOf {
			if n == 1 {
				w.errs <- refused
				return nil
			}
			return []copyOf{{ms, b}}
		}
		res, err = p.run(t.Context(), w)
		if err != nil || res.Received != 2 || res.Lost != 1 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestPingInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2500*ms)
		defer cancel()
		var p Pinger
		res, err := p.run(ctx, newFakeWire(func(n int, b []byte) []copyOf {
			if n == 1 {
				return nil
			}
			return []copyOf{{10 * ms, b}}
		}))
		if !errors.Is(err, context.DeadlineExceeded) || res.Sent != 3 || res.Received != 2 || res.Lost != 0 || res.Pending != 1 || res.LossRatio() != 0 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

// TCP over a pipe with a peer that delays, in simulated time.
func TestPingStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			buf := make([]byte, 100)
			for {
				if _, err := io.ReadFull(far, buf); err != nil {
					return
				}
				time.Sleep(7 * ms)
				far.Write(buf)
			}
		}()
		p := Pinger{TCP: true, Count: 4, Interval: 50 * ms, Size: 100}
		res, err := p.run(t.Context(), near)
		if err != nil || res.Received != 4 || res.RTT.Min != 7*ms || res.RTT.Max != 7*ms || res.Jitter != 0 {
			t.Errorf("%+v, %v", res, err)
		}
	})
}

func TestPingNotEcho(t *testing.T) {
	for _, tt := range []struct {
		says string
		want error
	}{
		{"HTTP/1.1 400 Bad Request\r\n", ErrNotEcho},
		{"SSH-2.0-OpenSSH_10.0 and so on, and on, and on, and on, and on, and on, and on\r\n", ErrNotEcho},
		{"", socket.ErrLost},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go func() {
				io.ReadFull(far, make([]byte, DefaultSize))
				io.WriteString(far, tt.says)
				far.Close()
			}()
			p := Pinger{TCP: true, Count: 2}
			if res, err := p.run(t.Context(), near); !errors.Is(err, tt.want) {
				t.Errorf("%q: %+v, %v; want %v", tt.says, res, err, tt.want)
			}
		})
	}
}

func TestPingCheck(t *testing.T) {
	for _, p := range []Pinger{
		{Count: -1},
		{Interval: time.Microsecond},
		{Interval: -1},
		{Size: MinSize - 1},
		{Size: MaxSize + 1},
		{Timeout: -1},
		{Interval: ms, Timeout: time.Hour},
		{Dialer: socket.Dialer{Options: socket.Options{DSCP: 64}}},
	} {
		_, err := p.Run(t.Context(), "127.0.0.1:1")
		if _, ok := errors.AsType[*socket.OptionError](err); !ok {
			t.Errorf("%+v: %v", p, err)
		}
	}
	ok := Pinger{Count: 1, Interval: MinInterval, Size: MaxSize, Timeout: time.Second}
	if err := ok.Check(); err != nil {
		t.Error(err)
	}
}

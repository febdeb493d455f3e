package trace_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/trace"
)

// stuck is a disk that takes nothing but the header until it is let go.
type stuck struct {
	bytes.Buffer
	free chan struct{}
	n    int
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.n++; s.n > 1 {
		<-s.free
	}
	return s.Buffer.Write(b)
}

// TestBounded: a disk that does not keep up costs events, which the trace
// counts, and not memory.
func TestBounded(t *testing.T) {
	s := &stuck{free: make(chan struct{})}
	l, err := trace.New(s, trace.CSV, trace.Header{}, trace.Options{Buffer: 1})
	if err != nil {
		t.Fatal(err)
	}
	const n = 20000
	for i := range n {
		l.Add(&trace.Event{Kind: trace.PacketSent, Time: time.Duration(i), Packet: int64(i), Has: trace.HasPacket})
	}
	close(s.free)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	events, err := trace.Read(&s.Buffer)
	if err != nil {
		t.Fatal(err)
	}
	taken, missed := 0, 0
	for _, e := range events {
		if e.Kind == trace.Missed {
			missed += int(e.Retransmits)
			continue
		}
		taken++
	}
	if int64(missed) != l.Missed() {
		t.Errorf("Missed tells %d, the trace %d", l.Missed(), missed)
	}
	if taken == 0 || missed == 0 || taken+missed != n {
		t.Fatalf("%d events in the trace, which misses %d, of %d", taken, missed, n)
	}
}

type full struct{ left int }

var errFull = errors.New("disk full")

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, errFull
	}
	f.left -= len(b)
	return len(b), nil
}

// TestFull: a full disk is told once and ends the trace; nobody waits for it.
func TestFull(t *testing.T) {
	for buffer, wait := range []bool{false, true} { // 0 is the default
		if _, err := trace.New(&full{10}, trace.Qlog, trace.Header{}, trace.Options{}); !errors.Is(err, errFull) {
			t.Errorf("a disk that is full from the start: %v", err)
		}
		told := make(chan error, 10)
		l, err := trace.New(&full{100_000}, trace.CSV, trace.Header{}, trace.Options{Wait: wait, Buffer: buffer, Failed: func(err error) { told <- err }})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50_000 {
			l.Add(&trace.Event{Kind: trace.PacketSent, Packet: int64(i), Has: trace.HasPacket})
		}
		if err := l.Close(); !errors.Is(err, errFull) {
			t.Errorf("Close: %v", err)
		}
		l.Add(&trace.Event{Kind: trace.PacketSent})
		if len(told) != 1 || !errors.Is(<-told, errFull) {
			t.Error("not told once")
		}
	}
}

// TestNoAllocation: telling an event allocates nothing once the buffer is warm.
func TestNoAllocation(t *testing.T) {
	l, err := trace.New(&discard{}, trace.CSV, trace.Header{}, trace.Options{Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := trace.Event{Kind: trace.PacketsAcked, Packet: 7, Has: trace.HasPacket, Ranges: []trace.Range{{First: 1, Last: 2}}}
	tell := func() {
		for range 1000 {
			l.Add(&e)
		}
	}
	for range 100 {
		tell()
	}
	if n := testing.AllocsPerRun(100, tell); n > 100 {
		t.Errorf("%v allocations for 1000 events", n)
	}
}

type discard struct{}

func (*discard) Write(b []byte) (int, error) { return len(b), nil }

func BenchmarkAdd(b *testing.B) {
	l, err := trace.New(&discard{}, trace.CSV, trace.Header{}, trace.Options{Wait: true})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := trace.Event{Kind: trace.PacketSent, Type: "data", Packet: 7, Offset: 1 << 20, Length: 1400, Size: 1452, UNA: 1 << 20, NXT: 1 << 21, WND: 1 << 24,
		InFlight: 140000, Cwnd: 150000, Pacing: 1e8, SRTT: 30 * time.Millisecond, Has: trace.HasPacket | trace.HasOffset | trace.HasLength | trace.HasSize |
			trace.HasUNA | trace.HasNXT | trace.HasWND | trace.HasInFlight | trace.HasCwnd | trace.HasPacing | trace.HasSRTT}
	b.ReportAllocs()
	for b.Loop() {
		e.Time += 1000
		l.Add(&e)
	}
}

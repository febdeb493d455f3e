package datagram

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/sockettest"
)

func listen(t testing.TB, network, addr string, o Options) *Conn {
	t.Helper()
	c, err := Listen(context.Background(), network, addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dial(t testing.TB, to netip.AddrPort, o Options) *Conn {
	t.Helper()
	c, err := Dial(context.Background(), to, netip.Addr{}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func messages(n int) []Message {
	ms := make([]Message, n)
	for i := range ms {
		ms[i].Buf = make([]byte, MaxMessage)
	}
	return ms
}

// gather reads count datagrams and returns them in the order of their first
// four bytes, since UDP owes nobody an order.
func gather(t testing.TB, c *Conn, count int, each func(m *Message)) [][]byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	var out [][]byte
	ms := messages(4)
	for len(out) < count {
		n, err := c.ReadBatch(ms)
		if err != nil {
			t.Fatalf("after %d of %d datagrams: %v", len(out), count, err)
		}
		for i := range ms[:n] {
			m := &ms[i]
			if each != nil {
				each(m)
			}
			for b := m.Buf[:m.N]; len(b) > 0; {
				k := min(m.Segment, len(b))
				out = append(out, bytes.Clone(b[:k]))
				b = b[k:]
			}
		}
	}
	slices.SortFunc(out, func(a, b []byte) int { return bytes.Compare(a[:4], b[:4]) })
	return out
}

func train(first, count, size, tail int) []byte {
	var b []byte
	for i := range count {
		n := size
		if i == count-1 && tail > 0 {
			n = tail
		}
		d := make([]byte, n)
		for k := range d {
			d[k] = byte(first + i + k)
		}
		binary.BigEndian.PutUint32(d, uint32(first+i))
		b = append(b, d...)
	}
	return b
}

var modes = []Mode{Segmented, Batched, Plain}

// Every mode talks to every mode, connected and not, and a message means the
// same in all of them.
func TestModes(t *testing.T) {
	for _, from := range modes {
		for _, to := range modes {
			for _, connected := range []bool{false, true} {
				name := from.String() + " to " + to.String()
				if connected {
					name += ", connected"
				}
				t.Run(name, func(t *testing.T) {
					b := listen(t, "udp4", "127.0.0.1:0", Options{Mode: to})
					var a *Conn
					if connected {
						a = dial(t, b.LocalAddr(), Options{Mode: from})
					} else {
						a = listen(t, "udp4", "127.0.0.1:0", Options{Mode: from})
					}
					ms := []Message{
						{Buf: train(0, 1, 100, 0), Addr: b.LocalAddr()},
						{Buf: train(1, 100, 1200, 77), Segment: 1200, Addr: b.LocalAddr()},
						{Buf: train(101, 2, 1300, 0), Segment: 1300, Addr: b.LocalAddr()},
						{Buf: train(103, 1, 500, 0), Segment: 1300, Addr: b.LocalAddr()},
					}
					if n, err := a.WriteBatch(ms); n != len(ms) || err != nil {
						t.Fatalf("WriteBatch = %d, %v", n, err)
					}
					got := gather(t, b, 104, func(m *Message) {
						if m.Addr != a.LocalAddr() {
							t.Errorf("from %v, want %v", m.Addr, a.LocalAddr())
						}
					})
					var want [][]byte
					for _, m := range ms {
						for rest := m.Buf; len(rest) > 0; {
							k := len(rest)
							if m.Segment > 0 {
								k = min(k, m.Segment)
							}
							want = append(want, rest[:k])
							rest = rest[k:]
						}
					}
					if !slices.EqualFunc(got, want, bytes.Equal) {
						t.Errorf("what arrived is not what was sent (%d and %d datagrams)", len(got), len(want))
					}
					if s := a.Stats(); s.Sent != 104 {
						t.Errorf("sender's counters: %+v", s)
					}
					if s := b.Stats(); s.Received != 104 || s.HostDrops != 0 {
						t.Errorf("receiver's counters: %+v", s)
					}
					if runtime.GOOS == "linux" && from == Segmented && to == Segmented {
						if s := a.Stats(); a.Mode() == Segmented && s.SendCalls > 1 {
							t.Errorf("%d system calls for one batch", s.SendCalls)
						}
					}
				})
			}
		}
	}
}

func hasIPv6(t *testing.T) {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on the loopback interface here")
	}
	c.Close()
}

// A wildcard socket takes both families; addresses are never mapped, and the
// answer leaves from the address that was asked.
func TestDualStack(t *testing.T) {
	hasIPv6(t)
	for _, mode := range modes {
		b := listen(t, "udp", ":0", Options{Mode: mode})
		for _, host := range []string{"127.0.0.1", "127.0.0.9", "::1"} {
			if host == "127.0.0.9" && runtime.GOOS != "linux" {
				continue
			}
			to := netip.AddrPortFrom(netip.MustParseAddr(host), b.LocalAddr().Port())
			a := dial(t, to, Options{Mode: mode})
			if _, err := a.WriteBatch([]Message{{Buf: train(0, 3, 100, 0), Segment: 100}}); err != nil {
				t.Fatal(err)
			}
			var m Message
			gather(t, b, 3, func(got *Message) { m = *got })
			if m.Addr != a.LocalAddr() {
				t.Errorf("%v: %s arrived from %v, want %v", mode, host, m.Addr, a.LocalAddr())
			}
			if b.Mode() != Plain && m.Local != to.Addr() {
				t.Errorf("%v: %s arrived at %v", mode, host, m.Local)
			}
			if b.Mode() == Plain && host == "127.0.0.9" {
				continue // it answers from 127.0.0.1
			}
			// A connected socket takes it only from the address it dialed.
			if _, err := b.WriteBatch([]Message{{Buf: train(0, 1, 100, 0), Addr: m.Addr, Local: m.Local}}); err != nil {
				t.Fatal(err)
			}
			gather(t, a, 1, nil)
		}
	}
}

func TestECN(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ECN is read and written on Linux only")
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, mode := range []Mode{Segmented, Batched} {
			if host == "::1" {
				hasIPv6(t)
			}
			b := listen(t, "udp", ":0", Options{Mode: mode})
			a := dial(t, netip.AddrPortFrom(netip.MustParseAddr(host), b.LocalAddr().Port()), Options{Mode: mode})
			for _, ecn := range []ECN{NotECT, ECT0, ECT1, CE} {
				if _, err := a.WriteBatch([]Message{{Buf: train(0, 5, 1000, 10), Segment: 1000, ECN: ecn}}); err != nil {
					t.Fatal(err)
				}
				gather(t, b, 5, func(m *Message) {
					if m.ECN != ecn {
						t.Errorf("%s, %v: ECN %d arrived as %d", host, mode, ecn, m.ECN)
					}
				})
			}
		}
	}
}

func TestDeadlineAndClose(t *testing.T) {
	for _, mode := range modes {
		c := listen(t, "udp4", "127.0.0.1:0", Options{Mode: mode})
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.ReadBatch(messages(1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v: %v after the deadline", mode, err)
		}
		c.SetReadDeadline(time.Time{})
		done := make(chan error, 1)
		go func() {
			_, err := c.ReadBatch(messages(1))
			done <- err
		}()
		c.Close()
		select {
		case err := <-done:
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%v: %v after Close", mode, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%v: Close does not wake ReadBatch", mode)
		}
		if _, err := c.WriteBatch([]Message{{Buf: []byte{1}, Addr: c.LocalAddr()}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: WriteBatch after Close: %v", mode, err)
		}
	}
}

// A connected socket learns that nobody listens.
func TestRefused(t *testing.T) {
	addr := sockettest.DeadUDP(t)
	for _, mode := range modes {
		c := dial(t, addr, Options{Mode: mode})
		if _, err := c.WriteBatch([]Message{{Buf: []byte("anyone?")}}); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.ReadBatch(messages(1)); !errors.Is(err, syscall.ECONNREFUSED) && runtime.GOOS != "windows" {
			t.Errorf("%v: %v, want connection refused", mode, err)
		}
	}
}

// What is too long for the interface counts as lost; it is no reason to give up
// segmentation, nor is it an error.
func TestTooLong(t *testing.T) {
	for _, mode := range modes {
		b := listen(t, "udp4", "127.0.0.1:0", Options{Mode: mode})
		a := dial(t, b.LocalAddr(), Options{Mode: mode})
		ms := []Message{{Buf: train(0, 1, 100, 0)}, {Buf: make([]byte, 65530)}, {Buf: train(1, 1, 100, 0)}}
		if n, err := a.WriteBatch(ms); n != 3 || err != nil {
			t.Errorf("%v: WriteBatch = %d, %v", mode, n, err)
		}
		gather(t, b, 2, nil)
		if s := a.Stats(); s.TooLong != 1 || s.Sent != 2 {
			t.Errorf("%v: %+v", mode, s)
		}
		if mode == Segmented && a.Mode() == Segmented && !a.Segmenting(netip.AddrPort{}) {
			t.Error("segmentation was given up for a datagram that was too long")
		}
	}
}

func TestHostDrops(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	b := listen(t, "udp4", "127.0.0.1:0", Options{Mode: Batched, RecvBuffer: 32 << 10})
	a := dial(t, b.LocalAddr(), Options{Mode: Batched})
	const n = 500
	for i := range n {
		if _, err := a.WriteBatch([]Message{{Buf: train(i, 1, 1000, 0)}}); err != nil {
			t.Fatal(err)
		}
	}
	b.SetReadDeadline(time.Now().Add(time.Minute))
	ms := messages(64)
	got, sent := 0, n
	for last := 0; last < n; {
		k, err := b.ReadBatch(ms)
		if err != nil {
			t.Fatal(err)
		}
		got += k
		last = int(binary.BigEndian.Uint32(ms[k-1].Buf))
		// What was dropped before a datagram found room is told with that.
		if d := b.Stats().HostDrops; int(d)+got != last+1 {
			t.Errorf("%d read, %d counted as dropped, up to number %d", got, d, last)
		}
		// There may be room for one more; if not there is something to read.
		if _, err := a.WriteBatch([]Message{{Buf: train(sent, 1, 1000, 0)}}); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	if b.Stats().HostDrops == 0 {
		t.Errorf("nothing of %d was dropped", sent)
	}
}

func TestNoAllocations(t *testing.T) {
	for _, mode := range modes {
		for _, connected := range []bool{true, false} {
			b := listen(t, "udp", ":0", Options{Mode: mode})
			to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.LocalAddr().Port())
			var a *Conn
			if connected {
				a = dial(t, to, Options{Mode: mode})
			} else {
				a = listen(t, "udp4", "127.0.0.1:0", Options{Mode: mode})
			}
			out := []Message{{Buf: train(0, 10, 1200, 0), Segment: 1200, Addr: to, ECN: ECT0}}
			in := messages(4)
			if n := testing.AllocsPerRun(200, func() {
				if _, err := a.WriteBatch(out); err != nil {
					t.Fatal(err)
				}
				for got := 0; got < 12000; {
					n, err := b.ReadBatch(in)
					if err != nil {
						t.Fatal(err)
					}
					for i := range in[:n] {
						got += in[i].N
					}
				}
			}); n > 0.5 && !raceEnabled {
				t.Errorf("%v, connected %v: %v allocations a round trip of ten datagrams", mode, connected, n)
			}
		}
	}
}

func TestImpaired(t *testing.T) {
	for _, mode := range modes {
		b := listen(t, "udp", ":0", Options{Mode: mode})
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.LocalAddr().Port())
		run := func(o netem.Config) (*Conn, []byte) {
			a := listen(t, "udp", ":0", Options{Mode: mode, Impair: &o})
			start := time.Now()
			if n, err := a.WriteBatch([]Message{{Buf: train(0, 100, 300, 0), Segment: 300, Addr: to, ECN: ECT0}}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			var nums []byte
			want := 0
			for _, d := range gather(t, b, 90, func(m *Message) {
				if m.Addr.Port() != a.LocalAddr().Port() || b.Mode() != Plain && m.ECN != ECT0 {
					t.Errorf("%v, ECN %d", m.Addr, m.ECN)
				}
			}) {
				if !bytes.Equal(d, train(int(binary.BigEndian.Uint32(d)), 1, 300, 0)) {
					t.Error("a datagram was changed on the way")
				}
				nums = append(nums, d[3])
				want++
			}
			if d := time.Since(start); d < o.Delay {
				t.Errorf("arrived after %v in spite of a delay of %v", d, o.Delay)
			}
			return a, nums
		}
		list := []uint64{1, 11, 21, 31, 41, 51, 61, 71, 81, 91}
		a, nums := run(netem.Config{Seed: 3, Drop: list, Delay: 20 * time.Millisecond})
		for _, n := range nums {
			if n%10 == 0 {
				t.Errorf("%v: datagram %d was to be lost", mode, n)
			}
		}
		if s, ok := a.LinkStats(); !ok || s.Packets != 100 || s.Lost != 10 {
			t.Errorf("%v: link %+v", mode, s)
		}
		a.Close()
		if _, err := a.WriteBatch([]Message{{Buf: []byte("x"), Addr: to}}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v: WriteBatch after Close: %v", mode, err)
		}
		if _, ok := b.LinkStats(); ok {
			t.Error("an unimpaired socket has a link")
		}
	}
}

func TestImpairedLarge(t *testing.T) {
	b := listen(t, "udp4", "127.0.0.1:0", Options{})
	a := dial(t, b.LocalAddr(), Options{Impair: &netem.Config{Delay: time.Millisecond}})
	if _, err := a.WriteBatch([]Message{{Buf: train(0, 1, 9000, 0)}, {Buf: train(1, 1, 60000, 0)}, {Buf: train(2, 1, 60000, 0)}}); err != nil {
		t.Fatal(err)
	}
	for i, d := range gather(t, b, 3, nil) {
		if !bytes.Equal(d, train(i, 1, len(d), 0)) || len(d) < 9000 {
			t.Errorf("datagram %d arrived with %d bytes", i, len(d))
		}
	}
}

func TestTimer(t *testing.T) {
	tm, err := NewTimer()
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine is late with everything, but not always; the runtime's timers,
	// where nobody spins, are a millisecond late but for one in a thousand.
	var late []time.Duration
	const fine, inRow = 500 * time.Microsecond, 4
	row, best := 0, 0
	for end := time.Now().Add(time.Minute); len(late) < 50 || best < inRow && time.Now().Before(end); {
		start := time.Now()
		tm.Set(time.Hour)
		tm.Set(200 * time.Microsecond)
		if err := tm.Wait(); err != nil {
			t.Fatal(err)
		}
		d := time.Since(start) - 200*time.Microsecond
		if d < 0 {
			t.Errorf("%v too early", -d)
		}
		late = append(late, d)
		if row++; d > fine {
			row = 0
		}
		best = max(best, row)
	}
	slices.Sort(late)
	t.Logf("late by %v (best), %v (median), %v (worst)", late[0], late[len(late)/2], late[len(late)-1])
	if runtime.GOOS == "linux" && best < inRow {
		t.Errorf("of %d wake-ups never %d in a row were good to %v: no better than the runtime's timers", len(late), inRow, fine)
	}
	tm.Set(0)
	if err := tm.Wait(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tm.Wait() }()
	tm.Close()
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Wait after Close: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Close does not wake Wait")
	}
}

func BenchmarkLoopback(b *testing.B) {
	for _, mode := range modes {
		b.Run(mode.String(), func(b *testing.B) {
			rx := listen(b, "udp4", "127.0.0.1:0", Options{Mode: mode})
			tx := dial(b, rx.LocalAddr(), Options{Mode: mode})
			if tx.Mode() != mode {
				b.Skip("not on this system")
			}
			const size, count = 1400, 46
			ms := []Message{{Buf: train(0, count, size, 0), Segment: size}}
			done := make(chan struct{})
			go func() {
				defer close(done)
				in := messages(8)
				if mode != Segmented {
					in = messages(64)
				}
				for {
					if _, err := rx.ReadBatch(in); err != nil {
						return
					}
				}
			}()
			b.SetBytes(size * count)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := tx.WriteBatch(ms); err != nil {
					b.Fatal(err)
				}
			}
			sec := b.Elapsed().Seconds()
			b.StopTimer()
			rx.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			<-done
			b.ReportMetric(float64(rx.Stats().ReceivedBytes)/sec/1e9, "GB/s-received")
		})
	}
}

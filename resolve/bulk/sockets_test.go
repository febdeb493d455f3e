package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// udpServer answers on loopback, from the system's sockets, badly: it drops,
// doubles, and forges from another port.
func udpServer(t *testing.T, addr string) (netip.AddrPort, *net.UDPConn) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		t.Skipf("cannot listen on %s: %v", addr, err)
	}
	forger, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddrPort(addr).Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(4 << 20)
	t.Cleanup(func() { c.Close(); forger.Close() })
	go func() {
		buf := make([]byte, 1500)
		for n := 0; ; n++ {
			k, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			b := answer(buf[:k])
			if n%50 == 0 {
				continue
			}
			if n%10 == 1 {
				forged := bytes.Clone(b)
				forged[len(forged)-optLen-1] ^= 0xff
				forger.WriteToUDPAddrPort(forged, from)
			}
			if n%100 == 2 { // longer than the buffer it is received in
				c.WriteToUDPAddrPort(append(bytes.Clone(b), make([]byte, 5000)...), from)
				continue
			}
			c.WriteToUDPAddrPort(b, from)
			if n%10 == 3 {
				c.WriteToUDPAddrPort(b, from)
			}
		}
	}()
	return netip.MustParseAddrPort(c.LocalAddr().String()), c
}

// TestSystemSockets takes the way that packets really go, connected and not,
// IPv4 and IPv6.
func TestSystemSockets(t *testing.T) {
	const names = 4000
	for _, tt := range []struct {
		name    string
		listen  string
		servers int
	}{
		{"IPv4, connected", "127.0.0.1:0", 2},
		{"IPv6, connected", "[::1]:0", 1},
		{"IPv4, not connected", "127.0.0.1:0", connectedServers + 1},
		{"IPv6, not connected", "[::1]:0", connectedServers + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := Options{Retries: 40} // chance must not fail the test
			for range tt.servers {
				addr, _ := udpServer(t, tt.listen)
				opt.Servers = append(opt.Servers, Server{Addr: addr})
			}
			tcp, _ := tcpServer(t, 1<<30) // for what was too long
			opt.Dial = dialTo(tcp)
			var out bytes.Buffer
			stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", stats)
			checkAll(t, out.Bytes(), names)
			if tt.servers > connectedServers && stats.Strays == 0 {
				t.Error("no forged packet was noticed")
			}
			if stats.TCP == 0 {
				t.Error("nothing went by TCP")
			}
		})
	}
}

// TestNobodyThere is a port that is closed: the host says so, and the run ends.
// That it ends sooner than by silence is in TestSilence, as a matter of time.
func TestNobodyThere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows does not tell of closed ports on loopback")
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	var out bytes.Buffer
	stats, err := Run(t.Context(), strings.NewReader(list(2000)), &out, Options{Servers: []Server{{Addr: addr}}})
	if !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("error %v", err)
	}
	if by := rows(t, out.Bytes()); len(by) != 2000 || stats.Results != 2000 {
		t.Errorf("%d results", len(by))
	}
}

// TestMemoryIsBounded asks for a list that is much larger than what may be
// kept of it.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("asks for 128,000 names")
	}
	for _, ordered := range []bool{false, true} {
		e := newEngineForTest(ordered)
		for range 2 * orderRing / 64 { // fill what is kept for good
			e.turnOver(t, 64)
		}
		e.e.stats = Stats{}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		const names = 128000
		for range names / 64 {
			e.turnOver(t, 64)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if e.e.stats.Answered != names {
			t.Fatalf("%d answers", e.e.stats.Answered)
		}
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
			t.Errorf("ordered %v: %d octets more after %d names", ordered, grown, names)
		}
		if perName := float64(after.Mallocs-before.Mallocs) / names; perName > 0.01 {
			t.Errorf("ordered %v: %.3f allocations a name", ordered, perName)
		}
	}
}

// testEngine is an engine, a printer and an endless list, with a perfect
// server in place of a network.
type testEngine struct {
	r   *run
	e   *engine
	h   *hand
	sk  *sock
	now int64
	pkt [batchSize][512]byte
}

type endless struct {
	it   item
	name []byte
	n    uint64
}

func (s *endless) ended() bool { return false }

func (s *endless) next() (*item, []byte, bool) {
	s.n++
	s.it.line = s.n
	s.name = append(s.name[:0], 8, 'h')
	for d := uint64(1e6); d > 0; d /= 10 {
		s.name = append(s.name, '0'+byte(s.n/d%10))
	}
	s.name = append(s.name, "\x07example\x00"...)
	s.it.qtype = typeA
	return &s.it, s.name, true
}

func newEngineForTest(ordered bool) *testEngine {
	opt := &Options{Servers: []Server{{Addr: netip.MustParseAddrPort("192.0.2.1:53")}}}
	if err := opt.complete(); err != nil {
		panic(err)
	}
	var ord *order
	if ordered {
		ord = newOrder()
	}
	r := &run{opt: opt, names: []string{"192.0.2.1:53"}, stage: newStage("", ord)}
	r.e = newEngine(opt, [32]byte{}, &endless{}, ord)
	return &testEngine{r: r, e: r.e, h: r.hand(), sk: r.e.addSock(0)}
}

// turnOver sends n queries, answers them in reverse, and prints.
func (te *testEngine) turnOver(tb testing.TB, n int) {
	te.now += 1e6
	te.h.tx.reset()
	te.e.fill(te.now, te.sk, te.h.tx, &te.h.out)
	if len(te.h.tx.pkts) != n {
		tb.Fatalf("%d queries, want %d", len(te.h.tx.pkts), n)
	}
	for i := n - 1; i >= 0; i-- {
		q := te.h.tx.bytes(i)
		b := append(te.pkt[i][:0], q[:len(q)-optLen]...)
		b[2], b[7], b[11] = 0x84, 1, 0
		b = append(b, 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, byte(i))
		if !te.e.receive(te.now+5e5, te.sk, 0, b, &te.h.out) {
			tb.Fatal("an answer was not taken")
		}
	}
	te.e.expire(te.now, &te.h.out)
	te.h.print()
	te.r.stage.buf = te.r.stage.buf[:0]
	te.r.stage.pending.Store(0)
}

// BenchmarkName is what a name costs but for the list and the network.
func BenchmarkName(b *testing.B) {
	for _, ordered := range []bool{false, true} {
		b.Run(fmt.Sprintf("ordered=%v", ordered), func(b *testing.B) {
			te := newEngineForTest(ordered)
			b.ReportAllocs()
			for n := 0; n < b.N; n += 64 {
				te.turnOver(b, 64)
			}
		})
	}
}

func BenchmarkParseLine(b *testing.B) {
	line := []byte("www.some-host-name.example.com")
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := parseQuestion(buf, line, typeA); err != nil {
			b.Fatal(err)
		}
	}
}

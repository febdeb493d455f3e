package echo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/sockettest"
)

// serve runs a server for the length of the test and returns its addresses.
func serve(t testing.TB, s *Server) (tcp, udp string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := socket.Listen(ctx, "127.0.0.1:0", socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A few of the longest datagrams may wait for a server that is not scheduled.
	pc, err := socket.ListenUDP(ctx, "127.0.0.1:0", socket.Options{ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.ServeTCP(ctx, l); !errors.Is(err, context.Canceled) {
			t.Errorf("ServeTCP: %v", err)
		}
	})
	wg.Go(func() {
		if err := s.ServeUDP(ctx, pc); !errors.Is(err, context.Canceled) {
			t.Errorf("ServeUDP: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		l.Close()
		pc.Close()
	})
	return l.Addr().String(), pc.LocalAddr().String()
}

func dial(t testing.TB, network, addr string) net.Conn {
	t.Helper()
	d := socket.Dialer{Timeout: time.Minute}
	c, err := d.DialContext(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(2 * time.Minute)) // a bound on a failing test
	return c
}

func TestServeManyClients(t *testing.T) {
	var s Server
	tcp, udp := serve(t, &s)
	const clients, size = 50, 100_000
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c := dial(t, "tcp", tcp).(*socket.Conn)
			want := bytes.Repeat([]byte{byte(i)}, size)
			go func() {
				c.Write(want)
				c.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("TCP client %d: %d bytes, %v", i, len(got), err)
			}
		})
		wg.Go(func() {
			c := dial(t, "udp", udp)
			for n := range 5 {
				want := bytes.Repeat([]byte{byte(i)}, n*300)
				buf := make([]byte, 2000)
				c.Write(want)
				got, err := c.Read(buf)
				if err != nil || !bytes.Equal(buf[:got], want) {
					t.Errorf("UDP client %d: %d bytes, want %d: %v", i, got, len(want), err)
				}
			}
		})
	}
	wg.Wait()
	st := s.Stats()
	// What is answered is counted a moment later.
	for end := time.Now().Add(time.Minute); st.Datagrams < 5*clients && time.Now().Before(end); st = s.Stats() {
		runtime.Gosched()
	}
	if st.Connections != clients || st.Bytes != clients*size || st.Datagrams != 5*clients || st.DatagramBytes != clients*300*10 || st.Refused+st.Unanswered != 0 {
		t.Errorf("%+v", st)
	}
}

func TestServeRefusesTooMany(t *testing.T) {
	refused := make(chan net.Addr, 1)
	closed := make(chan error, 2)
	s := Server{MaxClients: 2, Trace: &ServerTrace{
		Refused: func(a net.Addr) { refused <- a },
		Closed:  func(_ net.Addr, _ int64, _ time.Duration, err error) { closed <- err },
	}}
	tcp, _ := serve(t, &s)
	hello := func(c net.Conn) error {
		io.WriteString(c, "x")
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	a, b := dial(t, "tcp", tcp), dial(t, "tcp", tcp)
	if err := errors.Join(hello(a), hello(b)); err != nil {
		t.Fatal(err)
	}
	third := dial(t, "tcp", tcp)
	if err := hello(third); err == nil {
		t.Error("a third client is served")
	}
	if got := <-refused; got.String() != third.LocalAddr().String() {
		t.Errorf("refused %v, want %v", got, third.LocalAddr())
	}
	// Silent clients do not block the place for ever: when one goes there is room.
	a.Close()
	if err := <-closed; err != nil {
		t.Errorf("closed with %v", err)
	}
	if err := hello(dial(t, "tcp", tcp)); err != nil {
		t.Errorf("no room after one has gone: %v", err)
	}
}

// A client that is silent, and one that never reads, are dropped.
func TestServeDropsIdle(t *testing.T) {
	closed := make(chan error, 1)
	s := Server{IdleTimeout: 100 * time.Millisecond, Trace: &ServerTrace{
		Closed: func(_ net.Addr, _ int64, _ time.Duration, err error) { closed <- err },
	}}
	tcp, _ := serve(t, &s)
	dial(t, "tcp", tcp)
	if err := <-closed; socket.Kind(err) != socket.ErrTimeout {
		t.Errorf("silent client: %v", err)
	}
	deaf := dial(t, "tcp", tcp)
	go io.Copy(deaf, endless{})
	if err := <-closed; socket.Kind(err) != socket.ErrTimeout {
		t.Errorf("client that does not read: %v", err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// Two echo servers that are shown each other do not play for ever.
func TestServeUDPLoops(t *testing.T) {
	for _, tt := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1:50000", true},
		{"192.0.2.1:1024", true},
		{"[2001:db8::1]:50000", true},
		{"[::ffff:192.0.2.1]:50000", true},
		{"192.0.2.1:7", false},
		{"192.0.2.1:53", false},
		{"192.0.2.1:1023", false},
		{"192.0.2.1:0", false},
		{"192.0.2.1:7557", false},
		{"[2001:db8::1]:7557", false},
		{"224.0.0.1:50000", false},
		{"[ff02::1]:50000", false},
		{"255.255.255.255:50000", false},
		{"[::ffff:255.255.255.255]:50000", false},
		{"0.0.0.0:50000", false},
	} {
		if got := answerable(netip.MustParseAddrPort(tt.from), 7557); got != tt.want {
			t.Errorf("a datagram from %s: answered %v, want %v", tt.from, got, tt.want)
		}
	}

	seen := make(chan bool, 10)
	s := Server{Trace: &ServerTrace{Datagram: func(_ netip.AddrPort, _ int, answered bool) { seen <- answered }}}
	_, udp := serve(t, &s)
	_, port, _ := net.SplitHostPort(udp)
	other, err := socket.ListenUDP(t.Context(), "127.0.0.2:"+port, socket.Options{})
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer other.Close()
	to, _ := net.ResolveUDPAddr("udp", udp)
	other.WriteTo([]byte("from your own port"), to)
	if <-seen {
		t.Error("the port of another server was answered")
	}
	if st := s.Stats(); st.Unanswered != 1 || st.Datagrams != 0 {
		t.Errorf("%+v", st)
	}
}

func TestServeStops(t *testing.T) {
	var s Server
	ctx, cancel := context.WithCancel(t.Context())
	l, err := socket.Listen(ctx, "127.0.0.1:0", socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error)
	go func() { done <- s.ServeTCP(ctx, l) }()
	c := dial(t, "tcp", l.Addr().String())
	io.WriteString(c, "x")
	io.ReadFull(c, make([]byte, 1))
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ServeTCP: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the client is still served")
	}
}

func TestPingServer(t *testing.T) {
	var s Server
	tcp, udp := serve(t, &s)
	for _, tt := range []struct {
		p       Pinger
		address string
	}{
		{Pinger{Count: 50, Interval: time.Millisecond}, udp},
		{Pinger{Count: 50, Interval: time.Millisecond, Size: MinSize}, udp},
		{Pinger{Count: 3, Interval: 50 * time.Millisecond, Size: MaxSize, Dialer: socket.Dialer{Options: socket.Options{ReceiveBuffer: 1 << 20}}}, udp},
		{Pinger{Count: 50, Interval: time.Millisecond, TCP: true}, tcp},
		{Pinger{Count: 5, Interval: time.Millisecond, TCP: true, Size: MaxSize}, tcp},
	} {
		tt.p.Timeout = 30 * time.Second // a machine that stops for a while loses nothing
		res, err := tt.p.Run(t.Context(), tt.address)
		if err != nil {
			t.Errorf("%+v: %v", tt.p, err)
			continue
		}
		if res.Sent != int64(tt.p.Count) || res.Received != res.Sent || res.Lost+res.Duplicates+res.Corrupt+res.Foreign != 0 {
			t.Errorf("%+v", res)
		}
		if d := res.RTT; d.Min <= 0 || d.Min > d.Median || d.Median > d.P99 || d.P99 > d.Max {
			t.Errorf("RTT %+v", d)
		}
		if res.Peer != tt.address || res.Lookup != 0 || (res.Connect > 0) != tt.p.TCP {
			t.Errorf("peer %s, lookup %v, connect %v", res.Peer, res.Lookup, res.Connect)
		}
	}
}

func TestPingDeadPort(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		addr := sockettest.DeadUDP(t).String()
		if tcp {
			addr = sockettest.DeadTCP(t).String()
		}
		p := Pinger{Count: 3, TCP: tcp, Interval: 10 * time.Millisecond, Timeout: time.Minute}
		_, err := p.Run(t.Context(), addr)
		if !errors.Is(err, socket.ErrRefused) || !strings.Contains(err.Error(), addr) {
			t.Errorf("TCP %v: %v", tcp, err)
		}
	}
}

// A peer that resets says that the connection is lost, as whatever it came.
func TestPingReset(t *testing.T) {
	l, err := socket.Listen(t.Context(), "127.0.0.1:0", socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(t.Context()); err == nil {
			io.ReadFull(c, make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		}
	}()
	p := Pinger{TCP: true, Count: 2, Timeout: time.Minute}
	if _, err := p.Run(t.Context(), l.Addr().String()); !errors.Is(err, socket.ErrLost) {
		t.Errorf("%v", err)
	}
}

// netcat returns the path of nc, without which the test is no test.
func netcat(t *testing.T) string {
	nc, err := exec.LookPath("nc")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nc is missing: apt-get install netcat-openbsd")
		}
		t.Skip("SKIPPED: nc is missing: apt-get install netcat-openbsd")
	}
	return nc
}

func TestNetcat(t *testing.T) {
	nc := netcat(t)
	var s Server
	tcp, udp := serve(t, &s)
	for _, tt := range []struct {
		addr string
		args []string
	}{
		{tcp, []string{"-N"}},
		{udp, []string{"-u", "-W", "1"}},
	} {
		host, port, _ := net.SplitHostPort(tt.addr)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, nc, append(tt.args, host, port)...)
		cmd.Stdin = strings.NewReader("hello from nc\n")
		out, err := cmd.Output()
		if err != nil || string(out) != "hello from nc\n" {
			t.Errorf("nc %v: %q, %v", tt.args, out, err)
		}
	}
}

func BenchmarkServeUDP(b *testing.B) {
	var s Server
	_, udp := serve(b, &s)
	c := dial(b, "udp", udp)
	c.SetDeadline(time.Time{})
	buf := make([]byte, 64)
	for b.Loop() {
		c.Write(buf)
		c.Read(buf)
	}
}

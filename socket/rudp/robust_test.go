package rudp

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/sockettest"
)

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TLS runs over a connection unchanged, half-close included.
func TestTLS(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	ts := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	want := make([]byte, 8<<20)
	rand.Read(want)
	go func() {
		tc.Write(want)
		tc.CloseWrite()
	}()
	got, err := io.ReadAll(ts)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	go func() {
		ts.Write([]byte("thanks"))
		ts.Close()
	}()
	if got, err := io.ReadAll(tc); err != nil || string(got) != "thanks" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A thousand connections share a socket, and each gets its own bytes back.
func TestManyConnections(t *testing.T) {
	count := 1000
	if testing.Short() || raceEnabled {
		count = 100
	}
	// Two hundred at once may keep a slow machine from one for longer than by default.
	patient := arq.Config{HandshakeTimeout: time.Minute, IdleTimeout: time.Minute}
	l := listen(t, Config{Backlog: count, Engine: patient})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	var wg sync.WaitGroup
	errs := make(chan error, count)
	// The clients take two descriptors each.
	gate := make(chan struct{}, 200)
	for i := range count {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			c, err := Dial(context.Background(), l.AddrPort(), Config{Engine: patient})
			if err != nil {
				errs <- fmt.Errorf("connection %d: %w", i, err)
				return
			}
			defer c.Close()
			msg := make([]byte, 20000)
			binary.BigEndian.PutUint64(msg, uint64(i))
			c.SetDeadline(time.Now().Add(3 * time.Minute)) // a bound on a failing test
			if _, err := c.Write(msg); err != nil {
				errs <- fmt.Errorf("connection %d: %w", i, err)
				return
			}
			c.CloseWrite()
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, msg) {
				errs <- fmt.Errorf("connection %d: %d bytes back, %w", i, len(got), err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	// Whoever missed the client's last word ends by the idle timeout.
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); {
		if l.Conns() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond) //permit:time.Sleep polls for the end of real connections, which nothing announces
	}
	t.Errorf("%d connections are still there", l.Conns())
}

// What the network does to packets does not show in the stream.
func TestImpaired(t *testing.T) {
	bad := func(dir uint64) *netem.Config {
		return &netem.Config{Seed: 1, Direction: dir, Loss: .02, Delay: 5 * time.Millisecond, Jitter: 2 * time.Millisecond,
			Duplicate: .02, Reorder: .02, Corrupt: .02}
	}
	c, s := pair(t,
		Config{Socket: datagram.Options{Impair: bad(0)}, Engine: arq.Config{MaxDatagram: 1472}},
		Config{Socket: datagram.Options{Impair: bad(1)}, Engine: arq.Config{MaxDatagram: 1472}})
	want := make([]byte, 4<<20)
	rand.Read(want)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	s.SetDeadline(time.Now().Add(3 * time.Minute))
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if st := c.Stats(); st.Retransmits == 0 {
		t.Error("nothing was sent again: the impairments did nothing")
	}
	if st := s.Stats(); st.Dropped[arq.DropChecksum] == 0 || st.Dropped[arq.DropDuplicate] == 0 {
		t.Errorf("neither corruption nor duplicates arrived: %v", st.Dropped)
	}
}

// Where nobody listens the error comes at once and names the address.
func TestRefused(t *testing.T) {
	addr := sockettest.DeadUDP(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// An hour would be the handshake's: whoever waits for that is not at once.
	_, err := Dial(ctx, addr, Config{Engine: arq.Config{HandshakeTimeout: time.Hour}})
	if err == nil || !strings.Contains(err.Error(), addr.String()) {
		t.Fatalf("error %v does not name %v", err, addr)
	}
	if runtime.GOOS == "linux" && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want connection refused", err)
	}
}

// A host that never answers: a timeout, which says so, or the context's end.
func TestNobodyAnswers(t *testing.T) {
	mute, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	addr := mute.LocalAddr().(*net.UDPAddr).AddrPort()
	_, err = Dial(context.Background(), addr, Config{Engine: arq.Config{HandshakeTimeout: 300 * time.Millisecond}})
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() || !errors.Is(err, arq.ErrHandshakeTimeout) || !strings.Contains(err.Error(), addr.String()) {
		t.Errorf("%v, want a timeout that names the address", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err = Dial(ctx, addr, Config{Engine: arq.Config{HandshakeTimeout: time.Hour}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's end", err)
	}
}

// vanish ends a connection's socket without a word, as kill -9 does. The peer of
// a connected socket then gets ICMP; a mute socket in its place keeps that from
// being sent, as a pulled cable does.
func vanish(c *Conn) { c.ep.sock.Close() }

// idles are timeouts for tests that wait for one. Until somebody dies, the connection
// must outlive whatever the machine does with this process; so that what does not
// last that long is tried again with the next.
var idles = []time.Duration{700 * time.Millisecond, 4 * time.Second, 25 * time.Second}

// idlePair is a connection that ends after a silence of idle, or nothing if that was
// too short for this machine. The client dials to.
func idlePair(t *testing.T, idle time.Duration, l *Listener, to netip.AddrPort) (c, s *Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*idle)
	defer cancel()
	slow := func(err error) bool {
		return err != nil && (errors.Is(err, arq.ErrIdleTimeout) || errors.Is(err, context.DeadlineExceeded))
	}
	c, err := Dial(ctx, to, Config{Engine: arq.Config{IdleTimeout: idle, HandshakeTimeout: time.Hour}})
	if slow(err) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(0, "") })
	s, err = l.AcceptContext(ctx)
	if slow(err) {
		return nil, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Abort(0, "") })
	// Until the server is heard of, the client would begin anew.
	c.SetDeadline(time.Now().Add(2 * idle))
	s.SetDeadline(time.Now().Add(2 * idle))
	b := make([]byte, 1)
	for _, way := range [][2]*Conn{{c, s}, {s, c}} {
		_, err1 := way[0].Write([]byte("x"))
		_, err2 := way[1].Read(b)
		if err := errors.Join(err1, err2); slow(err) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, nil
		} else if err != nil {
			t.Fatal(err)
		}
	}
	c.SetDeadline(time.Time{})
	s.SetDeadline(time.Time{})
	return c, s
}

// A peer that dies ends the other end by itself: here with a short idle timeout,
// by default within fifteen seconds.
func TestPeerDies(t *testing.T) {
	for name, tc := range map[string]struct{ server, writing bool }{
		"client dies, server reads":  {server: true},
		"client dies, server writes": {server: true, writing: true},
		"server dies, client reads":  {},
		"server dies, client writes": {writing: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, idle := range idles {
				if peerDies(t, idle, tc.server, tc.writing) {
					return
				}
				t.Logf("the connection did not last, with an idle timeout of %v", idle)
			}
			t.Error("the connection ends before anybody has died")
		})
	}
}

// peerDies reports whether the connection lived until one end of it died.
func peerDies(t *testing.T, idle time.Duration, server, writing bool) bool {
	l := listen(t, Config{Engine: arq.Config{IdleTimeout: idle}})
	c, s := idlePair(t, idle, l, l.AddrPort())
	if c == nil {
		return false
	}
	survivor, victim := c, s
	if server {
		survivor, victim = s, c
	}
	vanish(victim)
	// A bound on a failing test: a survivor that waits for its peer for ever.
	survivor.SetDeadline(time.Now().Add(idle + time.Minute))
	var err error
	for err == nil {
		if writing {
			_, err = survivor.Write(make([]byte, 64<<10))
		} else {
			_, err = survivor.Read(make([]byte, 1))
		}
	}
	gone := errors.Is(err, arq.ErrIdleTimeout) || errors.Is(err, syscall.ECONNREFUSED)
	if runtime.GOOS == "linux" && !gone {
		t.Errorf("error: %v", err)
	}
	if !strings.Contains(err.Error(), survivor.RemoteAddr().String()) {
		t.Errorf("error %q does not name the peer", err)
	}
	// The victim's calls fail, too, since its socket is gone.
	_, err = victim.Read(make([]byte, 1))
	if errors.Is(err, arq.ErrIdleTimeout) {
		return false // it was over before that
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("victim: %v", err)
	}
	return true
}

// A server that was restarted on its port does not know the connection.
func TestServerRestarts(t *testing.T) {
	for _, idle := range idles {
		if serverRestarts(t, idle) {
			return
		}
		t.Logf("the connection did not last, with an idle timeout of %v", idle)
	}
	t.Error("the connection ends before the server was there again")
}

// serverRestarts reports whether the connection lived until the new server was there
// to be asked.
func serverRestarts(t *testing.T, idle time.Duration) bool {
	l := listen(t, Config{Engine: arq.Config{IdleTimeout: idle}})
	// A relay keeps the address, which else another program might get, and has no
	// moment in which nobody listens there.
	front := newRelay(t, l.AddrPort())
	c, s := idlePair(t, idle, l, front.addr)
	if c == nil {
		return false
	}
	l2 := listen(t, Config{})
	front.to(l2.AddrPort())
	vanish(s)
	c.SetDeadline(time.Now().Add(idle + time.Minute))
	var err error
	for err == nil {
		_, err = c.Write(make([]byte, 64<<10))
	}
	// The new server's resets prove nothing, since its key is another: the
	// client gives up by itself.
	if !errors.Is(err, arq.ErrIdleTimeout) {
		t.Errorf("the client ends with %v, want %v", err, arq.ErrIdleTimeout)
	}
	return l2.SocketStats().Received > 0
}

// relay is a UDP address behind which there is another, which may change: a NAT to
// whoever looks at it from there.
type relay struct {
	t     *testing.T
	front *net.UDPConn
	addr  netip.AddrPort

	mu     sync.Mutex
	back   *net.UDPConn
	client netip.AddrPort
}

func newRelay(t *testing.T, to netip.AddrPort) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, front: front, addr: front.LocalAddr().(*net.UDPAddr).AddrPort()}
	r.to(to)
	t.Cleanup(func() {
		front.Close()
		r.mu.Lock()
		r.back.Close()
		r.mu.Unlock()
	})
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			r.client = from
			b := r.back
			r.mu.Unlock()
			b.Write(buf[:n])
		}
	}()
	return r
}

// to has it lead to an address, from a new port.
func (r *relay) to(addr netip.AddrPort) {
	r.t.Helper()
	b, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	old := r.back
	r.back = b
	r.mu.Unlock()
	if old != nil {
		old.Close()
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, err := b.Read(buf)
			if err != nil {
				return
			}
			r.mu.Lock()
			client := r.client
			r.mu.Unlock()
			r.front.WriteToUDPAddrPort(buf[:n], client)
		}
	}()
}

func TestAbort(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	c.Abort(42, "no more \x1b[31m")
	s.SetDeadline(time.Now().Add(time.Minute))
	_, err := s.Read(make([]byte, 1))
	ce, ok := errors.AsType[*arq.CloseError](err)
	if !ok || !ce.Remote || ce.Code != 42 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("the peer reads %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Abort: %v", err)
	}
}

// Close waits for delivery, so that a program may exit after it.
func TestCloseDelivers(t *testing.T) {
	slow := &netem.Config{Delay: 30 * time.Millisecond}
	// It waits no longer than its linger, which a slow machine may take.
	c, s := pair(t, Config{Socket: datagram.Options{Impair: slow}, Linger: 3 * time.Minute}, Config{})
	msg := bytes.Repeat([]byte("last words "), 20000)
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if n := c.Unacked(); n != 0 {
		t.Errorf("%d bytes are not delivered after Close", n)
	}
	vanish(c)
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, msg) {
		t.Errorf("%d of %d bytes, %v", len(got), len(msg), err)
	}
}

func TestListenerClose(t *testing.T) {
	l := listen(t, Config{})
	c, err := Dial(context.Background(), l.AddrPort(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		waiting <- err
	}()
	queued, err := Dial(context.Background(), l.AddrPort(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil { // it got queued
		t.Fatal(err)
	}
	go func() {
		_, err := l.Accept()
		waiting <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := l.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	// What was accepted goes on.
	go c.Write([]byte("hello"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	queued.Abort(0, "")
	go c.Close()
	s.Close()
}

// Strangers get nothing for garbage, and make no connection.
func TestGarbage(t *testing.T) {
	var mu sync.Mutex
	var drops int
	l := listen(t, Config{Trace: &Trace{Dropped: func(netip.AddrPort, int, arq.DropReason) {
		mu.Lock()
		drops++
		mu.Unlock()
	}}})
	raw, err := net.Dial("udp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	junk := make([]byte, 1400)
	for i := range 200 {
		rand.Read(junk)
		if i%2 == 0 {
			junk[0] = 'W'
		}
		raw.Write(junk[:1+i*7%1400])
	}
	c, err := Dial(context.Background(), l.AddrPort(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go c.Write([]byte("still here"))
	b := make([]byte, 10)
	if _, err := io.ReadFull(s, b); err != nil || l.Conns() != 1 {
		t.Errorf("%q, %v, %d connections", b, err, l.Conns())
	}
	mu.Lock()
	defer mu.Unlock()
	// Some are lost if they come faster than they are read.
	if lost := int(l.SocketStats().HostDrops); drops+lost < 190 {
		t.Errorf("%d of 200 datagrams of garbage were counted, and %d lost", drops, lost)
	}
	go s.Close()
	c.Close()
}

// A client whose address changes under way, as behind a NAT that forgot it,
// keeps its connection.
func TestRebinding(t *testing.T) {
	l := listen(t, Config{})
	front := newRelay(t, l.AddrPort()) // stands for the NAT
	c, err := Dial(context.Background(), front.addr, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptContext(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	go func() { io.Copy(s, s) }()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	before := s.RemoteAddr().String()
	for i := range 5 {
		if i == 2 {
			front.to(l.AddrPort()) // from a new port
		}
		msg := bytes.Repeat([]byte{byte(i)}, 100000)
		go c.Write(msg)
		got := make([]byte, len(msg))
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if after := s.RemoteAddr().String(); after == before {
		t.Errorf("the server still sends to %v", after)
	}
	go s.Close()
	c.Close()
}

// Everything that a test started ends with it.
func TestNothingStays(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 10 {
		l, err := Listen(context.Background(), "udp4", "127.0.0.1:0", Config{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := Dial(context.Background(), l.AddrPort(), Config{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go s.Close()
		c.Close()
		l.Close()
	}
	// Who missed the other's last word ends by the idle timeout.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(20 * time.Millisecond) //permit:time.Sleep polls for the end of goroutines, which nothing announces
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}

// A wildcard listener takes both versions of IP, and names addresses plainly.
func TestDualStack(t *testing.T) {
	l, err := Listen(context.Background(), "udp", ":0", Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, host := range []string{"127.0.0.1", "::1"} {
		to := netip.AddrPortFrom(netip.MustParseAddr(host), l.AddrPort().Port())
		c, err := Dial(context.Background(), to, Config{})
		if host == "::1" && errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Log("no IPv6 on the loopback interface here")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if s.RemoteAddr().String() != c.LocalAddr().String() || c.RemoteAddr().String() != to.String() {
			t.Errorf("%v to %v, as the listener sees it %v to %v", c.LocalAddr(), c.RemoteAddr(), s.RemoteAddr(), s.LocalAddr())
		}
		go func() { c.Write([]byte("x")); c.Close() }()
		if b, err := io.ReadAll(s); err != nil || string(b) != "x" {
			t.Errorf("%s: %q, %v", host, b, err)
		}
		s.Close()
	}
}

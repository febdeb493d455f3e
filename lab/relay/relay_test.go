package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket/echo"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// patience bounds what takes no time unless it hangs.
const patience = 2 * time.Minute

// echoServer answers on UDP and TCP, and is gone at the end of the test.
func echoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &echo.Server{}
	// Both on one port, which may be taken for the other protocol.
	for range 100 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().(*net.TCPAddr).AddrPort()
		pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			ln.Close()
			continue
		}
		done := make(chan struct{}, 2)
		go func() { _ = s.ServeUDP(ctx, pc); done <- struct{}{} }()
		go func() { echoTCP(ln); done <- struct{}{} }()
		t.Cleanup(func() { cancel(); ln.Close(); pc.Close(); <-done; <-done })
		return addr
	}
	t.Fatal("no port is free for both")
	return netip.AddrPort{}
}

func echoTCP(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			c.Close()
		}()
	}
}

func serve(t *testing.T, o Options) *Relay {
	t.Helper()
	r, err := Listen(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func dialUDP(t *testing.T, r *Relay) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// until waits for something that is bound to come.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		if f() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// Datagrams lost are those that the numbers say, in the direction that they say;
// the rest comes back in order and whole.
func TestUDPLoss(t *testing.T) {
	to := echoServer(t)
	r := serve(t, Options{To: to, UDP: true, Link: netem.Config{Drop: []uint64{3, 8}}})
	c := dialUDP(t, r)
	const n = 20
	for i := range n {
		if _, err := c.Write([]byte{byte(i), 1, 2}); err != nil {
			t.Fatal(err)
		}
		// One at a time, there and back: a socket's buffer loses nothing, and nothing
		// overtakes.
		until(t, "the relay takes it", func() bool { return r.Stats().UDP.To.Packets == uint64(i+1) })
		until(t, "what it passed on is answered", func() bool { s := r.Stats().UDP; return s.Back.Packets == s.To.Packets-s.To.Lost })
	}
	// Numbers 3 and 8 are lost on the way there, and on the way back those that
	// come third and eighth.
	var want []byte
	for i := range n {
		if k := i + 1; k != 3 && k != 8 {
			want = append(want, byte(i))
		}
	}
	want = slices.Delete(want, 7, 8)
	want = slices.Delete(want, 2, 3)
	var got []byte
	b := make([]byte, 100)
	for range want {
		k, err := c.Read(b)
		if err != nil || k != 3 {
			t.Fatalf("%d bytes, %v; so far %v of %v", k, err, got, want)
		}
		got = append(got, b[0])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s := r.Stats().UDP
	if s.To.Lost != 2 || s.Back.Lost != 2 || s.To.Packets != n || s.Back.Packets != n-2 || s.Clients != 1 || s.To.Bytes != 3*n {
		t.Errorf("%+v", s)
	}
}

// Clients have their own mappings; one too many is refused, and one that is
// silent is forgotten.
func TestUDPClients(t *testing.T) {
	to := echoServer(t)
	r := serve(t, Options{To: to, UDP: true, MaxClients: 3})
	b := make([]byte, 100)
	for i := range 3 {
		c := dialUDP(t, r)
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		if k, err := c.Read(b); err != nil || k != 1 || b[0] != byte(i) {
			t.Fatalf("client %d got %v, %v", i, b[:k], err)
		}
	}
	c := dialUDP(t, r)
	if _, err := c.Write([]byte("one too many")); err != nil {
		t.Fatal(err)
	}
	until(t, "a fourth client is refused", func() bool { return r.Stats().UDP.Refused == 1 })
	if s := r.Stats().UDP; s.Clients != 3 || s.Seen != 3 {
		t.Errorf("%+v", s)
	}

	short := serve(t, Options{To: to, UDP: true, Idle: time.Millisecond})
	c = dialUDP(t, short)
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	until(t, "the client expires", func() bool { s := short.Stats().UDP; return s.Expired == 1 && s.Clients == 0 })
	until(t, "the client comes back", func() bool {
		_, _ = c.Write([]byte("again"))
		return short.Stats().UDP.Seen > 1
	})
}

// A target that is not there is silence, not the end of the relay.
func TestUDPNobody(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	pc.Close()
	r := serve(t, Options{To: to, UDP: true})
	c := dialUDP(t, r)
	for i := range 10 {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		until(t, "the relay takes it", func() bool { return r.Stats().UDP.To.Packets == uint64(i+1) })
	}
}

// What goes through TCP comes out, both ways, with the ends of the directions
// apart.
func TestTCP(t *testing.T) {
	r := serve(t, Options{To: echoServer(t), Link: netem.Config{Delay: 2 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.5}})
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	sent := bytes.Repeat([]byte("what goes in comes out "), 100_000)
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d of %d bytes, %v", len(got), len(sent), err)
	}
	until(t, "the connection is over", func() bool { return r.Stats().TCP.Open == 0 })
	if s := r.Stats().TCP; s.Accepted != 1 || s.ToBytes != int64(len(sent)) || s.BackBytes != int64(len(sent)) {
		t.Errorf("%+v", s)
	}
}

// Connections are reset as the seed has it, after their bytes.
func TestTCPReset(t *testing.T) {
	to := echoServer(t)
	o := Options{To: to, TCP: true, Reset: 0.5, ResetAfter: 1000, Link: netem.Config{Seed: 7}}
	var fates [2][]bool
	for round := range fates {
		r := serve(t, o)
		for range 12 {
			c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.Addr()))
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			_, err = c.Write(make([]byte, 2000))
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, 2000))
			}
			if err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Errorf("closed, not reset: %v", err)
			}
			fates[round] = append(fates[round], err != nil)
			c.Close()
		}
		n := 0
		for i, f := range fates[round] {
			if f != r.resets(uint64(i+1)) {
				t.Errorf("connection %d: reset %v", i+1, f)
			}
			if f {
				n++
			}
		}
		if n == 0 || n == 12 || r.Stats().TCP.Reset != int64(n) {
			t.Errorf("%d of 12 reset, and it counts %d", n, r.Stats().TCP.Reset)
		}
	}
	if !slices.Equal(fates[0], fates[1]) {
		t.Errorf("the same seed reset others: %v", fates)
	}
}

// A stream is delayed and held to its rate to the nanosecond, in simulated time.
func TestStreamTime(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  netem.Config
		size int
		want time.Duration
	}{
		{"delay", netem.Config{Delay: 40 * time.Millisecond}, 1000, 40 * time.Millisecond},
		{"rate", netem.Config{Rate: 8 * units.Mbit}, 1_000_000, time.Second},
		{"both", netem.Config{Rate: 8 * units.Mbit, Delay: time.Second}, 100_000, 1100 * time.Millisecond},
		{"queue", netem.Config{Rate: 800 * units.Kbit, Queue: 2000}, 100_000, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := newStream(c.cfg, newShaper(c.cfg.Rate))
				if err != nil {
					t.Fatal(err)
				}
				src, in := net.Pipe()
				out, dst := net.Pipe()
				done := make(chan error, 1)
				go func() {
					done <- s.run(t.Context(), src, func(b []byte) error { _, err := dst.Write(b); return err }, dst.Close)
				}()
				start := time.Now()
				go func() { _, _ = in.Write(make([]byte, c.size)); in.Close() }()
				n, err := io.ReadFull(out, make([]byte, c.size))
				if took := time.Since(start); err != nil || took != c.want {
					t.Errorf("%d bytes took %v, want %v; %v", n, took, c.want, err)
				}
				if _, err := out.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("after the end: %v", err)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestCheck(t *testing.T) {
	to := netip.MustParseAddrPort("127.0.0.1:9")
	for _, o := range []Options{
		{},
		{To: to, Reset: 2},
		{To: to, ResetAfter: -1},
		{To: to, Link: netem.Config{Loss: 2}},
		{To: to, Link: netem.Config{Header: 1}},
	} {
		if r, err := Listen(t.Context(), o); err == nil {
			t.Errorf("%+v is taken: %v", o, r.Addr())
		}
	}
}

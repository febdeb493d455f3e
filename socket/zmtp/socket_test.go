package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/sockettest"
)

func bind(t *testing.T, s ...*Socket) string {
	t.Helper()
	e, err := Bind(t.Context(), "127.0.0.1:0", socket.Options{}, s...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		for _, x := range s {
			x.Close()
		}
	})
	return e.Addr().String()
}

func connect(t *testing.T, typ Type, addr string, o Options) *Socket {
	t.Helper()
	s := New(typ, o)
	t.Cleanup(func() { s.Close() })
	if typ == SUB {
		if err := s.Subscribe(nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Connect(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	return s
}

// peers waits until a socket has n.
func peers(t *testing.T, s *Socket, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.await(ctx, func() (bool, error) { return len(s.order) == n, nil }); err != nil {
		t.Fatalf("%v: %d peers", err, s.Peers())
	}
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("it does not come")
	}
	panic("not reached")
}

func TestPushTakesTurnsAndWaits(t *testing.T) {
	push := New(PUSH, Options{})
	addr := bind(t, push)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := push.Send(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("a PUSH without peers sends: %v", err)
	}
	var pulls []*Socket
	for range 3 {
		pulls = append(pulls, connect(t, PULL, addr, Options{}))
	}
	peers(t, push, 3)
	for i := range 30 {
		mustSend(t, push, fmt.Sprint(i))
	}
	seen := map[string]bool{}
	for _, p := range pulls {
		for range 10 {
			m := text(mustReceive(t, p))
			if seen[m] {
				t.Errorf("%s came twice", m)
			}
			seen[m] = true
		}
	}
	if len(seen) != 30 {
		t.Errorf("%d messages of 30", len(seen))
	}
}

func TestPullIsFair(t *testing.T) {
	pull := New(PULL, Options{})
	addr := bind(t, pull)
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	t.Cleanup(func() { cancel(); senders.Wait() })
	for _, name := range []string{"a", "b"} {
		p := connect(t, PUSH, addr, Options{})
		senders.Go(func() {
			for p.Send(ctx, []byte(name)) == nil {
			}
		})
	}
	// Both always have more; were one served for as long as it has something, the
	// other would never be.
	count := map[string]int{}
	for count["a"] < 100 || count["b"] < 100 {
		count[text(mustReceive(t, pull))]++
	}
}

func TestPubDropsForTheSlow(t *testing.T) {
	dropped := make(chan PeerID, 1)
	pub := New(PUB, Options{HWM: 4, MaxMessage: 1 << 20, Trace: &Trace{Dropped: func(id PeerID) {
		select {
		case dropped <- id:
		default:
		}
	}}})
	addr := bind(t, pub)
	slow := rawPeer(t, addr, SUB)
	_, _ = slow.Write(command{"SUBSCRIBE", nil}.append(nil))
	subscribers(t, pub, 1, "x")
	big := make([]byte, 1<<20)
	for range 1000 { // a PUB does not wait, so that this ends
		if err := pub.Send(t.Context(), big); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, dropped)
}

func TestPairRefusesAnother(t *testing.T) {
	pair := New(PAIR, Options{})
	addr := bind(t, pair)
	first := connect(t, PAIR, addr, Options{})
	peers(t, pair, 1)
	second := New(PAIR, Options{Retry: -1})
	defer second.Close()
	// It is refused after both have said READY, as libzmq does it.
	if err := second.Connect(t.Context(), addr); err == nil {
		peers(t, second, 0)
	}
	mustSend(t, first, "hello")
	if m := mustReceive(t, pair); text(m) != "hello" {
		t.Errorf("%q", text(m))
	}
	first.Close()
	peers(t, pair, 0)
	mustSend(t, connect(t, PAIR, addr, Options{}), "next")
	if m := mustReceive(t, pair); text(m) != "next" {
		t.Errorf("%q", text(m))
	}
}

func TestRouterKnowsWhoIsGone(t *testing.T) {
	var last atomic.Int64
	downs := make(chan int64, 1)
	router := New(ROUTER, Options{Trace: &Trace{Down: func(PeerID, error) { downs <- last.Load() }}})
	addr := bind(t, router)
	d := New(DEALER, Options{})
	if err := d.Connect(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		mustSend(t, d, "x")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { _ = d.Shutdown(ctx) }()
	var m Message
	for range 20 {
		m = mustReceive(t, router)
		last.Add(1)
	}
	if n := wait(t, downs); n < 19 { // the last is counted after it was received
		t.Errorf("down after %d messages of 20", n)
	}
	if err := router.SendTo(t.Context(), m.Peer, []byte("x")); !errors.Is(err, ErrNoPeer) {
		t.Errorf("%v", err)
	}
}

func TestReconnects(t *testing.T) {
	ups := make(chan PeerID, 10)
	pub := New(PUB, Options{Trace: &Trace{Up: func(p Peer) { ups <- p.ID }}})
	addr := bind(t, pub)
	sub := connect(t, SUB, addr, Options{Retry: time.Millisecond})
	for i := range 3 {
		id := wait(t, ups)
		subscribers(t, pub, 1, "x") // its wishes come with it
		mustSend(t, pub, fmt.Sprint(i))
		if m := mustReceive(t, sub); text(m) != fmt.Sprint(i) {
			t.Fatalf("%q", text(m))
		}
		pub.Drop(id)
	}
	if err := sub.Close(); err != nil {
		t.Error(err)
	}
	if err := sub.Send(t.Context(), []byte("x")); !errors.Is(err, ErrType) {
		t.Errorf("a SUB sends: %v", err)
	}
	if _, err := sub.Receive(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "220 mail.example ESMTP\r\n")
			c.Close()
		}
	}()
	s := New(DEALER, Options{})
	defer s.Close()
	if err := s.Connect(t.Context(), ln.Addr().String()); !errors.Is(err, ErrProtocol) {
		t.Errorf("a mail server: %v", err)
	}
	ln.Close()
	if err := s.Connect(t.Context(), sockettest.DeadTCP(t).String()); !errors.Is(err, socket.ErrRefused) {
		t.Errorf("nobody: %v", err)
	}
}

// rawPeer is a connection past its handshake.
func rawPeer(t *testing.T, addr string, typ Type) net.Conn {
	t.Helper()
	c := dialRaw(t, addr)
	_, _ = c.Write(ready{typ: typ}.command().append(appendGreeting(nil)))
	if _, err := io.ReadFull(c, make([]byte, greetingSize+2)); err != nil {
		t.Fatal(err)
	}
	return c
}

func dialRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Whatever a stranger says, it is refused or dropped, and others are served.
func TestHostilePeers(t *testing.T) {
	greeting := string(appendGreeting(nil))
	hello := greeting + string(ready{typ: DEALER}.command().append(nil))
	ready := func(body string) string {
		return greeting + string(command{"READY", []byte(body)}.append(nil))
	}
	for name, say := range map[string]string{
		"http":             "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"version 2":        greeting[:10] + "\x01" + greeting[11:],
		"CURVE":            greeting[:12] + "CURVE" + greeting[17:],
		"no READY":         greeting + "\x00\x05hello",
		"READY huge":       greeting + "\x06\x7f\xff\xff\xff\xff\xff\xff\xff",
		"READY cut":        ready("\x0bSocket-Type\x00\x00\x00\xffDEALER"),
		"READY cut 2":      ready("\xff"),
		"READY no type":    ready(""),
		"READY odd type":   ready("\x0bSocket-Type\x00\x00\x00\x05\x1b[31m"),
		"wrong type":       ready("\x0bSocket-Type\x00\x00\x00\x04PULL"),
		"ERROR":            greeting + string(command{"ERROR", []byte("\x03no!")}.append(nil)),
		"huge frame":       hello + "\x02\x7f\xff\xff\xff\xff\xff\xff\xff",
		"wrapping frames":  hello + "\x03\x00\x00\x00\x00\x00\x00\x00\x01x\x02\xff\xff\xff\xff\xff\xff\xff\xff",
		"reserved flags":   hello + "\x08\x00",
		"long command":     hello + "\x06\x00\x00\x00\x00\x00\x10\x00\x00",
		"nameless command": hello + "\x04\x00",
		"command name":     hello + "\x04\x02\x09x",
		"command inside":   hello + "\x01\x01x" + string(command{"PING", []byte{0, 0}}.append(nil)),
		"too long PING":    hello + string(command{"PING", make([]byte, 30)}.append(nil)),
		"many frames":      hello + strings.Repeat("\x01\x00", 20),
		"too much":         hello + strings.Repeat("\x01\xff"+strings.Repeat("x", 255), 8),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan error, 2)
			s := New(ROUTER, Options{Stranger: 1000, Trace: &Trace{
				Refused: func(_ net.Addr, err error) { over <- err },
				Down:    func(_ PeerID, err error) { over <- err },
			}})
			addr := bind(t, s)
			good := connect(t, DEALER, addr, Options{})
			bad := dialRaw(t, addr)
			_, _ = io.WriteString(bad, say)
			if err := wait(t, over); err == nil {
				t.Error("no error")
			} else if strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("%q", err)
			}
			mustSend(t, good, "hello")
			if m := mustReceive(t, s); text(m) != "hello" {
				t.Errorf("%q", text(m))
			}
		})
	}
}

// Connections that say nothing hold nobody else up, however many there are.
func TestIdleConnections(t *testing.T) {
	s := New(ROUTER, Options{})
	addr := bind(t, s)
	for range maxHandshakes + 100 {
		c := dialRaw(t, addr)
		_, _ = c.Write(appendGreeting(nil)[:10])
	}
	good := connect(t, DEALER, addr, Options{})
	mustSend(t, good, "hello")
	if m := mustReceive(t, s); text(m) != "hello" {
		t.Errorf("%q", text(m))
	}
}

// Strangers fill the socket and do not keep out others; those that are trusted stay.
func TestStrangersMakeRoom(t *testing.T) {
	ups := make(chan PeerID, 100)
	s := New(ROUTER, Options{MaxPeers: 8, Stranger: 100, Handshake: time.Hour, Trace: &Trace{Up: func(p Peer) { ups <- p.ID }}})
	addr := bind(t, s)
	ours := connect(t, DEALER, addr, Options{Retry: -1})
	mustSend(t, ours, "me")
	s.Trust(mustReceive(t, s).Peer)
	wait(t, ups)
	for range 30 {
		rawPeer(t, addr, DEALER)
		wait(t, ups) // one after the other: the last that comes is not one of them
	}
	other := connect(t, DEALER, addr, Options{Retry: -1})
	mustSend(t, other, "you")
	if m := mustReceive(t, s); text(m) != "you" {
		t.Errorf("%q", text(m))
	}
	mustSend(t, ours, strings.Repeat("x", 200))
	if m := mustReceive(t, s); len(m.Frames[0]) != 200 {
		t.Errorf("%q", text(m))
	}
	if n := s.Peers(); n > 8 {
		t.Errorf("%d peers", n)
	}
}

// A stranger that does not say in time who it is goes.
func TestStrangersGo(t *testing.T) {
	// The handshake has no longer than that, and may take longer on a slow machine.
	for _, limit := range []time.Duration{50 * time.Millisecond, time.Second, 20 * time.Second} {
		down, refused := make(chan error, 1), make(chan error, 1)
		s := New(ROUTER, Options{Stranger: 100, Handshake: limit, Trace: &Trace{
			Down:    func(_ PeerID, err error) { down <- err },
			Refused: func(_ net.Addr, err error) { refused <- err },
		}})
		addr := bind(t, s)
		d := New(DEALER, Options{Retry: -1})
		defer d.Close()
		if err := d.Connect(t.Context(), addr); err != nil {
			t.Logf("with %v: %v", limit, err)
			continue
		}
		select {
		case err := <-down:
			if !errors.Is(err, errStranger) {
				t.Errorf("it goes because of %v", err)
			}
			return
		case err := <-refused: // it was late, and its own end does not know yet
			t.Logf("with %v: %v", limit, err)
		case <-time.After(time.Minute):
			t.Fatal("it stays")
		}
	}
	t.Error("no handshake was in time")
}

// Lengths that are claimed cost nothing until the bytes have come.
func TestClaimedLengthsCostNothing(t *testing.T) {
	s := New(PULL, Options{MaxMessage: 64 << 20})
	addr := bind(t, s)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 100
	for range n {
		c := rawPeer(t, addr, PUSH)
		_, _ = c.Write(append(appendFrameHeader(nil, 0, 64<<20), make([]byte, 1000)...))
	}
	peers(t, s, n)
	runtime.ReadMemStats(&after)
	// 6.4 GiB are claimed.
	if grown := int64(after.Sys) - int64(before.Sys); grown > 300<<20 {
		t.Errorf("%d MiB for %d peers", grown>>20, n)
	}
}

// A peer that takes nothing, or says nothing, is dropped.
func TestDeadPeers(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprint("stuck=", stuck), func(t *testing.T) {
			t.Parallel()
			// It must be alive until it has said its word, on a slow machine too.
			for _, silence := range []time.Duration{300 * time.Millisecond, 3 * time.Second, 20 * time.Second} {
				if deadPeer(t, stuck, silence) {
					return
				}
				t.Logf("it was dropped before it had said anything, after %v", silence)
			}
			t.Error("it is dropped before it has said anything")
		})
	}
}

// deadPeer reports whether the peer was heard before it was dropped.
func deadPeer(t *testing.T, stuck bool, silence time.Duration) bool {
	down := make(chan error, 1)
	s := New(ROUTER, Options{Silence: silence, Heartbeat: silence / 6, Trace: &Trace{Down: func(_ PeerID, err error) { down <- err }}})
	addr := bind(t, s)
	c := rawPeer(t, addr, DEALER)
	_, _ = c.Write([]byte("\x00\x01x"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := make(chan Message, 1)
	go func() {
		if m, err := s.Receive(ctx); err == nil {
			heard <- m
		}
	}()
	var m Message
	select {
	case m = <-heard:
	case err := <-down:
		if !errors.Is(err, socket.ErrTimeout) {
			t.Error(err)
		}
		return false
	case <-time.After(time.Minute):
		t.Fatal("it is neither heard nor dropped")
	}
	if stuck {
		go func() { // it talks and does not listen
			for ctx.Err() == nil {
				if _, err := c.Write(command{"PONG", nil}.append(nil)); err != nil {
					return
				}
			}
		}()
		go func() {
			for s.SendTo(ctx, m.Peer, make([]byte, 1<<20)) == nil {
			}
		}()
	}
	if err := wait(t, down); !errors.Is(err, socket.ErrTimeout) {
		t.Error(err)
	}
	return true
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"zmq+tcp://*:5555":         ":5555 true",
		"zmq+tcp://*:0":            ":0 true",
		"zmq+tcp://host:5555":      "host:5555 false",
		"zmq+tcp://host:5555/":     "host:5555 false",
		"zmq+tcp://[::1]:5555":     "[::1]:5555 false",
		"zmq+tcp://127.0.0.1:5555": "127.0.0.1:5555 false",
		"zmq+tcp://host":           "",
		"zmq+tcp://:5555":          "",
		"zmq+tcp://host:5555/x":    "",
		"zmq+tcp://*":              "",
		"zmq+tcp://":               "",
		"tcp://host:5555":          "",
	} {
		addr, any, err := ParseURL(in)
		got := fmt.Sprint(addr, " ", any)
		if err != nil {
			got = ""
			if !errors.Is(err, ErrURL) {
				t.Error(err)
			}
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

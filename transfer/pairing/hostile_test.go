package pairing

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/nistec"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/pairing/spake2"
)

// serveLoopback is a Listener on loopback.
func serveLoopback(t testing.TB, code Code, cfg Config) *Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewListener(ln, code, patient(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t testing.TB, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// channel is the TLS channel of a hostile dialer who offers a share, and what the
// listener answered.
func channel(t testing.TB, conn net.Conn, share []byte) (*tls.Conn, answered, error) {
	t.Helper()
	c := tls.Client(conn, &tls.Config{NextProtos: []string{alpn, offerShare(share)}, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	p, err := parseAnswer(c.ConnectionState())
	return c, p, err
}

func certificateWith(t testing.TB, answer []byte) *tls.Certificate {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := newCertificate(key, answer)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// hostileListener ends TLS as a listener does, with the answer to the dialer's
// share that it is told to give, and returns the channel.
func hostileListener(t testing.TB, conn net.Conn, answer func(share []byte) []byte) *tls.Conn {
	t.Helper()
	c := tls.Server(conn, &tls.Config{NextProtos: []string{alpn}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return certificateWith(t, answer(shareOffered(hello.SupportedProtos))), nil
	}})
	if err := c.Handshake(); err != nil {
		t.Error(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// guessing is a share made from a guess.
func guessing(t testing.TB, side spake2.Side, words string) []byte {
	t.Helper()
	ex, err := spake2.New(side, password(t, words))
	if err != nil {
		t.Fatal(err)
	}
	return ex.Share()
}

func message(kind byte, body []byte) []byte { return append([]byte{kind}, body...) }

func readMessage(c net.Conn, length int) ([]byte, error) {
	b := make([]byte, 1+length)
	_, err := io.ReadFull(c, b)
	return b, err
}

// A proxy that records everything sees no word of the code, no name and nothing
// of what is sent, in either direction.
func TestRecordingProxySeesNothing(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	l := serveLoopback(t, code, Config{Role: Receiver})
	var mu sync.Mutex
	var wire bytes.Buffer
	record := writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return wire.Write(b)
	})
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		in, err := proxy.Accept()
		if err != nil {
			return
		}
		out := dial(t, l)
		wg.Go(func() { io.Copy(out, io.TeeReader(in, record)); preface.CloseWrite(out) })
		io.Copy(in, io.TeeReader(out, record))
		preface.CloseWrite(in)
	})
	conn, err := net.Dial("tcp", proxy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := client(conn, code, Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	secret := "holiday/IMG_0001.jpg and what is in it"
	go func() { io.WriteString(d, strings.Repeat(secret, 1000)); d.CloseWrite() }()
	got, err := io.ReadAll(a)
	if err != nil || len(got) != 1000*len(secret) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	a.Close()
	d.Close()
	wg.Wait()
	pw, err := code.password()
	if err != nil {
		t.Fatal(err)
	}
	if wire.Len() < len(got) {
		t.Fatalf("the proxy saw %d bytes only", wire.Len())
	}
	if !bytes.Contains(wire.Bytes(), []byte(alpn)) {
		t.Error("the proxy does not see what it must: the protocol's number") // or this test sees nothing
	}
	for _, s := range []string{"cedar", "otter", "holiday", "IMG_", "sender", "receiver", "listener", "dialer", fmt.Sprintf("%x", pw), secret[10:20]} {
		if bytes.Contains(bytes.ToLower(wire.Bytes()), bytes.ToLower([]byte(s))) {
			t.Errorf("the proxy sees %q", s)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A man in the middle who ends TLS towards both ends and passes every message of
// the PAKE on fails at the first proof, and that costs a guess.
func TestManInTheMiddle(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	d, m1 := tcpPair(t)
	m2, l := tcpPair(t)
	c := goClient(d, code, Config{})
	s := goServer(l, code, Config{Role: Receiver})
	var back *tls.Conn
	front := hostileListener(t, m1, func(share []byte) []byte {
		var p answered
		var err error
		if back, p, err = channel(t, m2, share); err != nil { // pA
			t.Error(err)
		}
		return append(p.share, p.proof...) // pB, cB
	})
	b, err := readMessage(front, spake2.ConfirmationLen)
	if err != nil {
		t.Fatal(err)
	}
	back.Write(b) // cA
	rc, rs := <-c, <-s
	if !errors.Is(rc.err, ErrWrongCode) || !errors.Is(rs.err, ErrWrongCode) {
		t.Errorf("dialer: %v, listener: %v", rc.err, rs.err)
	}
	if n := code.secret().guard.Wrong(); n != 1 {
		t.Errorf("%d guesses counted, want 1", n)
	}
}

// Nor can he show the listener's own certificate, whose key he does not have.
func TestStolenCertificate(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	d, m1 := tcpPair(t)
	m2, l := tcpPair(t)
	c := goClient(d, code, Config{})
	s := goServer(l, code, Config{Role: Receiver})
	err := tls.Server(m1, &tls.Config{NextProtos: []string{alpn}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		back, _, err := channel(t, m2, shareOffered(hello.SupportedProtos))
		key, kerr := newKey()
		if err != nil || kerr != nil {
			t.Error(err, kerr)
		}
		defer back.Close()
		return &tls.Certificate{Certificate: [][]byte{back.ConnectionState().PeerCertificates[0].Raw}, PrivateKey: key}, nil
	}}).Handshake()
	m1.Close()
	rc, rs := <-c, <-s
	if rc.err == nil || err == nil || !errors.Is(rs.err, ErrUnconfirmed) {
		t.Errorf("dialer: %v, middle: %v, listener: %v", rc.err, err, rs.err)
	}
	if n := code.secret().guard.Wrong(); n != 1 {
		t.Errorf("%d guesses counted, want 1", n)
	}
}

// Twenty wrong guesses get nothing, and the third ends the listener.
func TestTwentyWrongGuesses(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	var mu sync.Mutex
	var refused []error
	l := serveLoopback(t, code, Config{Role: Receiver, Trace: &Trace{Refused: func(_ net.Addr, err error) {
		mu.Lock()
		defer mu.Unlock()
		refused = append(refused, err)
	}}})
	wrong := 0
	for i := range 20 {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			continue // the listener is gone
		}
		c, err := client(conn, mustCode(t, fmt.Sprintf("17-guess-%d", i)), Config{})
		if err == nil {
			t.Fatalf("guess %d got in: %v", i, c)
		}
		if errors.Is(err, ErrWrongCode) {
			wrong++
		}
	}
	if wrong != 3 {
		t.Errorf("%d guesses were answered, want 3", wrong)
	}
	c, err := l.Accept()
	if !errors.Is(err, ErrBurnt) {
		t.Errorf("Accept = %v, %v; want ErrBurnt", c, err)
	}
	l.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(refused) < 3 || !errors.Is(refused[0], ErrWrongCode) {
		t.Errorf("the trace was told %v", refused)
	}
	// The right code comes too late.
	if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
		if _, err := client(conn, code, Config{}); err == nil {
			t.Error("paired with a burnt code")
		}
	}
}

// A peer that knows the code may open many connections at once, more than there
// are guesses: they wait for each other.
func TestManyConnectionsAtOnce(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	for name, cfg := range map[string]GuardConfig{"one-time": {}, "keep": {Keep: true}} {
		t.Run(name, func(t *testing.T) {
			l := serveLoopback(t, code, Config{Role: Receiver, Guard: NewGuard(cfg)})
			const n = 16
			var results []chan result
			for range n {
				results = append(results, goClient(dial(t, l), code, Config{}))
			}
			for range n {
				if _, err := l.Accept(); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range results {
				if r := <-r; r.err != nil {
					t.Error(r.err)
				}
			}
			if l.Guard().Wrong() != 0 {
				t.Errorf("%d wrong guesses", l.Guard().Wrong())
			}
		})
	}
}

// Under Keep the listener stays, slows the guesser down, and serves another
// source that knows the code.
func TestKeepSlowsDown(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	l := serveLoopback(t, code, Config{Role: Receiver, Guard: NewGuard(GuardConfig{Keep: true, Delay: time.Hour, MaxDelay: time.Hour})}) // longer than the guesses take on any machine
	answered, delayed := 0, 0
	for i := range 8 {
		_, err := client(dial(t, l), mustCode(t, fmt.Sprintf("guess-%d", i)), Config{})
		var d *DelayError
		switch {
		case errors.Is(err, ErrWrongCode):
			answered++
		case errors.As(err, &d):
			delayed++
			if d.Wait <= 0 || d.Wait > time.Hour {
				t.Errorf("told to wait %v", d.Wait)
			}
		default:
			t.Errorf("guess %d: %v", i, err)
		}
	}
	if answered != 3 || delayed != 5 {
		t.Errorf("%d guesses answered and %d delayed, want 3 and 5", answered, delayed)
	}
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := from.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Skipf("no second loopback address here: %v", err) // only Linux has all of 127.0.0.0/8
	}
	if _, err := client(conn, code, Config{}); err != nil {
		t.Errorf("the right code from elsewhere: %v", err)
	}
	if _, err := l.Accept(); err != nil {
		t.Error(err)
	}
}

// A dialer that leaves after it has the listener's answer has spent a guess, even
// if it does not finish TLS.
func TestLeavingEarlyCostsAGuess(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	for i := 1; i <= 3; i++ {
		d, l := tcpPair(t)
		s := goServer(l, code, Config{})
		if i == 2 {
			d.Write(clientHello(t, guessing(t, spake2.A, "cedar-other")))
			if n, err := d.Read(make([]byte, 1)); n == 0 {
				t.Fatal(err)
			}
		} else if _, _, err := channel(t, d, guessing(t, spake2.A, "cedar-other")); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if r := <-s; !errors.Is(r.err, ErrUnconfirmed) || errors.Is(r.err, ErrBurnt) != (i == 3) {
			t.Errorf("leaving for the %d. time: %v", i, r.err)
		}
		if n := code.secret().guard.Wrong(); n != i {
			t.Errorf("%d guesses counted, want %d", n, i)
		}
	}
	// Who leaves before the listener answers has spent nothing.
	code = mustCode(t, "17-cedar-otter")
	d, l := tcpPair(t)
	s := goServer(l, code, Config{})
	hello := clientHello(t, guessing(t, spake2.A, "cedar-other"))
	d.Write(hello[:len(hello)-1])
	d.Close()
	if r := <-s; r.err == nil || code.secret().guard.Wrong() != 0 {
		t.Errorf("%v, %d guesses counted", r.err, code.secret().guard.Wrong())
	}
}

func password(t testing.TB, words string) *spake2.Password {
	t.Helper()
	pw, err := mustCode(t, words).password()
	if err != nil {
		t.Fatal(err)
	}
	return pw
}

// Invalid shares end the run as a wrong guess, whatever they would have told.
func TestInvalidShareFromDialer(t *testing.T) {
	good := nistec.NewP256Point().SetGenerator().Bytes()
	offCurve := bytes.Clone(good)
	offCurve[40] ^= 1
	for name, share := range map[string][]byte{
		"the identity":  make([]byte, spake2.ShareLen),
		"off the curve": offCurve,
		"compressed":    append(nistec.NewP256Point().SetGenerator().BytesCompressed(), make([]byte, 32)...),
	} {
		t.Run(name, func(t *testing.T) {
			code := mustCode(t, "17-cedar-otter")
			d, l := tcpPair(t)
			s := goServer(l, code, Config{})
			if _, _, err := channel(t, d, share); !errors.Is(err, ErrWrongCode) {
				t.Errorf("the listener answers %v", err)
			}
			if r := <-s; !errors.Is(r.err, ErrWrongCode) || !errors.Is(r.err, spake2.ErrShare) || code.secret().guard.Wrong() != 1 {
				t.Errorf("%v, %d guesses counted", r.err, code.secret().guard.Wrong())
			}
			// And the other way round.
			d, l = tcpPair(t)
			rc := goClient(d, code, Config{})
			h := hostileListener(t, l, func([]byte) []byte { return append(bytes.Clone(share), make([]byte, spake2.ConfirmationLen)...) })
			if b, err := io.ReadAll(h); len(b) != 0 {
				t.Errorf("the dialer sends %q, %v after an invalid share", b, err)
			}
			if r := <-rc; !errors.Is(r.err, ErrWrongCode) {
				t.Errorf("the dialer: %v", r.err)
			}
		})
	}
}

// Messages of the wrong type or length prove nothing, and are no crash.
func TestBrokenMessages(t *testing.T) {
	for _, in := range []string{"", "S", "S\x04", "X" + strings.Repeat("x", 100), "C" + strings.Repeat("x", 31), "C" + strings.Repeat("x", 32), "E\x01\x00\x00",
		"E", "E\xff\xff\xff", strings.Repeat("\x00", 1<<14)} {
		code := mustCode(t, "17-cedar-otter")
		d, l := tcpPair(t)
		s := goServer(l, code, Config{})
		c, _, err := channel(t, d, guessing(t, spake2.A, "guess"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, in)
		c.CloseWrite()
		if r := <-s; !errors.Is(r.err, ErrUnconfirmed) && !errors.Is(r.err, ErrWrongCode) || code.secret().guard.Wrong() != 1 {
			t.Errorf("%.10q: %v, %d guesses counted", in, r.err, code.secret().guard.Wrong())
		}
		d, l = tcpPair(t)
		rc := goClient(d, code, Config{})
		h := hostileListener(t, l, func([]byte) []byte { return []byte(in) })
		h.CloseWrite()
		if r := <-rc; r.err == nil {
			t.Errorf("%.10q: the dialer paired", in)
		}
	}
	// Names that are no share.
	for _, name := range []string{sharePrefix, sharePrefix + "!", sharePrefix + strings.Repeat("A", 200)} {
		code := mustCode(t, "17-cedar-otter")
		d, l := tcpPair(t)
		s := goServer(l, code, Config{})
		tls.Client(d, &tls.Config{NextProtos: []string{name, alpn}, InsecureSkipVerify: true}).Handshake()
		if r := <-s; !errors.Is(r.err, spake2.ErrShare) || code.secret().guard.Wrong() != 1 {
			t.Errorf("%.20q: %v, %d guesses counted", name, r.err, code.secret().guard.Wrong())
		}
	}
}

// A false listener that sends the dialer's own share back proves nothing.
func TestReflectionToDialer(t *testing.T) {
	d, l := tcpPair(t)
	rc := goClient(d, mustCode(t, "17-cedar-otter"), Config{})
	hostileListener(t, l, func(share []byte) []byte { return append(share, make([]byte, spake2.ConfirmationLen)...) })
	if r := <-rc; !errors.Is(r.err, ErrWrongCode) {
		t.Errorf("the dialer: %v", r.err)
	}
}

// A dialer that sends the listener's proof back, or passes the messages of one
// listening end to another, proves nothing.
func TestReflectionToListener(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	d1, l1 := tcpPair(t)
	d2, l2 := tcpPair(t)
	s1, s2 := goServer(l1, code, Config{Role: Receiver}), goServer(l2, code, Config{Role: Sender})
	// Any share will do to get the first listener's; then the other gets that.
	c1, p1, err := channel(t, d1, guessing(t, spake2.A, "guess"))
	if err != nil {
		t.Fatal(err)
	}
	c2, p2, err := channel(t, d2, p1.share)
	if err != nil {
		t.Fatal(err)
	}
	c1.Write(message(msgConfirm, p2.proof))
	c2.Write(message(msgConfirm, p2.proof)) // its own
	for _, s := range []chan result{s1, s2} {
		if r := <-s; !errors.Is(r.err, ErrWrongCode) {
			t.Errorf("%v", r.err)
		}
	}
}

// A false listener gets the dialer's share, and with its answer may test one guess:
// the dialer says so. Where it tests none, the dialer does not say that it did.
func TestFalseListenerSpendsTheGuess(t *testing.T) {
	zeros := make([]byte, spake2.ConfirmationLen)
	for name, tt := range map[string]struct {
		answer []byte
		want   error
	}{
		"wrong proof":   {append(guessing(t, spake2.B, "guess"), zeros...), ErrWrongCode},
		"no share":      {append(make([]byte, spake2.ShareLen), zeros...), ErrWrongCode},
		"says busy":     {[]byte{msgError, reasonBusy, 0, 0}, ErrBusy},
		"says wrong":    {[]byte{msgError, reasonWrongCode, 0, 0}, ErrWrongCode},
		"says nonsense": {[]byte{msgError, 99, 0, 0}, ErrProtocol},
		"half a proof":  {append(guessing(t, spake2.B, "guess"), zeros[:7]...), ErrProtocol},
		"nothing":       {nil, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			d, l := tcpPair(t)
			rc := goClient(d, mustCode(t, "17-cedar-otter"), Config{})
			hostileListener(t, l, func([]byte) []byte { return tt.answer }).Close()
			r := <-rc
			if !errors.Is(r.err, tt.want) || errors.Is(r.err, ErrWrongCode) != errors.Is(tt.want, ErrWrongCode) {
				t.Errorf("%v, want %v", r.err, tt.want)
			}
		})
	}
}

// A dialer who is called off while it proves the code to a false listener says that
// the guess is spent, and not only that time is up: whoever called must not dial again.
func TestFalseListenerOutlastsTheDialer(t *testing.T) {
	d, l := net.Pipe()
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := Client(ctx, d, mustCode(t, "17-cedar-otter"), patient(Config{})); done <- err }()
	hostileListener(t, l, func([]byte) []byte {
		return append(guessing(t, spake2.B, "guess"), make([]byte, spake2.ConfirmationLen)...)
	})
	if _, err := io.ReadFull(l, make([]byte, 1)); err != nil { // of the proof, which gets stuck
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, ErrWrongCode) {
		t.Errorf("%v, want ErrWrongCode", err)
	}
}

// A handshake that trickles is cut by one deadline, at either end, wherever it
// trickles. The time is synctest's.
func TestTrickledHandshake(t *testing.T) {
	hello := clientHello(t, guessing(t, spake2.A, "x"))
	for _, every := range []time.Duration{time.Millisecond, time.Second, 9 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			d, l := net.Pipe()
			start := time.Now()
			s := goServer(l, mustCode(t, "x"), Config{Timeout: Config{}.timeout()}) // the default
			var trickle sync.WaitGroup
			trickle.Go(func() {
				for _, b := range hello[:len(hello)-1] { // never the last byte
					if _, err := d.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(every)
				}
			})
			r := <-s
			if !errors.Is(r.err, ErrTimeout) || time.Since(start) != 10*time.Second {
				t.Errorf("a byte each %v: %v after %v", every, r.err, time.Since(start))
			}
			var ne net.Error
			if !errors.As(r.err, &ne) || !ne.Timeout() {
				t.Errorf("%v is no timeout", r.err)
			}
			d.Close()
			trickle.Wait()
		})
	}
	synctest.Test(t, func(t *testing.T) {
		d, l := net.Pipe()
		start := time.Now()
		c := goClient(d, mustCode(t, "x"), Config{Timeout: 3 * time.Second})
		go io.Copy(io.Discard, l) // a listener that says nothing
		if r := <-c; !errors.Is(r.err, ErrTimeout) || time.Since(start) != 3*time.Second {
			t.Errorf("a silent listener: %v after %v", r.err, time.Since(start))
		}
		l.Close()
	})
}

// clientHello is what a dialer sends first.
func clientHello(t *testing.T, share []byte) []byte {
	d, l := net.Pipe()
	go tls.Client(d, &tls.Config{NextProtos: []string{alpn, offerShare(share)}, InsecureSkipVerify: true}).Handshake()
	b := make([]byte, 4096)
	n, err := l.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	return b[:n]
}

// Thousands of idle connections hold no more than MaxPendingPerSource slots and
// little memory, and keep nobody out: not even who comes from the same address.
func TestThousandsOfIdleConnections(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	if _, err := code.password(); err != nil { // the 8 MiB of stretching are not what is measured
		t.Fatal(err)
	}
	const grace = 20 * time.Millisecond
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := &countingListener{Listener: inner}
	l, err := NewListener(ln, code, patient(Config{Role: Receiver, Guard: NewGuard(GuardConfig{PendingGrace: grace})}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	opened := 0
	var conns []net.Conn
	for range 3000 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break // out of descriptors
		}
		opened++
		// Keep some open, whatever the other end makes of them.
		if len(conns) < 400 {
			conns = append(conns, c)
		} else {
			c.Close()
		}
	}
	for range 16 { // and all slots taken
		conns = append(conns, dial(t, l))
	}
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if opened < 1000 {
		t.Skipf("only %d connections could be opened", opened)
	}
	eventually(t, func() error { // it has dealt with each, and waits for another
		if n := ln.asked.Load(); n <= int64(opened+16) {
			return fmt.Errorf("the listener has looked at %d of %d connections", n-1, opened+16)
		}
		return nil
	})
	l.guard.mu.Lock()
	pending := len(l.guard.live)
	l.guard.mu.Unlock()
	if pending > 16 {
		t.Errorf("%d pending of one source, want at most 16", pending)
	}
	eventually(t, func() error { // those that made room need a moment to end
		if n := runtime.NumGoroutine() - goroutines; n > 16*2+2 {
			return fmt.Errorf("%d goroutines for %d connections", n, opened)
		}
		if h := heapInUse() - heap; h > 4<<20 {
			return fmt.Errorf("%d KiB of heap for %d connections", h>>10, opened)
		}
		return nil
	})
	time.Sleep(2 * grace) // real sockets, so real time: however long it takes, all have had their grace then
	if _, err := client(dial(t, l), code, Config{}); err != nil {
		t.Fatalf("an honest dialer among %d idle ones: %v", opened, err) // else Accept would wait for nobody
	}
	if _, err := l.Accept(); err != nil {
		t.Error(err)
	}
}

// A countingListener counts how often it was asked for a connection.
type countingListener struct {
	net.Listener
	asked atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	l.asked.Add(1)
	return l.Listener.Accept()
}

// eventually waits until right has nothing to say.
func eventually(t *testing.T, right func() error) {
	t.Helper()
	until := time.Now().Add(patience)
	for {
		err := right()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			t.Error(err)
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestListenerEnds(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	t.Run("plain dialer", func(t *testing.T) {
		l := serveLoopback(t, code, Config{})
		c := dial(t, l)
		io.WriteString(c, preface.Magic+"H and more")
		if b, _ := io.ReadAll(c); string(b) != preface.Magic+"E\x01" {
			t.Errorf("the plain dialer reads %q", b)
		}
		c.Close()
		if _, err := l.Accept(); !errors.Is(err, ErrPeerPlain) {
			t.Errorf("Accept: %v", err)
		}
	})
	t.Run("plain dialer that says no more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, l := net.Pipe()
			start := time.Now()
			s := goServer(l, mustCode(t, "x"), Config{Timeout: 10 * time.Second})
			io.WriteString(d, preface.Magic)
			b := make([]byte, preface.RefusalLen)
			if _, err := io.ReadFull(d, b); err != nil || string(b) != preface.Magic+"E\x01" || time.Since(start) != 10*time.Second {
				t.Errorf("it reads %q, %v after %v", b, err, time.Since(start))
			}
			d.Close()
			if r := <-s; !errors.Is(r.err, ErrPeerPlain) {
				t.Errorf("the listener: %v", r.err)
			}
		})
	})
	t.Run("plain dialer, keep", func(t *testing.T) {
		told := make(chan error, 1)
		l := serveLoopback(t, code, Config{Role: Receiver, Guard: NewGuard(GuardConfig{Keep: true}),
			Trace: &Trace{Refused: func(_ net.Addr, err error) { told <- err }}})
		c := dial(t, l)
		io.WriteString(c, preface.Magic+"H and more")
		io.ReadAll(c)
		c.Close()
		if err := <-told; !errors.Is(err, ErrPeerPlain) {
			t.Errorf("told %v", err)
		}
		if _, err := client(dial(t, l), code, Config{}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(); err != nil {
			t.Error(err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		l := serveLoopback(t, code, Config{})
		dial(t, l)
		l.Close()
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		l := serveLoopback(t, code, Config{})
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := l.AcceptContext(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Accept: %v", err)
		}
	})
	t.Run("no code", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if _, err := NewListener(ln, Code{}, Config{}); !errors.Is(err, ErrCode) {
			t.Errorf("a listener without a code: %v", err)
		}
	})
}

package pairing

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// aFirst is a paired connection of a Listener, at both its ends.
func aFirst(t *testing.T, l *Listener, code Code) (dialer, listener *Conn) {
	t.Helper()
	d, err := client(dial(t, l), code, Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); a.Close() })
	return d, a.(*Conn)
}

// Further connections carry bytes both ways, more of them at once than there are
// guesses, and none is counted; when the first one is closed none can come any more,
// and one that joined vouches for nobody.
func TestJoin(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	l := serveLoopback(t, code, Config{Role: Receiver})
	first, at := aFirst(t, l, code)
	const n = 7
	joined, accepted := make(chan *Conn, n), make(chan net.Conn, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			c, err := first.Join(context.Background(), dial(t, l), patient(Config{}))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, "there")
			joined <- c
		})
		wg.Go(func() {
			a, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(a, "back!")
			accepted <- a
		})
	}
	wg.Wait()
	if len(joined) != n || len(accepted) != n {
		t.FailNow()
	}
	b := make([]byte, 5)
	for range n {
		c, a := <-joined, <-accepted
		defer c.Close()
		defer a.Close()
		if _, err := io.ReadFull(a, b); err != nil || string(b) != "there" {
			t.Errorf("%q, %v", b, err)
		}
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "back!" {
			t.Errorf("%q, %v", b, err)
		}
		// Both have read from each other, so it knows all that it will.
		if further, err := c.Join(context.Background(), dial(t, l), patient(Config{})); !errors.Is(err, ErrNotJoined) {
			t.Errorf("a connection that joined vouched for another: %v, %v", further, err)
		}
	}
	at.Close()
	if c, err := first.Join(context.Background(), dial(t, l), patient(Config{})); !errors.Is(err, ErrNotJoined) {
		t.Errorf("it joined one that is closed: %v, %v", c, err)
	}
	if g := code.secret().guard; g.Wrong() != 0 || g.Burnt() {
		t.Errorf("%d guesses were counted", g.Wrong())
	}
}

// joining is the TLS channel of a dialer who offers that ticket, whatever it is.
func joining(t *testing.T, conn net.Conn, k *ticket) *tls.Conn {
	t.Helper()
	c := tls.Client(conn, &tls.Config{NextProtos: []string{alpn, k.offer()}, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func exported(t *testing.T, c *tls.Conn) []byte {
	t.Helper()
	state := c.ConnectionState()
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterLen)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Tickets that are made up, of another listener, proved with another key, for another
// channel or with the listener's own words join nothing; and since they test no code,
// none is a guess.
func TestHostileJoin(t *testing.T) {
	code, beaver := mustCode(t, "17-cedar-otter"), mustCode(t, "17-cedar-beaver")
	var mu sync.Mutex
	refused := map[bool]int{}
	l := serveLoopback(t, code, Config{Role: Receiver, Trace: &Trace{Refused: func(_ net.Addr, err error) {
		mu.Lock()
		defer mu.Unlock()
		refused[errors.Is(err, ErrNotJoined)]++
	}}})
	first, _ := aFirst(t, l, code)
	good, err := ticketOf(first.tls)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := aFirst(t, serveLoopback(t, beaver, Config{Role: Receiver}), beaver)
	elsewhere, err := ticketOf(other.tls)
	if err != nil {
		t.Fatal(err)
	}
	const each = 4
	for name, k := range map[string]*ticket{"of another listener": elsewhere, "made up": {id: ticketID{1}}, "empty": {}} {
		for range each {
			c := joining(t, dial(t, l), k)
			if b, _, err := readAnswer(c.ConnectionState(), joinMACLen); !errors.Is(err, ErrNotJoined) {
				t.Errorf("%s: %x, %v", name, b, err)
			}
			c.Close()
		}
	}
	forger := &ticket{id: good.id, key: good.key}
	forger.key[31] ^= 1
	for name, proof := range map[string]func(channel, key []byte) []byte{
		"another key":           func(ch, _ []byte) []byte { return forger.proof("dialer", bindChannel(ch)) },
		"another channel":       func(ch, _ []byte) []byte { ch[0] ^= 1; return good.proof("dialer", bindChannel(ch)) },
		"the listener's proof":  func(_, key []byte) []byte { return good.proof("listener", bindKey(key)) },
		"the listener's words":  func(ch, _ []byte) []byte { return good.proof("listener", bindChannel(ch)) },
		"bound to the key only": func(_, key []byte) []byte { return good.proof("dialer", bindKey(key)) },
		"zeros":                 func(_, _ []byte) []byte { return make([]byte, joinMACLen) },
	} {
		for range each {
			c := joining(t, dial(t, l), good)
			_, key, err := readAnswer(c.ConnectionState(), joinMACLen)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, _ = c.Write(message(msgJoin, proof(exported(t, c), key)))
			if n, err := io.Copy(io.Discard, c); n > 0 {
				t.Errorf("%s: it was told %d bytes, %v", name, n, err)
			}
			c.Close()
		}
	}
	// And the right one, to see that the others failed for what they are.
	if c, err := first.Join(context.Background(), dial(t, l), patient(Config{})); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if a, err := l.Accept(); err != nil {
		t.Error(err)
	} else {
		a.Close()
	}
	if g := code.secret().guard; g.Wrong() != 0 {
		t.Errorf("%d guesses were counted", g.Wrong())
	}
	l.Close()
	mu.Lock()
	defer mu.Unlock()
	if refused[true] != 9*each || refused[false] != 0 {
		t.Errorf("the trace was told of %v", refused)
	}
}

// A man in the middle of the further connection who ends TLS towards both ends and
// passes on what they prove gets no connection with either; nor does one who answers
// in the listener's place, with the listener's own certificate, or not at all.
func TestJoinManInTheMiddle(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	notJoined := make(chan error, 10)
	l := serveLoopback(t, code, Config{Role: Receiver, Trace: &Trace{Refused: func(_ net.Addr, err error) { notJoined <- err }}})
	first, _ := aFirst(t, l, code)
	stolen := func(hello *tls.ClientHelloInfo) (*tls.Conn, []byte, []byte) {
		id, ok := joinOffered(hello.SupportedProtos)
		if !ok {
			t.Error("it offers no ticket")
		}
		back := joining(t, dial(t, l), &ticket{id: id})
		b, _, err := readAnswer(back.ConnectionState(), joinMACLen)
		if err != nil {
			t.Error(err)
		}
		return back, b, back.ConnectionState().PeerCertificates[0].Raw
	}
	var back *tls.Conn
	for name, answer := range map[string]func(hello *tls.ClientHelloInfo) (*tls.Certificate, error){
		"passes it on": func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			var b []byte
			back, b, _ = stolen(hello)
			return certificateWith(t, b), nil
		},
		"shows the listener's certificate": func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			key, err := newKey()
			if err != nil {
				t.Error(err)
			}
			c, _, raw := stolen(hello)
			c.Close()
			return &tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, nil
		},
		"makes it up": func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificateWith(t, make([]byte, joinMACLen)), nil
		},
		"answers as to a code": func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return certificateWith(t, make([]byte, answerLen)), nil
		},
	} {
		d, m := tcpPair(t)
		got := make(chan error, 1)
		go func() { _, err := first.Join(context.Background(), d, patient(Config{})); got <- err }()
		front := tls.Server(m, &tls.Config{NextProtos: []string{alpn}, GetCertificate: answer})
		_ = m.SetDeadline(time.Now().Add(patience))
		err := front.Handshake()
		b, rerr := readMessage(front, joinMACLen)
		if rerr == nil {
			t.Errorf("%s: the dialer proved its ticket to it: %x", name, b)
		}
		if name == "passes it on" {
			if err != nil || back == nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, _ = back.Write(message(msgJoin, make([]byte, joinMACLen))) // all that he has
			for err := range notJoined {                                  // what else he tried came to its end first, or not
				if errors.Is(err, ErrNotJoined) {
					break
				}
			}
		}
		m.Close()
		if err := <-got; err == nil {
			t.Errorf("%s: the dialer joined", name)
		}
	}
	if g := code.secret().guard; g.Wrong() != 0 {
		t.Errorf("%d guesses were counted", g.Wrong())
	}
}

// What joining costs beside pairing.
func BenchmarkJoin(b *testing.B) {
	code := mustCode(b, "17-cedar-otter")
	l := serveLoopback(b, code, Config{Role: Receiver})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = c.Write([]byte{1}); _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	first, err := Client(context.Background(), dial(b, l), code, Config{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 1)); err != nil { // it has taken our proof
		b.Fatal(err)
	}
	b.Run("join", func(b *testing.B) {
		for b.Loop() {
			c, err := first.Join(context.Background(), dial(b, l), Config{})
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
	b.Run("pair", func(b *testing.B) {
		for b.Loop() {
			c, err := Client(context.Background(), dial(b, l), code, Config{})
			if err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}

// A ticket's name comes out as it went in, whatever else is offered, and what is none
// names nobody's ticket.
func FuzzJoinOffer(f *testing.F) {
	f.Add(make([]byte, ticketIDLen), "h2")
	f.Add([]byte{1}, joinPrefix+"AAAA")
	f.Add([]byte("0123456789abcdef"), sharePrefix+"!")
	f.Fuzz(func(t *testing.T, id []byte, other string) {
		got, ok := joinOffered([]string{other})
		if ok && !strings.HasPrefix(other, joinPrefix) {
			t.Errorf("%q is taken for a ticket", other)
		}
		if ok && got != (ticketID{}) && (&ticket{id: got}).offer() != other {
			// base64 has several forms of one name, which all mean it
			if again, ok := joinOffered([]string{(&ticket{id: got}).offer()}); !ok || again != got {
				t.Errorf("%q: %x, and then %x", other, got, again)
			}
		}
		if len(id) != ticketIDLen || ok {
			return
		}
		k := &ticket{id: ticketID(id)}
		if got, ok := joinOffered([]string{alpn, other, k.offer()}); !ok || got != k.id {
			t.Errorf("%x came out as %x, %v", id, got, ok)
		}
	})
}

package pairing

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// aFirst is a paired connection of a Listener, at both its ends.
func aFirst(t *testing.T, l *Listener, code Code) (dialer, listener *Conn) {
	t.Helper()
	d, err := Client(context.Background(), dial(t, l), code, Config{})
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
			c, err := first.Join(context.Background(), dial(t, l), Config{})
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
		if further, err := c.Join(context.Background(), dial(t, l), Config{}); !errors.Is(err, ErrNotJoined) {
			t.Errorf("a connection that joined vouched for another: %v, %v", further, err)
		}
	}
	at.Close()
	if c, err := first.Join(context.Background(), dial(t, l), Config{}); !errors.Is(err, ErrNotJoined) {
		t.Errorf("it joined one that is closed: %v, %v", c, err)
	}
	if g := code.secret().guard; g.Wrong() != 0 || g.Burnt() {
		t.Errorf("%d guesses were counted", g.Wrong())
	}
}

// Tickets that are made up, of another listener, sent back or used on another channel
// join nothing, whatever they are; and since they test no code, none is a guess.
func TestHostileJoin(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	l := serveLoopback(t, code, Config{Role: Receiver})
	first, _ := aFirst(t, l, code)
	good, err := ticketOf(first.tls)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := aFirst(t, serveLoopback(t, mustCode(t, "17-cedar-beaver"), Config{Role: Receiver}), mustCode(t, "17-cedar-beaver"))
	elsewhere, err := ticketOf(other.tls)
	if err != nil {
		t.Fatal(err)
	}
	wrongKey := good
	wrongKey.key[31] ^= 1
	binding := func(c interface {
		ExportKeyingMaterial(string, []byte, int) ([]byte, error)
	}) []byte {
		b, err := c.ExportKeyingMaterial(exporterLabel, nil, exporterLen)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, body := range map[string]func(binding []byte) []byte{
		"another key":         func(b []byte) []byte { return append(good.id[:], wrongKey.proof("dialer", b)...) },
		"another name":        func(b []byte) []byte { return append(make([]byte, ticketIDLen), good.proof("dialer", b)...) },
		"of another listener": func(b []byte) []byte { return append(elsewhere.id[:], elsewhere.proof("dialer", b)...) },
		"the listener's":      func(b []byte) []byte { return append(good.id[:], good.proof("listener", b)...) },
		"of another channel":  func(b []byte) []byte { b[0] ^= 1; return append(good.id[:], good.proof("dialer", b)...) },
		"zeros":               func([]byte) []byte { return make([]byte, ticketIDLen+joinMACLen) },
	} {
		for range 4 {
			c := channel(t, dial(t, l))
			state := c.ConnectionState()
			_, _ = c.Write(message(msgJoin, body(binding(&state))))
			b, err := readMessage(c, 3)
			if err != nil || b[0] != msgError || b[1] != reasonNotJoined {
				t.Errorf("%s: %x, %v", name, b, err)
			}
			c.Close()
		}
	}
	if g := code.secret().guard; g.Wrong() != 0 {
		t.Errorf("%d guesses were counted", g.Wrong())
	}
	// And the right one, to see that the others failed for what they are.
	if c, err := first.Join(context.Background(), dial(t, l), Config{}); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

// A man in the middle of the further connection who ends TLS towards both ends and
// passes on what they say gets no connection with either; nor does one who answers in
// the listener's place.
func TestJoinManInTheMiddle(t *testing.T) {
	code := mustCode(t, "17-cedar-otter")
	l := serveLoopback(t, code, Config{Role: Receiver})
	first, _ := aFirst(t, l, code)
	for name, answer := range map[string]func(said []byte) []byte{
		"passes it on": func(said []byte) []byte {
			back := channel(t, dial(t, l))
			_, _ = back.Write(said)
			b, err := readMessage(back, 3)
			if err != nil || b[0] != msgError || b[1] != reasonNotJoined {
				t.Errorf("the listener took it: %x, %v", b, err)
			}
			return b
		},
		"sends it back": func(said []byte) []byte { return message(msgJoin, said[1+ticketIDLen:]) },
		"makes it up":   func([]byte) []byte { return message(msgJoin, make([]byte, joinMACLen)) },
		"goes away":     func([]byte) []byte { return nil },
	} {
		d, m := tcpPair(t)
		got := make(chan error, 1)
		go func() { _, err := first.Join(context.Background(), d, Config{}); got <- err }()
		front := hostileListener(t, m)
		said, err := readMessage(front, ticketIDLen+joinMACLen)
		if err != nil || said[0] != msgJoin {
			t.Fatalf("%s: %x, %v", name, said, err)
		}
		_, _ = front.Write(answer(said))
		front.CloseWrite()
		if err := <-got; err == nil || name != "goes away" && !errors.Is(err, ErrNotJoined) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nothing of what he saw serves on a channel of his own, and no guess was made.
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
			go func() { _, _ = io.Copy(io.Discard, c); c.Close() }()
		}
	}()
	first, err := Client(context.Background(), dial(b, l), code, Config{})
	if err != nil {
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

package rudp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

func listen(t testing.TB, cfg Config) *Listener {
	t.Helper()
	l, err := Listen(context.Background(), "udp4", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pair returns the two ends of a connection; client dials.
func pair(t testing.TB, client, server Config) (c, s *Conn) {
	t.Helper()
	l := listen(t, server)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := Dial(ctx, l.AddrPort(), client)
	if err != nil {
		t.Fatal(err)
	}
	s, err = l.AcceptContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Both at once: each waits for the other's acknowledgement.
		done := make(chan struct{})
		go func() { c.Close(); close(done) }()
		s.Close()
		<-done
	})
	return c, s
}

func TestNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := Listen(context.Background(), "udp4", "127.0.0.1:0", Config{})
		if err != nil {
			return nil, nil, nil, err
		}
		c, err := Dial(context.Background(), l.AddrPort(), Config{})
		if err != nil {
			return nil, nil, nil, err
		}
		s, err := l.Accept()
		if err != nil {
			return nil, nil, nil, err
		}
		return c, s, func() {
			done := make(chan struct{})
			go func() { c.Close(); close(done) }()
			s.Close()
			<-done
			l.Close()
		}, nil
	})
}

func TestTransfer(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	want := make([]byte, 32<<20)
	rand.Read(want)
	go func() {
		c.Write(want)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// The other direction is still open.
	if _, err := s.Write([]byte("thanks")); err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "thanks" {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestCork: what is held back leaves with Uncork, with Close, and when it is more
// than any buffer holds.
func TestCork(t *testing.T) {
	c, s := pair(t, Config{}, Config{})
	c.Cork()
	c.Cork()
	c.Uncork()
	want := make([]byte, 32<<20)
	rand.Read(want)
	sent := make(chan error, 1)
	go func() {
		for b := want; len(b) > 0; b = b[min(len(b), 20000):] {
			if _, err := c.Write(b[:min(len(b), 20000)]); err != nil {
				sent <- err
				return
			}
		}
		c.Uncork()
		sent <- nil
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what was read differs (%v)", err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	c.Uncork() // once too often
	c.Cork()
	if _, err := c.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	if got, err := io.ReadAll(s); err != nil || string(got) != "bye" {
		t.Fatalf("%q, %v", got, err)
	}
}

// What a user pays for in CPU: everything from the writer's buffer to the
// reader's, over loopback (64 KiB datagrams) and with Ethernet's datagrams.
func BenchmarkThroughput(b *testing.B) {
	for _, bc := range []struct {
		name     string
		datagram int
		tls      bool
	}{{"loopback", 0, false}, {"loopback-TLS", 0, true}, {"1472", 1472, false}, {"1472-TLS", 1472, true}} {
		b.Run(bc.name, func(b *testing.B) {
			cfg := Config{Engine: arq.Config{MaxDatagram: bc.datagram}}
			c, s := pair(b, cfg, cfg)
			var w, r net.Conn = c, s
			if bc.tls {
				w = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				r = tls.Server(s, &tls.Config{Certificates: []tls.Certificate{certificate(b)}})
			}
			buf := make([]byte, 1<<20)
			b.SetBytes(int64(len(buf)))
			done := make(chan int64)
			go func() {
				n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 256<<10))
				done <- n
			}()
			b.ResetTimer()
			for range b.N {
				if _, err := w.Write(buf); err != nil {
					b.Fatal(err)
				}
			}
			if t, ok := w.(*tls.Conn); ok {
				t.CloseWrite()
			}
			c.CloseWrite()
			if n := <-done; n != int64(b.N)<<20 {
				b.Errorf("%d of %d bytes arrived", n, int64(b.N)<<20)
			}
		})
	}
}

package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, so that time can be simulated.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

// A client that sends its header or its body no further, or reads no answer, is cut;
// one that is slow is not.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &site{dir: t.TempDir()}
		v.write(t, v.dir+"/big", strings.Repeat("x", 1<<20))
		root := openRoot(t, v.dir)
		defer root.Close()
		statuses := make(chan Served, 10)
		s := &Server{Root: root, Upload: true, Trace: &Trace{Served: func(x Served) { statuses <- x }}}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l, nil) }()

		begin := time.Now()
		c := l.dial()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n")
		_, _ = io.ReadAll(c) // nothing, or 408
		if d := time.Since(begin); d > 15*time.Second {
			t.Errorf("a header that does not end was waited for %v", d)
		}
		c.Close()

		begin = time.Now()
		c = l.dial()
		fmt.Fprint(c, "PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhell")
		b, _ := io.ReadAll(c)
		if d := time.Since(begin); d > 2*DefaultStall || !strings.HasPrefix(string(b), "HTTP/1.1 400") {
			t.Errorf("a body that stood still: %q after %v", b, d)
		}
		<-statuses
		c.Close()

		c = l.dial()
		fmt.Fprint(c, "PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		go func() {
			for range 10 {
				time.Sleep(DefaultStall * 9 / 10) //permit:time.Sleep simulated
				_, _ = c.Write([]byte("x"))
			}
		}()
		buf := make([]byte, 12)
		_, _ = io.ReadFull(c, buf)
		if string(buf) != "HTTP/1.1 201" {
			t.Errorf("a slow body: %q", buf)
		}
		<-statuses
		c.Close()

		begin = time.Now()
		c = l.dial()
		fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
		if x := <-statuses; x.Bytes >= 1<<20 || time.Since(begin) > 2*DefaultStall {
			t.Errorf("who does not read was given %d bytes in %v", x.Bytes, time.Since(begin))
		}
		c.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Connections beyond the bound wait their turn, and have it.
func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := openRoot(t, t.TempDir())
		defer root.Close()
		s := &Server{Root: root, MaxConns: 2}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l, nil) }()
		ask := func(c net.Conn, more string) string {
			fmt.Fprint(c, "HEAD / HTTP/1.1\r\nHost: x\r\n"+more+"\r\n")
			r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "HEAD"})
			if err != nil {
				return err.Error()
			}
			return r.Status
		}
		a, b := l.dial(), l.dial()
		ask(a, "")
		ask(b, "")
		third := make(chan string, 1)
		go func() {
			c := l.dial()
			defer c.Close()
			third <- ask(c, "Connection: close\r\n")
		}()
		synctest.Wait()
		select {
		case <-third:
			t.Error("a third connection was served beside two")
		default:
		}
		a.Close()
		if s := <-third; s != "200 OK" {
			t.Error(s)
		}
		b.Close()
		cancel()
		<-ended
	})
}

// Strangers hold no connection for long, whatever they leave out, and where all
// places are taken the oldest of them makes room.
func TestStrangersHoldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := openRoot(t, t.TempDir())
		defer root.Close()
		s := &Server{Root: root, MaxConns: 3, Token: "secret"}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l, nil) }()
		for _, c := range []struct {
			request string
			most    time.Duration
		}{
			{"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", DefaultStall},
			{"GET /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", DefaultStall},
			{"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", time.Second},
			{"GET /secret/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", DefaultStall},
			{"DELETE /secret/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", DefaultStall},
		} {
			begin := time.Now()
			conn := l.dial()
			go fmt.Fprint(conn, c.request)
			ended := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, conn); close(ended) }()
			select {
			case <-ended:
			case <-time.After(time.Hour):
			}
			if d := time.Since(begin); d > c.most+time.Second {
				t.Errorf("%q is held for %v", c.request, d)
			}
			conn.Close()
		}

		guest := l.dial()
		get := func() error {
			go fmt.Fprint(guest, "HEAD /secret/ HTTP/1.1\r\nHost: x\r\n\r\n")
			_, err := http.ReadResponse(bufio.NewReader(guest), &http.Request{Method: "HEAD"})
			return err
		}
		if err := get(); err != nil {
			t.Fatal(err)
		}
		var crowd []net.Conn
		begin := time.Now()
		for range 20 { // silent, all of them
			crowd = append(crowd, l.dial())
			synctest.Wait()
		}
		if time.Since(begin) > 0 {
			t.Error("a newcomer waits for strangers")
		}
		if err := get(); err != nil {
			t.Errorf("a guest had to make room: %v", err)
		}
		for _, c := range crowd {
			c.Close()
		}
		guest.Close()
		cancel()
		<-ended
	})
}

var _ http.Handler = (*Server)(nil)

func openRoot(t testing.TB, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

package zmtp

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// peerProgram is libzmq's end. It prints where it is bound, then each message that
// it receives; it sends the lines of its standard input, frames in hex, and ends
// with it.
const peerProgram = `
import sys, zmq, threading
kind, how, addr = sys.argv[1:4]
c = zmq.Context()
s = c.socket(getattr(zmq, kind))
s.linger = 20000
s.rcvtimeo = s.sndtimeo = 50000
if kind == 'SUB':
    s.subscribe(b'a'); s.subscribe(b'b'); s.unsubscribe(b'b')
if how == 'bind':
    s.bind('tcp://127.0.0.1:*')
    print(s.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
else:
    s.connect(addr)
    print('connecting', flush=True)
for line in sys.stdin:
    f = line.split()
    if f[0] == 'recv':
        print(' '.join(['-' if not x else x.hex() for x in s.recv_multipart()]), flush=True)
    elif f[0] == 'send':
        s.send_multipart([bytes.fromhex(x) if x != '-' else b'' for x in f[1:]])
    elif f[0] == 'big':
        s.send_multipart([b'a', bytes(int(f[1]))])
s.close(); c.term()
print('done', flush=True)
`

// python is Debian's, which has Debian's libzmq.
const python = "/usr/bin/python3"

type libzmq struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
	at  string // HOST:PORT, if it has bound
}

func startLibzmq(t *testing.T, kind, how, addr string) *libzmq {
	t.Helper()
	if err := exec.Command(python, "-c", "import zmq").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Debian's python3-zmq is not installed: %v", err)
		}
		t.Skipf("NOT TESTED against libzmq: Debian's python3-zmq is not installed (%v)", err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", peerProgram, kind, how, "tcp://"+addr)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil || err1 != nil || err2 != nil {
		t.Fatal(err, err1, err2)
	}
	p := &libzmq{t: t, in: in, out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 16<<20)
	p.at = strings.TrimPrefix(p.line(), "tcp://")
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("libzmq's end: %v", err)
		}
	})
	return p
}

func (p *libzmq) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("libzmq's end has ended: %v", p.out.Err())
	}
	return p.out.Text()
}

func (p *libzmq) tell(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *libzmq) send(frames ...string) {
	p.t.Helper()
	for i, f := range frames {
		if frames[i] = hex.EncodeToString([]byte(f)); f == "" {
			frames[i] = "-"
		}
	}
	p.tell("send %s", strings.Join(frames, " "))
}

func (p *libzmq) receive() string {
	p.t.Helper()
	p.tell("recv")
	return p.received()
}

// received is what an earlier "recv" brings.
func (p *libzmq) received() string {
	p.t.Helper()
	var out []string
	for _, f := range strings.Fields(p.line()) {
		b, _ := hex.DecodeString(f)
		if f == "-" {
			b = nil
		}
		out = append(out, string(b))
	}
	return strings.Join(out, "|")
}

func text(m Message) string {
	var out []string
	for _, f := range m.Frames {
		out = append(out, string(f))
	}
	return strings.Join(out, "|")
}

func frames(s ...string) [][]byte {
	var out [][]byte
	for _, f := range s {
		out = append(out, []byte(f))
	}
	return out
}

// meet puts a socket of ours and one of libzmq's together.
func meet(t *testing.T, s *Socket, kind, how string) *libzmq {
	t.Helper()
	t.Cleanup(func() { s.Close() })
	if how == "bind" {
		p := startLibzmq(t, kind, how, "")
		if err := s.Connect(t.Context(), p.at); err != nil {
			t.Fatal(err)
		}
		return p
	}
	e, err := Bind(t.Context(), "127.0.0.1:0", socket.Options{}, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return startLibzmq(t, kind, how, e.Addr().String())
}

func mustReceive(t *testing.T, s *Socket) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := s.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mustSend(t *testing.T, s *Socket, f ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Send(ctx, frames(f...)...); err != nil {
		t.Fatal(err)
	}
}

// subscribers waits until a PUB has n peers that want topic.
func subscribers(t *testing.T, s *Socket, n int, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.await(ctx, func() (bool, error) {
		have := 0
		for _, p := range s.order {
			if p.wants([]byte(topic)) {
				have++
			}
		}
		return have == n, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every type exchanges messages with libzmq, whoever binds.
func TestLibzmq(t *testing.T) {
	for _, how := range []string{"bind", "connect"} {
		run := func(name string, f func(t *testing.T)) {
			t.Run(name+"/libzmq-"+how+"s", func(t *testing.T) { t.Parallel(); f(t) })
		}
		run("PUB to our SUB", func(t *testing.T) {
			s := New(SUB, Options{})
			if err := s.Subscribe([]byte("a")); err != nil {
				t.Fatal(err)
			}
			p := meet(t, s, "XPUB", how)
			// An XPUB is a PUB that tells of subscriptions: it says when to begin.
			if got := p.receive(); got != "\x01a" {
				t.Fatalf("subscribed to %q", got)
			}
			p.send("b", "not wanted")
			p.send("a1", "", "three")
			p.tell("big %d", 300_000)
			if m := mustReceive(t, s); text(m) != "a1||three" {
				t.Errorf("%q", text(m))
			}
			if m := mustReceive(t, s); len(m.Frames) != 2 || len(m.Frames[1]) != 300_000 {
				t.Errorf("%d frames", len(m.Frames))
			}
		})
		run("our PUB to SUB", func(t *testing.T) {
			s := New(PUB, Options{})
			p := meet(t, s, "SUB", how)
			p.tell("recv") // libzmq's SUB that has bound subscribes only while it is used
			subscribers(t, s, 1, "a")
			mustSend(t, s, "b", "not wanted")
			mustSend(t, s, "a1", "", "three")
			if got := p.received(); got != "a1||three" {
				t.Errorf("%q", got)
			}
		})
		run("PUSH to our PULL", func(t *testing.T) {
			s := New(PULL, Options{})
			p := meet(t, s, "PUSH", how)
			for i := range 100 {
				p.send(fmt.Sprint(i), "x")
			}
			for i := range 100 {
				if m := mustReceive(t, s); text(m) != fmt.Sprintf("%d|x", i) {
					t.Fatalf("%q", text(m))
				}
			}
		})
		run("our PUSH to PULL", func(t *testing.T) {
			s := New(PUSH, Options{HWM: 3})
			p := meet(t, s, "PULL", how)
			for i := range 100 {
				mustSend(t, s, fmt.Sprint(i), strings.Repeat("x", 10*i))
			}
			for i := range 100 {
				if got := p.receive(); got != fmt.Sprintf("%d|%s", i, strings.Repeat("x", 10*i)) {
					t.Fatalf("%q", got)
				}
			}
		})
		run("PAIR", func(t *testing.T) {
			s := New(PAIR, Options{})
			p := meet(t, s, "PAIR", how)
			mustSend(t, s, "hello", "pair")
			if got := p.receive(); got != "hello|pair" {
				t.Fatalf("%q", got)
			}
			p.send("back")
			if m := mustReceive(t, s); text(m) != "back" {
				t.Fatalf("%q", text(m))
			}
		})
		run("our ROUTER and DEALER", func(t *testing.T) {
			s := New(ROUTER, Options{})
			p := meet(t, s, "DEALER", how)
			p.send("hello", "")
			m := mustReceive(t, s)
			if text(m) != "hello|" {
				t.Fatalf("%q", text(m))
			}
			if err := s.SendTo(t.Context(), m.Peer, frames("for", "you")...); err != nil {
				t.Fatal(err)
			}
			if got := p.receive(); got != "for|you" {
				t.Fatalf("%q", got)
			}
		})
		run("our DEALER and ROUTER", func(t *testing.T) {
			s := New(DEALER, Options{Identity: []byte("me")})
			p := meet(t, s, "ROUTER", how)
			mustSend(t, s, "hello")
			if got := p.receive(); got != "me|hello" {
				t.Fatalf("%q", got)
			}
			p.send("me", "back")
			if m := mustReceive(t, s); text(m) != "back" {
				t.Fatalf("%q", text(m))
			}
		})
	}
}

// One port serves a PUB's and a ROUTER's peers, and who is neither is told.
func TestOnePortTwoSockets(t *testing.T) {
	pub, router := New(PUB, Options{}), New(ROUTER, Options{})
	defer pub.Close()
	defer router.Close()
	e, err := Bind(t.Context(), "127.0.0.1:0", socket.Options{}, pub, router)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sub := startLibzmq(t, "SUB", "connect", e.Addr().String())
	dealer := startLibzmq(t, "DEALER", "connect", e.Addr().String())
	dealer.send("hello")
	m := mustReceive(t, router)
	if text(m) != "hello" {
		t.Fatalf("%q", text(m))
	}
	subscribers(t, pub, 1, "a")
	mustSend(t, pub, "a news")
	if got := sub.receive(); got != "a news" {
		t.Fatalf("%q", got)
	}
	if err := router.SendTo(t.Context(), m.Peer, []byte("you")); err != nil {
		t.Fatal(err)
	}
	if got := dealer.receive(); got != "you" {
		t.Fatalf("%q", got)
	}
	pair := New(PAIR, Options{})
	defer pair.Close()
	if err := pair.Connect(t.Context(), e.Addr().String()); err == nil || !strings.Contains(err.Error(), "PAIR") {
		t.Errorf("a PAIR connects: %v", err)
	}
}

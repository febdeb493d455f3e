package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A wherryProc is a command that runs in this process.
type wherryProc struct {
	stop   context.CancelFunc
	done   chan struct{}
	code   int
	out    lockedBuffer
	errs   lockedBuffer
	opened chan string // the address it listens on
}

// lockedBuffer collects what is printed and hands on the address to listen on.
type lockedBuffer struct {
	mu   sync.Mutex
	b    strings.Builder
	line func(string)
	rest string
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		if l.line != nil {
			l.line(line)
		}
	}
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// parsing is held while a command line is read: urfave/cli keeps its help flag in a
// variable that all of them write.
var parsing sync.Mutex

// startWherry runs a command line until it ends or the test does.
func startWherry(t *testing.T, in io.Reader, args ...string) *wherryProc {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	w := &wherryProc{stop: stop, done: make(chan struct{}), opened: make(chan string, 1)}
	found := func(addr string) {
		select {
		case w.opened <- addr:
		default:
		}
	}
	w.errs.line = func(s string) {
		if addr, ok := strings.CutPrefix(s, "listening on "); ok {
			found(addr)
		}
	}
	w.out.line = func(s string) {
		var e struct{ Event, Address string }
		if json.Unmarshal([]byte(s), &e) == nil && e.Event == "listening" {
			found(e.Address)
		}
	}
	parsing.Lock()
	defer parsing.Unlock()
	parsed := make(chan struct{})
	once := sync.OnceFunc(func() { close(parsed) })
	go func() {
		w.code = run(ctx, append([]string{"wherry"}, args...), stdio{In: in, Out: &w.out, Err: &w.errs, parsed: once})
		close(w.done)
	}()
	select {
	case <-parsed:
	case <-w.done:
	}
	t.Cleanup(func() { stop(); <-w.done })
	return w
}

// address is where the command listens.
func (w *wherryProc) address(t *testing.T) string {
	t.Helper()
	select {
	case a := <-w.opened:
		return a
	case <-w.done:
		t.Fatalf("it ended with %d before it listened\n%s%s", w.code, w.out.String(), w.errs.String())
	}
	return ""
}

// wait is the exit code.
func (w *wherryProc) wait() int { <-w.done; return w.code }

func (w *wherryProc) String() string {
	return fmt.Sprintf("exit code %d\n--- out\n%s--- err\n%s", w.code, w.out.String(), w.errs.String())
}

func (w *wherryProc) events(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(w.out.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

func noInput() io.Reader { return strings.NewReader("") }

// listenAny is a port that nobody else has.
const listenAny = "127.0.0.1:0"

// deadPort is an address where nobody listens, nor will while the test runs: a
// connection to elsewhere has it.
func deadPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// deadUDPPort is the same for datagrams.
func deadUDPPort(t *testing.T) string {
	t.Helper()
	elsewhere, err := net.ListenPacket("udp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { elsewhere.Close() })
	conn, err := net.Dial("udp", elsewhere.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// aFile makes a file of n bytes.
func aFile(t *testing.T, name string, n int) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 7)
	}
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFilterFlags(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p")
	for _, n := range []string{"a.txt", "a.log", "keep.log", "sub/x.txt", "sub/obj/y.txt"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, n)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, n), []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dst := t.TempDir()
	r := startWherry(t, noInput(), "receive", "--plain", "--yes", "--listen", listenAny, "--dir", dst)
	s := startWherry(t, noInput(), "send", "--plain", "--to", r.address(t), dir, "--exclude", "*.log", "--exclude={obj,tmp}", "--include", "keep.log")
	if s.wait() != 0 || r.wait() != 0 {
		t.Fatalf("send: %v\nreceive: %v", s, r)
	}
	for n, want := range map[string]bool{"a.txt": true, "a.log": false, "keep.log": true, "sub/x.txt": true, "sub/obj": false} {
		if _, err := os.Stat(filepath.Join(dst, "p", n)); (err == nil) != want {
			t.Errorf("%s: %v, want there: %v", n, err, want)
		}
	}
	for _, flag := range []string{"--exclude", "--include"} {
		code, _, errs := wherryRun(t.Context(), "send", "--plain", "--to", "127.0.0.1:1", dir, flag, "a[")
		if code != 2 || !strings.Contains(errs, `"a["`) {
			t.Errorf("%s: exit code %d, %s", flag, code, errs)
		}
	}
}

// --rate holds at either end, plain and paired, and a rate that makes no sense
// is a mistake of usage.
func TestRate(t *testing.T) {
	file := aFile(t, "r", 600_000)
	code := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(code, []byte("7-cedar-otter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name       string
		send, recv []string
		least      time.Duration // and no most: other work on the machine may take any time
	}{
		{"sender", []string{"--plain", "--rate", "8Mbit"}, []string{"--plain"}, 550 * time.Millisecond},
		{"receiver", []string{"--plain"}, []string{"--plain", "--rate", "1MB/s"}, 550 * time.Millisecond},
		{"udp", []string{"--plain", "--udp", "--rate", "8Mbit"}, []string{"--plain", "--udp"}, 550 * time.Millisecond},
		{"paired", []string{"--rate", "8Mbit", "--code-file", code}, []string{"--code-file", code}, 550 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := startWherry(t, noInput(), append([]string{"receive", "--yes", "--no-sync", "--listen", listenAny, "--dir", t.TempDir()}, c.recv...)...)
			start := time.Now()
			s := startWherry(t, noInput(), append([]string{"send", "--json", "--to", r.address(t), file}, c.send...)...)
			if s.wait() != 0 || r.wait() != 0 {
				t.Fatalf("send: %v\nreceive: %v", s, r)
			}
			if d := time.Since(start); d < c.least {
				t.Errorf("600 kB at 1 MB/s took %v", d)
			}
		})
	}
	for _, bad := range []string{"fast", "10mbps", "1bit", "-5Mbit", "0"} {
		if code, _, errs := wherryRun(t.Context(), "send", "--plain", "--to", "127.0.0.1:1", "--rate", bad, file); code != 2 || !strings.Contains(errs, "--rate") {
			t.Errorf("--rate %s: exit code %d, %s", bad, code, errs)
		}
	}
}

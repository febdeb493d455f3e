package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// build makes the program, as a user has it, for tests that kill it: once for all of
// them, since linking takes a slow machine long.
func build(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "wherry-built-"); built.err == nil {
			built.out, built.err = exec.Command("go", "build", "-o", built.name(), ".").CombinedOutput()
		}
	})
	if built.err != nil {
		t.Fatalf("go build: %v\n%s", built.err, built.out)
	}
	return built.name()
}

var built program

// A program is removed after the last test.
type program struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func (p *program) name() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(p.dir, "wherry.exe")
	}
	return filepath.Join(p.dir, "wherry")
}

// allTests runs them, and then removes what was built.
type allTests struct{ *testing.M }

func (m allTests) Run() int {
	code := m.M.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	return code
}

// process is a running wherry with --json.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	events chan map[string]any
}

func start(t *testing.T, bin string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(bin, args...), events: make(chan map[string]any, 1024)}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	go func() {
		defer close(p.events)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e map[string]any
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				p.events <- e
			}
		}
	}()
	return p
}

// until is the next event of that name.
func (p *process) until(t *testing.T, event string) map[string]any {
	t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case e, ok := <-p.events:
			if !ok {
				t.Fatalf("%v ended without the event %q: %s", p.cmd.Args, event, &p.stderr)
			}
			if e["event"] == event {
				return e
			}
			if e["event"] == "error" {
				t.Fatalf("%v: %v", p.cmd.Args, e)
			}
		case <-limit:
			t.Fatalf("%v: no event %q", p.cmd.Args, event)
		}
	}
}

// A gate stands between a sender and the receivers that take each other's place.
// It keeps the address that the sender dials, and lets no more than so many bytes
// through until it is opened: a transfer cannot be over before it is killed,
// however busy the machine is.
type gate struct {
	net.Listener
	mu   sync.Mutex
	wake *sync.Cond
	to   string // the receiver now; empty while there is none
	left int64
	open bool
	end  bool
}

func newGate(t *testing.T, let int64) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{Listener: ln, left: let}
	g.wake = sync.NewCond(&g.mu)
	t.Cleanup(func() { g.change(func() { g.end = true }); ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go g.serve(c)
		}
	}()
	return g
}

func (g *gate) change(f func()) {
	g.mu.Lock()
	f()
	g.mu.Unlock()
	g.wake.Broadcast()
}

// serve joins c to the receiver, as soon as there is one.
func (g *gate) serve(c net.Conn) {
	defer c.Close()
	g.mu.Lock()
	for g.to == "" && !g.end {
		g.wake.Wait()
	}
	to := g.to
	g.mu.Unlock()
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	go func() { _, _ = io.Copy(c, d); c.Close(); d.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		g.mu.Lock()
		g.left -= int64(n)
		for g.left < 0 && !g.open && !g.end {
			g.wake.Wait()
		}
		g.mu.Unlock()
		if _, err := d.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestKilled kills the receiver without warning in the midst of a large file,
// and starts it again. The sender, which was not told to do anything, goes on;
// or it was killed as well, and is started anew.
func TestKilled(t *testing.T) {
	bin := build(t)
	size := int64(400 << 20)
	if testing.Short() {
		size = 200 << 20
	}
	src := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		name string
		plain,
		both bool
	}{{"receiver, plain", true, false}, {"receiver, paired", false, false}, {"both, plain", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			dst, g := t.TempDir(), newGate(t, size*3/4)
			common := []string{"--json", "--plain"}
			if !c.plain {
				code := filepath.Join(t.TempDir(), "code")
				if err := os.WriteFile(code, []byte("7-cedar-otter\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				common = []string{"--json", "--code-file", code}
			}
			receiver := append([]string{"receive", "--listen", listenAny, "--yes", "--dir", dst}, common...)
			sender := append([]string{"send", "--to", g.Addr().String(), src}, common...)
			r := start(t, bin, receiver...)
			at := r.until(t, "listening")["address"].(string)
			g.change(func() { g.to = at })
			s := start(t, bin, sender...)

			// At half of it, the journal knows of nearly half.
			half := size / 2 >> 20 * 44
			for end := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) { //permit:time.Sleep watches another process grow a file
				if info, err := os.Stat(filepath.Join(dst, "big.wherry-journal")); err == nil && info.Size() >= half {
					break
				}
				if _, err := os.Stat(filepath.Join(dst, "big")); err == nil {
					t.Fatal("it was complete before it could be killed")
				}
				if time.Now().After(end) {
					t.Fatalf("no journal: %s", &s.stderr)
				}
			}
			g.change(func() { g.to = "" })
			if c.both { // the sender first, lest it be the gate's next guest
				_ = s.cmd.Process.Kill()
				_ = s.cmd.Wait()
			}
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			g.change(func() { g.open = true })
			if _, err := os.Stat(filepath.Join(dst, "big")); err == nil {
				t.Fatal("the final name is there already")
			}
			stop := make(chan struct{})
			watched := make(chan error, 1)
			go func() {
				for {
					select {
					case <-stop:
						watched <- nil
						return
					case <-time.After(200 * time.Microsecond):
					}
					if info, err := os.Stat(filepath.Join(dst, "big")); err == nil && info.Size() != size {
						watched <- fmt.Errorf("the final name holds %d of %d bytes", info.Size(), size)
						return
					}
				}
			}()
			r = start(t, bin, receiver...)
			at = r.until(t, "listening")["address"].(string)
			g.change(func() { g.to = at })
			if c.both {
				s = start(t, bin, sender...)
			}
			got, sent := r.until(t, "done"), s.until(t, "done")
			close(stop)
			if err := <-watched; err != nil {
				t.Error(err)
			}
			if same, err := sameContent(src, filepath.Join(dst, "big")); err != nil || !same {
				t.Errorf("the copy differs (%v)", err)
			}
			resumed := got["resumed_bytes"].(float64)
			t.Logf("%.0f%% was not sent again", 100*resumed/float64(size))
			if resumed < float64(size)/4 {
				t.Errorf("only %.0f of %d bytes were not sent again", resumed, size)
			}
			if sent["resumed_bytes"] != got["resumed_bytes"] {
				t.Errorf("resumed_bytes: %v at the sender, %v at the receiver", sent["resumed_bytes"], got["resumed_bytes"])
			}
			left, _ := os.ReadDir(dst)
			if len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func sameContent(a, b string) (bool, error) {
	x, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer y.Close()
	p, q := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(x, p)
		m, _ := io.ReadFull(y, q)
		if n != m || !bytes.Equal(p[:n], q[:n]) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
	}
}

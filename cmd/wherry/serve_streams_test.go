package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// cuttingProxy passes connections on, and cuts the first one when that many bytes
// have come from there. conns is how many there were.
func cuttingProxy(t *testing.T, to string, after int64) (addr string, conns *atomic.Int32) {
	t.Helper()
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			first := conns.Add(1) == 1
			go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
			go func() {
				defer in.Close()
				defer out.Close()
				if first {
					_, _ = io.CopyN(in, out, after)
					return
				}
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return ln.Addr().String(), conns
}

// A sender that serves several gives each as many streams as were agreed on, and one
// that loses its connection comes back to its own transfer: all is told once.
func TestSendCountStreams(t *testing.T) {
	const size = 20 << 20
	file := filepath.Join(t.TempDir(), "f")
	var content []byte
	for i := range size / 4 {
		content = append(content, byte(i), byte(i>>8), byte(i>>16), 7)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	code := codeFile(t, "7-cedar-otter")
	for name, trust := range map[string][]string{"plain": {"--plain"}, "paired": {"--code-file", code}} {
		t.Run(name, func(t *testing.T) {
			s := startWherry(t, noInput(), slices.Concat([]string{"send", "--json", "--count", "3", "--streams", "3", "--rate", "60MB/s", "--listen", listenAny, file}, trust)...)
			addr := s.address(t)
			proxy, conns := cuttingProxy(t, addr, size/4)
			var receivers []*wherryProc
			var dirs []string
			for _, from := range []string{addr, addr, proxy} {
				dirs = append(dirs, t.TempDir())
				receivers = append(receivers, startWherry(t, noInput(), slices.Concat([]string{"receive", "--json", "--yes", "--no-sync", "--from", from, "--dir", dirs[len(dirs)-1]}, trust)...))
			}
			for i, r := range receivers {
				if r.wait() != 0 {
					t.Fatalf("%v\nsend: %v", r, s)
				}
				if got, _ := os.ReadFile(filepath.Join(dirs[i], "f")); !bytes.Equal(got, content) {
					t.Error("a copy differs")
				}
				events := r.events(t)
				if n := events[len(events)-1]["streams"].(float64); n > 3 {
					t.Errorf("%v streams", n)
				} else if n == 1 {
					t.Log("one connection only: the machine was too busy for others to come in time")
				}
			}
			if s.wait() != 0 {
				t.Errorf("%v", s)
			}
			count := map[any]int{}
			for _, e := range s.events(t) {
				count[e["event"]]++
			}
			if count["start"] != 3 || count["done"] != 3 || count["error"] != 0 || count["file"] != 3 {
				t.Errorf("%v: %v", count, s)
			}
			if n := conns.Load(); n < 2 {
				t.Errorf("the proxy saw %d connections: nothing was lost", n)
			}
		})
	}
}

// Who comes when all places are taken is refused, and does not try again.
func TestSendCountFull(t *testing.T) {
	file := aFile(t, "f", 3<<20)
	s := startWherry(t, noInput(), "send", "--json", "--plain", "--count", "2", "--listen", listenAny, file)
	addr := s.address(t)
	var slow []*wherryProc
	for range 2 {
		r := startWherry(t, noInput(), "receive", "--json", "--plain", "--yes", "--rate", "64Kbit", "--from", addr, "--dir", t.TempDir())
		slow = append(slow, r)
	}
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(2 * time.Millisecond); strings.Count(s.out.String(), `"start"`) < 2 && time.Now().Before(deadline); <-tick.C {
	}
	late := startWherry(t, noInput(), "receive", "--plain", "--yes", "--from", addr, "--dir", t.TempDir())
	if late.wait() != exitRefused {
		t.Errorf("with two under way: %v", late)
	}
	slow[0].stop()
	slow[0].wait()
	late = startWherry(t, noInput(), "receive", "--plain", "--yes", "--from", addr, "--dir", t.TempDir())
	if late.wait() != exitRefused {
		t.Errorf("with one under way: %v", late)
	}
	slow[1].stop()
	slow[1].wait()
	if s.wait() != exitInterrupted {
		t.Errorf("%v", s)
	}
}

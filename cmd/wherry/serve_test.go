package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// One sender serves several receivers at once: one that does not read holds up
// none of the others, and the sender's exit code is that of the worst.
func TestSendCount(t *testing.T) {
	file := aFile(t, "f", 3<<20)
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := startWherry(t, noInput(), "send", "--json", "--plain", "--count", "4", "--listen", listenAny, file)
	addr := s.address(t)
	slow := startWherry(t, noInput(), "receive", "--plain", "--yes", "--rate", "64Kbit", "--from", addr, "--dir", t.TempDir())
	s.until(t, `"event":"start"`)
	var dirs []string
	for range 2 {
		dir := t.TempDir()
		dirs = append(dirs, dir)
	}
	var fast []*wherryProc
	for _, d := range dirs {
		fast = append(fast, startWherry(t, noInput(), "receive", "--json", "--plain", "--yes", "--from", addr, "--dir", d))
	}
	for i, r := range fast {
		if r.wait() != 0 {
			t.Fatalf("%v", r)
		}
		if got, _ := os.ReadFile(filepath.Join(dirs[i], "f")); !bytes.Equal(got, want) {
			t.Error("a copy differs")
		}
	}
	select {
	case <-slow.done:
		t.Fatalf("the slow one was the first to finish: %v", slow)
	default:
	}
	small := startWherry(t, noInput(), "receive", "--plain", "--yes", "--max-size", "1", "--from", addr, "--dir", t.TempDir())
	if small.wait() != exitRefused {
		t.Errorf("%v", small)
	}
	slow.stop() // the sender is told
	slow.wait()
	if s.wait() != exitInterrupted {
		t.Errorf("want the code of the worst, %d: %v", exitInterrupted, s)
	}
	ends, peers := map[string][]string{}, []string{}
	for _, e := range s.events(t) {
		peer, _ := e["peer"].(string)
		switch event := e["event"].(string); event {
		case "listening":
			continue
		case "start":
			peers = append(peers, peer)
		case "done", "error":
			ends[peer] = append(ends[peer], event)
		}
		if !slices.Contains(peers, peer) {
			t.Errorf("of whom does this speak: %v", e)
		}
	}
	if len(peers) != 4 || len(ends) != 4 {
		t.Errorf("started %v, ended %v", peers, ends)
	}
	done := 0
	for peer, e := range ends {
		if len(e) != 1 {
			t.Errorf("%s ended %d times", peer, len(e))
		}
		if e[0] == "done" {
			done++
		}
	}
	if done != 2 {
		t.Errorf("%d were done, want 2", done)
	}
}

func TestSendCountUsage(t *testing.T) {
	file := aFile(t, "f", 1)
	for _, args := range [][]string{
		{"--count", "0", "--listen", listenAny, file},
		{"--count", "-1", "--listen", listenAny, file},
		{"--count", "2", "--to", "127.0.0.1:1", file},
		{"--count", "2", "--listen", listenAny, "-"},
	} {
		if code, _, errs := wherryRun(t.Context(), append([]string{"send", "--plain"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
}

// Off JSON each line says of whom it speaks.
func TestKeepTellsPeersApart(t *testing.T) {
	file := aFile(t, "f", 1000)
	r := startWherry(t, noInput(), "receive", "--plain", "--yes", "--keep", "--listen", listenAny, "--dir", t.TempDir())
	addr := r.address(t)
	for range 2 {
		if s := startWherry(t, noInput(), "send", "--plain", "--to", addr, file); s.wait() != 0 {
			t.Fatalf("%v", s)
		}
	}
	r.stop()
	if r.wait() != exitInterrupted {
		t.Errorf("%v", r)
	}
	if n := bytes.Count([]byte(r.errs.String()), []byte(": received 1 file")); n != 2 {
		t.Errorf("%d results: %v", n, r)
	}
}

// Both ends print the same of what limited a transfer.
func TestBothEndsAgreeOnTheLimiter(t *testing.T) {
	file := aFile(t, "f", 3<<20)
	r := startWherry(t, noInput(), "receive", "--json", "--plain", "--yes", "--listen", listenAny, "--dir", t.TempDir())
	s := startWherry(t, noInput(), "send", "--json", "--plain", "--to", r.address(t), file)
	if s.wait() != 0 || r.wait() != 0 {
		t.Fatalf("send: %v\nreceive: %v", s, r)
	}
	limiter := func(w *wherryProc) any {
		events := w.events(t)
		return events[len(events)-1]["limiter"]
	}
	if a, b := limiter(s), limiter(r); a != b || a == "" {
		t.Errorf("the sender was limited by %v, the receiver by %v", a, b)
	}
	for _, c := range [][3]string{
		{"receive window 80%", "disk", "the receiver's disk"},
		{"receive window 80%", "the sender or the network", "receive window 80%"},
		{"cpu 93%", "cpu", "the sender's cpu 93%"},
		{"source 60%", "the sender or the network", "the sender's source 60%"},
		{"congestion window 99%", "disk", "congestion window 99%"},
		{"", "disk", "disk"},
	} {
		if got := bothLimiters(c[0], c[1]); got != c[2] {
			t.Errorf("%q and %q make %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// zeroMQTree is a directory with a file large enough to be caught half-way.
func zeroMQTree(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(3, 4))
	for i := 0; i < len(b); i += 512 {
		b[i] = byte(r.Uint64())
	}
	for name, content := range map[string][]byte{"big": b, "sub/small": []byte("small"), "sub/empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sameFiles holds what a receiver has to what was sent, and that nothing is left over.
func sameFiles(t *testing.T, want, dir string) {
	t.Helper()
	got := filepath.Join(dir, filepath.Base(want))
	if out, err := exec.Command("diff", "-r", want, got).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("%q", left)
	}
}

// command runs the program itself, so that it can be killed.
func command(t *testing.T, bin string, args ...string) (c *exec.Cmd, out, errs *lockedBuffer) {
	t.Helper()
	out, errs = &lockedBuffer{}, &lockedBuffer{}
	c = exec.CommandContext(t.Context(), bin, args...)
	c.Stdout, c.Stderr = out, errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c, out, errs
}

// One send, three receivers: one is killed half-way and started again, one comes when
// the others are done, and the sender is killed and started again too: three equal
// trees.
func TestFilesZeroMQ(t *testing.T) {
	bin := build(t)
	tree := zeroMQTree(t, 96<<20)
	t.Setenv(codeVariable, testLongCode)
	via := "zmq+tcp://" + loopbackPort(t)
	send := func() (*exec.Cmd, *lockedBuffer) {
		t.Helper()
		c, _, errs := command(t, bin, "send", "--via", via, tree)
		for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C { // until it listens
			w := startWherry(t, noInput(), "receive", "--via", via, "--yes", "--dir", t.TempDir(), "--overwrite", "never", "--max-size", "1KiB")
			if code := w.wait(); code == exitRefused {
				return c, errs
			} else if code != exitNetwork {
				t.Fatalf("%v\n%v", w, errs)
			}
		}
	}
	receive := func(dir string) (*exec.Cmd, *lockedBuffer, *lockedBuffer) {
		t.Helper()
		return command(t, bin, "receive", "--via", via, "--yes", "--json", "--no-sync", "--dir", dir)
	}
	sender, _ := send()
	one, two, three := t.TempDir(), t.TempDir(), t.TempDir()
	first, _, firstErr := receive(one)
	second, _, _ := receive(two)
	// Killed as soon as it has something; where it was quicker nothing was broken off,
	// and the rest of this holds all the same.
	part := func() bool {
		m, _ := filepath.Glob(filepath.Join(two, "tree", "big*"))
		for _, name := range m {
			if fi, err := os.Stat(name); err == nil && fi.Sys().(*syscall.Stat_t).Blocks*512 >= 48<<20 {
				return true
			}
		}
		return false
	}
	for tick := time.NewTicker(time.Millisecond); !part(); <-tick.C {
	}
	_ = second.Process.Kill()
	_ = second.Wait()
	if err := first.Wait(); err != nil {
		t.Fatalf("%v: %v", err, firstErr)
	}
	sameFiles(t, tree, one)
	second, out, errs := receive(two)
	if err := second.Wait(); err != nil {
		t.Fatalf("%v: %v", err, errs)
	}
	sameFiles(t, tree, two)
	t.Logf("resumed: %v", lastEvent(t, out)["resumed_bytes"])

	third, _, _ := receive(three)
	_ = sender.Process.Kill()
	_ = sender.Wait()
	_ = third.Process.Kill() // or it would wait
	_ = third.Wait()
	sender, senderErr := send()
	third, _, errs = receive(three)
	if err := third.Wait(); err != nil {
		t.Fatalf("%v: %v", err, errs)
	}
	sameFiles(t, tree, three)

	// Stopped when nobody waits for it, and it knows, it has done what it was for.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * time.Minute); !strings.Contains(senderErr.String(), "has everything") && time.Now().Before(end); <-tick.C {
	}
	_ = sender.Process.Signal(os.Interrupt)
	if err := sender.Wait(); err != nil {
		t.Errorf("the sender: %v", err)
	}
}

func lastEvent(t *testing.T, out *lockedBuffer) map[string]any {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var e map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil {
		t.Fatalf("%q: %v", lines[len(lines)-1], err)
	}
	return e
}

// A sender that was told how many receivers there are ends with the last.
func TestFilesZeroMQCount(t *testing.T) {
	tree := zeroMQTree(t, 4<<20)
	t.Setenv(codeVariable, testLongCode)
	for _, n := range []int{1, 2} { // a PAIR, and PUB and SUB
		s := startWherry(t, noInput(), "send", "--via", "zmq+tcp://127.0.0.1:0", "--count", fmt.Sprint(n), "--json", tree)
		via := "zmq+tcp://" + s.address(t)
		t.Setenv(codeVariable, strings.Replace(testLongCode, "one", "zero", 1))
		if w := startWherry(t, noInput(), "receive", "--via", via, "--yes", "--dir", t.TempDir()); w.wait() != exitPairing {
			t.Errorf("%v", w)
		}
		t.Setenv(codeVariable, testLongCode)
		var all []*wherryProc
		var dirs []string
		for range n {
			dirs = append(dirs, t.TempDir())
			all = append(all, startWherry(t, noInput(), "receive", "--via", via, "--yes", "--json", "--no-sync", "--dir", dirs[len(dirs)-1]))
		}
		for i, w := range all {
			if w.wait() != 0 {
				t.Fatalf("%v", w)
			}
			sameFiles(t, tree, dirs[i])
			checkEvents(t, w)
		}
		if s.wait() != 0 {
			t.Fatalf("%v", s)
		}
		done := 0
		for _, e := range s.events(t) {
			if e["event"] == "done" && e["files"] == 3. && e["transport"] == "zmq" {
				done++
			}
		}
		if done != n {
			t.Errorf("%d of %d are done: %v", done, n, s)
		}
		checkEvents(t, s)
	}
}

// Two receivers share what is sent: each file is at one of them.
func TestFilesZeroMQShare(t *testing.T) {
	tree := zeroMQTree(t, 4<<20)
	for i := range 40 {
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprint("f", i)), bytes.Repeat([]byte{byte(i)}, 1<<20), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(codeVariable, testLongCode)
	s := startWherry(t, noInput(), "send", "--via", "zmq+tcp://127.0.0.1:0", "--share", tree)
	via := "zmq+tcp://" + s.address(t)
	dirs := []string{t.TempDir(), t.TempDir()}
	var all []*wherryProc
	for _, dir := range dirs {
		all = append(all, startWherry(t, noInput(), "receive", "--via", via, "--yes", "--json", "--no-sync", "--dir", dir))
	}
	files := 0
	for _, w := range all {
		if w.wait() != 0 {
			t.Fatalf("%v", w)
		}
		checkEvents(t, w)
		e := w.events(t)
		files += int(e[len(e)-1]["files"].(float64))
	}
	if s.wait() != 0 {
		t.Fatalf("%v", s)
	}
	if files != 43 {
		t.Errorf("%d files were received", files)
	}
	entries, err := os.ReadDir(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n := 0
		for _, dir := range dirs {
			if _, err := os.Stat(filepath.Join(dir, "tree", e.Name())); err == nil {
				n++
			}
		}
		if n != 1 && !e.IsDir() {
			t.Errorf("%s is at %d receivers", e.Name(), n)
		}
	}
}

func TestFilesZeroMQFlags(t *testing.T) {
	t.Setenv(codeVariable, testLongCode)
	dir := t.TempDir()
	for _, args := range [][]string{
		{"send", "--via", "zmq+tcp://*:0", "--udp", dir},
		{"send", "--via", "zmq+tcp://*:0", "--to", "x", dir},
		{"send", "--via", "zmq+tcp://*:0", "--loss", "5%", dir},
		{"send", "--via", "zmq+tcp://*:0", "--keep-for", "7d", dir},
		{"receive", "--via", "zmq+tcp://127.0.0.1:1", "--ipv6", "--yes"},
		{"send", "--via", "zmq+tcp://*:0", "-"},
		{"send", "--via", "zmq+tcp://*", dir},
		{"send", "--via", "tcp://x:1", dir},
		{"send", "--via", "zmq+tcp://*:0"},
		{"send", "--via", "zmq+tcp://*:0", "--share", "--count", "2", dir},
		{"send", "--share", dir},
		{"send", "--to", "127.0.0.1:1", "--keep-for", "7d", dir},
		{"send", "--to", "127.0.0.1:1", "--keep-bytes", "1GiB", dir},
		{"receive", "--via", "zmq+tcp://*:1", "--yes"},
		{"receive", "--via", "zmq+tcp://127.0.0.1:1", "--keep", "--yes"},
		{"receive", "--via", "zmq+tcp://127.0.0.1:1"}, // nobody to ask
	} {
		if w := startWherry(t, noInput(), args...); w.wait() != exitUsage {
			t.Errorf("%q: %v", args, w)
		}
	}
	if w := startWherry(t, noInput(), "receive", "--via", "zmq+tcp://"+deadPort(t), "--yes", "--dir", dir); w.wait() != exitNetwork || !strings.Contains(w.errs.String(), "wherry send --via") {
		t.Errorf("%v", w)
	}
	t.Setenv(codeVariable, "two-words")
	if w := startWherry(t, noInput(), "receive", "--via", "zmq+tcp://127.0.0.1:1", "--yes", "--dir", dir); w.wait() != exitUsage || !strings.Contains(w.errs.String(), "8 or more") {
		t.Errorf("%v", w)
	}
}

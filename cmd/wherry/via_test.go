//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wherry-net/wherry/socket/broker/brokertest"
)

// viaTree is a tree of n MiB, whose names and contents can be recognised.
func viaTree(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "confidential-tree")
	if err := os.MkdirAll(filepath.Join(dir, "confidential-sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	for i := range n / 8 {
		b := make([]byte, 8<<20)
		_, _ = r.Read(b)
		copy(b, "confidential content")
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("confidential-%d", i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(dir, "confidential-sub", fmt.Sprintf("confidential-%d", i)), fmt.Appendf(nil, "confidential content %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// viaFiles are the files below dir with their contents.
func viaFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		m[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// diskUsage is how many bytes the files below dir whose names end so have.
func diskUsage(dir, suffix string) (n int64) {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, suffix) {
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// killedWhen runs the program and kills it as soon as it has come far, or has ended.
func killedWhen(t *testing.T, far func() bool, bin string, args ...string) {
	t.Helper()
	c := exec.Command(bin, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !far() {
		select {
		case <-tick.C:
		case <-ended:
			t.Logf("it was too fast to be killed: %s", out.String())
			return
		}
	}
	_ = c.Process.Kill()
	<-ended
	t.Logf("killed: %s", out.String())
}

// A sender leaves files for whoever takes them, and goes home. Of three receivers one is
// killed for good and one is started again, and the broker is killed too: each file is at
// one of the living, but for those that the dead one had.
func TestViaShare(t *testing.T) {
	b := brokertest.Start(t)
	bin := build(t)
	src := viaTree(t, 96)
	want := viaFiles(t, src)
	dir := t.TempDir()
	t.Setenv(codeVariable, "able-acid-acorn-agent-album-alien-alley-amber")
	t.Setenv(passwordVariable, "guest")
	via := strings.Replace(b.URL, "guest:guest@", "guest@", 1)
	receive := func(name string) []string {
		return []string{"receive", "--via", via, "--timeout", "60s", "--yes", "--no-sync", "--json", "--dir", filepath.Join(dir, name)}
	}
	some := func(name string) func() bool {
		return func() bool { return diskUsage(filepath.Join(dir, name), "") > 12<<20 }
	}
	if s := startWherry(t, noInput(), "send", "--share", "--via", via, src); s.wait() != 0 || !strings.Contains(s.errs.String(), "each for one of the receivers") {
		t.Fatalf("%v", s)
	}
	b.Settle()
	killedWhen(t, some("dead"), bin, receive("dead")...)
	killedWhen(t, some("again"), bin, receive("again")...)
	watch := startWherry(t, noInput(), "send", "--share", "--count", "2", "--json", "--via", via, src)
	rs := []*wherryProc{startWherry(t, noInput(), receive("again")...), startWherry(t, noInput(), receive("third")...)}
	// Those who have found the broker may lose it.
	for _, w := range append(rs, watch) {
		w.until(t, `"event":"start"`)
	}
	// Whoever of the three was how fast, together they come to have this.
	for tick := time.NewTicker(10 * time.Millisecond); diskUsage(dir, "") < 60<<20; <-tick.C {
	}
	b.Kill()
	b.Start()
	for _, r := range rs {
		if r.wait() != 0 {
			t.Fatalf("%v", r)
		}
		checkEvents(t, r)
	}
	if watch.wait() != 0 || strings.Count(watch.out.String(), `"complete":true`) != 2 {
		t.Errorf("%v", watch)
	}
	got := map[string]int{}
	for _, name := range []string{"dead", "again", "third"} {
		at := filepath.Join(dir, name, filepath.Base(src))
		if _, err := os.Stat(at); err != nil {
			continue
		}
		for p, c := range viaFiles(t, at) {
			switch {
			case want[p] == c:
				// The dead may have completed files of a portion that it was at.
				if name != "dead" || got[p] == 0 {
					got[p]++
				}
			case name != "dead" || !strings.Contains(p, ".wherry-"):
				t.Errorf("%s is in %s", p, name)
			}
		}
	}
	both := 0
	for p := range want {
		switch n := got[p]; {
		case n == 0:
			t.Errorf("%s is lost", p)
		case n > 1:
			both++
			if _, err := os.Stat(filepath.Join(dir, "dead", filepath.Base(src), p)); err != nil {
				t.Errorf("%s is at both of the living", p)
			}
		}
	}
	t.Logf("%d files are at the dead and at a living one", both)

	// Who comes when all is done has nothing to do.
	if late := startWherry(t, noInput(), receive("late")...); late.wait() != 0 || len(viaFiles(t, filepath.Join(dir, "late"))) != 0 {
		t.Errorf("%v", late)
	}
	if w := startWherry(t, noInput(), "receive", "--via", via, "--yes", "--output", "-"); w.wait() != exitUsage {
		t.Errorf("%v", w)
	}
}

// What is over is not given out, and is removed by who comes next.
func TestViaOver(t *testing.T) {
	b := brokertest.Start(t)
	t.Setenv(codeVariable, "able-acid-acorn-agent-album-alien-alley-amber")
	dir := t.TempDir()
	src := filepath.Join(dir, "file")
	if err := os.WriteFile(src, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also where another list was left before
		if s := startWherry(t, noInput(), "send", "--via", b.URL, "--keep-for", "1s", src); s.wait() != 0 {
			t.Fatalf("%v", s)
		}
		if err := os.WriteFile(src, []byte("other content"), 0o644); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond) //permit:time.Sleep the clock is another process's
	}
	r := startWherry(t, noInput(), "receive", "--via", b.URL, "--yes", "--dir", dir)
	if r.wait() != exitNetwork || !strings.Contains(r.errs.String(), "nothing was left under this code") || !strings.Contains(r.errs.String(), "is over, since") {
		t.Errorf("%v", r)
	}
	// Removed: now there is nothing at all.
	r = startWherry(t, noInput(), "receive", "--via", b.URL, "--yes", "--dir", dir, "--timeout", "10ms")
	if r.wait() != exitNetwork || strings.Contains(r.errs.String(), "is over") {
		t.Errorf("%v", r)
	}
}

// checkEvents holds what a program has printed to the schema.
func checkEvents(t *testing.T, w *wherryProc) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(w.out.String()) {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// One sender, killed and started again, who goes home; three receivers, one of which
// comes before that, one of which is killed and started again, and one of which comes
// late. What the broker has stored tells nothing.
func TestVia(t *testing.T) {
	b := brokertest.Start(t)
	bin := build(t)
	src := viaTree(t, 32)
	want := viaFiles(t, src)
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	if err := os.WriteFile(code, []byte("able-acid-acorn-agent-album-alien-alley-amber\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(passwordVariable, "guest")
	via := strings.Replace(b.URL, "guest:guest@", "guest@", 1)
	args := func(role string, more ...string) []string {
		return append([]string{role, "--via", via, "--code-file", code, "--timeout", "60s"}, more...)
	}
	receive := func(name string) []string {
		return args("receive", "--yes", "--no-sync", "--dir", filepath.Join(dir, name))
	}
	// Before there is anything.
	early := startWherry(t, noInput(), receive("one")...)
	killedWhen(t, func() bool { return diskUsage(b.Dir(), ".segment") > 8<<20 }, bin, args("send", src)...)
	killedWhen(t, func() bool { return diskUsage(dir, ".wherry-part") > 4<<20 }, bin, receive("two")...)
	home := startWherry(t, noInput(), args("send", src)...)
	if home.wait() != 0 || !strings.Contains(home.errs.String(), "continuing: ") || !strings.Contains(home.errs.String(), " keeps it until ") {
		t.Fatalf("%v", home)
	}
	s := startWherry(t, noInput(), args("send", "--count", "3", "--json", src)...)
	rs := []*wherryProc{early, startWherry(t, noInput(), receive("two")...)}
	for _, r := range rs {
		if r.wait() != 0 || !strings.Contains(r.errs.String(), "every file verified") {
			t.Errorf("%v", r)
		}
	}
	if r := startWherry(t, noInput(), append(receive("three"), "--json")...); r.wait() != 0 {
		t.Errorf("%v", r)
	}
	if s.wait() != 0 || strings.Count(s.out.String(), `"complete":true`) != 3 {
		t.Errorf("%v", s)
	}
	checkEvents(t, s)
	for _, name := range []string{"one", "two", "three"} {
		got := viaFiles(t, filepath.Join(dir, name, filepath.Base(src)))
		if len(got) != len(want) {
			t.Errorf("%s has %d files", name, len(got))
		}
		for p, c := range want {
			if got[p] != c {
				t.Errorf("%s: %s differs", name, p)
			}
		}
	}
	for p, c := range viaFiles(t, b.Dir()) {
		if strings.Contains(c, "confidential") {
			t.Errorf("%s tells what was left", p)
		}
	}

	// What cannot work says so in one line.
	other := filepath.Join(dir, "one", filepath.Base(src), "confidential-sub")
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, []byte("17-cedar-otter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := filepath.Join(dir, "nobody")
	if err := os.WriteFile(nobody, []byte("amber-alley-alien-album-agent-acorn-acid-able\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{args("send", other), exitRefused, "something else was left under this code"},
		{[]string{"send", "--via", via, "--code-file", short, src}, exitUsage, "must have 8"},
		{[]string{"receive", "--yes", "--via", via, "--code-file", short}, exitUsage, "must have 8"},
		{[]string{"receive", "--yes", "--via", via, "--code-file", nobody, "--timeout", "10ms", "--dir", dir}, exitNetwork, "nothing was left under this code"},
		{[]string{"send", "--via", strings.Replace(via, "guest@", "nobody@", 1), "--code-file", code, src}, exitPairing, "refuses the user"},
		{[]string{"send", "--via", "amqp://127.0.0.1:1", "--code-file", code, src}, exitNetwork, "127.0.0.1:1"},
		{[]string{"send", "--via", via, "--code-file", code, "--keep-bytes", "1MiB", src}, exitRefused, "--keep-bytes keeps 1 MiB"},
		{[]string{"send", "--via", "http://x", src}, exitUsage, "amqp://"},
		{[]string{"send", "--via", via, "--to", "x", src}, exitUsage, "--to"},
		{[]string{"send", "--via", via, "-"}, exitUsage, "standard input"},
		{[]string{"send", "--via", via, "--keep-for", "never", src}, exitUsage, "--keep-for"},
	} {
		w := startWherry(t, noInput(), c.args...)
		if w.wait() != c.code || !strings.Contains(w.errs.String(), c.text) || strings.Count(w.errs.String(), "wherry: ") != 1 {
			t.Errorf("%q: %v", c.args, w)
		}
	}
	b.Kill()
	for _, role := range [][]string{receive("four"), args("send", src)} {
		if w := startWherry(t, noInput(), role...); w.wait() != exitNetwork {
			t.Errorf("%v", w)
		}
	}
}

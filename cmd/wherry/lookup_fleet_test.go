//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/broker/brokertest"
)

// A list is given out to two workers, one of which is killed half-way: every name
// has one result.
func TestFleet(t *testing.T) {
	r := brokertest.Start(t)
	bin := build(t)
	s := aServer(t)
	const n = 30_000
	dir := t.TempDir()
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "h%d.example\n", i)
	}
	names, out := filepath.Join(dir, "names"), filepath.Join(dir, "out")
	if err := os.WriteFile(names, []byte(list.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	// The password is not on the command line.
	via := strings.Replace(r.URL, "guest:guest@", "guest@", 1)
	t.Setenv(passwordVariable, "guest")
	worker := func() *exec.Cmd {
		c := exec.Command(bin, "lookup", "--worker", "--via", via, "--qps", "10000", "@"+s.Addr.String())
		c.Stderr = &bytes.Buffer{}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := worker(), worker()
	t.Cleanup(func() { _ = one.Process.Kill(); _ = one.Wait() })
	c := startWherry(t, noInput(), "lookup", "--file", names, "--via", via, "--output", out)
	results := func() (b []byte) { b, _ = os.ReadFile(out); return b }
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over && bytes.Count(results(), []byte("\n")) < n/4; {
		select {
		case <-tick.C:
		case <-c.done:
			over = true
		}
	}
	_ = two.Process.Kill()
	_ = two.Wait()
	if c.wait() != 0 {
		t.Fatalf("%v", c)
	}
	seen := map[string]int{}
	for _, l := range strings.Split(strings.TrimSpace(string(results())), "\n")[1:] {
		f := strings.Split(l, ",")
		if f[3] != "NOERROR" || "h"+f[0] == f[1] {
			t.Fatal(l)
		}
		seen[f[1]]++
	}
	for i := range n {
		if k := seen[fmt.Sprintf("h%d.example", i)]; k != 1 {
			t.Fatalf("h%d.example has %d results", i, k)
		}
	}
	if !strings.Contains(c.errs.String(), "30,000 names in ") {
		t.Errorf("%v", c)
	}
	// A worker is stopped as it is meant to be.
	_ = one.Process.Signal(os.Interrupt)
	if err := one.Wait(); err != nil {
		t.Errorf("%v: %v", err, one.Stderr)
	}

	// What cannot work says so in one line.
	t.Setenv(passwordVariable, "wrong")
	if w := startWherry(t, noInput(), "lookup", "--file", names, "--via", via); w.wait() != exitPairing || !strings.Contains(w.errs.String(), passwordVariable) {
		t.Errorf("%v", w)
	}
	t.Setenv(passwordVariable, "guest")
	r.Kill()
	if w := startWherry(t, noInput(), "lookup", "--file", names, "--via", via); w.wait() != exitNetwork {
		t.Errorf("%v", w)
	}
}

func TestFleetFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--worker"},
		{"--worker", "--via", "http://x"},
		{"--worker", "--via", "amqp://127.0.0.1:1", "--file", "x"},
		{"--file", "x", "--via", "amqp://127.0.0.1:1", "@127.0.0.1"},
		{"--file", "x", "--via", "nonsense"},
	} {
		if w := startWherry(t, noInput(), append([]string{"lookup"}, args...)...); w.wait() != exitUsage {
			t.Errorf("%q: %v", args, w)
		}
	}
}

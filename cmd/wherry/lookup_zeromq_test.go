//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const testLongCode = "one-two-three-four-five-six-seven-eight"

// A worker is killed, and then the coordinator, who goes on with its list when it is
// started again: every name has one result.
func TestFleetZeroMQ(t *testing.T) {
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
	t.Setenv(codeVariable, testLongCode)
	addr := loopbackPort(t)
	via := "zmq+tcp://" + addr
	start := func(args ...string) *exec.Cmd {
		t.Helper()
		c := exec.CommandContext(t.Context(), bin, append([]string{"lookup"}, args...)...)
		c.Stderr = &bytes.Buffer{}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	worker := func() *exec.Cmd {
		return start("--worker", "--via", via, "--rejoin", "60s", "--qps", "8000", "@"+s.Addr.String())
	}
	coordinate := func() (*exec.Cmd, chan error) {
		c := start("--file", names, "--via", via, "--output", out, "--resume")
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		return c, done
	}
	one, two := worker(), worker() // before there is a coordinator
	results := func() (b []byte) { b, _ = os.ReadFile(out); return b }
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	until := func(k int, done chan error) {
		t.Helper()
		for bytes.Count(results(), []byte("\n")) < k {
			select {
			case <-tick.C:
			case err := <-done:
				t.Fatalf("it was over before anything could break: %v", err)
			}
		}
	}
	c, done := coordinate()
	until(n/8, done)
	_ = two.Process.Kill()
	_ = two.Wait()
	until(n/4, done)
	_ = c.Process.Kill()
	<-done
	c, done = coordinate()
	if err := <-done; err != nil {
		t.Fatalf("%v: %v", err, c.Stderr)
	}
	// The worker has heard that the list is done.
	if err := one.Wait(); err != nil || !strings.Contains(fmt.Sprint(one.Stderr), "the coordinator is back") {
		t.Errorf("%v: %v", err, one.Stderr)
	}
	seen := map[string]int{}
	for _, l := range strings.Split(strings.TrimSpace(string(results())), "\n")[1:] {
		f := strings.Split(l, ",")
		if f[3] != "NOERROR" {
			t.Fatal(l)
		}
		seen[f[1]]++
	}
	for i := range n {
		if k := seen[fmt.Sprintf("h%d.example", i)]; k != 1 {
			t.Fatalf("h%d.example has %d results", i, k)
		}
	}
	if w := startWherry(t, noInput(), "lookup", "--worker", "--via", via, "@"+s.Addr.String()); w.wait() != exitNetwork || !strings.Contains(w.errs.String(), addr) {
		t.Errorf("nobody is there: %v", w)
	}
}

// loopbackPort is an address where nobody listens, and nobody will whom a system
// gives any port: those are of 127.0.0.1.
func loopbackPort(t *testing.T) string {
	t.Helper()
	host := fmt.Sprintf("127.77.%d.%d", os.Getpid()>>8&0xff, os.Getpid()&0xff)
	ln, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Skip(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func TestFleetZeroMQFlags(t *testing.T) {
	t.Setenv(codeVariable, testLongCode)
	names := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(names, []byte("a.example\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := startWherry(t, noInput(), "lookup", "--file", names, "--via", "zmq+tcp://127.0.0.1:0")
	t.Setenv(codeVariable, strings.Replace(testLongCode, "one", "zero", 1))
	if w := startWherry(t, noInput(), "lookup", "--worker", "--via", "zmq+tcp://"+c.address(t), "@127.0.0.1"); w.wait() != exitPairing {
		t.Errorf("%v", w)
	}
	c.stop()
	if c.wait() != exitInterrupted {
		t.Errorf("%v", c)
	}
	t.Setenv(codeVariable, "too-short")
	for _, args := range [][]string{
		{"--worker", "--via", "zmq+tcp://127.0.0.1:1"}, // the code
		{"--worker", "--via", "zmq+tcp://*:1"},
		{"--worker", "--via", "zmq+tcp://127.0.0.1"},
		{"--worker", "--via", "zmq+tcp://"},
		{"--file", names, "--via", "zmq+tcp://x:y"},
	} {
		if w := startWherry(t, noInput(), append([]string{"lookup"}, args...)...); w.wait() != exitUsage {
			t.Errorf("%q: %v", args, w)
		}
	}
}

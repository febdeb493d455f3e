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

	"github.com/wherry-net/wherry/resolve/fleet"
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
		// In silence names would be asked for from here.
		{"x", "--via", "amqp://127.0.0.1:1", "@127.0.0.1:1"},
		{"x", "--qps", "1", "@127.0.0.1:1"},
		{"x", "--output", "y", "@127.0.0.1:1"},
		{"--worker", "--via", "amqp://127.0.0.1:1", "--resume"},
		{"x", "--until", "y", "@127.0.0.1:1"},
	} {
		if w := startWherry(t, noInput(), append([]string{"lookup"}, args...)...); w.wait() != exitUsage {
			t.Errorf("%q: %v", args, w)
		}
	}
}

// What a coordinator says: the rate of late, by worker, and the time left.
func TestFleetView(t *testing.T) {
	var b bytes.Buffer
	v := &fleetView{bulkView: newBulkView(stdio{Err: &b}, false, 1000_000, nil)}
	at := func(seconds int, names ...int64) {
		s := fleet.Stats{Elapsed: time.Duration(seconds) * time.Second}
		for i, n := range names {
			s.Names += n
			s.Workers = append(s.Workers, fleet.WorkerStats{Name: fmt.Sprintf("w%d", i), Names: n})
		}
		s.InputBytes, s.Given = 10*(s.Names+100), 100
		v.progress(s)
	}
	at(1)
	at(5)
	at(6, 10)
	at(10, 10_000, 5_000)
	at(15, 20_000, 10_000)
	for i := 20; i <= 45; i += 5 { // the second worker has died
		at(i, int64(i-5)*2_000, 10_000)
	}
	want := `0 names; no worker answers
15,000 names, 3,000/s by 2 workers, 15%, 28s left: w0 2,000/s, w1 1,000/s
30,000 names, 3,000/s by 2 workers, 30%, 23s left: w0 2,000/s, w1 1,000/s
`
	if !strings.HasPrefix(b.String(), want) || !strings.Contains(b.String(), "90,000 names, 2,000/s by 1 worker, 90%, 5s left: w0 2,000/s\n") {
		t.Error(b.String())
	}
	var many []workerRate
	before, now := fleet.Stats{}, fleet.Stats{Elapsed: time.Second}
	for i := range int64(20) {
		now.Workers = append(now.Workers, fleet.WorkerStats{Name: fmt.Sprintf("w%d", i), Names: i})
	}
	if _, many = fleetRates(before, now); len(many) != 19 || many[0].rate != 19 || shortRates(many) != " (1 to 19 each)" {
		t.Error(many)
	}
}

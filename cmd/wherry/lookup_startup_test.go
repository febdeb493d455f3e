package main

import (
	"bufio"
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/resolve/dnstest"
)

// TestStartup lists what runs before main, which every lookup pays for: what
// plots, fonts, QUIC or brokers need must be set up when it is needed. What is
// measured is memory set aside, which is the same on every machine.
func TestStartup(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	const (
		mostOfOne = 300 << 10 // blackfriday, by way of urfave/cli, takes 210 KiB
		mostOfAll = 700 << 10
	)
	cmd := exec.Command(build(t), "lookup", "--help")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	type initCost struct {
		pkg    string
		clock  float64
		allocs int
	}
	line := regexp.MustCompile(`^init (\S+) @[0-9.]+ ms, ([0-9.]+) ms clock, ([0-9]+) bytes`)
	var costs []initCost
	total, clock := 0, 0.0
	sc := bufio.NewScanner(&trace)
	for sc.Scan() {
		m := line.FindStringSubmatch(sc.Text())
		if m == nil {
			continue
		}
		c := initCost{pkg: m[1]}
		c.clock, _ = strconv.ParseFloat(m[2], 64)
		c.allocs, _ = strconv.Atoi(m[3])
		costs = append(costs, c)
		total += c.allocs
		clock += c.clock
		if c.allocs > mostOfOne {
			t.Errorf("%s sets %d bytes aside before main", c.pkg, c.allocs)
		}
	}
	if len(costs) == 0 {
		t.Fatal("GODEBUG=inittrace=1 told nothing")
	}
	if total > mostOfAll {
		t.Errorf("%d bytes are set aside before main", total)
	}
	slices.SortFunc(costs, func(a, b initCost) int { return cmp.Compare(b.clock, a.clock) })
	t.Logf("%d packages run before main, %d bytes, %.2f ms; those that take longest:", len(costs), total, clock)
	for _, c := range costs[:min(12, len(costs))] {
		t.Logf("%8.3f ms %7d bytes  %s", c.clock, c.allocs, c.pkg)
	}
}

// TestShortIsSoonerThanDig runs both, in turns, against the same server: the
// median of wherry must be at most half of dig's.
func TestShortIsSoonerThanDig(t *testing.T) {
	if os.Getenv("WHERRY_TIMES") == "" {
		t.Skip("measures: set WHERRY_TIMES on a machine with nothing else to do")
	}
	dig := dnstest.Tool(t, "dig")
	at := lookupServer(t)
	host, port, _ := strings.Cut(at[1:], ":")
	bin := build(t)
	timed := func(want string, name string, args ...string) time.Duration {
		start := time.Now()
		out, err := exec.Command(name, args...).Output()
		if took := time.Since(start); err == nil && string(out) == want {
			return took
		}
		t.Fatalf("%s: %v, %q", name, err, out)
		return 0
	}
	var ours, digs time.Duration
	for range 3 { // other work on the machine may spoil a round
		var a, b []time.Duration
		for range 21 {
			a = append(a, timed("192.0.2.1\n", bin, "lookup", "example.test", "A", at, "--short"))
			b = append(b, timed("192.0.2.1\n", dig, "@"+host, "-p", port, "example.test", "A", "+short"))
		}
		slices.Sort(a)
		slices.Sort(b)
		ours, digs = a[len(a)/2], b[len(b)/2]
		t.Logf("medians: wherry %v, dig %v", ours, digs)
		if ours <= digs/2 {
			return
		}
	}
	t.Errorf("wherry takes %v, more than half of dig's %v", ours, digs)
}

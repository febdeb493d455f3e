package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/resolve/zoneserver"
)

const (
	typeA    = 1
	typeAAAA = 28
	typeSRV  = 33
)

// labZones serves testdata/zones and returns the hints and anchor files.
func labZones(t *testing.T) (hints, anchor string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	h, err := zoneserver.Load("../../testdata/zones")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sign(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := h.Listen(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hints, anchor = filepath.Join(dir, "hints"), filepath.Join(dir, "anchor")
	if err := writeTo(hints, h.WriteHints); err != nil {
		t.Fatal(err)
	}
	if err := writeTo(anchor, h.WriteAnchors); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return hints, anchor
}

// patient runs a lookup from the root, and again where this process or its servers
// were kept waiting for longer than a resolver waits for a server.
func patient(t *testing.T, lookup func(out, errs *bytes.Buffer) error) (out, errs *bytes.Buffer, err error) {
	t.Helper()
	for range 10 {
		out, errs = &bytes.Buffer{}, &bytes.Buffer{}
		err = lookup(out, errs)
		if text := fmt.Sprint(out, errs, err); !strings.Contains(text, "no reply") {
			break
		}
		t.Logf("again: %s%s%v", out, errs, err)
	}
	return out, errs, err
}

func TestLookupFromTheRoot(t *testing.T) {
	hints, anchor := labZones(t)
	base := rootLookup{Name: "www.example.com.", Type: typeA, Hints: hints, Anchor: anchor, Timeout: 10 * time.Second}
	with := func(f func(*rootLookup)) rootLookup { o := base; f(&o); return o }
	for _, tt := range []struct {
		what string
		run  func(context.Context, stdio, rootLookup) error
		o    rootLookup
		code int
		out  []string // in this order
	}{
		{"trace", lookupTrace, base, exitDone, []string{".", "a.root-servers.test.", " ms", "\ncom. ", " ms", "\nexample.com. ", " ms", "192.0.2.80"}},
		{"trace nx", lookupTrace, with(func(o *rootLookup) { o.Name = "nx.example.com." }), exitNXDomain, []string{"NXDOMAIN"}},
		{"trace no record", lookupTrace, with(func(o *rootLookup) { o.Type = typeSRV }), exitNoRecord, nil},
		{"trace loop", lookupTrace, with(func(o *rootLookup) { o.Name = "loop.example.com." }), exitServer, nil},
		{"trace svg", lookupTrace, with(func(o *rootLookup) { o.SVG = "-" }), exitDone, []string{"<svg", "example.com.", "</svg>"}},
		{"all paths", lookupTrace, with(func(o *rootLookup) { o.AllPaths = true }), exitDone, []string{"ns1.example.com.", "192.0.2.80", "ns2.example.com.", "192.0.2.80"}},
		{"check", lookupCheck, base, exitDone, []string{"ns1.example.com.", "2026112101", "ns2.example.com.", "agree"}},
		{"secure", lookupDNSSEC, base, exitDone, []string{"secure", "the root:", "com:", "example.com:", "192.0.2.80"}},
		{"insecure", lookupDNSSEC, with(func(o *rootLookup) { o.Name = "www.unsigned.example.com." }), exitDone, []string{"insecure", "unsigned.example.com", "192.0.2.21"}},
		{"bogus", lookupDNSSEC, with(func(o *rootLookup) { o.Name = "bogus.example.com." }), exitBogus,
			[]string{"bogus", "the signature of bogus.example.com's DNSKEY set expired on", "EDE 7"}},
		{"secure no record", lookupDNSSEC, with(func(o *rootLookup) { o.Type = typeSRV }), exitNoRecord, []string{"proves by NSEC"}},
		{"before its time", lookupDNSSEC, with(func(o *rootLookup) { o.At = "2020-01-01" }), exitBogus, []string{"not valid before"}},
		{"another anchor", lookupDNSSEC, with(func(o *rootLookup) { o.Anchor = "" }), exitBogus, []string{"20326 (KSK-2017)", "38696 (KSK-2024)", "none of the root's keys matches"}},
		{"no time", lookupDNSSEC, with(func(o *rootLookup) { o.At = "yesterday" }), exitUsage, nil},
		{"no file", lookupDNSSEC, with(func(o *rootLookup) { o.Anchor = "/nowhere/anchor" }), exitFailure, nil},
	} {
		t.Run(tt.what, func(t *testing.T) {
			out, _, err := patient(t, func(out, errs *bytes.Buffer) error {
				return tt.run(t.Context(), stdio{Out: out, Err: errs}, tt.o)
			})
			code := exitDone
			if err != nil {
				code = classify(err).code
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %v", code, tt.code, err)
			}
			rest := out.String()
			for _, want := range tt.out {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("%q is missing, or not in order:\n%s", want, out.String())
				}
				rest = after
			}
		})
	}
	for _, run := range []func(context.Context, stdio, rootLookup) error{lookupTrace, lookupCheck, lookupDNSSEC} {
		out, errs, err := patient(t, func(out, errs *bytes.Buffer) error {
			return run(t.Context(), stdio{Out: out, Err: errs}, with(func(o *rootLookup) { o.JSON = true }))
		})
		if err != nil {
			t.Error(err)
		}
		var v map[string]any
		if err := json.Unmarshal(out.Bytes(), &v); err != nil || errs.Len() > 0 {
			t.Errorf("%v: %s %s", err, out.String(), errs.String())
		}
	}
}

// TestLabDNS runs the command itself until it is stopped.
func TestLabDNS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	dir := t.TempDir()
	hints, anchor := filepath.Join(dir, "h"), filepath.Join(dir, "a")
	ctx, cancel := context.WithCancel(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"wherry", "lab", "dns", "../../testdata/zones", "--hints", hints, "--anchor", anchor}, stdio{Out: w, Err: &errs})
		w.Close()
	}()
	buf := make([]byte, 64)
	n, err := r.Read(buf)
	if err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("%q %v %s", buf[:n], err, errs.String())
	}
	if out, _, err := patient(t, func(out, _ *bytes.Buffer) error {
		return lookupDNSSEC(t.Context(), stdio{Out: out, Err: out}, rootLookup{Name: "example.com.", Type: typeAAAA, Hints: hints, Anchor: anchor})
	}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, tt := range []struct {
		code int
		args string
	}{
		{exitDone, "--trace www.example.com A --root-hints HINTS"},
		{exitDone, "www.example.com --trace --dnssec --root-hints HINTS --trust-anchor ANCHOR --json"},
		{exitBogus, "--dnssec bogus.example.com --root-hints HINTS --trust-anchor ANCHOR"},
		{exitDone, "--check example.com SOA --root-hints HINTS"},
		{exitDone, "--all-paths www.example.com --root-hints HINTS"},
		{exitNXDomain, "--trace nx.example.com --root-hints HINTS"},
		{exitUsage, "www.example.com --root-hints HINTS"},
		{exitUsage, "--trace www.example.com @192.0.2.1 --root-hints HINTS"},
		{exitUsage, "--trace"},
	} {
		args := strings.NewReplacer("HINTS", hints, "ANCHOR", anchor).Replace(tt.args)
		c := 0
		out, _, _ := patient(t, func(out, _ *bytes.Buffer) error {
			c = run(t.Context(), append([]string{"wherry", "lookup"}, strings.Fields(args)...), stdio{In: strings.NewReader(""), Out: out, Err: out})
			return nil
		})
		if c != tt.code {
			t.Errorf("lookup %s: exit code %d, want %d\n%s", tt.args, c, tt.code, out.String())
		}
	}
	cancel()
	if c := <-code; c != exitDone {
		t.Errorf("exit code %d: %s", c, errs.String())
	}
	for _, args := range [][]string{{}, {"a", "b"}} {
		var out bytes.Buffer
		if c := run(t.Context(), append([]string{"wherry", "lab", "dns"}, args...), stdio{Out: &out, Err: &out}); c != exitUsage {
			t.Errorf("lab dns %v: exit code %d", args, c)
		}
	}
}

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wherry-net/wherry/transfer"
)

// Each exit code of a transfer is provoked by a real run; --quiet still tells
// why, and with NO_COLOR or without a terminal no escape sequence is printed.
func TestExitCodes(t *testing.T) {
	file := aFile(t, "f", 100_000)
	codeFile := func(s string) string {
		p := filepath.Join(t.TempDir(), "code")
		if err := os.WriteFile(p, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	receive := func(flags ...string) (*wherryProc, string) {
		r := startWherry(t, noInput(), append([]string{"receive", "--yes", "--quiet", "--json", "--no-sync", "--listen", listenAny, "--dir", t.TempDir()}, flags...)...)
		return r, r.address(t)
	}
	for _, c := range []struct {
		name string
		run  func(t *testing.T) *wherryProc
		code int
		says string
	}{
		{"done", func(t *testing.T) *wherryProc {
			_, addr := receive("--plain")
			return startWherry(t, noInput(), "send", "--quiet", "--plain", "--to", addr, file)
		}, exitDone, ""},
		{"a path that is missing", func(t *testing.T) *wherryProc {
			return startWherry(t, noInput(), "send", "--quiet", "--plain", "--to", deadPort(t), file+".missing")
		}, exitFailure, "f.missing"},
		{"a flag that there is not", func(t *testing.T) *wherryProc {
			return startWherry(t, noInput(), "send", "--nonsense", file)
		}, exitUsage, "nonsense"},
		{"refused by size", func(t *testing.T) *wherryProc {
			_, addr := receive("--plain", "--max-size", "99999")
			return startWherry(t, noInput(), "send", "--quiet", "--plain", "--to", addr, file)
		}, exitRefused, "99999"},
		{"a wrong code", func(t *testing.T) *wherryProc {
			_, addr := receive("--code-file", codeFile("7-cedar-otter"))
			return startWherry(t, noInput(), "send", "--quiet", "--to", addr, "--code-file", codeFile("7-cedar-beaver"), file)
		}, exitPairing, "code"},
		{"another digest than was sent", func(t *testing.T) *wherryProc {
			_, addr := receive("--plain")
			return startWherry(t, noInput(), "send", "--quiet", "--plain", "--to", damagingProxy(t, addr), file)
		}, exitVerify, "digest"},
		{"nobody listens", func(t *testing.T) *wherryProc {
			return startWherry(t, noInput(), "send", "--quiet", "--plain", "--to", deadPort(t), file)
		}, exitNetwork, "127.0.0.1"},
		{"interrupted", func(t *testing.T) *wherryProc {
			s := startWherry(t, noInput(), "send", "--plain", "--listen", listenAny, file)
			s.address(t)
			s.stop()
			return s
		}, exitInterrupted, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", "1")
			p := c.run(t)
			if p.wait() != c.code || !strings.Contains(p.errs.String(), c.says) {
				t.Errorf("want exit code %d and %q: %v", c.code, c.says, p)
			}
			if c.code == exitDone && p.errs.String()+p.out.String() != "" {
				t.Errorf("--quiet printed: %v", p)
			}
			if strings.Contains(p.out.String()+p.errs.String(), "\x1b") {
				t.Errorf("an escape sequence: %q", p.out.String()+p.errs.String())
			}
		})
	}
}

// damagingProxy passes a connection on and turns over one bit of content, deep
// inside it.
func damagingProxy(t *testing.T, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		a, err := ln.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", to)
		if err != nil {
			a.Close()
			return
		}
		go func() { _, _ = io.Copy(a, b); a.Close() }()
		_, _ = io.CopyN(b, a, 50_000)
		one := make([]byte, 1)
		_, _ = io.ReadFull(a, one)
		one[0] ^= 4
		_, _ = b.Write(one)
		_, _ = io.Copy(b, a)
		b.Close()
	}()
	return ln.Addr().String()
}

// The table knows every code of the contract, once.
func TestExitTable(t *testing.T) {
	seen := map[int]bool{}
	for _, e := range exitCodes {
		if seen[e.code] || e.meaning == "" {
			t.Errorf("%d: %q", e.code, e.meaning)
		}
		seen[e.code] = true
	}
	for _, r := range failureRules {
		if !seen[r.code] || r.kind == "" {
			t.Errorf("a rule with the code %d and the kind %q", r.code, r.kind)
		}
	}
	if f := classify(&shownError{&transfer.VerifyError{Path: "x"}}); f.code != exitVerify {
		t.Errorf("%+v", f)
	}
}

func TestInterrupted(t *testing.T) {
	for _, c := range []struct{ message, want string }{
		{"context canceled", "interrupted"},
		{"accept udp 127.0.0.1:1: context canceled", "interrupted"},
		{"terminated signal received", "interrupted"},
		{"interrupted before the end of the list: context canceled", "interrupted before the end of the list"},
		{"interrupted after 3 runs", "interrupted after 3 runs"},
	} {
		if got := interrupted(c.message); got != c.want {
			t.Errorf("%q became %q", c.message, got)
		}
	}
}

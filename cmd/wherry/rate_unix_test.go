//go:build unix

package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// USR1 halves the rate of a running transfer and USR2 doubles it. Signals are for
// processes, so this is one.
func TestRateSignals(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	events := make(chan string, 10)
	out.line = func(s string) { events <- s }
	cmd := &exec.Cmd{Path: exe, Args: []string{"wherry", "receive", "--listen", listenAny, "--plain", "--yes", "--json", "--rate", "8Mbit", "--dir", t.TempDir()}, Stdout: &out}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	next := func(what string) {
		t.Helper()
		select {
		case s := <-events:
			if !strings.Contains(s, what) {
				t.Fatalf("%s, want %s", s, what)
			}
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended before it printed %s: %v", what, err)
		}
	}
	next(`"event":"listening"`)
	for _, c := range []struct {
		signal os.Signal
		event  string
	}{{syscall.SIGUSR1, `"bps":4000000}`}, {syscall.SIGUSR1, `"bps":2000000}`}, {syscall.SIGUSR2, `"bps":4000000}`}} {
		if err := cmd.Process.Signal(c.signal); err != nil {
			t.Fatal(err)
		}
		next(c.event)
	}
	holdToSchema(t, out.String())
}

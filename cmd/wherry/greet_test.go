package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Who is no sender ends nothing at a receiver that waits for one.
func TestStrays(t *testing.T) {
	file := aFile(t, "f", 10_000)
	dir := t.TempDir()
	r := startWherry(t, noInput(), "receive", "--plain", "--yes", "--listen", listenAny, "--dir", dir)
	addr := r.address(t)
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial().Close()
	dial().Close()
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
		"SSH-2.0-OpenSSH_10.0\r\n",
		"WHERRY/1X",
		"WHERRY/1H\x01\x00\x00\x00\x1b\x07\x09\x01" + strings.Repeat("\x00", 24), // versions 7 to 9
		"WHERRY/1H\x01\xff\xff\xff\xff",
		"WHERRY/1H\x02\x00\x00\x00\x00",
	} {
		c := dial()
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") { // it is told, and the end
			t.Errorf("%q: %v", s, err)
		}
		c.Close()
	}
	other := startWherry(t, noInput(), "receive", "--plain", "--yes", "--from", addr, "--dir", t.TempDir())
	if other.wait() != exitPairing {
		t.Errorf("a second receiver: %v", other)
	}
	told := func() int { return strings.Count(r.errs.String(), "waiting on") }
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(3 * time.Minute); told() < 8 && time.Now().Before(end); {
		<-tick.C
	}
	if told() < 8 || strings.Contains(r.errs.String(), "\x1b") {
		t.Errorf("%d strays were told of: %v", told(), r)
	}
	s := startWherry(t, noInput(), "send", "--plain", "--to", addr, file)
	if s.wait() != 0 || r.wait() != 0 {
		t.Fatalf("send: %v\nreceive: %v", s, r)
	}
	if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
		t.Error(err)
	}
}

// A peer that stays and says nothing is dead, and ends the wait by itself.
func TestDeadPeer(t *testing.T) {
	r := startWherry(t, noInput(), "receive", "--plain", "--yes", "--listen", listenAny, "--dir", t.TempDir())
	c, err := net.Dial("tcp", r.address(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r.wait() != exitNetwork || !strings.Contains(r.errs.String(), c.LocalAddr().String()) {
		t.Errorf("%v", r)
	}
}

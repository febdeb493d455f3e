package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// loopbackConn is a connection of the socket layer whose peer swallows all.
func loopbackConn(t *testing.T) *socket.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, peer)
		peer.Close()
	}()
	t.Cleanup(func() { c.Close() })
	return socket.NewConn(c.(*net.TCPConn))
}

// What is counted is what all connections sent: the first, further ones, those that
// are closed before the reading, and one that took a lost one's place.
func TestMeasureStreams(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux counts segments")
	}
	const each, mss = 4 << 20, 65483 // of loopback
	least := int64(0)
	write := func(c *socket.Conn) {
		t.Helper()
		if _, err := c.Write(make([]byte, each)); err != nil {
			t.Fatal(err)
		}
		least += each / mss
	}
	first := loopbackConn(t)
	m := startMeasure(first)
	write(first)
	var closings []func()
	for range 3 {
		c := loopbackConn(t)
		closing := m.stream(c)
		write(c)
		m.sample()
		closings = append(closings, func() { closing(); c.Close() })
	}
	m.stop()
	for _, f := range closings {
		f()
	}
	m.stop() // what is closed says no more, and is not forgotten
	if sent, _, _ := m.packets(); sent < least {
		t.Errorf("%d packets, want at least %d", sent, least)
	}
	first.Close()
	again := loopbackConn(t)
	m.next(again)
	write(again)
	m.stop()
	if sent, _, _ := m.packets(); sent < least {
		t.Errorf("%d packets with the next connection, want at least %d", sent, least)
	}
	if m.most != 4 {
		t.Errorf("%d at once", m.most)
	}
	if n := len(m.rtts.kept); n < 2+3+4 {
		t.Errorf("%d samples of the round-trip time", n)
	}
}

func TestSamples(t *testing.T) {
	var s samples
	const n = 1_000_000
	for i := range n {
		s.add(time.Duration(i))
	}
	if len(s.kept) > maxSamples || len(s.kept) < maxSamples/2 {
		t.Fatalf("%d are kept", len(s.kept))
	}
	if !slices.IsSorted(s.kept) || s.kept[0] != 0 || s.kept[len(s.kept)/2] < n*45/100 || s.kept[len(s.kept)/2] > n*55/100 {
		t.Errorf("not evenly: the middle is %d", s.kept[len(s.kept)/2])
	}
}

// The done event and the trace are of all streams.
func TestStreamsFigures(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux counts segments")
	}
	const size = 24 << 20
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, bytes.Repeat([]byte("0123456789abcdef"), size/16), 0o600); err != nil {
		t.Fatal(err)
	}
	code, csv := codeFile(t, "7-cedar-otter"), filepath.Join(t.TempDir(), "s.csv")
	r := startWherry(t, noInput(), "receive", "--json", "--yes", "--no-sync", "--streams", "4", "--code-file", code, "--listen", listenAny, "--dir", t.TempDir())
	s := startWherry(t, noInput(), "send", "--json", "--streams", "4", "--rate", "40MB/s", "--trace", csv, "--code-file", code, "--to", r.address(t), file)
	if s.wait() != 0 || r.wait() != 0 {
		t.Fatalf("send: %v\nreceive: %v", s, r)
	}
	events := s.events(t)
	done := events[len(events)-1]
	streams, sent := int(done["streams"].(float64)), int64(done["packets_sent"].(float64))
	if streams < 1 || streams > 4 {
		t.Errorf("%d streams", streams)
	}
	if streams == 1 {
		t.Log("the machine was too busy for a second stream to come in time")
	}
	if sent < size/65483 {
		t.Errorf("%d packets for %d bytes", sent, size)
	}
	b, err := os.ReadFile(csv)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), "connection_started"); n != streams {
		t.Errorf("the trace has %d connections, the event %d", n, streams)
	}
	if n := strings.Count(string(b), "connection_closed"); n != streams {
		t.Errorf("the trace has the end of %d connections", n)
	}
}

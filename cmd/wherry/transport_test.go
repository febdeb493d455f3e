package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// ownAddress is a loopback address that no other test uses, so that nobody has the
// port that a listener gets there for the other transport.
func ownAddress(t *testing.T, last int) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return listenAny // the only one there
	}
	return fmt.Sprintf("127.75.57.%d:0", last)
}

func codeFile(t *testing.T, code string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(p, []byte(code+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// One end was told UDP, the other not: both end, say in one line what each expected,
// and name the flag that settles it, whoever listens and whether there is a code.
func TestTransportMismatch(t *testing.T) {
	file, code := aFile(t, "f", 1000), codeFile(t, "7-cedar-otter")
	other := map[string]string{"TCP": "UDP", "UDP": "TCP"}
	flag := map[string][]string{"UDP": {"--udp"}}
	n := 0
	for _, listener := range []string{"TCP", "UDP"} {
		for _, trust := range [][]string{{"--plain"}, {"--code-file", code}} {
			for _, sends := range []string{"the dialer sends", "the listener sends"} {
				n++
				t.Run(fmt.Sprintf("%s listens, %s, %s", listener, trust[0], sends), func(t *testing.T) {
					dir := t.TempDir()
					send, receive := []string{"send", "--quiet"}, []string{"receive", "--yes", "--dir", dir, "--quiet"}
					l, d, to := receive, send, "--to"
					if sends == "the listener sends" {
						l, d, to = send, receive, "--from"
					}
					l = slices.Concat(l, trust, flag[listener], []string{"--json", "--listen", ownAddress(t, n)})
					d = slices.Concat(d, trust, flag[other[listener]])
					if sends == "the listener sends" {
						l = append(l, file)
					} else {
						d = append(d, file)
					}
					one := startWherry(t, noInput(), l...)
					addr := one.address(t)
					two := startWherry(t, noInput(), append(d, to, addr)...)
					if one.wait() != exitPairing || two.wait() != exitPairing {
						t.Fatalf("listener: %v\ndialer: %v", one, two)
					}
					events := one.events(t)
					last := events[len(events)-1]
					said := fmt.Sprint(last["message"])
					if last["event"] != "error" || last["kind"] != "mismatch" || !strings.Contains(fmt.Sprint(last["hint"]), "--udp") ||
						!strings.Contains(said, "goes over "+other[listener]) || !strings.Contains(said, "this end over "+listener) {
						t.Errorf("listener: %v", one)
					}
					if s := two.errs.String(); strings.Count(s, "\n") != 2 || !strings.Contains(s, addr+" goes over "+listener) || !strings.Contains(s, "--udp") {
						t.Errorf("dialer: %v", two)
					}
					if found, _ := os.ReadDir(dir); len(found) > 0 {
						t.Errorf("something arrived: %v", found)
					}
				})
			}
		}
	}
}

// A receiver that keeps serving tells of such a dialer, and stays; a dialer that is
// turned away by it has no guess counted.
func TestTransportMismatchKeep(t *testing.T) {
	file, code := aFile(t, "f", 1000), codeFile(t, "7-cedar-otter")
	for i, trust := range [][]string{{"--plain"}, {"--code-file", code}} {
		dir := t.TempDir()
		r := startWherry(t, noInput(), slices.Concat([]string{"receive", "--yes", "--keep", "--dir", dir, "--listen", ownAddress(t, 22+i)}, trust)...)
		addr := r.address(t)
		for range 4 { // more than there are guesses
			s := startWherry(t, noInput(), slices.Concat([]string{"send", "--udp", "--to", addr, file}, trust)...)
			if s.wait() != exitPairing || !strings.Contains(s.errs.String(), "this end over UDP") {
				t.Fatalf("send --udp: %v", s)
			}
		}
		s := startWherry(t, noInput(), slices.Concat([]string{"send", "--to", addr, file}, trust)...)
		if s.wait() != 0 {
			t.Fatalf("send: %v\nreceive: %v", s, r)
		}
		r.stop()
		if r.wait() != exitInterrupted || strings.Count(r.errs.String(), "this end over TCP") < 4 {
			t.Errorf("receive: %v", r)
		}
	}
}

// Where somebody else listens, who is not wherry, nothing is said of transports.
func TestTransportStranger(t *testing.T) {
	file := aFile(t, "f", 1000)
	for i, banner := range []string{"SSH-2.0-OpenSSH_10.0\r\n", "", "WHERRY/"} {
		ln, err := net.Listen("tcp", ownAddress(t, 30+i))
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		heard := make(chan string, 1)
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, banner)
			b, _ := io.ReadAll(c)
			heard <- string(b)
		}()
		s := startWherry(t, noInput(), "send", "--udp", "--plain", "--to", ln.Addr().String(), file)
		if s.wait() != exitNetwork || strings.Contains(s.errs.String(), "goes over") {
			t.Errorf("%q: %v", banner, s)
		}
		if got := <-heard; got != "WHERRY/1E\x04" {
			t.Errorf("it was told %q", got)
		}
	}
}

// Ends of different ages both say so. With TCP the stranger's hello is of another
// version; with UDP its first datagram is, which anybody may have sent: it is told of
// once, and ends nothing.
func TestVersionMismatch(t *testing.T) {
	t.Run("dialer over TCP", func(t *testing.T) {
		ln, err := net.Listen("tcp", listenAny)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.WriteString(c, "WHERRY/1H\x01\x00\x00\x00\x1b\x07\x09\x02"+strings.Repeat("\x00", 24))
			_, _ = io.Copy(io.Discard, c)
		}()
		s := startWherry(t, noInput(), "send", "--plain", "--to", ln.Addr().String(), aFile(t, "f", 10))
		if s.wait() != exitPairing || !strings.Contains(s.errs.String(), "the peer speaks 7 to 9, this end 1\n") || !strings.Contains(s.errs.String(), "update the older") {
			t.Errorf("%v", s)
		}
	})
	t.Run("UDP", func(t *testing.T) {
		dir := t.TempDir()
		r := startWherry(t, noInput(), "receive", "--udp", "--plain", "--yes", "--listen", listenAny, "--dir", dir)
		addr := r.address(t)
		c, err := net.Dial("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		init := make([]byte, arq.MinDatagram)
		copy(init, "W\x63\x01") // an INIT of version 99
		init[23] = 1
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		_, _ = sum.Write(init[:4])
		_, _ = sum.Write(init[8:])
		binary.BigEndian.PutUint32(init[4:], sum.Sum32())
		answer := make([]byte, 2000)
		for range 5 {
			if _, err := c.Write(init); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Minute))
			if n, err := c.Read(answer); err != nil || n >= len(init) || answer[2] != 4 || answer[24] != arq.Version {
				t.Fatalf("%d bytes %x, %v", n, answer[:n], err)
			}
		}
		s := startWherry(t, noInput(), "send", "--udp", "--plain", "--to", addr, aFile(t, "f", 10))
		if s.wait() != 0 || r.wait() != 0 || strings.Count(r.errs.String(), fmt.Sprintf("speaks version 99 of the protocol over UDP, this end %d", arq.Version)) != 1 {
			t.Errorf("%v\n%v", s, r)
		}
	})
	t.Run("dialer over UDP", func(t *testing.T) {
		pc, err := net.ListenPacket("udp", listenAny)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		go func() {
			b := make([]byte, 2000)
			for {
				n, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				if n < 24 {
					continue
				}
				out := make([]byte, 24, 25)
				copy(out, "W\x63\x04")
				copy(out[8:16], b[16:24])
				out = append(out, 99)
				sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
				_, _ = sum.Write(out[:4])
				_, _ = sum.Write(out[8:])
				binary.BigEndian.PutUint32(out[4:], sum.Sum32())
				_, _ = pc.WriteTo(out, from)
			}
		}()
		s := startWherry(t, noInput(), "send", "--udp", "--plain", "--to", pc.LocalAddr().String(), aFile(t, "f", 10))
		if s.wait() != exitPairing || !strings.Contains(s.errs.String(), fmt.Sprint("no common protocol version: this end speaks ", arq.Version)) || !strings.Contains(s.errs.String(), "update the older") {
			t.Errorf("%v", s)
		}
	})
}

// Who makes up sources is told of for a while and then not.
func TestTellOnce(t *testing.T) {
	var o tellOnce
	at := time.Unix(1000, 0)
	a := netip.MustParseAddr("192.0.2.1")
	if !o.first(a, at) || o.first(a, at.Add(time.Hour)) {
		t.Error("not once")
	}
	if o.first(netip.MustParseAddr("192.0.2.2"), at.Add(tellEvery/2)) {
		t.Error("too soon after another")
	}
	n := 0
	for i := range 100_000 {
		at = at.Add(tellEvery)
		if o.first(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), at) {
			n++
		}
	}
	if n != tellMost-1 || len(o.told) != tellMost {
		t.Errorf("%d more, %d remembered", n, len(o.told))
	}
}

package datagram

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that makes no checksums cannot segment: the kernel says EINVAL for
// trains and sends single datagrams, as it does where a device cannot.
func TestSegmentationRefused(t *testing.T) {
	for _, connected := range []bool{true, false} {
		b := listen(t, "udp4", "127.0.0.1:0", Options{})
		other := listen(t, "udp4", "127.0.0.1:0", Options{})
		var a *Conn
		if connected {
			a = dial(t, b.LocalAddr(), Options{})
		} else {
			a = listen(t, "udp4", "127.0.0.1:0", Options{})
		}
		if a.Mode() != Segmented {
			t.Skip("this kernel has no UDP_SEGMENT")
		}
		raw, err := a.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
				t.Fatal(err)
			}
		})
		var ms []Message
		for i := range 5 {
			ms = append(ms, Message{Buf: train(20*i, 20, 1000, 500), Segment: 1000, Addr: b.LocalAddr(), ECN: ECT0})
		}
		if n, err := a.WriteBatch(ms); n != 5 || err != nil {
			t.Fatalf("WriteBatch = %d, %v", n, err)
		}
		for i, d := range gather(t, b, 100, nil) {
			if want := train(i, 1, len(d), 0); !bytes.Equal(d, want) {
				t.Errorf("datagram %d is not what was sent", i)
			}
		}
		if s := a.Stats(); s.Unsegmented != 1 || s.Sent != 100 {
			t.Errorf("%+v; want one train sent again, and then none made", s)
		}
		if a.Segmenting(b.LocalAddr()) {
			t.Error("segmentation is still on for the peer")
		}
		if !connected && !a.Segmenting(other.LocalAddr()) {
			t.Error("segmentation is off for a peer that had no part in it")
		}
	}
}

// What is remembered about peers is bounded: when it is full, nobody gets
// trains any more.
func TestSegmentationMemory(t *testing.T) {
	c := listen(t, "udp4", "127.0.0.1:0", Options{})
	if c.Mode() != Segmented {
		t.Skip("this kernel has no UDP_SEGMENT")
	}
	for i := range 10 * maxPeers {
		c.DisableSegmentation(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(i+1)))
	}
	if len(c.gso.bad) > maxPeers || c.Segmenting(netip.MustParseAddrPort("127.0.0.2:1")) {
		t.Errorf("%d peers remembered", len(c.gso.bad))
	}
}

package datagram

import (
	"net/netip"
	"testing"
)

// FuzzControl holds the reader of control messages to its bounds, and to
// reading back what the writer of them wrote where the two have the same form.
func FuzzControl(f *testing.F) {
	c := &Conn{}
	c.sys.inet = true
	var b [controlSize]byte
	n := putSegment(b[:], 0, 1400)
	n = c.putControl(b[:], n, &Message{ECN: CE, Addr: netip.MustParseAddrPort("127.0.0.1:1"), Local: netip.MustParseAddr("127.0.0.2")})
	f.Add(b[:n])
	f.Add(b[:n-3])
	f.Add([]byte{})
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > controlSize {
			return
		}
		// The kernel writes to where our array is, which is aligned.
		var aligned struct {
			_ uint64
			b [controlSize]byte
		}
		m := Message{Segment: 7}
		c := &Conn{}
		c.readControl(aligned.b[:copy(aligned.b[:], raw)], &m)
		if m.Segment <= 0 || m.ECN > CE {
			t.Errorf("segment %d, ECN %d", m.Segment, m.ECN)
		}
	})
}

func TestControlRoundTrip(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:1")
	c := &Conn{}
	var b [controlSize]byte
	for _, m := range []Message{
		{ECN: CE, Addr: v6, Local: netip.MustParseAddr("2001:db8::1")},
		{ECN: ECT0, Addr: v6},
		{ECN: NotECT, Addr: v6, Local: netip.MustParseAddr("::1")},
		{ECN: ECT1, Addr: v4},
	} {
		n := c.putControl(b[:], 0, &m)
		var got Message
		c.readControl(b[:n], &got)
		if got.ECN != m.ECN || got.Local != m.Local {
			t.Errorf("%+v is read as %+v", m, got)
		}
	}
}

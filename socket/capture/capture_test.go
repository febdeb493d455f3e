package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/capture"
)

// blocks cuts a pcapng file into its blocks, and checks that it is whole.
func blocks(t *testing.T, file []byte) (types []uint32, bodies [][]byte) {
	t.Helper()
	for len(file) > 0 {
		n := 0
		if len(file) >= 12 {
			n = int(binary.LittleEndian.Uint32(file[4:]))
		}
		if n < 12 || n%4 != 0 || n > len(file) || binary.LittleEndian.Uint32(file[n-4:]) != uint32(n) {
			t.Fatalf("a block of length %d in %d bytes", n, len(file))
		}
		types = append(types, binary.LittleEndian.Uint32(file))
		bodies = append(bodies, file[8:n-4])
		file = file[n:]
	}
	return types, bodies
}

func packet(payload []byte) capture.Packet {
	return capture.Packet{At: time.Unix(1, 2), Sent: true, Payload: payload,
		Local: netip.MustParseAddrPort("192.0.2.1:1"), Remote: netip.MustParseAddrPort("192.0.2.2:2")}
}

// TestSizes: every length of payload and of comment gives a whole file, the
// largest datagram included.
func TestSizes(t *testing.T) {
	var b bytes.Buffer
	w, err := capture.New(&b, capture.Options{Application: "test 1", Comment: "sizes", Buffer: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int{0, 1, 2, 3, 4, 5, 1471, 1472, 65506, 65507}
	for i, n := range sizes {
		p := packet(make([]byte, n))
		p.Comment = "comment"[:i%8%7]
		w.Packet(p)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	types, bodies := blocks(t, b.Bytes())
	if len(types) != len(sizes)+3 || types[0] != 0x0A0D0D0A || types[1] != 1 || types[len(types)-1] != 5 {
		t.Fatalf("blocks %x", types)
	}
	for i, n := range sizes {
		if got := binary.LittleEndian.Uint32(bodies[2+i][12:]); types[2+i] != 6 || int(got) != n+14+20+8 {
			t.Errorf("payload of %d bytes: a block %d of %d", n, types[2+i], got)
		}
	}
}

// stuck is a disk that takes nothing until it is let go.
type stuck struct {
	bytes.Buffer
	free chan struct{}
	n    int
}

func (s *stuck) Write(b []byte) (int, error) {
	if s.n++; s.n > 1 {
		<-s.free
	}
	return s.Buffer.Write(b)
}

// TestBounded: a disk that does not keep up costs packets, which are counted,
// and not memory.
func TestBounded(t *testing.T) {
	s := &stuck{free: make(chan struct{})}
	w, err := capture.New(s, capture.Options{Buffer: 1})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	for range n {
		w.Packet(packet(make([]byte, 1400)))
	}
	close(s.free)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	types, bodies := blocks(t, s.Bytes())
	taken := 0
	for _, typ := range types {
		if typ == 6 {
			taken++
		}
	}
	last := bodies[len(bodies)-1]
	// isb_ifrecv and isb_ifdrop are the last options but the end.
	received := binary.LittleEndian.Uint64(last[len(last)-24:])
	dropped := binary.LittleEndian.Uint64(last[len(last)-12:])
	if taken == 0 || taken == n || received != n || taken+int(dropped) != n || dropped != w.Dropped() {
		t.Fatalf("%d packets in the file, %d dropped, %d received, of %d", taken, dropped, received, n)
	}
}

type full struct{ left int }

var errFull = errors.New("disk full")

func (f *full) Write(b []byte) (int, error) {
	if len(b) > f.left {
		return 0, errFull
	}
	f.left -= len(b)
	return len(b), nil
}

// TestFull: a full disk is told once and ends the capture, not the program.
func TestFull(t *testing.T) {
	if _, err := capture.New(&full{10}, capture.Options{}); !errors.Is(err, errFull) {
		t.Errorf("a disk that is full from the start: %v", err)
	}
	told := make(chan error, 10)
	w, err := capture.New(&full{1000}, capture.Options{Failed: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		w.Packet(packet(make([]byte, 1400)))
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close: %v", err)
	}
	w.Packet(packet(nil))
	if len(told) != 1 || !errors.Is(<-told, errFull) {
		t.Errorf("told %d times", len(told))
	}
}

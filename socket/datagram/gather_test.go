package datagram

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
)

// TestWriteParts sends trains from pieces of all sizes, in each mode, and reads
// their bytes.
func TestWriteParts(t *testing.T) {
	for _, mode := range []Mode{Segmented, Batched, Plain} {
		t.Run(mode.String(), func(t *testing.T) {
			l, err := Listen(context.Background(), "udp4", "127.0.0.1:0", Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			c, err := Listen(context.Background(), "udp4", "127.0.0.1:0", Options{Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			rng := rand.New(rand.NewPCG(1, uint64(mode)))
			ms := []Message{{Buf: make([]byte, MaxMessage)}}
			for round := range 50 {
				want := make([]byte, 1+rng.IntN(60000))
				rand.NewChaCha8([32]byte{byte(round)}).Read(want)
				m := Message{Segment: 1472, Addr: l.LocalAddr(), ECN: ECT0}
				if round%5 == 0 {
					m.Segment = len(want)
				}
				var parts [][]byte
				most := []int{100, 3000, 70000}[round%3] // hundreds of parts, some, one
				for b := want; len(b) > 0; {
					n := min(1+rng.IntN(most), len(b))
					parts, b = append(parts, b[:n]), b[n:]
				}
				if err := c.WriteParts(&m, parts); err != nil {
					t.Fatal(err)
				}
				var got []byte
				for len(got) < len(want) {
					if _, err := l.ReadBatch(ms); err != nil {
						t.Fatal(err)
					}
					if s := ms[0].Segment; s != m.Segment && s != ms[0].N {
						t.Fatalf("datagrams of %d bytes, want %d", s, m.Segment)
					}
					if ms[0].Addr != c.LocalAddr() {
						t.Fatalf("it came from %v", ms[0].Addr)
					}
					got = append(got, ms[0].Buf[:ms[0].N]...)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("round %d: %d bytes in %d parts differ", round, len(want), len(parts))
				}
			}
			s := c.Stats()
			if s.Sent != l.Stats().Received || s.SentBytes != l.Stats().ReceivedBytes {
				t.Errorf("counted %+v, received %+v", s, l.Stats())
			}
		})
	}
}

// TestWritePartsAllocates checks that sending from parts takes no memory.
func TestWritePartsAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, err := Listen(context.Background(), "udp4", "127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dial(context.Background(), l.LocalAddr(), l.LocalAddr().Addr(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 1400)
	parts := [][]byte{b[:36], b[36:700], b[700:]}
	m := Message{Segment: 1400}
	if n := testing.AllocsPerRun(100, func() {
		if err := c.WriteParts(&m, parts); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

package arq

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestChunks hands in a stream, some of it in chunks, some late or twice, reads it
// in all ways, and reuses what is let go of at once.
func TestChunks(t *testing.T) {
	const total = 24 << 20
	want := make([]byte, total)
	rand.NewChaCha8([32]byte{1}).Read(want)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var r recvBuffer
		r.limit = total
		c := &Conn{recv: r}
		c.flow.init(total)
		c.flow.window = total
		var late []span
		var free []*Chunk
		made, most := 0, 0
		sent, fill := 0, 0
		got := make([]byte, 0, total)
		insert := func(lo, hi int, k *Chunk, b []byte) {
			c.recv.chunk = k
			defer func() { c.recv.chunk = nil }()
			if _, err := c.recv.insert(uint64(lo), b, hi == total); err != nil {
				t.Fatal(err)
			}
		}
		for len(got) < total {
			// A message of some packets, in a chunk.
			if sent < total {
				var k *Chunk
				if n := len(free); n > 0 {
					k, free = free[n-1], free[:n-1]
				} else {
					k = &Chunk{Buf: make([]byte, 64<<10)}
					made++
				}
				for fill = 0; fill+1472 < len(k.Buf) && sent < total; fill += 1472 {
					n := min(1+rng.IntN(1472), total-sent)
					b := k.Buf[fill : fill+n]
					copy(b, want[sent:])
					switch rng.IntN(400) {
					case 0:
						late = append(late, span{uint64(sent), uint64(sent + n)})
					case 1:
						insert(sent, sent+n, nil, b)
					default:
						insert(sent, sent+n, k, b)
					}
					sent += n
				}
				if !k.InUse() {
					clear(k.Buf)
					free = append(free, k)
				}
			}
			if len(late) > 0 && (rng.IntN(3) == 0 || sent == total) {
				s := late[0]
				late = late[1:]
				lo := max(0, int(s.lo)-rng.IntN(3000)) // some of it once more
				insert(lo, int(s.hi), &Chunk{}, bytes.Clone(want[lo:s.hi]))
			}
			for c.recv.readable() > 0 && rng.IntN(4) > 0 {
				if rng.IntN(2) == 0 {
					b, _ := c.Peek()
					n := rng.IntN(len(b) + 1)
					got = append(got, b[:n]...)
					c.Discard(n)
				} else {
					b := make([]byte, rng.IntN(100_000))
					n, _ := c.Read(b)
					got = append(got, b[:n]...)
				}
			}
			if !bytes.Equal(got[max(0, len(got)-1<<17):], want[max(0, len(got)-1<<17):len(got)]) {
				t.Fatalf("seed %d: what was read up to %d is not what was sent", seed, len(got))
			}
			most = max(most, c.recv.kept.bytes)
			for k := c.Reclaim(); k != nil; k = c.Reclaim() {
				if k.InUse() {
					t.Fatal("a chunk came back that is in use")
				}
				if len(k.Buf) > 0 {
					clear(k.Buf)
					free = append(free, k)
				}
			}
		}
		if !bytes.Equal(got, want) || !c.recv.atEnd() {
			t.Fatalf("seed %d: %d bytes differ", seed, len(got))
		}
		if most == 0 || most > maxKept || c.recv.kept.bytes != 0 {
			t.Errorf("seed %d: %d bytes were kept at most, %d are still", seed, most, c.recv.kept.bytes)
		}
		t.Logf("%d chunks for at most %d bytes", made, most)
	}
}

// TestChunksBounded: a reader who does not read makes no more be kept than maxKept.
func TestChunksBounded(t *testing.T) {
	var r recvBuffer
	r.limit = 3 * maxKept
	for off := uint64(0); off < r.limit; off += 32 << 10 {
		r.chunk = &Chunk{Buf: make([]byte, 32<<10)}
		if _, err := r.insert(off, r.chunk.Buf, false); err != nil {
			t.Fatal(err)
		}
	}
	if r.kept.bytes != maxKept {
		t.Errorf("%d bytes are kept", r.kept.bytes)
	}
	r.advance(2 * maxKept)
	if r.kept.bytes != 0 || len(r.kept.free) != maxFree {
		t.Errorf("%d bytes are kept, %d chunks wait", r.kept.bytes, len(r.kept.free))
	}
}

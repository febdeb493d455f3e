package arq

import (
	"net/netip"
	"time"
)

// A Chunk is memory that datagrams arrive in and that a connection may keep until
// the application has read what of the stream is in it. So nothing is copied but to
// the reader.
type Chunk struct {
	// Buf is where datagrams are received. It belongs to the chunk's owner
	// while InUse is false.
	Buf []byte

	refs int // pieces of the stream in it
}

// InUse reports whether the connection keeps the chunk. It must be called as the
// connection's methods are.
func (k *Chunk) InUse() bool { return k.refs > 0 }

// HandleChunk is [Conn.HandleDatagram] for a datagram that lies in a chunk, whose
// others were or will be handed in too, all to this one connection. Handing in
// chunks that are mostly empty wastes memory. A chunk that is in use afterwards
// comes back by [Conn.Reclaim].
func (c *Conn) HandleChunk(now time.Duration, b []byte, k *Chunk, from netip.AddrPort, ecn ECN) {
	c.recv.chunk = k
	c.HandleDatagram(now, b, from, ecn)
	c.recv.chunk = nil
}

// Reclaim returns a chunk that was in use and is not any more, or nil.
func (c *Conn) Reclaim() *Chunk {
	n := len(c.recv.kept.free)
	if n == 0 {
		return nil
	}
	k := c.recv.kept.free[n-1]
	c.recv.kept.free[n-1] = nil
	c.recv.kept.free = c.recv.kept.free[:n-1]
	return k
}

const (
	// maxKept bounds the bytes of the stream that wait in chunks, which are
	// somewhat larger than that. What is more is copied.
	maxKept = 8 << 20
	// maxFree bounds the chunks that wait for Reclaim; the collector has the
	// rest.
	maxFree = 64
)

// keptPieces are pieces of the stream that lie in chunks, in order.
type keptPieces struct {
	list  []keptPiece // from head on
	head  int
	bytes int
	free  []*Chunk
}

type keptPiece struct {
	off   uint64
	data  []byte
	chunk *Chunk
}

func (p *keptPiece) end() uint64 { return p.off + uint64(len(p.data)) }

// keep adds a piece, which lies behind all others.
func (k *keptPieces) keep(off uint64, b []byte, chunk *Chunk) {
	if k.head > 0 && len(k.list) == cap(k.list) {
		n := copy(k.list, k.list[k.head:])
		clear(k.list[n:])
		k.list, k.head = k.list[:n], 0
	}
	k.list = append(k.list, keptPiece{off, b, chunk})
	k.bytes += len(b)
	chunk.refs++
}

// first returns the piece at the front, or nil.
func (k *keptPieces) first() *keptPiece {
	if k.head == len(k.list) {
		return nil
	}
	return &k.list[k.head]
}

// letGo drops the pieces below off.
func (k *keptPieces) letGo(off uint64) {
	for p := k.first(); p != nil && p.end() <= off; p = k.first() {
		k.bytes -= len(p.data)
		if p.chunk.refs--; p.chunk.refs == 0 && len(k.free) < maxFree {
			k.free = append(k.free, p.chunk)
		}
		*p = keptPiece{}
		k.head++
	}
	if k.head == len(k.list) {
		k.list, k.head = k.list[:0], 0
	}
}

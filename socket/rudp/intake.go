package rudp

import (
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// intake is what the goroutine that receives has: the memory that messages are
// read into, and what of it came back from connections that kept some.
type intake struct {
	e      *endpoint
	chunks [readBatch]*arq.Chunk
	spare  []*arq.Chunk
}

const (
	// chunkFill is how long a message must be for a connection to keep its
	// memory: so at most a third of that is wasted.
	chunkFill = datagram.MaxMessage * 3 / 4
	maxSpare  = 64
)

// fresh returns a chunk that nobody uses.
func (in *intake) fresh() *arq.Chunk {
	if n := len(in.spare); n > 0 {
		k := in.spare[n-1]
		in.spare = in.spare[:n-1]
		return k
	}
	return &arq.Chunk{Buf: make([]byte, datagram.MaxMessage)}
}

// take hands on the datagrams of a message, which lies in k. They come from one
// sender but may be for several connections. It reports whether k is in use now.
func (in *intake) take(now time.Duration, m *datagram.Message, k *arq.Chunk) (used bool) {
	e := in.e
	trace := e.cfg.Trace
	if m.N < chunkFill {
		k = nil
	}
	var c *Conn
	var id uint64
	for b := m.Buf[:m.N]; len(b) > 0; {
		d := b[:min(len(b), max(m.Segment, 1))]
		b = b[len(d):]
		if trace != nil && trace.Datagram != nil {
			trace.Datagram(Datagram{At: time.Now(), Local: e.localFor(m.Local), Remote: m.Addr, ECN: m.ECN, Payload: d})
		}
		dest, ok := arq.DestinationID(d)
		if !ok {
			e.dropped(m.Addr, len(d), arq.DropMalformed)
			continue
		}
		if c == nil || dest != id {
			if c != nil {
				used = in.leave(c, k) || used
				k = nil // it is kept by one connection only
			}
			id = dest
			if c = e.find(id); c == nil {
				if c = e.stranger(now, m, d); c == nil {
					continue
				}
				id = c.eng.LocalID()
			}
			c.mu.Lock()
			c.localAddr = m.Local
		}
		if k != nil {
			c.eng.HandleChunk(now, d, k, m.Addr, arq.ECN(m.ECN))
		} else {
			c.eng.HandleDatagram(now, d, m.Addr, arq.ECN(m.ECN))
		}
	}
	if c != nil {
		used = in.leave(c, k) || used
	}
	return used
}

// leave ends what a connection was handed, and takes back what it needs no more.
// It releases the connection's lock.
func (in *intake) leave(c *Conn, k *arq.Chunk) (used bool) {
	used = k != nil && k.InUse()
	for k := c.eng.Reclaim(); k != nil; k = c.eng.Reclaim() {
		if len(in.spare) < maxSpare {
			in.spare = append(in.spare, k)
		}
	}
	c.received()
	return used
}

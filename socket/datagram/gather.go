package datagram

import (
	"net/netip"
	"sync"
)

// WriteParts sends a message whose bytes are those of parts, one behind the
// other, in place of m.Buf: a train leaves from where its bytes lie. What is dealt
// with and what is an error is as with [Conn.WriteBatch]. Where [Conn.Gathering] is
// false the parts are copied together first.
func (c *Conn) WriteParts(m *Message, parts [][]byte) error {
	if len(parts) == 1 {
		one := [1]Message{*m}
		one[0].Buf = parts[0]
		_, err := c.WriteBatch(one[:])
		return err
	}
	if c.Gathering(m.Addr) {
		if sent, err := c.writeParts(m, parts); sent || err != nil {
			return err
		}
		// It cannot be, or not in this way: WriteBatch finds out.
	}
	buf := joined.Get().(*[]byte)
	defer joined.Put(buf)
	b := (*buf)[:0]
	for _, p := range parts {
		b = append(b, p...)
	}
	*buf = b
	one := [1]Message{*m}
	one[0].Buf = b
	_, err := c.WriteBatch(one[:])
	return err
}

var joined = sync.Pool{New: func() any { return new([]byte) }}

// Gathering reports whether WriteParts to peer copies nothing: where trains are
// left to the kernel, and nobody here looks at the single datagrams.
func (c *Conn) Gathering(peer netip.AddrPort) bool {
	return canGather && c.impair == nil && c.sent == nil && c.Segmenting(peer)
}

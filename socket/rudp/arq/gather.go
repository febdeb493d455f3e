package arq

import (
	"encoding/binary"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/crc32c"
)

// PollGather is [Conn.PollTransmit] for an owner that can send what lies in
// several places as one (sendmsg(2)): the bytes of the stream are not copied into
// buf but stay in the send buffer. What is to be sent are the N bytes of parts, one
// behind the other; it is parts[:0] with what was appended, for the next call. They
// are valid until the next PollTransmit or PollGather, whatever is called
// meanwhile.
func (c *Conn) PollGather(now time.Duration, buf []byte, parts [][]byte) (Transmit, [][]byte) {
	if c.state != StateEstablished {
		t := c.PollTransmit(now, buf)
		return t, append(parts[:0], buf[:t.N])
	}
	c.gather = gathering{on: true, parts: parts[:0]}
	t := c.PollTransmit(now, buf)
	g := c.gather
	c.gather = gathering{}
	if g.n != t.N { // something that is not made by writePacket
		return t, append(parts[:0], buf[:t.N])
	}
	c.send.lent = t.N > 0
	return t, g.parts
}

// gathering is a train that is put together of parts.
type gathering struct {
	on    bool
	parts [][]byte
	n     int // bytes in them
}

// packet seals a packet and adds its parts. b is the packet; of the part that
// data tells only the place is right, its bytes lie in s from off on.
func (g *gathering) packet(s *sendBuffer, b []byte, data span, off uint64) {
	g.n += len(b)
	if data.lo == data.hi {
		seal(b)
		g.parts = append(g.parts, b)
		return
	}
	head, pad := b[:data.lo], b[data.hi:]
	sum := crc32c.Update(prefixSum(head), head[8:])
	g.parts = append(g.parts, head)
	for end := off + data.hi - data.lo; off < end; {
		piece := s.slice(off, end)
		sum = crc32c.Update(sum, piece)
		g.parts = append(g.parts, piece)
		off += uint64(len(piece))
	}
	if len(pad) > 0 {
		sum = crc32c.Update(sum, pad)
		g.parts = append(g.parts, pad)
	}
	binary.BigEndian.PutUint32(b[4:], sum)
}

package datagram

import (
	"errors"
	"net/netip"
	"syscall"
)

// readPlain reads one datagram through package net.
func (c *Conn) readPlain(ms []Message) (int, error) {
	m := &ms[0]
	for {
		n, _, _, from, err := c.udp.ReadMsgUDPAddrPort(m.Buf, nil)
		c.count.recvCalls.Add(1)
		if err != nil {
			if isTooLong(err) { // Windows fails with WSAEMSGSIZE; elsewhere it is ICMP about what was sent
				c.count.truncated.Add(1)
				continue
			}
			return 0, err
		}
		if from.IsValid() {
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		} else {
			from = c.peer
		}
		*m = Message{Buf: m.Buf, N: n, Segment: n, Addr: from}
		return 1, nil
	}
}

// writePlain sends datagram by datagram through package net.
func (c *Conn) writePlain(ms []Message) (int, error) {
	for i := range ms {
		m := &ms[i]
		for b, more := m.Buf, true; more; {
			one := b
			if m.Segment > 0 && len(b) > m.Segment {
				one, b = b[:m.Segment], b[m.Segment:]
			} else {
				more = false
			}
			if err := c.writeOne(one, m.Addr); err != nil && !c.dropped(err) {
				return i, err
			}
		}
	}
	return len(ms), nil
}

func (c *Conn) writeOne(b []byte, to netip.AddrPort) error {
	var err error
	for range 2 {
		c.count.sendCalls.Add(1)
		if c.peer.IsValid() {
			_, err = c.udp.Write(b)
		} else {
			_, _, err = c.udp.WriteMsgUDPAddrPort(b, nil, to)
		}
		if err == nil {
			c.count.sent.Add(1)
			c.count.sentBytes.Add(uint64(len(b)))
			return nil
		}
		if !errors.Is(err, syscall.EPERM) && !isTooLong(err) {
			break
		}
	}
	return err
}

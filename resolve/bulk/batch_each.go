package bulk

import (
	"errors"
	"net"
	"net/netip"
)

// One packet a call: for systems without recvmmsg, and for sockets that are
// not the system's own.

func (r *receiver) receiveOne() ([]rxPacket, error) {
	buf := r.bufs[:rxSize]
	n, from, err := r.sock.conn.ReadFrom(buf)
	var addr netip.AddrPort
	if ua, ok := from.(*net.UDPAddr); ok && ua != nil {
		addr = ua.AddrPort()
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	if err != nil {
		// Windows has an error for a packet that is too long.
		var ne net.Error
		if n < headerLen || errors.As(err, &ne) && ne.Timeout() {
			return nil, err
		}
	}
	if n == len(buf) && n >= headerLen {
		buf[2] |= flagTC >> 8 // it may have been longer
	}
	r.pkts = append(r.pkts[:0], rxPacket{b: buf[:n], from: addr})
	return r.pkts, nil
}

func sendEach(sock *udpSock, tx *txBatch) (last error) {
	for i, p := range tx.pkts {
		var err error
		if c, ok := sock.conn.(*net.UDPConn); ok && sock.connected {
			_, err = c.Write(tx.bytes(i))
		} else if ok {
			_, err = c.WriteToUDPAddrPort(tx.bytes(i), p.server.addr)
		} else {
			_, err = sock.conn.WriteTo(tx.bytes(i), net.UDPAddrFromAddrPort(p.server.addr))
		}
		if err != nil {
			last = err
		}
	}
	return last
}

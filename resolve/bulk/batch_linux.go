package bulk

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// udpSock is an open socket.
type udpSock struct {
	conn      net.PacketConn
	raw       syscall.RawConn // nil if the system's sockets are not what is below
	connected bool
	inet6     bool        // addresses are struct sockaddr_in6
	segments  atomic.Bool // the kernel cuts a buffer into packets (UDP_SEGMENT)
}

func newUDPSock(conn net.PacketConn, connected bool) *udpSock {
	s := &udpSock{conn: conn, connected: connected}
	c, ok := conn.(*net.UDPConn)
	if !ok {
		return s
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return s
	}
	raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		_, s.inet6 = sa.(*unix.SockaddrInet6)
		if err == nil {
			s.raw = raw
		}
		if _, err := unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT); err == nil {
			s.segments.Store(true)
		}
	})
	return s
}

// receiver takes packets from a socket, as many as there are with one call.
type receiver struct {
	sock  *udpSock
	bufs  []byte
	hdrs  [batchSize]mmsghdr
	iovs  [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6 // large enough for inet, too
	pkts  []rxPacket
	call  func(fd uintptr) bool
	n     int
	err   error
}

func newReceiver(s *udpSock) *receiver {
	r := &receiver{sock: s, bufs: make([]byte, batchSize*rxSize), pkts: make([]rxPacket, 0, batchSize)}
	for i := range r.hdrs {
		r.iovs[i].Base = &r.bufs[i*rxSize]
		r.iovs[i].SetLen(rxSize)
		r.hdrs[i].hdr.Iov = &r.iovs[i]
		r.hdrs[i].hdr.SetIovlen(1)
	}
	r.call = r.recvmmsg
	return r
}

func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n, r.err = int(n), nil
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.n, r.err = 0, errno
			return true
		}
	}
}

// receive waits for packets. What it returns is good until the next call.
func (r *receiver) receive() ([]rxPacket, error) {
	if r.sock.raw == nil {
		return r.receiveOne()
	}
	if !r.sock.connected {
		for i := range r.hdrs {
			r.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
			r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrInet6
		}
	}
	if err := r.sock.raw.Read(r.call); err != nil {
		return nil, err
	}
	if r.err != nil {
		return nil, r.err
	}
	r.pkts = r.pkts[:0]
	for i := range r.n {
		p := rxPacket{b: r.bufs[i*rxSize:][:r.hdrs[i].n]}
		if r.hdrs[i].hdr.Flags&unix.MSG_TRUNC != 0 && len(p.b) >= headerLen {
			p.b[2] |= flagTC >> 8 // what was cut off is had by TCP
		}
		if !r.sock.connected {
			p.from = sockaddr(&r.names[i])
		}
		r.pkts = append(r.pkts, p)
	}
	return r.pkts, nil
}

func sockaddr(sa *unix.RawSockaddrInet6) netip.AddrPort {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port := uint16(p[0])<<8 | uint16(p[1])
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

// sender sends batches, each with one call where possible. It belongs to one
// goroutine but may be used for any socket.
//
// Where the kernel can, a run of queries of one length to one server goes down
// as one buffer, to be cut up at the end of the way: most of what a packet
// costs is then paid once for the run. Lists tend to have such runs.
type sender struct {
	hdrs  [batchSize]mmsghdr
	iovs  [batchSize]unix.Iovec
	names [batchSize]unix.RawSockaddrInet6
	ctls  [batchSize]segmentControl
	call  func(fd uintptr) bool
	at, n int
	err   error
}

// segmentControl is a control message with a UDP_SEGMENT.
type segmentControl struct {
	hdr  unix.Cmsghdr
	size uint16
	_    [6]byte
}

func newSender() *sender {
	s := &sender{}
	for i := range s.hdrs {
		s.hdrs[i].hdr.Iov = &s.iovs[i]
		s.hdrs[i].hdr.SetIovlen(1)
	}
	for i := range s.ctls {
		s.ctls[i].hdr.Level, s.ctls[i].hdr.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		s.ctls[i].hdr.SetLen(unix.CmsgLen(2))
	}
	s.call = s.sendmmsg
	return s
}

func (s *sender) sendmmsg(fd uintptr) bool {
	for s.at < s.n {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[s.at])), uintptr(s.n-s.at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			s.at += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			s.err = errno
			return true
		}
	}
	return true
}

// send sends the batch. Packets that the system refuses are left out, as if
// the network had lost them; the last such error is returned.
func (s *sender) send(sock *udpSock, tx *txBatch) error {
	if sock.raw == nil {
		return sendEach(sock, tx)
	}
	segments := sock.segments.Load()
	s.at, s.n = 0, 0
	for i := 0; i < len(tx.pkts); s.n++ {
		p := tx.pkts[i]
		run := 1
		for segments && i+run < len(tx.pkts) && tx.pkts[i+run].n == p.n && tx.pkts[i+run].server == p.server {
			run++
		}
		s.iovs[s.n].Base = &tx.arena[p.off]
		s.iovs[s.n].SetLen(run * p.n)
		h := &s.hdrs[s.n].hdr
		h.Name, h.Namelen, h.Control = nil, 0, nil
		h.SetControllen(0)
		if !sock.connected {
			h.Name = (*byte)(unsafe.Pointer(&s.names[s.n]))
			h.Namelen = setSockaddr(&s.names[s.n], p.server.addr, sock.inet6)
		}
		if run > 1 {
			s.ctls[s.n].size = uint16(p.n)
			h.Control = (*byte)(unsafe.Pointer(&s.ctls[s.n]))
			h.SetControllen(unix.CmsgSpace(2))
		}
		i += run
	}
	var last error
	for retried := -1; s.at < s.n; {
		s.err = nil
		if err := sock.raw.Write(s.call); err != nil {
			return err
		}
		if s.err == nil {
			break
		}
		if h := &s.hdrs[s.at].hdr; h.Control != nil && refusesSegments(s.err) {
			// Some way out cannot do it, whatever the kernel said.
			sock.segments.Store(false)
			return s.send(sock, tx.after(h.Iov.Base))
		}
		last = s.err
		// The error may be one that an earlier packet caused, such as a port
		// where nobody was: then this one has not been tried.
		if retried == s.at {
			s.at++
		}
		retried = s.at
	}
	return last
}

func setSockaddr(sa *unix.RawSockaddrInet6, to netip.AddrPort, inet6 bool) uint32 {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	p[0], p[1] = byte(to.Port()>>8), byte(to.Port())
	if !inet6 {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		sa4.Family = unix.AF_INET
		sa4.Addr = to.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	sa.Family, sa.Flowinfo, sa.Scope_id = unix.AF_INET6, 0, 0
	sa.Addr = to.Addr().As16()
	if zone := to.Addr().Zone(); zone != "" {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			sa.Scope_id = uint32(ifi.Index)
		}
	}
	return unix.SizeofSockaddrInet6
}

// refusesSegments reports whether err may be for want of UDP_SEGMENT: EIO is
// a device without checksum offload, EINVAL a path with too small an MTU.
func refusesSegments(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EOPNOTSUPP)
}

func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// after returns the part of t that begins with the packet at b.
func (t *txBatch) after(b *byte) *txBatch {
	for i, p := range t.pkts {
		if &t.arena[p.off] == b {
			return &txBatch{arena: t.arena, pkts: t.pkts[i:]}
		}
	}
	return &txBatch{}
}

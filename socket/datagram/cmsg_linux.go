package datagram

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// putCmsg appends the header of a control message with size bytes of data to
// b[:n] and returns where the data go and the new length.
func putCmsg(b []byte, n, level, typ, size int) (data []byte, end int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(size))
	d := n + unix.CmsgLen(0)
	end = n + unix.CmsgSpace(size)
	clear(b[d:end])
	return b[d : d+size], end
}

func putSegment(b []byte, n, size int) int {
	d, n := putCmsg(b, n, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(d, uint16(size))
	return n
}

// putControl writes the control messages for m's ECN and Local.
func (c *Conn) putControl(b []byte, n int, m *Message) int {
	to := m.Addr
	if c.peer.IsValid() {
		to = c.peer
	}
	// A socket of either family speaks IPv4 with IPv4's options.
	v4 := c.sys.inet || to.Addr().Is4() || to.Addr().Is4In6()
	var d []byte
	if m.ECN != NotECT {
		if v4 {
			d, n = putCmsg(b, n, unix.IPPROTO_IP, unix.IP_TOS, 4)
		} else {
			d, n = putCmsg(b, n, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)
		}
		binary.NativeEndian.PutUint32(d, uint32(m.ECN))
	}
	if local := m.Local; local.IsValid() && !local.IsUnspecified() {
		local = local.Unmap()
		switch {
		case v4 && local.Is4():
			d, n = putCmsg(b, n, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
			a := local.As4()
			copy(d[4:8], a[:]) // ipi_spec_dst
		case !v4 && local.Is6():
			d, n = putCmsg(b, n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
			a := local.As16()
			copy(d[:16], a[:])
		}
	}
	return n
}

// readControl takes in the control messages that came with m.
func (c *Conn) readControl(b []byte, m *Message) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		l := int(h.Len)
		if l < unix.SizeofCmsghdr || l > len(b) {
			return // cut off
		}
		d := b[unix.CmsgLen(0):l]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(d) >= 4:
			if seg := int(int32(binary.NativeEndian.Uint32(d))); seg > 0 {
				m.Segment = seg
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(d) >= 1:
			m.ECN = ECN(d[0] & 3) // a byte, although it is an int when sent
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(d) >= 4:
			m.ECN = ECN(binary.NativeEndian.Uint32(d) & 3)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(d) >= unix.SizeofInet4Pktinfo:
			m.Local = netip.AddrFrom4([4]byte(d[4:8]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(d) >= unix.SizeofInet6Pktinfo:
			if a := netip.AddrFrom16([16]byte(d[:16])); !m.Local.IsValid() {
				m.Local = a.Unmap()
			}
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(d) >= 4:
			now := binary.NativeEndian.Uint32(d)
			c.count.hostDrops.Add(uint64(now - c.sys.dropsSeen)) // wraps as it does
			c.sys.dropsSeen = now
		}
		space := unix.CmsgSpace(len(d))
		if space >= len(b) {
			return
		}
		b = b[space:]
	}
}

// addrPort converts a sender's address. Most messages come from the sender of
// the one before; a zone's name is only made when that changes.
func (c *Conn) addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	if l := &c.sys.last; l.addr.IsValid() && sa.Family == unix.AF_INET6 && *sa == l.name {
		return l.addr
	}
	switch sa.Family {
	case unix.AF_INET:
		s4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(s4.Addr), ntohs(s4.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.Scope_id != 0 && a.Is6() {
			a = a.WithZone(strconv.FormatUint(uint64(sa.Scope_id), 10))
		}
		ap := netip.AddrPortFrom(a, ntohs(sa.Port))
		c.sys.last.name, c.sys.last.addr = *sa, ap
		return ap
	}
	return netip.AddrPort{}
}

// putAddr writes an address as the socket's family wants it and returns its
// length. An IPv6 address for an IPv4 socket is left to the kernel to refuse.
func (c *Conn) putAddr(sa *unix.RawSockaddrInet6, to netip.AddrPort) uint32 {
	a := to.Addr()
	if c.sys.inet && (a.Is4() || a.Is4In6()) {
		s4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*s4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(to.Port()), Addr: a.Unmap().As4()}
		return unix.SizeofSockaddrInet4
	}
	*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(to.Port()), Addr: a.As16(), Scope_id: scope(a.Zone())}
	return unix.SizeofSockaddrInet6
}

func ntohs(v uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&v))[:])
}

func htons(v uint16) uint16 { return ntohs(v) }

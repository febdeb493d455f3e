package capture

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"time"
)

// Block types, options and link type of pcapng (draft-ietf-opsawg-pcapng).
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6

	optEnd          = 0
	optComment      = 1
	shbOS           = 3
	shbApplication  = 4
	ifName          = 2
	ifDescription   = 3
	ifTsResolution  = 9
	epbFlags        = 2
	epbDropCount    = 4
	isbStart        = 2
	isbEnd          = 3
	isbReceived     = 4
	isbDropped      = 5
	byteOrderMagic  = 0x1A2B3C4D
	linkEthernet    = 1
	flagInbound     = 1
	flagOutbound    = 2
	nanosecondTicks = 9 // 10^-9 s
)

var le, be = binary.LittleEndian, binary.BigEndian

// begin starts a block; end completes its two lengths.
func begin(b []byte, typ uint32) []byte {
	b = le.AppendUint32(b, typ)
	return le.AppendUint32(b, 0)
}

func end(b []byte, start int) []byte {
	n := uint32(len(b) - start + 4)
	le.PutUint32(b[start+4:], n)
	return le.AppendUint32(b, n)
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// option is written with the block at the start of b, so that padding by the
// length of b is padding by that of the block.
func option(b []byte, code uint16, value []byte) []byte {
	value = value[:min(len(value), 1<<16-1)]
	b = le.AppendUint16(b, code)
	b = le.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func option64(b []byte, code uint16, v uint64) []byte {
	return option(b, code, le.AppendUint64(nil, v))
}

// stamp is a time in the two halves that the format has it in.
func stamp(b []byte, t time.Time) []byte {
	n := uint64(t.UnixNano())
	b = le.AppendUint32(b, uint32(n>>32))
	return le.AppendUint32(b, uint32(n))
}

// fileHead is a section and its one interface.
func fileHead(o Options) []byte {
	b := begin(nil, blockSection)
	b = le.AppendUint32(b, byteOrderMagic)
	b = le.AppendUint16(b, 1) // version 1.0
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, 1<<64-1) // length of the section: not known
	b = option(b, shbOS, []byte(runtime.GOOS+" "+runtime.GOARCH))
	if o.Application != "" {
		b = option(b, shbApplication, []byte(o.Application))
	}
	if o.Comment != "" {
		b = option(b, optComment, []byte(o.Comment))
	}
	b = end(option(b, optEnd, nil), 0)
	start := len(b)
	b = begin(b, blockInterface)
	b = le.AppendUint16(b, linkEthernet)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, 0) // no limit to the length of packets
	b = option(b, ifName, []byte("wherry"))
	b = option(b, ifDescription, []byte("datagrams of a UDP socket, with headers made up"))
	b = option(b, ifTsResolution, []byte{nanosecondTicks})
	return end(option(b, optEnd, nil), start)
}

func appendPacket(b []byte, r *record) []byte {
	b = begin(b, blockPacket)
	b = le.AppendUint32(b, 0)
	b = stamp(b, r.At)
	lengths := len(b)
	b = le.AppendUint64(b, 0)
	data := len(b)
	b = appendFrame(b, &r.Packet)
	n := uint32(len(b) - data)
	le.PutUint32(b[lengths:], n)
	le.PutUint32(b[lengths+4:], n)
	b = pad(b)
	direction := uint32(flagInbound)
	if r.Sent {
		direction = flagOutbound
	}
	b = le.AppendUint16(b, epbFlags)
	b = le.AppendUint16(b, 4)
	b = le.AppendUint32(b, direction)
	if r.missed > 0 {
		b = option64(b, epbDropCount, r.missed)
	}
	if r.Comment != "" {
		b = option(b, optComment, []byte(r.Comment))
	}
	return end(option(b, optEnd, nil), 0)
}

func appendStatistics(b []byte, first, last time.Time, received, dropped uint64) []byte {
	b = begin(b, blockStatistics)
	b = le.AppendUint32(b, 0)
	b = stamp(b, last)
	b = option(b, isbStart, stamp(nil, first))
	b = option(b, isbEnd, stamp(nil, last))
	b = option64(b, isbReceived, received)
	b = option64(b, isbDropped, dropped)
	return end(option(b, optEnd, nil), 0)
}

const (
	etherLen = 14
	ip4Len   = 20
	ip6Len   = 40
	udpLen   = 8
	protoUDP = 17
	hops     = 64
	// maxPayload is the largest of UDP over IPv4.
	maxPayload = 1<<16 - 1 - ip4Len - udpLen
)

// appendFrame writes an Ethernet frame.
func appendFrame(b []byte, p *Packet) []byte {
	src, dst := p.Local, p.Remote
	if !p.Sent {
		src, dst = dst, src
	}
	from, to := src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	// An address that is not known is the unspecified one.
	four := to.Is4() || !to.IsValid() && from.Is4() || from.Is4() && to.IsUnspecified()
	for _, a := range []*netip.Addr{&from, &to} {
		switch {
		case four && !a.Is4():
			*a = netip.IPv4Unspecified()
		case !four && !a.Is6():
			*a = netip.IPv6Unspecified()
		}
	}
	b = appendMAC(b, to)
	b = appendMAC(b, from)
	size := udpLen + len(p.Payload)
	if four {
		b = be.AppendUint16(b, 0x0800)
		ip := len(b)
		b = append(b, 0x45, p.ECN&3)
		b = be.AppendUint16(b, uint16(ip4Len+size))
		b = be.AppendUint16(b, 0)
		b = be.AppendUint16(b, 0x4000) // don't fragment
		b = append(b, hops, protoUDP, 0, 0)
		b = append(b, from.AsSlice()...)
		b = append(b, to.AsSlice()...)
		be.PutUint16(b[ip+10:], ^fold(sum(0, b[ip:])))
	} else {
		b = be.AppendUint16(b, 0x86dd)
		b = be.AppendUint32(b, 6<<28|uint32(p.ECN&3)<<20)
		b = be.AppendUint16(b, uint16(size))
		b = append(b, protoUDP, hops)
		b = append(b, from.AsSlice()...)
		b = append(b, to.AsSlice()...)
	}
	udp := len(b)
	b = be.AppendUint16(b, src.Port())
	b = be.AppendUint16(b, dst.Port())
	b = be.AppendUint16(b, uint16(size))
	b = append(b, 0, 0)
	b = append(b, p.Payload...)
	// RFC 768 and RFC 8200, 8.1: over addresses, length, protocol, and all of it.
	s := sum(uint64(size)+protoUDP, from.AsSlice())
	check := ^fold(sum(sum(s, to.AsSlice()), b[udp:]))
	if check == 0 {
		check = 0xffff // 0 means that there is none
	}
	be.PutUint16(b[udp+6:], check)
	return b
}

// appendMAC writes a locally administered address with the end of a in it.
func appendMAC(b []byte, a netip.Addr) []byte {
	ip := a.AsSlice()
	return append(append(b, 0x02, 0x57), ip[len(ip)-4:]...)
}

// sum adds b to an Internet checksum (RFC 1071) that is folded later, as 32-bit
// words: 2^16 is 1 in its arithmetic, and so is 2^32.
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 4 {
		s += uint64(be.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(be.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

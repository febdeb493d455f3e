package bulk

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Sizes and positions of the fixed parts of a message (RFC 1035, section 4.1).
const (
	headerLen   = 12
	maxNameLen  = 255 // a name on the wire, root label included (RFC 1035, 2.3.4)
	maxLabelLen = 63
	maxQueryLen = headerLen + maxNameLen + 4 + optLen
	optLen      = 11 // an OPT record without options (RFC 6891, 6.1.2)

	flagQR = 1 << 15
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagCD = 1 << 4

	maskOpcode = 0xf << 11
	maskRcode  = 0xf
)

// errWire is all that the parser says of a message that it cannot follow. Why
// is of no use to a caller who can only drop the packet and go on waiting.
var errWire = errors.New("malformed message")

// message is a DNS message that has not been parsed: its methods look up only
// what they are asked for, at the place where it stands. All of them are safe
// on hostile bytes once checkHeader has said yes.
type message []byte

func (m message) id() uint16      { return binary.BigEndian.Uint16(m) }
func (m message) flags() uint16   { return binary.BigEndian.Uint16(m[2:]) }
func (m message) qdcount() uint16 { return binary.BigEndian.Uint16(m[4:]) }
func (m message) ancount() uint16 { return binary.BigEndian.Uint16(m[6:]) }
func (m message) rcode() uint8    { return m[3] & maskRcode }

// answersQuestion reports whether m is a response (QR set, a standard query,
// one question) to just this question. Names are compared octet by octet
// first, as nearly every server echoes what it was asked; unless exact is set
// a name that differs in the case of ASCII letters is the same one (RFC 4343).
func (m message) answersQuestion(name []byte, qtype uint16, exact bool) bool {
	if len(m) < headerLen+len(name)+4 || m.flags()&(flagQR|maskOpcode) != flagQR || m.qdcount() != 1 {
		return false
	}
	got := m[headerLen : headerLen+len(name)]
	if !bytes.Equal(got, name) && (exact || !equalFold(got, name)) {
		return false
	}
	rest := m[headerLen+len(name):]
	return binary.BigEndian.Uint16(rest) == qtype && binary.BigEndian.Uint16(rest[2:]) == classIN
}

// equalFold compares two names on the wire of one length. Length octets are
// below 64 and so never taken for letters.
func equalFold(a, b []byte) bool {
	for i, c := range a {
		d := b[i]
		if c == d {
			continue
		}
		if c|0x20 != d|0x20 || c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return true
}

// record is one resource record by the places of its parts in the message.
type record struct {
	name  int // offset of the owner name
	typ   uint16
	class uint16
	ttl   uint32
	rdata int // offset
	rdlen int
}

// skipName returns the offset after the name at off, without following a
// compression pointer.
func (m message) skipName(off int) (int, error) {
	for off < len(m) {
		c := int(m[off])
		switch {
		case c == 0:
			return off + 1, nil
		case c >= 0xc0:
			if off+2 > len(m) {
				return 0, errWire
			}
			return off + 2, nil
		case c > maxLabelLen:
			return 0, errWire
		}
		off += 1 + c
	}
	return 0, errWire
}

// appendName appends the uncompressed name at off to dst and returns the
// offset after it. A pointer must point before the labels that led to it
// (RFC 1035, 4.1.4: "a prior occurrence"), so every hop makes progress and no
// loop is possible.
func (m message) appendName(dst []byte, off int) (name []byte, next int, err error) {
	start, limit := len(dst), off
	for {
		if off >= len(m) {
			return dst, 0, errWire
		}
		c := int(m[off])
		switch {
		case c == 0:
			if next == 0 {
				next = off + 1
			}
			dst = append(dst, 0)
			if len(dst)-start > maxNameLen {
				return dst, 0, errWire
			}
			return dst, next, nil
		case c >= 0xc0:
			if off+2 > len(m) {
				return dst, 0, errWire
			}
			to := int(binary.BigEndian.Uint16(m[off:]) & 0x3fff)
			if to >= limit {
				return dst, 0, errWire
			}
			if next == 0 {
				next = off + 2
			}
			off, limit = to, to
		case c > maxLabelLen:
			return dst, 0, errWire
		default:
			if off+1+c > len(m) || len(dst)-start+1+c >= maxNameLen {
				return dst, 0, errWire
			}
			dst = append(dst, m[off:off+1+c]...)
			off += 1 + c
		}
	}
}

// record reads the record at off and returns the offset after it.
func (m message) record(off int) (rr record, next int, err error) {
	rr.name = off
	if off, err = m.skipName(off); err != nil {
		return rr, 0, err
	}
	if off+10 > len(m) {
		return rr, 0, errWire
	}
	rr.typ = binary.BigEndian.Uint16(m[off:])
	rr.class = binary.BigEndian.Uint16(m[off+2:])
	rr.ttl = binary.BigEndian.Uint32(m[off+4:])
	rr.rdlen = int(binary.BigEndian.Uint16(m[off+8:]))
	rr.rdata = off + 10
	if next = rr.rdata + rr.rdlen; next > len(m) {
		return rr, 0, errWire
	}
	return rr, next, nil
}

// checkAnswers walks the answer section, whose first record is at off, and
// returns whether one of its records is of type qtype. What it has passed can
// be printed without meeting the end of the message or an endless name.
func (m message) checkAnswers(off int, qtype uint16) (found bool, err error) {
	var scratch [maxNameLen + 1]byte
	for range m.ancount() {
		rr, next, err := m.record(off)
		if err != nil {
			return false, err
		}
		// Nearly every owner is a pointer to the question, which has been
		// compared already.
		if binary.BigEndian.Uint16(m[rr.name:]) != pointerToQuestion {
			if _, _, err := m.appendName(scratch[:0], rr.name); err != nil {
				return false, err
			}
		}
		switch {
		case rr.typ == typeA && rr.rdlen != 4, rr.typ == typeAAAA && rr.rdlen != 16:
			return false, errWire
		case rr.typ == qtype || qtype == typeANY:
			found = true
		}
		off = next
	}
	return found, nil
}

// pointerToQuestion is a compression pointer to the first octet after the
// header.
const pointerToQuestion = 0xc000 | headerLen

// appendQuery appends a query of one question for a name on the wire. With
// bufsize 0 it carries no OPT record.
func appendQuery(dst []byte, id, flags uint16, name []byte, qtype, bufsize uint16, do bool) []byte {
	ar := byte(0)
	if bufsize != 0 {
		ar = 1
	}
	dst = append(dst, byte(id>>8), byte(id), byte(flags>>8), byte(flags), 0, 1, 0, 0, 0, 0, 0, ar)
	dst = append(dst, name...)
	dst = append(dst, byte(qtype>>8), byte(qtype), 0, classIN)
	if ar == 0 {
		return dst
	}
	var z byte
	if do {
		z = 0x80
	}
	return append(dst, 0, 0, byte(typeOPT), byte(bufsize>>8), byte(bufsize), 0, 0, z, 0, 0, 0)
}

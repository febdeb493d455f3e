package bulk

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// mustEscape marks the printable characters that take a backslash in a name
// (as miekg/dns, BIND and others print it).
var mustEscape = [256]bool{'.': true, ' ': true, '\'': true, '@': true, ';': true, '(': true, ')': true, '"': true, '\\': true}

// appendNameText appends a name on the wire in presentation format, with its
// final dot. Octets that are not printable ASCII become \DDD.
func appendNameText(dst, name []byte) []byte {
	if len(name) <= 1 {
		return append(dst, '.')
	}
	for off := 0; off < len(name) && name[off] != 0; {
		n := int(name[off])
		for _, c := range name[off+1 : off+1+n] {
			switch {
			case c < 0x20 || c >= 0x7f:
				dst = appendDDD(dst, c)
			case mustEscape[c]:
				dst = append(dst, '\\', c)
			default:
				dst = append(dst, c)
			}
		}
		dst = append(dst, '.')
		off += 1 + n
	}
	return dst
}

func appendDDD(dst []byte, c byte) []byte {
	return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}

// escapeString makes foreign text fit for printing: whatever is not printable
// ASCII becomes \DDD, octet by octet.
func escapeString(s string) string {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			return string(appendEscaped(nil, s))
		}
	}
	return s
}

func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			dst = appendDDD(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// printer turns results into text. It belongs to one goroutine.
type printer struct {
	servers []string
	name    []byte // scratch: the question's name as text
	owner   []byte // scratch: an owner that is not the question's name
	wire    []byte // scratch
	rdata   []byte // scratch: record data as text
	hex     []byte // scratch: record data in hexadecimal
}

// setQuestion makes r's name the one that ownerText and queryText speak of.
func (p *printer) setQuestion(r *result) {
	p.name = p.name[:0]
	if w := r.wire(); len(w) > 0 {
		p.name = appendNameText(p.name, w)
	}
}

// queryText returns what the list said, fit for printing: the line itself or,
// which is the same, the name without its final dot.
func (p *printer) queryText(r *result) []byte {
	if r.text != "" {
		p.wire = appendEscaped(p.wire[:0], r.text)
		return p.wire
	}
	return p.name[:max(len(p.name)-1, 0)]
}

// ownerText returns the owner name of a record as text.
func (p *printer) ownerText(m message, rr record) []byte {
	if binary.BigEndian.Uint16(m[rr.name:]) == pointerToQuestion {
		return p.name
	}
	p.wire, _, _ = m.appendName(p.wire[:0], rr.name) // checked by checkAnswers
	p.owner = appendNameText(p.owner[:0], p.wire)
	return p.owner
}

// rdataText returns a record's data in presentation format, by miekg/dns
// except for the commonest types. Data that is not as its type demands is
// printed as that of an unknown type (RFC 3597, section 5).
func (p *printer) rdataText(m message, rr record) []byte {
	dst := p.rdata[:0]
	rd := m[rr.rdata : rr.rdata+rr.rdlen]
	switch {
	case rr.class != classIN:
	case rr.typ == typeA && rr.rdlen == 4:
		p.rdata = netip.AddrFrom4([4]byte(rd)).AppendTo(dst)
		return p.rdata
	case rr.typ == typeAAAA && rr.rdlen == 16:
		p.rdata = netip.AddrFrom16([16]byte(rd)).AppendTo(dst)
		return p.rdata
	case isNameType(rr.typ):
		name, next, err := m.appendName(p.wire[:0], rr.rdata)
		p.wire = name
		if err == nil && next == rr.rdata+rr.rdlen {
			p.rdata = appendNameText(dst, name)
			return p.rdata
		}
	}
	if full, err := m.unpack(rr); err == nil {
		text := strings.TrimPrefix(full.String(), full.Header().String())
		p.rdata = appendEscaped(dst, text)
		return p.rdata
	}
	dst = append(dst, `\# `...)
	dst = strconv.AppendInt(dst, int64(rr.rdlen), 10)
	if rr.rdlen > 0 {
		dst = append(dst, ' ')
		dst = hex.AppendEncode(dst, rd)
	}
	p.rdata = dst
	return dst
}

func isNameType(t uint16) bool {
	return t == typeCNAME || t == typePTR || t == typeNS || t == typeDNAME
}

// unpack parses one record with miekg/dns.
func (m message) unpack(rr record) (dns.RR, error) {
	full, next, err := dns.UnpackRR(m[:rr.rdata+rr.rdlen], rr.name)
	if err != nil {
		return nil, err
	}
	if next != rr.rdata+rr.rdlen {
		return nil, errWire
	}
	return full, nil
}

// rdataHex appends a record's data in hexadecimal with names uncompressed, as
// compressed ones mean nothing outside of their message.
func (p *printer) rdataHex(dst []byte, m message, rr record) []byte {
	rd := []byte(m[rr.rdata : rr.rdata+rr.rdlen])
	switch {
	case rr.typ == typeA, rr.typ == typeAAAA, rr.typ == typeTXT:
	case isNameType(rr.typ):
		if name, next, err := m.appendName(p.wire[:0], rr.rdata); err == nil && next == rr.rdata+rr.rdlen {
			p.wire, rd = name, name
		}
	default:
		if full, err := m.unpack(rr); err == nil {
			buf := make([]byte, dns.Len(full)+maxNameLen)
			if off, err := dns.PackRR(full, buf, 0, nil, false); err == nil {
				if plain, _, err := message(buf[:off]).record(0); err == nil {
					rd = buf[plain.rdata : plain.rdata+plain.rdlen]
				}
			}
		}
	}
	return hex.AppendEncode(dst, rd)
}

// appendType appends the name of a type, or TYPEnnn (RFC 3597, section 5).
func appendType(dst []byte, t uint16) []byte {
	switch t {
	case typeA:
		return append(dst, 'A')
	case typeAAAA:
		return append(dst, "AAAA"...)
	}
	if name, ok := dns.TypeToString[t]; ok {
		return append(dst, name...)
	}
	return strconv.AppendUint(append(dst, "TYPE"...), uint64(t), 10)
}

func appendClass(dst []byte, c uint16) []byte {
	if name, ok := dns.ClassToString[c]; ok {
		return append(dst, name...)
	}
	return strconv.AppendUint(append(dst, "CLASS"...), uint64(c), 10)
}

// appendMillis appends nanoseconds as milliseconds with three places.
func appendMillis(dst []byte, ns int64) []byte {
	us := max(ns, 0) / 1000
	dst = strconv.AppendInt(dst, us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

func (p *printer) serverName(r *result) string {
	if r.server < 0 {
		return ""
	}
	return p.servers[r.server]
}

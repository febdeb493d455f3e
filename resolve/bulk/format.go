package bulk

import (
	"bytes"
	"fmt"
	"strconv"
)

// A Format is how results are written. See the package's documentation for
// what each looks like.
type Format int

// The formats.
const (
	CSV Format = iota
	JSON
	Text
)

// ParseFormat reads a format's name: csv, json or short.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "csv":
		return CSV, nil
	case "json":
		return JSON, nil
	case "short", "text":
		return Text, nil
	}
	return 0, fmt.Errorf("no such format for a list: %q (csv, json and short are)", escapeString(s))
}

func (f Format) String() string {
	switch f {
	case CSV:
		return "csv"
	case JSON:
		return "json"
	case Text:
		return "short"
	}
	return "format " + strconv.Itoa(int(f))
}

// csvHeader is the first line of a CSV output.
const csvHeader = "line,query,qtype,status,name,ttl,class,type,data,server,ms\n"

func (f Format) header() string {
	if f == CSV {
		return csvHeader
	}
	return ""
}

func (f Format) append(dst []byte, p *printer, r *result) []byte {
	p.setQuestion(r)
	switch f {
	case JSON:
		return p.appendJSON(dst, r)
	case Text:
		return p.appendShort(dst, r)
	default:
		return p.appendCSV(dst, r)
	}
}

// answers calls f for each record of the answer section.
func (r *result) answers(f func(m message, rr record)) {
	if r.pkt == nil {
		return
	}
	m := message(r.pkt)
	off := headerLen + int(r.nameLen) + 4
	for range m.ancount() {
		rr, next, err := m.record(off)
		if err != nil {
			return // not reached: checkAnswers has been here
		}
		f(m, rr)
		off = next
	}
}

func (p *printer) appendCSV(dst []byte, r *result) []byte {
	// What the rows of a result begin with is printed once and then copied.
	start := len(dst)
	dst = strconv.AppendUint(dst, r.line, 10)
	dst = append(dst, ',')
	dst = appendCSVField(dst, p.queryText(r))
	dst = append(dst, ',')
	dst = appendType(dst, r.qtype)
	dst = append(dst, ',')
	dst = append(dst, r.status.String()...)
	dst = append(dst, ',')
	head := len(dst)
	rows := 0
	r.answers(func(m message, rr record) {
		if rows++; rows > 1 {
			dst = append(dst, dst[start:head]...)
		}
		dst = appendCSVField(dst, p.ownerText(m, rr))
		dst = append(dst, ',')
		dst = strconv.AppendUint(dst, uint64(rr.ttl), 10)
		dst = append(dst, ',')
		dst = appendClass(dst, rr.class)
		dst = append(dst, ',')
		dst = appendType(dst, rr.typ)
		dst = append(dst, ',')
		dst = appendCSVField(dst, p.rdataText(m, rr))
		dst = p.appendCSVTail(dst, r)
	})
	if rows > 0 {
		return dst
	}
	dst = appendCSVField(dst, p.name)
	dst = append(dst, ",,,,"...)
	if r.why != nil {
		dst = appendCSVField(dst, []byte(escapeString(r.why.Error())))
	}
	return p.appendCSVTail(dst, r)
}

func (p *printer) appendCSVTail(dst []byte, r *result) []byte {
	dst = append(dst, ',')
	dst = append(dst, p.serverName(r)...)
	dst = append(dst, ',')
	if r.pkt != nil {
		dst = appendMillis(dst, r.rtt)
	}
	return append(dst, '\n')
}

// appendCSVField quotes as RFC 4180 has it. Fields are printable ASCII.
func appendCSVField(dst, field []byte) []byte {
	if bytes.IndexByte(field, ',') < 0 && bytes.IndexByte(field, '"') < 0 &&
		(len(field) == 0 || (field[0] != ' ' && field[len(field)-1] != ' ')) {
		return append(dst, field...)
	}
	dst = append(dst, '"')
	for _, c := range field {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

func (p *printer) appendShort(dst []byte, r *result) []byte {
	dst = append(dst, p.queryText(r)...)
	dst = append(dst, '\t')
	dst = appendType(dst, r.qtype)
	dst = append(dst, '\t')
	dst = append(dst, r.status.String()...)
	r.answers(func(m message, rr record) {
		if rr.typ != r.qtype && r.qtype != typeANY {
			return
		}
		dst = append(dst, '\t')
		dst = append(dst, p.rdataText(m, rr)...)
	})
	return append(dst, '\n')
}

func (p *printer) appendJSON(dst []byte, r *result) []byte {
	dst = append(dst, `{"line":`...)
	dst = strconv.AppendUint(dst, r.line, 10)
	dst = append(dst, `,"query":`...)
	dst = appendJSONString(dst, p.queryText(r))
	dst = append(dst, `,"status":"`...)
	dst = append(dst, r.status.String()...)
	dst = append(dst, '"')
	if r.why != nil {
		dst = append(dst, `,"error":`...)
		dst = appendJSONString(dst, []byte(escapeString(r.why.Error())))
	}
	if r.server >= 0 {
		dst = append(dst, `,"server":`...)
		dst = appendJSONString(dst, []byte(p.serverName(r)))
		dst = append(dst, `,"attempts":`...)
		dst = strconv.AppendUint(dst, uint64(r.attempts), 10)
	}
	if len(p.name) > 0 {
		dst = append(dst, `,"QNAME":`...)
		dst = appendJSONString(dst, p.name)
		dst = append(dst, `,"QTYPE":`...)
		dst = strconv.AppendUint(dst, uint64(r.qtype), 10)
		dst = append(dst, `,"QTYPEname":"`...)
		dst = appendType(dst, r.qtype)
		dst = append(dst, `","QCLASS":1,"QCLASSname":"IN"`...)
	}
	if r.pkt == nil {
		return append(dst, "}\n"...)
	}
	m := message(r.pkt)
	dst = append(dst, `,"ms":`...)
	dst = appendMillis(dst, r.rtt)
	dst = append(dst, `,"ID":`...)
	dst = strconv.AppendUint(dst, uint64(m.id()), 10)
	dst = append(dst, `,"QR":1,"Opcode":0`...)
	for _, f := range [...]struct {
		name string
		bit  uint16
	}{{"AA", 1 << 10}, {"TC", flagTC}, {"RD", flagRD}, {"RA", 1 << 7}, {"AD", 1 << 5}, {"CD", flagCD}} {
		dst = append(dst, ',', '"')
		dst = append(dst, f.name...)
		dst = append(dst, '"', ':', '0')
		if m.flags()&f.bit != 0 {
			dst[len(dst)-1] = '1'
		}
	}
	dst = append(dst, `,"RCODE":`...)
	dst = strconv.AppendUint(dst, uint64(m.rcode()), 10)
	dst = append(dst, `,"QDCOUNT":1,"ANCOUNT":`...)
	dst = strconv.AppendUint(dst, uint64(m.ancount()), 10)
	dst = append(dst, `,"answerRRs":[`...)
	first := true
	r.answers(func(m message, rr record) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, `{"NAME":`...)
		dst = appendJSONString(dst, p.ownerText(m, rr))
		dst = append(dst, `,"TYPE":`...)
		dst = strconv.AppendUint(dst, uint64(rr.typ), 10)
		dst = append(dst, `,"TYPEname":"`...)
		dst = appendType(dst, rr.typ)
		dst = append(dst, `","CLASS":`...)
		dst = strconv.AppendUint(dst, uint64(rr.class), 10)
		dst = append(dst, `,"CLASSname":"`...)
		dst = appendClass(dst, rr.class)
		dst = append(dst, `","TTL":`...)
		dst = strconv.AppendUint(dst, uint64(rr.ttl), 10)
		dst = append(dst, `,"rdata`...)
		dst = appendType(dst, rr.typ)
		dst = append(dst, `":`...)
		dst = appendJSONString(dst, p.rdataText(m, rr))
		p.hex = p.rdataHex(p.hex[:0], m, rr)
		dst = append(dst, `,"RDLENGTH":`...)
		dst = strconv.AppendInt(dst, int64(len(p.hex)/2), 10)
		dst = append(dst, `,"RDATAHEX":"`...)
		dst = append(dst, p.hex...)
		dst = append(dst, `"}`...)
	})
	return append(dst, "]}\n"...)
}

// appendJSONString appends a string of printable ASCII.
func appendJSONString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

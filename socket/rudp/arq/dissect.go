package arq

import (
	_ "embed" // for Dissector
	"encoding/binary"
	"fmt"
)

// Dissector is a dissector of the wire format for Wireshark, in Lua. It gives
// the fields the names and values that [Dissect] does, and finds the protocol on
// any UDP port by its checksum.
//
//go:embed dissector.lua
var Dissector string

// Field is a part of a datagram, as a protocol analyser shows it.
type Field struct {
	// Name is the field's in display filters, as "wherry.ack.largest".
	Name string
	// Offset and Size are its place in the datagram. A Size of 0 is of
	// something that is not there but follows from it.
	Offset, Size int
	// Value is the field's, unless it is bytes or a text.
	Value uint64
	// Bytes are cookies, tokens, data and padding, and alias the datagram.
	Bytes []byte
	// Text is a reason, as it came, or a range of packet numbers, "5-9".
	Text string
}

// dissection collects fields.
type dissection struct {
	b      []byte
	at     int
	fields []Field
}

func (d *dissection) rest() []byte { return d.b[d.at:] }

// num takes a big-endian integer.
func (d *dissection) num(name string, size int) uint64 {
	var v uint64
	for _, c := range d.b[d.at : d.at+size] {
		v = v<<8 | uint64(c)
	}
	d.fields = append(d.fields, Field{Name: "wherry." + name, Offset: d.at, Size: size, Value: v})
	d.at += size
	return v
}

func (d *dissection) bytes(name string, size int) {
	if size > 0 {
		d.fields = append(d.fields, Field{Name: "wherry." + name, Offset: d.at, Size: size, Bytes: d.b[d.at : d.at+size]})
	}
	d.at += size
}

func (d *dissection) note(name, text string) {
	d.fields = append(d.fields, Field{Name: "wherry." + name, Offset: d.at, Text: text})
}

// Dissect takes a datagram apart, with the decoder that the engine uses, into
// fields in the order of the datagram. What cannot be decoded ends in a field
// wherry.malformed. ok is false if it is no datagram of this protocol and
// version, or damaged. It is for showing packets, not for handling them.
func Dissect(b []byte) (fields []Field, ok bool) {
	h, err := parseHeader(b)
	if err != nil || h.typ > typeReset {
		return nil, false
	}
	d := &dissection{b: b}
	d.num("magic", 1)
	d.num("version", 1)
	d.num("type", 1)
	d.num("flags", 1)
	d.num("checksum", 4)
	d.num("dest", 8)
	if h.typ != typeData && h.typ != typeOpen {
		d.num("source", 8)
		if !d.handshake(h.typ) {
			d.note("malformed", "")
		}
		return d.fields, true
	}
	d.num("number", 8)
	if h.typ == typeOpen {
		if _, _, err := parseOpening(d.rest()); err != nil {
			d.note("malformed", "")
			return d.fields, true
		}
		d.num("source", 8)
		d.params()
		d.cookie()
	}
	for d.at < len(b) {
		if !d.frame() {
			d.note("malformed", "")
			break
		}
	}
	return d.fields, true
}

// handshake takes the body of a datagram apart that carries no frames.
func (d *dissection) handshake(t packetType) bool {
	switch t {
	case typeInit:
		if len(d.rest()) < paramsLen+4 || !d.params() {
			return false
		}
		d.num("clock", 4)
		d.bytes("padding", len(d.rest()))
	case typeRetry:
		if _, err := parseGrant(d.rest()); err != nil {
			return false
		}
		d.params()
		d.bytes("reset_token", resetTokenLen)
		d.num("clock", 4)
		d.cookie()
	case typeReset:
		if len(d.rest()) != resetTokenLen {
			return false
		}
		d.bytes("reset_token", resetTokenLen)
	case typeVersion:
		for len(d.rest()) > 0 {
			d.num("supported_version", 1)
		}
	}
	return true
}

func (d *dissection) params() bool {
	if _, _, err := parseParams(d.rest()); err != nil {
		return false
	}
	d.num("param.window", 8)
	d.num("param.max_datagram", 4)
	d.num("param.idle_timeout", 4)
	d.num("param.arq", 1)
	d.num("param.zero", 1)
	d.num("param.frames", 2)
	return true
}

func (d *dissection) cookie() bool {
	cookie, _, err := parseCookie(d.rest())
	if err != nil {
		return false
	}
	d.num("cookie.length", 2)
	d.bytes("cookie", len(cookie))
	return true
}

// frame takes one frame apart, once the engine's decoder has taken it.
func (d *dissection) frame() bool {
	var f frame
	rest, err := nextFrame(d.rest(), &f)
	if err != nil {
		return false
	}
	end := len(d.b) - len(rest)
	d.num("frame", 1)
	switch f.typ {
	case framePad:
		d.bytes("padding", end-d.at)
	case frameData:
		d.num("data.flags", 1)
		d.num("data.length", 2)
		d.num("data.offset", 8)
		d.bytes("data", len(f.data))
	case frameAck:
		d.num("ack.form", 1)
		d.num("ack.count", 2)
		d.num("ack.largest", 8)
		d.num("ack.delay", 4)
		d.num("ack.clock", 4)
		d.num("ack.ect", 4)
		d.num("ack.ce", 4)
		spans, err := ackSpans(nil, &f.ack)
		if f.ack.form == ackFormBitmap {
			d.bytes("ack.bitmap", end-d.at)
		}
		for d.at < end {
			d.num("ack.gap", 2)
			d.num("ack.run", 2)
		}
		if err != nil {
			return false
		}
		for _, s := range spans {
			d.note("ack.range", fmt.Sprintf("%d-%d", s.lo, s.hi-1))
		}
	case frameWindow:
		d.num("window.limit", 8)
	case frameChallenge:
		d.num("challenge", 8)
	case frameResponse:
		d.num("response", 8)
	case frameSender:
		d.num("sender.floor", 8)
		d.num("sender.every", 2)
		d.num("sender.delay", 4)
	case frameClose:
		d.num("close.kind", 1)
		d.num("close.length", 2)
		d.num("close.code", 4)
		if n := len(f.reason); n > 0 {
			d.fields = append(d.fields, Field{Name: "wherry.close.reason", Offset: d.at, Size: n, Text: string(f.reason)})
			d.at += n
		}
	case frameDatagram:
		d.num("datagram.number", 8)
		d.num("datagram.clock", 8)
		d.num("datagram.length", 2)
		d.bytes("datagram", len(f.data))
	}
	return true
}

// Seal writes the checksum of a datagram that was changed or made up, for tests
// and tools. It does nothing to what is shorter than a header.
func Seal(b []byte) {
	if len(b) >= headerLen {
		binary.BigEndian.PutUint32(b[4:], checksum(b))
	}
}

package pairing

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// PlainMagic opens the plain protocol's first message, in both directions.
const PlainMagic = "WHERRY/1"

// A Kind is what a peer's first bytes speak.
type Kind int

const (
	KindUnknown Kind = iota // neither
	KindTLS                 // a TLS record: the peer expects a code
	KindPlain               // PlainMagic: the peer is plain
)

func (k Kind) String() string {
	switch k {
	case KindTLS:
		return "paired"
	case KindPlain:
		return "plain"
	}
	return "unknown"
}

// classify looks at the first bytes; more says that they do not tell yet.
func classify(b []byte) (kind Kind, more bool) {
	if len(b) == 0 {
		return KindUnknown, true
	}
	// ContentType is 20 to 23 (RFC 8446, section 5.1), legacy_record_version
	// 0x0301 or 0x0303.
	if b[0] >= 20 && b[0] <= 23 {
		if len(b) < 2 {
			return KindUnknown, true
		}
		if b[1] == 3 {
			return KindTLS, false
		}
		return KindUnknown, false
	}
	n := min(len(b), len(PlainMagic))
	if string(b[:n]) != PlainMagic[:n] {
		return KindUnknown, false
	}
	return KindPlain, n < len(PlainMagic)
}

// Sniff reads as many of the peer's first bytes as tell what it speaks, at most
// eight, and gives a connection that reads them again. The caller sets the
// deadline. An end before the first byte is io.EOF.
//
// The connection's NetConn gives the one below, for what wants its type, once
// the bytes have been read again.
func Sniff(conn net.Conn) (Kind, net.Conn, error) {
	var b [len(PlainMagic)]byte
	n := 0
	for {
		kind, more := classify(b[:n])
		if !more {
			return kind, &replayConn{Conn: conn, prefix: b[:n]}, nil
		}
		m, err := conn.Read(b[n:])
		n += m
		if err != nil {
			if kind, more := classify(b[:n]); !more {
				return kind, &replayConn{Conn: conn, prefix: b[:n]}, nil
			}
			if n > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return KindUnknown, conn, err
		}
	}
}

// replayConn reads prefix before the connection.
type replayConn struct {
	net.Conn
	prefix []byte
}

func (c *replayConn) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// CloseWrite is the connection's, where it has one.
func (c *replayConn) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn is the connection below.
func (c *replayConn) NetConn() net.Conn { return c.Conn }

func closeWrite(conn net.Conn) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return fmt.Errorf("%T: half-close: %w", conn, errors.ErrUnsupported)
}

// A Reason says in a refusal why one end will not talk.
type Reason byte

const (
	// RefuseWantCode: the refusing end expects a code, the other is plain.
	RefuseWantCode Reason = 1
	// RefuseAmPlain: the refusing end is plain, the other expects a code.
	RefuseAmPlain Reason = 2
)

// refusalLen is the length of a refusal: PlainMagic, 'E', the reason.
const refusalLen = len(PlainMagic) + 2

// AppendRefusal appends the plain protocol's refusal, ten bytes.
func AppendRefusal(b []byte, r Reason) []byte {
	return append(append(b, PlainMagic...), 'E', byte(r))
}

// ParseRefusal says whether b begins with a refusal, and with which reason.
func ParseRefusal(b []byte) (Reason, bool) {
	if len(b) < refusalLen || string(b[:len(PlainMagic)]) != PlainMagic || b[len(PlainMagic)] != 'E' {
		return 0, false
	}
	return Reason(b[refusalLen-1]), true
}

const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// Refuse sends a refusal and closes the connection. It reads on for up to a
// second and 64 KiB first, since closing a TCP connection with bytes unread
// resets it, and the reset can overtake the refusal.
func Refuse(conn net.Conn, r Reason) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(lingerTime))
	if _, err := conn.Write(AppendRefusal(nil, r)); err != nil {
		return
	}
	closeWrite(conn) // not every conn can; the deadline ends the wait all the same
	io.CopyN(io.Discard, conn, lingerBytes)
}

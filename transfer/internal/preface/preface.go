// Package preface has the first bytes of a connection, which are the same in every
// version, so that ends which expect different things can tell each other what:
//
//	"WHERRY/1" 'H'          the plain protocol's frames follow (package transfer)
//	"WHERRY/1" 'E' reason   this end cannot talk to that one; the end
//	                        reason 1: it expects a code; 2: it is plain;
//	                        3: it was told TCP, not UDP; 4: UDP, not TCP
//	a TLS record            the peer expects a code (package transfer/pairing)
//
// Both ends of the plain protocol send theirs at once; of the paired one, the
// client begins. A connection preface is what HTTP/2 calls such bytes (RFC 9113,
// section 3.4).
package preface

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Magic opens the plain protocol, in both directions.
const Magic = "WHERRY/1"

// What follows Magic.
const (
	Hello   = 'H' // frames
	Refusal = 'E' // a Reason, and then nothing
)

// A Kind is what a peer's first bytes speak.
type Kind int

const (
	Unknown Kind = iota // neither
	TLS                 // a TLS record: the peer expects a code
	Plain               // Magic: the peer is plain
)

func (k Kind) String() string {
	switch k {
	case TLS:
		return "paired"
	case Plain:
		return "plain"
	}
	return "unknown"
}

// Classify looks at the first bytes; more says that they do not tell yet.
func Classify(b []byte) (kind Kind, more bool) {
	if len(b) == 0 {
		return Unknown, true
	}
	// ContentType is 20 to 23 (RFC 8446, section 5.1), legacy_record_version
	// 0x0301 or 0x0303.
	if b[0] >= 20 && b[0] <= 23 {
		if len(b) < 2 {
			return Unknown, true
		}
		if b[1] == 3 {
			return TLS, false
		}
		return Unknown, false
	}
	n := min(len(b), len(Magic))
	if string(b[:n]) != Magic[:n] {
		return Unknown, false
	}
	return Plain, n < len(Magic)
}

// Sniff reads as many of the peer's first bytes as tell what it speaks, at most
// eight, and gives a connection that reads them again. The caller sets the
// deadline. An end before the first byte is io.EOF.
//
// The connection's NetConn gives the one below, for what wants its type, once
// the bytes have been read again.
func Sniff(conn net.Conn) (Kind, *Replay, error) {
	var b [len(Magic)]byte
	n := 0
	for {
		kind, more := Classify(b[:n])
		if !more {
			return kind, &Replay{Conn: conn, prefix: b[:n]}, nil
		}
		m, err := conn.Read(b[n:])
		n += m
		if err != nil {
			if kind, more := Classify(b[:n]); !more {
				return kind, &Replay{Conn: conn, prefix: b[:n]}, nil
			}
			if n > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Unknown, &Replay{Conn: conn, prefix: b[:n]}, err
		}
	}
}

// A Replay reads once more what Sniff has read, before the rest of the connection.
type Replay struct {
	net.Conn
	prefix []byte
}

func (c *Replay) Read(b []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(b, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// Unread is what has been read from the connection and will be once more.
func (c *Replay) Unread() []byte { return c.prefix }

// CloseWrite is the connection's, where it has one.
func (c *Replay) CloseWrite() error { return CloseWrite(c.Conn) }

// NetConn is the connection below.
func (c *Replay) NetConn() net.Conn { return c.Conn }

// CloseWrite ends the sending half of a connection, if that has halves.
func CloseWrite(conn net.Conn) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return fmt.Errorf("%T: half-close: %w", conn, errors.ErrUnsupported)
}

// A Reason says in a refusal why one end will not talk.
type Reason byte

const (
	// WantCode: the refusing end expects a code, the other is plain.
	WantCode Reason = 1
	// AmPlain: the refusing end is plain, the other expects a code.
	AmPlain Reason = 2
	// ToldTCP and ToldUDP: the refusing end was told that transport, and this
	// connection is over the other one. An end that dialed in vain over its own
	// says so to whoever listens over the other, and that end answers with the
	// other of the two.
	ToldTCP Reason = 3
	ToldUDP Reason = 4
)

// Transports are the words for what both ends were told if r is of whoever was
// told another transport than this end; ok is false if r is about something else.
func (r Reason) Transports() (theirs, ours string, ok bool) {
	switch r {
	case ToldTCP:
		return "TCP", "UDP", true
	case ToldUDP:
		return "UDP", "TCP", true
	}
	return "", "", false
}

// Answer is the refusal with which the end that listens answers ToldTCP or
// ToldUDP.
func (r Reason) Answer() Reason { return ToldTCP + ToldUDP - r }

// RefusalLen is the length in bytes of a refusal: Magic, Refusal, the reason.
const RefusalLen = len(Magic) + 2

// AppendRefusal appends the plain protocol's refusal, ten bytes.
func AppendRefusal(b []byte, r Reason) []byte {
	return append(append(b, Magic...), Refusal, byte(r))
}

// ParseRefusal says whether b begins with a refusal, and with which reason.
func ParseRefusal(b []byte) (Reason, bool) {
	if len(b) < RefusalLen || string(b[:len(Magic)]) != Magic || b[len(Magic)] != Refusal {
		return 0, false
	}
	return Reason(b[RefusalLen-1]), true
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
	n, err := conn.Write(AppendRefusal(nil, r))
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		// A machine that stood still finds the deadline over before it has tried.
		conn.SetWriteDeadline(time.Now().Add(lingerTime / 4))
		_, err = conn.Write(AppendRefusal(nil, r))
	}
	if err != nil {
		return
	}
	CloseWrite(conn) // not every conn can; the deadline ends the wait all the same
	io.CopyN(io.Discard, conn, lingerBytes)
}

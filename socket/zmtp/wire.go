package zmtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/wherry-net/wherry/socket/safetext"
)

// ErrProtocol is matched by errors of a peer that does not speak ZMTP 3, or not as
// it should.
var ErrProtocol = errors.New("not ZMTP 3 with the NULL mechanism")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrProtocol}, args...)...)
}

const (
	greetingSize = 64
	majorVersion = 3
	minorVersion = 1

	flagMore    = 1
	flagLong    = 2
	flagCommand = 4

	maxShort = 255
)

var mechanism = [20]byte{'N', 'U', 'L', 'L'}

func appendGreeting(dst []byte) []byte {
	var g [greetingSize]byte
	g[0], g[9], g[10], g[11] = 0xff, 0x7f, majorVersion, minorVersion
	copy(g[12:], mechanism[:])
	return append(dst, g[:]...)
}

// parseGreeting returns the peer's minor version.
func parseGreeting(p []byte) (minor byte, err error) {
	switch {
	case len(p) != greetingSize || p[0] != 0xff || p[9] != 0x7f:
		return 0, malformed("no greeting")
	case p[10] < majorVersion:
		return 0, malformed("version %d", p[10])
	case [20]byte(p[12:32]) != mechanism:
		return 0, malformed("mechanism %s", safetext.Quote(strings.TrimRight(string(p[12:32]), "\x00")))
	}
	if p[10] > majorVersion {
		return minorVersion, nil // it will speak as we do
	}
	return p[11], nil
}

// appendFrameHeader begins a frame of size bytes.
func appendFrameHeader(dst []byte, flags byte, size int) []byte {
	if size <= maxShort {
		return append(dst, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(dst, flags|flagLong), uint64(size))
}

// A command is what peers say to each other beside messages.
type command struct {
	name string
	body []byte
}

// append appends the command in its frame.
func (c command) append(dst []byte) []byte {
	dst = appendFrameHeader(dst, flagCommand, 1+len(c.name)+len(c.body))
	dst = append(dst, byte(len(c.name)))
	dst = append(dst, c.name...)
	return append(dst, c.body...)
}

// parseCommand reads a command frame's body.
func parseCommand(p []byte) (command, error) {
	if len(p) == 0 || int(p[0]) > len(p)-1 || p[0] == 0 {
		return command{}, malformed("a command without a name")
	}
	n := 1 + int(p[0])
	return command{string(p[1:n]), p[n:]}, nil
}

// ready is what a READY command says.
type ready struct {
	typ      Type
	identity []byte
}

func (r ready) command() command {
	var b []byte
	property := func(name string, value []byte) {
		b = append(b, byte(len(name)))
		b = append(b, name...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
		b = append(b, value...)
	}
	property("Socket-Type", []byte(r.typ.String()))
	if len(r.identity) > 0 {
		property("Identity", r.identity)
	}
	return command{"READY", b}
}

// parseReady reads what READY says. Names of properties have no case; those that
// it does not know it passes over.
func parseReady(p []byte) (r ready, err error) {
	for len(p) > 0 {
		n := int(p[0])
		if n == 0 || len(p) < 1+n+4 {
			return r, malformed("metadata")
		}
		name := string(p[1 : 1+n])
		size := binary.BigEndian.Uint32(p[1+n:])
		p = p[1+n+4:]
		if uint64(size) > uint64(len(p)) {
			return r, malformed("metadata")
		}
		value := p[:size]
		p = p[size:]
		switch strings.ToLower(name) {
		case "socket-type":
			if r.typ, err = parseType(value); err != nil {
				return r, err
			}
		case "identity":
			if len(value) > 255 {
				return r, malformed("an identity of %d bytes", len(value))
			}
			r.identity = value
		}
	}
	if r.typ == 0 {
		return r, malformed("no socket type")
	}
	return r, nil
}

// reason reads an ERROR command's body.
func reason(p []byte) string {
	if len(p) == 0 || int(p[0]) > len(p)-1 {
		return "no reason"
	}
	return safetext.Clean(string(p[1 : 1+int(p[0])]))
}

package zmtp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// conn is a connection past its greeting.
type conn struct {
	nc    net.Conn
	r     *bufio.Reader
	w     *bufio.Writer
	peer  ready
	minor byte
	// silence is how long the peer may say nothing, or take nothing, in the
	// middle of a frame as between them; 0 is for ever.
	silence time.Duration
}

const (
	// readBuffer takes the small frames; large ones are read past it.
	readBuffer = 16 << 10
	// writeStep is written under one deadline, so that a slow peer is not taken
	// for a dead one.
	writeStep = 64 << 10
	// readStep is allocated at once; more only when so much has arrived.
	readStep = 256 << 10
	// maxCommand is the longest command, SUBSCRIBE and READY included.
	maxCommand = 4 << 10
)

// handshake greets, and returns once both have said what they are. ours chooses
// our type by the peer's. An end that has bound hears the peer first; the one that
// connects speaks first. The connection's deadline is the caller's.
func handshake(nc net.Conn, bound bool, identity []byte, ours func(peer Type) (Type, error)) (*conn, Type, error) {
	c := &conn{nc: nc}
	if _, err := nc.Write(appendGreeting(nil)); err != nil {
		return nil, 0, err
	}
	var g [greetingSize]byte
	// The first byte alone, so that a peer of another protocol is refused at once.
	if _, err := io.ReadFull(nc, g[:1]); err != nil {
		return nil, 0, err
	}
	if g[0] != 0xff {
		return nil, 0, malformed("no greeting")
	}
	if _, err := io.ReadFull(nc, g[1:]); err != nil {
		return nil, 0, err
	}
	minor, err := parseGreeting(g[:])
	if err != nil {
		return nil, 0, err
	}
	c.minor = minor
	c.r, c.w = bufio.NewReaderSize(nc, readBuffer), bufio.NewWriterSize(deadlineWriter{c}, writeStep)
	var typ Type
	say := func() error {
		_, err := nc.Write(ready{typ, identity}.command().append(nil))
		return err
	}
	if !bound {
		typ, _ = ours(0)
		if err := say(); err != nil {
			return nil, 0, err
		}
	}
	if c.peer, err = c.readReady(); err != nil {
		return nil, 0, err
	}
	if typ, err = ours(c.peer.typ); err != nil {
		text := err.Error()
		text = text[:min(len(text), 255)]
		_, _ = nc.Write(command{"ERROR", append([]byte{byte(len(text))}, text...)}.append(nil))
		return nil, 0, err
	}
	if bound {
		if err := say(); err != nil {
			return nil, 0, err
		}
	}
	return c, typ, nil
}

func (c *conn) readReady() (ready, error) {
	flags, size, err := c.readHeader()
	if err != nil {
		return ready{}, err
	}
	if flags != flagCommand || size > maxCommand {
		return ready{}, malformed("no READY")
	}
	b, err := c.readBody(nil, int(size))
	if err != nil {
		return ready{}, err
	}
	cmd, err := parseCommand(b)
	switch {
	case err != nil:
		return ready{}, err
	case cmd.name == "ERROR":
		return ready{}, &RefusedError{reason(cmd.body)}
	case cmd.name != "READY":
		return ready{}, malformed("no READY")
	}
	return parseReady(cmd.body)
}

// RefusedError is a peer that wants no connection, as it says itself.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the peer refuses: " + e.Reason }

// readHeader returns a frame's flags, without that for its length.
func (c *conn) readHeader() (flags byte, size uint64, err error) {
	var h [9]byte
	if _, err := io.ReadFull(c.r, h[:2]); err != nil {
		return 0, 0, err
	}
	flags, size = h[0], uint64(h[1])
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return 0, 0, malformed("flags %#x", flags)
	}
	if flags&flagLong != 0 {
		if _, err := io.ReadFull(c.r, h[2:9]); err != nil {
			return 0, 0, unexpected(err)
		}
		size = binary.BigEndian.Uint64(h[1:])
	}
	return flags &^ flagLong, size, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readBody appends size bytes, whose memory grows with what arrives.
func (c *conn) readBody(b []byte, size int) ([]byte, error) {
	for have := len(b); size > 0; have = len(b) {
		n := min(size, max(readStep, have))
		b = slices.Grow(b, n)[:have+n]
		for at := have; at < have+n; {
			c.extend()
			m, err := c.r.Read(b[at : have+n])
			at += m
			if err != nil && at < have+n {
				return nil, unexpected(err)
			}
		}
		size -= n
	}
	return b, nil
}

// extend gives the peer its time anew.
func (c *conn) extend() {
	if c.silence > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(c.silence))
	}
}

// limits bounds a message.
type limits struct{ bytes, frames int }

// read returns the next message, or else a command.
func (c *conn) read(limit func() limits) (frames [][]byte, cmd *command, err error) {
	var sum uint64
	for {
		c.extend()
		flags, size, err := c.readHeader()
		if err != nil {
			return nil, nil, err
		}
		if flags&flagCommand != 0 {
			if len(frames) > 0 || size > maxCommand {
				return nil, nil, malformed("a command of %d bytes, or inside a message", size)
			}
			b, err := c.readBody(nil, int(size))
			if err != nil {
				return nil, nil, err
			}
			cmd, err := parseCommand(b)
			return nil, &cmd, err
		}
		// What a frame costs besides its bytes counts too.
		l := limit()
		if size > uint64(l.bytes) || sum+size > uint64(l.bytes) || len(frames) >= l.frames {
			return nil, nil, fmt.Errorf("%w: more than %d bytes or %d frames", ErrTooLong, l.bytes, l.frames)
		}
		sum += size
		b, err := c.readBody(nil, int(size))
		if err != nil {
			return nil, nil, err
		}
		frames = append(frames, b)
		if flags&flagMore == 0 {
			return frames, nil, nil
		}
	}
}

// ErrTooLong is matched by the error of a peer whose message is longer than the
// socket takes.
var ErrTooLong = errors.New("the message is too long")

// write writes a message, without flushing.
func (c *conn) write(frames [][]byte) error {
	var h [9]byte
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		if _, err := c.w.Write(appendFrameHeader(h[:0], flags, len(f))); err != nil {
			return err
		}
		if _, err := c.w.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// deadlineWriter gives each step its own deadline.
type deadlineWriter struct{ c *conn }

func (d deadlineWriter) Write(p []byte) (n int, err error) {
	for first := true; first || len(p) > 0; first = false {
		if d.c.silence > 0 {
			_ = d.c.nc.SetWriteDeadline(time.Now().Add(d.c.silence))
		}
		m, err := d.c.nc.Write(p[:min(len(p), writeStep)])
		n += m
		if err != nil {
			return n, err
		}
		p = p[m:]
	}
	return n, nil
}

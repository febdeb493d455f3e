package pairing

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

// batch is how much ciphertext goes into one write, and how much is asked of
// one read, in bytes. A TLS record holds 16 KiB: a system call for each costs
// about as much as encrypting it.
const batch = 256 << 10

// A Conn is a paired connection: both ends have proved the code. It is a
// [net.Conn] with half-close; Read and Write may be called at the same time.
//
// As with [tls.Conn], a Write that timed out may have sent part of a record, and
// every later Write fails. Unlike it, Read gives [ErrTruncated] where the
// connection ends without the peer's close_notify.
type Conn struct {
	tls *tls.Conn
	raw *rawConn

	closed func() // what ends with it

	wmu     sync.Mutex
	writing atomic.Int32
	werr    error
}

// Read reads plaintext.
func (c *Conn) Read(b []byte) (int, error) { return c.tls.Read(b) }

// Write encrypts b and sends it; nothing stays behind in a buffer. Large writes
// are cheapest: 256 KiB and more.
func (c *Conn) Write(b []byte) (int, error) {
	c.writing.Add(1)
	defer c.writing.Add(-1)
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.werr != nil {
		return 0, c.werr
	}
	c.raw.hold()
	n, err := c.tls.Write(b)
	if ferr := c.raw.release(); ferr != nil {
		// How much of it arrived nobody knows, and the record layer cannot go
		// on from here.
		c.werr = ferr
		return 0, ferr
	}
	return n, err
}

// ReadFrom copies from r in large writes; io.Copy finds it.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	buf := make([]byte, batch)
	// Without the methods' sets, io.CopyBuffer would call ReadFrom again.
	return io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{r}, buf)
}

// CloseWrite sends close_notify: the peer reads the end, and this end may go on
// reading.
func (c *Conn) CloseWrite() error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.tls.CloseWrite()
}

// Close sends close_notify, unless a Write is under way, and closes the
// connection below.
func (c *Conn) Close() error {
	c.closed()
	if c.writing.Load() > 0 {
		// That Write may be stuck with a peer who does not read, and the alert
		// would wait behind it.
		return c.raw.Conn.Close()
	}
	return c.tls.Close()
}

// NetConn is the connection below, for its counters and options. Reading from or
// writing to it breaks this one.
func (c *Conn) NetConn() net.Conn { return c.raw.Conn }

// ConnectionState describes the TLS channel.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// LocalAddr is the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.tls.LocalAddr() }

// RemoteAddr is the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.tls.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.tls.SetDeadline(t) }

// SetReadDeadline sets the deadline of Read.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.tls.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.tls.SetWriteDeadline(t) }

// rawConn is the connection as crypto/tls sees it: it gathers the records of one
// Write, reads ahead, and tells an end from a truncation. Until grow is called it
// holds no buffers, so that connections which prove nothing cost little.
type rawConn struct {
	net.Conn

	// Reading: only crypto/tls reads, one call at a time.
	sniffed bool
	foreign error          // the peer turned out to be plain, or to want another transport
	rbuf    []byte         // batch bytes, or nil before grow
	answer  preface.Reason // to a foreign peer that dialed
	unread  []byte         // what rbuf (or the sniffer) holds for the next Read

	// Writing: crypto/tls writes one record at a time, but hold and release come
	// from outside its lock.
	mu      sync.Mutex
	held    bool
	wbuf    []byte
	corker  corker // gathers in place of wbuf, or nil
	flushed error  // the first failed write, which all later ones repeat
}

// A corker is a connection whose reads and writes are no system calls, as those
// of package rudp are: buffers before it would only cost copies. Between Cork and
// Uncork it gathers small writes by itself.
type corker interface {
	Cork()
	Uncork()
}

// grow turns batching on. It must not be called while a Read is under way.
func (c *rawConn) grow() {
	if k, ok := c.Conn.(corker); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.corker = k
		return
	}
	c.rbuf = make([]byte, batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	// Room for the record that makes the batch full.
	c.wbuf = make([]byte, 0, batch+32<<10)
}

func (c *rawConn) Read(b []byte) (int, error) {
	if !c.sniffed {
		if err := c.sniff(); err != nil {
			return 0, err
		}
	}
	if len(c.unread) > 0 {
		n := copy(b, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	if len(b) >= len(c.rbuf) {
		n, err := c.Conn.Read(b)
		return n, notEOF(err)
	}
	n, err := c.Conn.Read(c.rbuf)
	if n == 0 {
		return 0, notEOF(err)
	}
	m := copy(b, c.rbuf[:n])
	c.unread = c.rbuf[m:n]
	// What else err says, the next Read will say again.
	return m, nil
}

// sniff looks at the peer's first bytes, so that a plain peer is told from
// garbage. For a dialer this is the answer to its ClientHello.
func (c *rawConn) sniff() error {
	c.sniffed = true
	kind, conn, err := preface.Sniff(c.Conn)
	if err != nil {
		return notEOF(err)
	}
	c.unread = conn.Unread()
	if kind == preface.Plain {
		c.foreign = c.foreigner()
		return c.foreign
	}
	return nil
}

// foreigner reads what a peer that spoke in plain wants.
func (c *rawConn) foreigner() error {
	c.answer = preface.WantCode
	b := append([]byte(preface.Magic), 0, 0)
	if _, err := io.ReadFull(c.Conn, b[len(preface.Magic):]); err != nil {
		return ErrPeerPlain
	}
	if reason, ok := preface.ParseRefusal(b); ok {
		if theirs, ours, ok := reason.Transports(); ok {
			c.answer = reason.Answer()
			return fmt.Errorf("%w: the peer goes over %s, this end over %s", ErrPeerTransport, theirs, ours)
		}
	}
	return ErrPeerPlain
}

// notEOF replaces io.EOF, which crypto/tls would pass on as a proper end if it
// falls between two records. A proper end is a close_notify, and after that it
// does not read.
func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return ErrTruncated
	}
	return err
}

type truncatedError struct{}

func (truncatedError) Error() string { return "the connection was cut short" }
func (truncatedError) Unwrap() error { return io.ErrUnexpectedEOF }

func (c *rawConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushed != nil {
		return 0, c.flushed
	}
	if !c.held || cap(c.wbuf) == 0 {
		if err := c.flush(); err != nil {
			return 0, err
		}
		return c.Conn.Write(b)
	}
	c.wbuf = append(c.wbuf, b...)
	if len(c.wbuf) >= batch {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (c *rawConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
	if c.corker != nil {
		c.corker.Cork()
	}
}

func (c *rawConn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	if c.corker != nil {
		c.corker.Uncork()
	}
	return c.flush()
}

func (c *rawConn) flush() error {
	if c.flushed != nil || len(c.wbuf) == 0 {
		return c.flushed
	}
	_, err := c.Conn.Write(c.wbuf)
	c.wbuf = c.wbuf[:0]
	c.flushed = err
	return err
}

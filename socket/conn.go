package socket

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// kernelChunk is how much a copy inside the kernel moves before the counters
// are brought up to date: small enough for a progress bar on a slow link, large
// enough that the extra system calls cannot be measured.
const kernelChunk = 1 << 20

// Counters is a reading of what went through a [Conn].
type Counters struct {
	BytesRead    int64
	BytesWritten int64
	// ReadTime and WriteTime are the times spent inside the calls that read
	// and write: waiting for the peer, plus the copying. They can each be
	// longer than the transfer when several goroutines use the Conn.
	ReadTime  time.Duration
	WriteTime time.Duration
}

// Conn is a TCP connection that counts. It has the methods of a [net.TCPConn]
// that matter here; all may be called from several goroutines at once.
type Conn struct {
	// A named field and not an embedded one: what is promoted by accident is
	// not counted. [net.Buffers] and [os.File] look for unexported methods, so
	// an embedded TCPConn would send behind the counters' back.
	tcp *net.TCPConn

	bytesRead, bytesWritten atomic.Int64
	readTime, writeTime     atomic.Int64
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
	_ syscall.Conn  = (*Conn)(nil)
)

// NewConn wraps a connection that was made elsewhere.
func NewConn(tcp *net.TCPConn) *Conn { return &Conn{tcp: tcp} }

// Counters returns the counts so far.
func (c *Conn) Counters() Counters {
	return Counters{
		BytesRead:    c.bytesRead.Load(),
		BytesWritten: c.bytesWritten.Load(),
		ReadTime:     time.Duration(c.readTime.Load()),
		WriteTime:    time.Duration(c.writeTime.Load()),
	}
}

func (c *Conn) countRead(start time.Time, n int64) {
	c.readTime.Add(int64(time.Since(start)))
	c.bytesRead.Add(n)
}

func (c *Conn) countWritten(start time.Time, n int64) {
	c.writeTime.Add(int64(time.Since(start)))
	c.bytesWritten.Add(n)
}

// Read reads as [net.Conn] has it.
func (c *Conn) Read(b []byte) (int, error) {
	start := time.Now()
	n, err := c.tcp.Read(b)
	c.countRead(start, int64(n))
	return n, err
}

// Write writes as [net.Conn] has it.
func (c *Conn) Write(b []byte) (int, error) {
	start := time.Now()
	n, err := c.tcp.Write(b)
	c.countWritten(start, int64(n))
	return n, err
}

// WriteBuffers writes all buffers with as few system calls as there may be
// (writev(2)) and consumes them, as [net.Buffers.WriteTo] does. Calling that
// with a Conn works also, but makes one system call a buffer.
func (c *Conn) WriteBuffers(bufs *net.Buffers) (int64, error) {
	start := time.Now()
	n, err := bufs.WriteTo(c.tcp)
	c.countWritten(start, n)
	return n, err
}

// ReadFrom copies r to the connection until EOF. Where r is a file or a TCP
// connection, or an [io.LimitedReader] of one, the bytes stay in the kernel if
// the system can do that.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	src, limit := r, (*io.LimitedReader)(nil)
	if lr, ok := r.(*io.LimitedReader); ok {
		src, limit = lr.R, lr
	}
	peer, _ := src.(*Conn)
	if peer != nil {
		src = peer.tcp
	} else if _, ok := src.(syscall.Conn); !ok {
		// Through Write, so that the counters run along.
		return io.Copy(onlyWriter{c}, r)
	}
	return chunks(src, limit, func(lr *io.LimitedReader) (int64, error) {
		start := time.Now()
		n, err := c.tcp.ReadFrom(lr)
		c.countWritten(start, n)
		if peer != nil {
			peer.countRead(start, n)
		}
		return n, err
	})
}

// WriteTo copies the connection to w until EOF. Where w is a file or another
// Conn, the bytes stay in the kernel if the system can do that.
func (c *Conn) WriteTo(w io.Writer) (int64, error) {
	if out, ok := w.(*Conn); ok {
		return out.ReadFrom(c)
	}
	_, kernel := w.(syscall.Conn)
	out, ok := w.(io.ReaderFrom)
	if !ok || !kernel {
		return io.Copy(w, onlyReader{c})
	}
	return chunks(c.tcp, nil, func(lr *io.LimitedReader) (int64, error) {
		start := time.Now()
		n, err := out.ReadFrom(lr)
		c.countRead(start, n)
		return n, err
	})
}

// chunks hands src to move in pieces until one comes up short. It keeps
// limit, if there is one, at what is left.
func chunks(src io.Reader, limit *io.LimitedReader, move func(*io.LimitedReader) (int64, error)) (total int64, err error) {
	for {
		// Package net looks inside one LimitedReader for a descriptor, not
		// inside two: the caller's limit is taken over, not wrapped.
		lr := io.LimitedReader{R: src, N: kernelChunk}
		if limit != nil {
			lr.N = min(lr.N, limit.N)
			if lr.N <= 0 {
				return total, nil
			}
		}
		want := lr.N
		n, err := move(&lr)
		total += n
		if limit != nil {
			limit.N -= n
		}
		if err != nil || n < want {
			return total, err
		}
	}
}

// onlyWriter and onlyReader hide ReadFrom and WriteTo from io.Copy.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// Close closes the connection.
func (c *Conn) Close() error { return c.tcp.Close() }

// CloseRead shuts down the reading side.
func (c *Conn) CloseRead() error { return c.tcp.CloseRead() }

// CloseWrite shuts down the writing side: the peer reads EOF (half-close).
func (c *Conn) CloseWrite() error { return c.tcp.CloseWrite() }

// LocalAddr returns the local address, a [*net.TCPAddr].
func (c *Conn) LocalAddr() net.Addr { return c.tcp.LocalAddr() }

// RemoteAddr returns the peer's address, a [*net.TCPAddr].
func (c *Conn) RemoteAddr() net.Addr { return c.tcp.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.tcp.SetDeadline(t) }

// SetReadDeadline sets the deadline of reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.tcp.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.tcp.SetWriteDeadline(t) }

// SetNoDelay turns Nagle's algorithm off (true, the default) or on.
func (c *Conn) SetNoDelay(noDelay bool) error { return c.tcp.SetNoDelay(noDelay) }

// SetLinger sets what Close does with unsent data; 0 discards it and resets the
// connection. See [net.TCPConn.SetLinger].
func (c *Conn) SetLinger(seconds int) error { return c.tcp.SetLinger(seconds) }

// NetConn returns the connection beneath. What is read and written there is not
// counted.
func (c *Conn) NetConn() net.Conn { return c.tcp }

// SyscallConn gives access to the descriptor, as [syscall.Conn] has it.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	rc, err := c.tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	return rawConn{rc}, nil
}

// rawConn hides from package os that this is a TCP socket. [os.File.WriteTo]
// and [os.File.ReadFrom], which io.Copy prefers to our methods, would else move
// the bytes themselves and count nothing; now they fall back to Conn.ReadFrom,
// which ends in the same system call.
type rawConn struct{ syscall.RawConn }

// Buffers returns the sizes in bytes of the socket's send and receive buffers
// as the kernel has them. Linux reports twice what was asked for: it reckons
// its own overhead in (socket(7)).
func (c *Conn) Buffers() (send, receive int, err error) {
	cerr := c.control(func(fd uintptr) { send, receive, err = getBuffers(fd) })
	if cerr != nil {
		err = cerr
	}
	return send, receive, err
}

// Congestion returns the name of the congestion control algorithm, or an error
// that matches [errors.ErrUnsupported] where the system does not tell.
func (c *Conn) Congestion() (name string, err error) {
	cerr := c.control(func(fd uintptr) { name, err = getCongestion(fd) })
	if cerr != nil {
		err = cerr
	}
	return name, err
}

func (c *Conn) control(f func(fd uintptr)) error {
	rc, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Control(f)
}

// Package pace holds connections to a rate.
//
// A [Limiter] is one budget, in bytes a second, for any number of connections:
// each write (or read) reserves its place in time and waits for it, a few
// milliseconds' worth at once, so that what comes out is even. Nothing is saved
// up beyond one such portion: after a pause there is no burst.
//
// A program cannot space single packets, since it wakes up too late and writes
// more than one at a time. The kernel can: where the connection underneath has a
// SetPacingRate method (as [socket.Conn] has), it is told the rate too, and again
// whenever it changes.
//
// Bytes are counted as they are written, so on a TLS connection that stands on a
// paced one its overhead counts, and headers of TCP and IP do not.
//
// [socket.Conn]: https://pkg.go.dev/github.com/wherry-net/wherry/socket#Conn
package pace

import (
	"net"
	"sync"
	"time"
)

// A Limiter is a rate and who used it last. Its methods may be called from
// several goroutines at once.
type Limiter struct {
	mu   sync.Mutex
	rate int64     // bytes a second
	next time.Time // when the next byte may pass
}

// New is a Limiter of bytesPerSecond, which is at least 1.
func New(bytesPerSecond int64) *Limiter {
	l := &Limiter{}
	l.SetRate(bytesPerSecond)
	return l
}

// SetRate changes the rate, from the next portion on.
func (l *Limiter) SetRate(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = max(1, bytesPerSecond)
}

// Rate is the rate in bytes a second.
func (l *Limiter) Rate() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rate
}

const (
	// portionTime is how much may pass at once: long enough that timers,
	// which are good to about a millisecond, do not cost rate.
	portionTime = 4 * time.Millisecond
	minPortion  = 1400     // a packet
	maxPortion  = 64 << 10 // what one system call may carry without being a burst to a fast link
)

// portion is how many bytes may pass at once at the rate.
func portion(rate int64) int {
	return int(min(max(float64(rate)*portionTime.Seconds(), minPortion), maxPortion))
}

// Reserve takes n bytes of the budget and returns how long to wait from now
// before they pass. One portion's worth of lateness is made up for, so that a
// late timer costs no rate, and no more than that.
func (l *Limiter) Reserve(now time.Time, n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	slack := max(portionTime, l.cost(portion(l.rate)))
	if earliest := now.Add(-slack); l.next.Before(earliest) {
		l.next = earliest
	}
	wait := l.next.Sub(now)
	l.next = l.next.Add(l.cost(n))
	return max(0, wait)
}

func (l *Limiter) cost(n int) time.Duration {
	return time.Duration(float64(n) / float64(l.rate) * float64(time.Second))
}

// Conn is a connection whose writes, or reads, or both are held to a rate.
type Conn struct {
	net.Conn
	read, write *Limiter

	mu     sync.Mutex
	kernel int64 // the rate that the kernel was told
	closed chan struct{}
	once   sync.Once
}

// NewConn paces conn's reads and writes; a nil Limiter paces nothing.
func NewConn(conn net.Conn, read, write *Limiter) *Conn {
	c := &Conn{Conn: conn, read: read, write: write, closed: make(chan struct{})}
	c.tellKernel()
	return c
}

// tellKernel has the kernel space packets at the rate of writing, if it can.
func (c *Conn) tellKernel() {
	k, ok := c.Conn.(interface {
		SetPacingRate(bytesPerSecond int64) error
	})
	if !ok || c.write == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if rate := c.write.Rate(); rate != c.kernel {
		_ = k.SetPacingRate(rate) // the Limiter holds without it
		c.kernel = rate
	}
}

// wait waits for n bytes' turn, or until the connection is closed.
func (c *Conn) wait(l *Limiter, n int) error {
	d := l.Reserve(time.Now(), n)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// Write writes p portion by portion.
func (c *Conn) Write(p []byte) (n int, err error) {
	if c.write == nil {
		return c.Conn.Write(p)
	}
	c.tellKernel()
	for len(p) > 0 {
		k := min(len(p), portion(c.write.Rate()))
		if err := c.wait(c.write, k); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[:k])
		n += m
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

// Read reads at most a portion. What it got it hands over when the rate allows;
// the peer's kernel then finds the window closed and slows down.
func (c *Conn) Read(p []byte) (int, error) {
	if c.read == nil {
		return c.Conn.Read(p)
	}
	n, err := c.Conn.Read(p[:min(len(p), portion(c.read.Rate()))])
	if n > 0 {
		if werr := c.wait(c.read, n); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

// Close closes the connection and ends waiting.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// CloseWrite shuts down the writing side, if the connection can.
func (c *Conn) CloseWrite() error {
	if h, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return h.CloseWrite()
	}
	return net.ErrClosed
}

// NetConn is the connection underneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// NewListener paces all that ln accepts.
func NewListener(ln net.Listener, read, write *Limiter) net.Listener {
	return &listener{ln, read, write}
}

type listener struct {
	net.Listener
	read, write *Limiter
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewConn(c, l.read, l.write), nil
}

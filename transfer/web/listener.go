package web

import (
	"io"
	"net"
	"sync"
	"time"
)

// stallListener bounds the connections and how long one of them may take no byte
// of what is written to it. http.Server's own WriteTimeout would bound the whole
// answer instead, and cut a large file on a slow link.
type stallListener struct {
	net.Listener
	stall time.Duration
	slots chan struct{}
	once  sync.Once
	done  chan struct{}
}

func newStallListener(l net.Listener, stall time.Duration, conns int) net.Listener {
	return &stallListener{Listener: l, stall: stall, slots: make(chan struct{}, conns), done: make(chan struct{})}
}

func (l *stallListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &stallConn{Conn: c, l: l}, nil
}

func (l *stallListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type stallConn struct {
	net.Conn
	l    *stallListener
	once sync.Once
}

func (c *stallConn) Close() error {
	c.once.Do(func() { <-c.l.slots })
	return c.Conn.Close()
}

func (c *stallConn) Write(p []byte) (n int, err error) {
	for first := true; first || n < len(p); first = false {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.l.stall)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(p[n:min(len(p), n+portion)])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// portion is what must get through within one stall.
const portion = 4 << 20

// ReadFrom lets the kernel copy a file into the socket (sendfile), a portion a
// deadline. net.TCPConn knows a file behind one LimitedReader, not behind two.
func (c *stallConn) ReadFrom(r io.Reader) (n int64, err error) {
	to, ok := c.Conn.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	left := int64(1<<63 - 1)
	limited, isLimited := r.(*io.LimitedReader)
	if isLimited {
		r, left = limited.R, limited.N
	}
	for left > 0 {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.l.stall)); err != nil {
			return n, err
		}
		want := min(left, portion)
		m, err := to.ReadFrom(&io.LimitedReader{R: r, N: want})
		n, left = n+m, left-m
		if isLimited {
			limited.N = left
		}
		if err != nil || m < want {
			return n, err
		}
	}
	return n, nil
}

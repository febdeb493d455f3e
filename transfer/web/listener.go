package web

import (
	"container/list"
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// stallListener bounds the connections and how long one of them may take no byte
// of what is written to it. http.Server's own WriteTimeout would bound the whole
// answer instead, and cut a large file on a slow link.
//
// Where all places are taken, whoever has not shown the token for longest makes
// room: strangers who hold connections open keep nobody out.
type stallListener struct {
	net.Listener
	stall time.Duration
	slots chan struct{}
	once  sync.Once
	done  chan struct{}

	mu        sync.Mutex
	strangers list.List // of *stallConn, the oldest first
}

func newStallListener(l net.Listener, stall time.Duration, conns int) net.Listener {
	return &stallListener{Listener: l, stall: stall, slots: make(chan struct{}, conns), done: make(chan struct{})}
}

func (l *stallListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case l.slots <- struct{}{}:
	default:
		l.makeRoom()
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			c.Close()
			return nil, net.ErrClosed
		}
	}
	s := &stallConn{Conn: c, l: l}
	l.mu.Lock()
	s.stranger = l.strangers.PushBack(s)
	l.mu.Unlock()
	return s, nil
}

// makeRoom cuts the stranger who came first. Its place is free when the server has
// noticed.
func (l *stallListener) makeRoom() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.strangers.Front(); e != nil {
		s := l.strangers.Remove(e).(*stallConn)
		s.stranger = nil
		s.Conn.Close()
	}
}

// known says that whoever is at the other end has shown the token.
func (l *stallListener) known(s *stallConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.stranger != nil {
		l.strangers.Remove(s.stranger)
		s.stranger = nil
	}
}

type connKey struct{}

// withConn is a server's ConnContext: it has requests know their connection.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}

// admitted says that the request of ctx held the token.
func admitted(ctx context.Context) {
	if s, ok := ctx.Value(connKey{}).(*stallConn); ok {
		s.l.known(s)
	}
}

func (l *stallListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

type stallConn struct {
	net.Conn
	l        *stallListener
	once     sync.Once
	stranger *list.Element // in l.strangers; guarded by l.mu
}

func (c *stallConn) Close() error {
	c.once.Do(func() {
		c.l.known(c)
		<-c.l.slots
	})
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

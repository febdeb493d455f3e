package rudp

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"sync"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Listener accepts connections, all on one UDP socket. It is a [net.Listener].
type Listener struct {
	ep *endpoint

	mu     sync.Mutex
	queue  []*Conn
	some   chan struct{} // has a token while the queue is not empty
	closed chan struct{}
	err    error // why it is closed
}

var _ net.Listener = (*Listener)(nil)

// Listen binds a UDP address of the form host:port; network is "udp" (both
// versions of IP, if the host is empty or a wildcard), "udp4" or "udp6".
func Listen(ctx context.Context, network, address string, cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	sock, err := datagram.Listen(ctx, network, address, cfg.socket())
	if err != nil {
		return nil, err
	}
	e, err := newEndpoint(sock, cfg)
	if err != nil {
		sock.Close()
		return nil, &net.OpError{Op: "listen", Net: network, Addr: net.UDPAddrFromAddrPort(sock.LocalAddr()), Err: err}
	}
	var key [32]byte
	rand.Read(key[:]) // never fails
	e.acceptor = arq.NewAcceptor(key, cfg.Engine)
	l := &Listener{ep: e, some: make(chan struct{}, 1), closed: make(chan struct{})}
	e.listener = l
	e.start()
	return l, nil
}

// Accept waits for a connection, which is a *[Conn].
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptContext(context.Background())
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptContext waits for a connection until ctx ends. An error that wraps an
// [*arq.ARQError] is of one client, who runs another protocol and is told so;
// the Listener goes on.
func (l *Listener) AcceptContext(ctx context.Context) (*Conn, error) {
	for {
		l.mu.Lock()
		if l.err != nil {
			defer l.mu.Unlock()
			return nil, l.opError(l.err)
		}
		if len(l.queue) > 0 {
			c := l.queue[0]
			l.queue = l.queue[1:]
			if len(l.queue) > 0 {
				l.signal()
			}
			l.mu.Unlock()
			if err := c.disagreement(); err != nil {
				return nil, l.opError(err)
			}
			return c, nil
		}
		l.mu.Unlock()
		select {
		case <-l.some:
		case <-l.closed:
		case <-ctx.Done():
			return nil, l.opError(ctx.Err())
		}
	}
}

func (l *Listener) opError(err error) error {
	return &net.OpError{Op: "accept", Net: "udp", Addr: l.Addr(), Err: err}
}

func (l *Listener) signal() {
	select {
	case l.some <- struct{}{}:
	default:
	}
}

func (l *Listener) hasRoom() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && len(l.queue) < l.ep.cfg.Backlog
}

// offer queues a connection for Accept.
func (l *Listener) offer(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || len(l.queue) >= l.ep.cfg.Backlog {
		return false
	}
	l.queue = append(l.queue, c)
	l.signal()
	return true
}

// fail ends Accept with an error.
func (l *Listener) fail(err error) (first bool) {
	l.mu.Lock()
	queue := l.queue
	l.queue = nil
	if first = l.err == nil; first {
		l.err = err
		close(l.closed)
	}
	l.mu.Unlock()
	for _, c := range queue {
		c.Abort(0, "not accepted")
	}
	return first
}

// Close takes no new connections and turns away those that nobody accepted. The
// others stay; the socket is closed with the last of them.
func (l *Listener) Close() error {
	if !l.fail(net.ErrClosed) {
		return l.opError(net.ErrClosed)
	}
	l.ep.finish()
	return nil
}

// Addr returns the address that is bound, a *[net.UDPAddr].
func (l *Listener) Addr() net.Addr { return net.UDPAddrFromAddrPort(l.ep.local) }

// AddrPort returns the address that is bound.
func (l *Listener) AddrPort() netip.AddrPort { return l.ep.local }

// SocketStats returns the counters of the UDP socket.
func (l *Listener) SocketStats() datagram.Stats { return l.ep.sock.Stats() }

// Socket returns the UDP socket, for its counters and options.
func (l *Listener) Socket() *datagram.Conn { return l.ep.sock }

// Conns is the number of connections that are open, accepted or not.
func (l *Listener) Conns() int {
	l.ep.mu.Lock()
	defer l.ep.mu.Unlock()
	return len(l.ep.conns)
}

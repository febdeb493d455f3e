package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Listener accepts TCP connections. Its methods may be called from several
// goroutines at once.
type Listener struct {
	ln    *net.TCPListener
	nagle bool

	mu        sync.Mutex
	cancelled int // Accept calls whose context ended and that have not returned
}

// Listen binds a TCP address of the form host:port; the host may be empty
// (every address), the port may be 0 (any that is free).
//
// SO_REUSEADDR is set on Unix, so that a port can be bound again while
// connections of the last run linger in TIME-WAIT. On Windows it is not: there
// it would let another program take over a port that is in use.
//
// The error is an [*AddressError], an [*OptionError] or a [*ListenError].
func Listen(ctx context.Context, address string, o Options) (*Listener, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if _, err := ParseHostPort(address, 0); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{KeepAlive: o.KeepAlive}
	// Multipath TCP, which Go turns on for listeners, has neither TCP_INFO nor
	// a congestion control of its own: both are per subflow.
	lc.SetMultipathTCP(false)
	if !o.nothing() {
		lc.Control = o.Control
	}
	network := "tcp" + o.Family.suffix()
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, listenError(network, address, err)
	}
	return &Listener{ln: ln.(*net.TCPListener), nagle: o.Nagle}, nil
}

// ListenUDP binds a UDP address as [Listen] does a TCP one.
func ListenUDP(ctx context.Context, address string, o Options) (*net.UDPConn, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if _, err := ParseHostPort(address, 0); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	if !o.nothing() {
		lc.Control = o.Control
	}
	network := "udp" + o.Family.suffix()
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, listenError(network, address, err)
	}
	return pc.(*net.UDPConn), nil
}

func listenError(network, address string, err error) error {
	if opt, ok := errors.AsType[*OptionError](err); ok {
		return opt
	}
	return &ListenError{network, address, Kind(err), err}
}

// Accept waits for a connection. When ctx ends it returns the context's error;
// when the listener is closed, an error that matches [net.ErrClosed].
//
// Failures that pass are waited out, so that a client that hangs up at the
// wrong moment, or a shortage of descriptors, does not end a server.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, l.interrupt)
	defer func() {
		if !stop() {
			l.resume()
		}
	}()
	backoff := time.Duration(0)
	for {
		tcp, err := l.ln.AcceptTCP()
		switch {
		case err == nil:
			if l.nagle {
				// It fails if the peer has reset the connection already, and
				// the first Read will tell that better.
				_ = tcp.SetNoDelay(false)
			}
			return NewConn(tcp), nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The context of another Accept ended; ours did not.
			continue
		case Kind(err) == ErrLost:
			continue // ECONNABORTED: reset while in the queue
		case tooManyFiles(err):
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(backoff):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			return nil, err
		}
	}
}

// interrupt wakes all Accept calls; those whose context has not ended wait
// again.
func (l *Listener) interrupt() { l.count(+1) }

// resume undoes one interrupt. It runs once interrupt has been started in a
// goroutine of its own, which may come later than this: the count then goes to
// -1 and back to 0.
func (l *Listener) resume() { l.count(-1) }

// count keeps the deadline in the past until the last Accept whose context
// ended is out: were it lifted sooner, one that was not yet waiting would miss
// it and sleep on.
func (l *Listener) count(delta int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancelled += delta
	var deadline time.Time
	if l.cancelled > 0 {
		deadline = time.Unix(1, 0)
	}
	// It fails only on a closed listener, which wakes everybody anyhow.
	_ = l.ln.SetDeadline(deadline)
}

// Addr returns the address that is bound, a [*net.TCPAddr].
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Close stops listening. Connections that were accepted stay.
func (l *Listener) Close() error { return l.ln.Close() }

// NetListener returns l as a [net.Listener], whose Accept returns a [*Conn],
// for packages that want one.
func (l *Listener) NetListener() net.Listener { return netListener{l} }

type netListener struct{ *Listener }

func (n netListener) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept(context.Background())
	if err != nil {
		return nil, err
	}
	return c, nil
}

package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// maxHandshakes bounds the connections that are not yet peers. When another
// comes the oldest goes: a peer is through within a round trip or two, and who
// holds connections open gains nothing by it.
const maxHandshakes = 256

// An Endpoint is a port that sockets have bound.
type Endpoint struct {
	ln      *socket.Listener
	sockets []*Socket
	end     context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	pending []net.Conn // oldest first
}

// Bind listens on addr, a host and port, for peers of all the sockets. Each
// connection goes to the first socket whose type talks to the peer's. The endpoint
// and the sockets are closed one by one.
func Bind(ctx context.Context, addr string, o socket.Options, sockets ...*Socket) (*Endpoint, error) {
	ln, err := socket.Listen(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{ln: ln, sockets: sockets}
	ctx, e.end = context.WithCancel(context.Background())
	e.wg.Go(func() { e.accept(ctx) })
	return e, nil
}

// Addr is what it listens on.
func (e *Endpoint) Addr() net.Addr { return e.ln.Addr() }

// Close stops listening. Peers stay.
func (e *Endpoint) Close() error {
	e.end()
	err := e.ln.Close()
	e.mu.Lock()
	for _, nc := range e.pending {
		nc.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
	return err
}

func (e *Endpoint) accept(ctx context.Context) {
	for {
		nc, err := e.ln.Accept(ctx)
		if err != nil {
			return // closed: all else Accept waits out
		}
		e.mu.Lock()
		if len(e.pending) >= maxHandshakes {
			e.pending[0].Close()
			e.pending = e.pending[1:]
		}
		e.pending = append(e.pending, nc)
		e.mu.Unlock()
		e.wg.Go(func() { e.greet(nc) })
		if ctx.Err() != nil {
			nc.Close() // Close may have looked before it was pending
		}
	}
}

// greet makes a connection a peer of one of the sockets.
func (e *Endpoint) greet(nc net.Conn) {
	first := e.sockets[0]
	_ = nc.SetDeadline(time.Now().Add(first.o.Handshake))
	var s *Socket
	c, _, err := handshake(nc, true, first.o.Identity, func(peer Type) (Type, error) {
		for _, x := range e.sockets {
			if x.typ.talksTo(peer) {
				s = x
				return x.typ, nil
			}
		}
		return 0, fmt.Errorf("%w: nothing here talks to a %s", ErrIncompatible, peer)
	})
	e.mu.Lock()
	for i, x := range e.pending {
		if x == nc {
			e.pending = append(e.pending[:i], e.pending[i+1:]...)
			break
		}
	}
	e.mu.Unlock()
	if err == nil {
		_, err = s.add(c)
	}
	if err != nil {
		nc.Close()
		if s == nil {
			s = first
		}
		s.refused(nc.RemoteAddr(), err)
	}
}

// Connect connects to addr, a host and port, and returns when it is connected or
// that has failed. A connection that breaks later is made again, and again, until
// the socket is closed, as Options.Retry has it.
func (s *Socket) Connect(ctx context.Context, addr string) error {
	p, err := s.dial(ctx, addr)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.o.Retry > 0 {
		s.wg.Go(func() { s.redial(addr, p) })
	}
	return nil
}

// HandshakeError says that whoever listens at an address does not become a peer.
type HandshakeError struct {
	Addr string
	Err  error
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("connect to %s: %v", e.Addr, e.Err)
}
func (e *HandshakeError) Unwrap() error { return e.Err }

func (s *Socket) dial(ctx context.Context, addr string) (*peer, error) {
	nc, err := s.o.Dialer.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(s.o.Handshake))
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	c, _, err := handshake(nc, false, s.o.Identity, func(peer Type) (Type, error) {
		if peer != 0 && !s.typ.talksTo(peer) {
			return 0, fmt.Errorf("%w: there is a %s, and this is a %s", ErrIncompatible, peer, s.typ)
		}
		return s.typ, nil
	})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	var p *peer
	if err == nil {
		p, err = s.add(c)
	}
	if err == nil {
		return p, nil
	}
	nc.Close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*RefusedError](err); !ok && !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrIncompatible) && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("%w: %v", socket.Kind(unexpectedLost(err)), err)
	}
	return nil, &HandshakeError{addr, err}
}

// unexpectedLost turns whatever else ends a connection into a kind of package
// socket.
func unexpectedLost(err error) error {
	if socket.Kind(err) == nil {
		return socket.ErrLost
	}
	return err
}

// redial connects again whenever p, and those after it, are gone.
func (s *Socket) redial(addr string, p *peer) {
	const longest = 3 * time.Second
	for {
		select {
		case <-p.gone:
		case <-s.ctx.Done():
			return
		}
		for wait := s.o.Retry; ; wait = min(2*wait, longest) {
			select {
			case <-time.After(wait):
			case <-s.ctx.Done():
				return
			}
			next, err := s.dial(s.ctx, addr)
			if err == nil {
				p = next
				break
			}
			if errors.Is(err, ErrClosed) {
				return
			}
			if f := s.o.Trace.Redial; f != nil && s.ctx.Err() == nil {
				f(addr, err)
			}
		}
	}
}

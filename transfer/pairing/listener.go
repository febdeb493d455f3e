package pairing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Listener accepts connections, pairs each in a goroutine of its own, and
// hands out only those that proved the code. Unproven connections are as many as
// the Guard admits; others are closed unread.
type Listener struct {
	ln    net.Listener
	code  Code
	cfg   Config
	guard *Guard

	ctx    context.Context
	cancel context.CancelCauseFunc
	conns  chan *Conn
	wg     sync.WaitGroup
}

// NewListener pairs what ln accepts, and starts doing so at once. It owns ln.
func NewListener(ln net.Listener, code Code, cfg Config) (*Listener, error) {
	if code.IsZero() {
		return nil, fmt.Errorf("listening on %s: %w: there is none", ln.Addr(), ErrCode)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", ln.Addr(), err)
	}
	cfg.key, cfg.tickets = key, &tickets{}
	l := &Listener{ln: ln, code: code, cfg: cfg, guard: cfg.guard(code), conns: make(chan *Conn)}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	code.Prepare()
	l.wg.Add(1)
	go l.acceptLoop()
	return l, nil
}

// Accept gives the next paired connection, a [*Conn]. It ends with [ErrBurnt]
// after the last wrong guess; with [ErrPeerPlain], [ErrPeerTransport] or
// [ErrSameRole] when a dialer that was meant for this listener cannot be served
// (under Keep the listener stays, and Trace is told); or with net.ErrClosed.
func (l *Listener) Accept() (net.Conn, error) { return l.AcceptContext(context.Background()) }

// AcceptContext is Accept, until ctx ends.
func (l *Listener) AcceptContext(ctx context.Context) (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("accepting on %s: %w", l.ln.Addr(), context.Cause(l.ctx))
	case <-ctx.Done():
		return nil, fmt.Errorf("accepting on %s: %w", l.ln.Addr(), context.Cause(ctx))
	}
}

// Addr is the address that the listener below is bound to.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Guard is what counts the guesses.
func (l *Listener) Guard() *Guard { return l.guard }

// Close ends Accept and every handshake under way, and waits for them. Paired
// connections that were handed out stay.
func (l *Listener) Close() error {
	err := l.end(net.ErrClosed)
	l.wg.Wait()
	return err
}

func (l *Listener) end(why error) error {
	l.cancel(why)
	return l.ln.Close()
}

// acceptLoop runs until the listener below is closed.
func (l *Listener) acceptLoop() {
	defer l.wg.Done()
	const maxPause = time.Second
	pause := 5 * time.Millisecond
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				l.end(err)
				return
			}
			// Out of descriptors, or a connection that died in the queue.
			select {
			case <-time.After(pause):
			case <-l.ctx.Done():
			}
			pause = min(2*pause, maxPause)
			continue
		}
		pause = 5 * time.Millisecond
		attempt, err := l.guard.Admit(time.Now(), addrOf(conn))
		if err != nil {
			conn.Close()
			l.refused(conn.RemoteAddr(), err)
			continue
		}
		l.wg.Add(1)
		go l.pair(conn, attempt)
	}
}

// pair does one handshake. The attempt stays pending until the connection is
// handed out, so that those nobody accepts are bounded as well.
func (l *Listener) pair(conn net.Conn, attempt *Attempt) {
	defer l.wg.Done()
	c, err := serve(l.ctx, conn, l.code, l.cfg, attempt)
	if err == nil {
		select {
		case l.conns <- c:
		case <-l.ctx.Done():
			c.Close()
		}
		attempt.End()
		return
	}
	if l.ctx.Err() != nil && !errors.Is(err, ErrWrongCode) && !errors.Is(err, ErrUnconfirmed) {
		attempt.End()
		return
	}
	wrong := attempt.End()
	l.refused(conn.RemoteAddr(), err)
	switch {
	case wrong && l.guard.Burnt():
		l.end(fmt.Errorf("%w (the last from %s)", ErrBurnt, conn.RemoteAddr()))
	case l.guard.Keep():
	case errors.Is(err, ErrPeerPlain), errors.Is(err, ErrPeerTransport), errors.Is(err, ErrSameRole):
		l.end(err)
	}
}

func (l *Listener) refused(peer net.Addr, err error) {
	if t := l.cfg.Trace; t != nil && t.Refused != nil {
		t.Refused(peer, err)
	}
}

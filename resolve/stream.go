package resolve

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// streamIdle is how long an unused connection is kept. RFC 7766 section 6.2.3
// leaves it to both ends; servers close after a few to 30 seconds.
const streamIdle = 10 * time.Second

// streamExchanger asks over TCP or TLS. All queries share one connection and
// are answered in any order (RFC 7766 sections 6.2.1 and 7).
type streamExchanger struct {
	up   Upstream
	opts *Options
	tls  bool

	mu       sync.Mutex
	conn     *streamConn
	dialing  chan struct{} // closed when the dial in progress is over
	sessions tls.ClientSessionCache
}

// streamConn is one connection: queries that wait for their answers, by ID.
type streamConn struct {
	c     net.Conn
	setup time.Duration
	done  chan struct{} // closed when the connection is of no more use

	wmu sync.Mutex // one writer at a time

	mu      sync.Mutex
	waiting map[uint16]*streamQuery
	err     error // why done is closed
	idle    *time.Timer
	heard   time.Time // when the last message came
	dropped bool      // close it when nobody waits any more
}

type streamQuery struct {
	m      *Message
	strays Strays
	answer chan []byte // holds one
}

var errStreamClosed = errors.New("the server closed the connection")

func (x *streamExchanger) Close() error {
	x.mu.Lock()
	c := x.conn
	x.conn = nil
	x.mu.Unlock()
	if c != nil {
		c.fail(net.ErrClosed)
	}
	return nil
}

// Exchange sends m over the open connection, or a new one. If a connection
// that had been open turns out to be closed, it tries once more with a new
// one, as servers may close idle connections at any time.
func (x *streamExchanger) Exchange(ctx context.Context, m *Message) (Raw, error) {
	for {
		c, fresh, err := x.get(ctx)
		if err != nil {
			return Raw{}, err
		}
		raw, err := c.exchange(ctx, m, x.opts, x.up)
		raw.Reused = !fresh
		if fresh {
			raw.Setup = c.setup
		}
		switch {
		case err == nil:
			return raw, nil
		case ctx.Err() != nil:
			if c.silentSince(raw.Started) {
				x.drop(c) // it may be dead: the next query gets a new one
			}
			return raw, ctxError(ctx)
		case fresh:
			return raw, &ServerError{x.up, "read from", err}
		}
		x.drop(c)
	}
}

// get returns the open connection or makes one; concurrent callers share the
// dial.
func (x *streamExchanger) get(ctx context.Context) (c *streamConn, fresh bool, err error) {
	for {
		x.mu.Lock()
		if x.conn != nil && x.conn.usable() {
			c := x.conn
			x.mu.Unlock()
			return c, false, nil
		}
		if wait := x.dialing; wait != nil {
			x.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, false, ctxError(ctx)
			}
		}
		x.dialing = make(chan struct{})
		x.mu.Unlock()

		c, err := x.dial(ctx)
		x.mu.Lock()
		if err == nil {
			x.conn = c
		}
		close(x.dialing)
		x.dialing = nil
		x.mu.Unlock()
		return c, true, err
	}
}

func (x *streamExchanger) drop(c *streamConn) {
	x.mu.Lock()
	if x.conn == c {
		x.conn = nil
	}
	x.mu.Unlock()
	c.mu.Lock()
	c.dropped = true
	idle := len(c.waiting) == 0
	c.mu.Unlock()
	if idle {
		c.fail(net.ErrClosed)
	}
}

func (x *streamExchanger) dial(ctx context.Context) (*streamConn, error) {
	start := time.Now()
	conn, err := x.opts.dialStream(ctx, x.up, x.tls, &x.sessions)
	if err != nil {
		return nil, err
	}
	c := &streamConn{c: conn, setup: time.Since(start), done: make(chan struct{}),
		waiting: make(map[uint16]*streamQuery)}
	c.idle = time.AfterFunc(streamIdle, c.closeIdle)
	go c.readLoop(x.opts, x.up)
	return c, nil
}

// dialStream connects to u over TCP and, if secure, makes a verified TLS
// connection of it (RFC 7858, RFC 8310 strict profile).
func (o *Options) dialStream(ctx context.Context, u Upstream, secure bool, sessions *tls.ClientSessionCache) (net.Conn, error) {
	conn, err := o.dial(ctx, "tcp", u)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctxError(ctx)
		}
		return nil, err
	}
	if !secure {
		return conn, nil
	}
	cfg := o.TLSConfig(u, "dot")
	if sessions != nil && cfg.ClientSessionCache == nil {
		if *sessions == nil {
			*sessions = tls.NewLRUClientSessionCache(4)
		}
		cfg.ClientSessionCache = *sessions
	}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		if ctx.Err() != nil {
			return nil, ctxError(ctx)
		}
		return nil, &ServerError{u, "TLS handshake with", err}
	}
	return tc, nil
}

func (c *streamConn) usable() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

func (c *streamConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	c.idle.Stop()
	c.c.Close()
}

func (c *streamConn) closeIdle() {
	c.mu.Lock()
	busy := len(c.waiting) > 0
	c.mu.Unlock()
	if !busy {
		c.fail(net.ErrClosed)
	}
}

// silentSince reports whether nothing came since t.
func (c *streamConn) silentSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard.Before(t)
}

// enter finds a free ID for a query; the one it has may be taken.
func (c *streamConn) enter(q *streamQuery) (uint16, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.err
	}
	if len(c.waiting) > 1<<15 {
		return 0, errors.New("too many queries in flight on one connection")
	}
	id := q.m.ID()
	for c.waiting[id] != nil {
		id = randomUint16()
	}
	c.waiting[id] = q
	c.idle.Stop()
	return id, nil
}

func (c *streamConn) leave(id uint16) {
	c.mu.Lock()
	delete(c.waiting, id)
	idle := len(c.waiting) == 0 && c.err == nil
	dropped := c.dropped
	if idle && !dropped {
		c.idle.Reset(streamIdle)
	}
	c.mu.Unlock()
	if idle && dropped {
		c.fail(net.ErrClosed)
	}
}

func (c *streamConn) exchange(ctx context.Context, m *Message, o *Options, u Upstream) (raw Raw, err error) {
	q := &streamQuery{m: m, answer: make(chan []byte, 1)}
	id, err := c.enter(q)
	if err != nil {
		return raw, err
	}
	defer func() {
		c.leave(id)
		c.mu.Lock()
		raw.Strays = q.strays
		c.mu.Unlock()
	}()
	out := make([]byte, 2, 2+len(m.Wire))
	binary.BigEndian.PutUint16(out, uint16(len(m.Wire)))
	out = append(out, m.Wire...)
	binary.BigEndian.PutUint16(out[2:], id)

	raw.Remote = c.c.RemoteAddr().String()
	raw.Started = time.Now()
	if err := c.write(ctx, out); err != nil {
		return raw, err
	}
	select {
	case b := <-q.answer:
		raw.RTT = time.Since(raw.Started)
		binary.BigEndian.PutUint16(b, m.ID())
		raw.Wire = b
		return raw, nil
	case <-c.done:
		// The answer may have come just before the end.
		select {
		case b := <-q.answer:
			raw.RTT = time.Since(raw.Started)
			binary.BigEndian.PutUint16(b, m.ID())
			raw.Wire = b
			return raw, nil
		default:
		}
		return raw, c.err
	case <-ctx.Done():
		return raw, ctxError(ctx)
	}
}

func (c *streamConn) write(ctx context.Context, b []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(streamIdle)
	}
	if err := c.c.SetWriteDeadline(deadline); err != nil {
		return err
	}
	if _, err := c.c.Write(b); err != nil {
		// Half a message may be on the wire: the stream is lost.
		c.fail(err)
		return err
	}
	return nil
}

// readLoop hands each message to the query that it answers.
func (c *streamConn) readLoop(o *Options, u Upstream) {
	var hdr [2]byte
	for {
		if _, err := io.ReadFull(c.c, hdr[:]); err != nil {
			if err == io.EOF {
				err = errStreamClosed
			}
			c.fail(err)
			return
		}
		n := int(binary.BigEndian.Uint16(hdr[:]))
		if n < headerLen {
			c.fail(fmt.Errorf("%w: a message of %d octets", ErrMalformed, n))
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.c, b); err != nil {
			c.fail(fmt.Errorf("in the middle of a message: %w", err))
			return
		}
		if why := c.deliver(b); why != Matches {
			o.Trace.stray(u, why)
		}
	}
}

// deliver gives b to the query that it answers. A message that belongs to
// none counts against all that wait.
func (c *streamConn) deliver(b []byte) Stray {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = time.Now()
	id := binary.BigEndian.Uint16(b)
	q := c.waiting[id]
	why := WrongID
	if q != nil {
		// On the wire the query had this ID, whatever its own.
		own := *q.m
		own.Wire = append([]byte(nil), q.m.Wire[:headerLen]...)
		binary.BigEndian.PutUint16(own.Wire, id)
		if why = own.Match(b); why == Matches {
			select {
			case q.answer <- b:
				return Matches
			default:
				why = WrongID // answered twice
			}
		}
	}
	for _, q := range c.waiting {
		q.strays.add(why)
	}
	return why
}

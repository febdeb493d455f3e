package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// An Exchanger sends queries to one server over one transport. It may be used
// by several goroutines at once and keeps connections open between queries
// where the transport has any.
type Exchanger interface {
	// Exchange sends m and waits for the answer until ctx is done. The
	// answer has matched m (see [Message.Match]); it has not been parsed.
	// Raw.Strays is filled in even if there is an error.
	Exchange(ctx context.Context, m *Message) (Raw, error)
	// Close gives the connections up.
	Close() error
}

// NewExchanger makes an [Exchanger] for a server. It must not block.
type NewExchanger func(u Upstream, o *Options) Exchanger

// Raw is an answer as it came off the wire.
type Raw struct {
	Wire    []byte
	Remote  string
	Started time.Time     // when the query went out
	RTT     time.Duration // until the answer was in
	Setup   time.Duration // connecting and handshake before Started
	Reused  bool
	Strays  Strays
}

func (o *Options) exchanger(u Upstream, s Scheme) (Exchanger, error) {
	if f := o.Transports[s]; f != nil {
		return f(u, o), nil
	}
	switch s {
	case UDP:
		return &udpExchanger{u, o}, nil
	case TCP, TLS:
		return &streamExchanger{up: u, opts: o, tls: s == TLS}, nil
	case HTTPS:
		return newHTTPSExchanger(u, o), nil
	case MDNS:
		return &mdnsExchanger{u, o}, nil
	}
	return nil, &ServerError{u, "ask", ErrNoTransport}
}

// udpExchanger asks over UDP, each query from a socket of its own, so that
// the kernel picks a port nobody can guess (RFC 5452) and lets only packets
// from the server's address through.
type udpExchanger struct {
	up   Upstream
	opts *Options
}

var udpBuffers = sync.Pool{New: func() any { b := make([]byte, 8192); return &b }}

func (x *udpExchanger) Close() error { return nil }

func (x *udpExchanger) Exchange(ctx context.Context, m *Message) (raw Raw, err error) {
	c, err := x.opts.dial(ctx, "udp", x.up)
	if err != nil {
		return raw, err
	}
	defer c.Close()
	// One goroutine less than a watcher of our own: a socket's deadline.
	if d, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(d); err != nil {
			return raw, &ServerError{x.up, "set a deadline for", err}
		}
	}
	stop := context.AfterFunc(ctx, func() {
		if ctx.Err() == context.Canceled { // of deadlines the socket knows
			c.SetDeadline(aLongTimeAgo)
		}
	})
	defer stop()

	raw.Remote = c.RemoteAddr().String()
	raw.Started = time.Now()
	if _, err := c.Write(m.Wire); err != nil {
		return raw, x.fail(ctx, "send to", err)
	}
	var buf []byte
	if n := int(x.opts.bufSize()); n <= 8192 {
		p := udpBuffers.Get().(*[]byte)
		defer udpBuffers.Put(p)
		buf = *p
	} else {
		buf = make([]byte, n)
	}
	late := false
	for {
		n, err := c.Read(buf)
		if err != nil && !late && tooLate(ctx, err) {
			late = true
			c.SetReadDeadline(time.Now().Add(lateRead))
			continue
		}
		if err != nil {
			return raw, x.fail(ctx, "read from", err)
		}
		why := m.Match(buf[:n])
		if why == Matches {
			// Only what parses ends the wait: a forged packet may guess
			// the ID and the question and still be garbage.
			if msg, err := m.Parse(buf[:n]); err != nil {
				why = Malformed
			} else if _, why = m.checkCookie(msg); why == Matches {
				raw.RTT = time.Since(raw.Started)
				raw.Wire = append([]byte(nil), buf[:n]...)
				return raw, nil
			}
		}
		raw.Strays.add(why)
		x.opts.Trace.stray(x.up, why)
	}
}

func (x *udpExchanger) fail(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return &ServerError{x.up, op, err}
}

// lateRead is how much longer is read when the time is over. A process that was
// stopped meanwhile, or had to wait for the processor, finds the deadline past
// before it has looked at what arrived in time: that is still the answer. It is
// in the socket already, so what counts is only that it is not 0.
const lateRead = time.Millisecond

// tooLate reports whether err is a deadline of the clock's and not of a caller
// who no longer wants to know.
func tooLate(ctx context.Context, err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != context.Canceled
}

// aLongTimeAgo is a deadline that makes blocked reads and writes return.
var aLongTimeAgo = time.Unix(1, 0)

// ctxError is the reason for which ctx ended.
func ctxError(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// isTimeout reports whether err means that nothing came in time.
func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// A Client asks one server, and keeps its connections. It may be used by
// several goroutines at once.
type Client struct {
	up   Upstream
	opts *Options

	mu sync.Mutex
	ex map[Scheme]Exchanger
}

// NewClient returns a client for a server. o may be nil; it must not be
// changed afterwards.
func NewClient(u Upstream, o *Options) *Client {
	if o == nil {
		o = &Options{}
	}
	return &Client{up: u, opts: o}
}

// Upstream returns whom the client asks.
func (c *Client) Upstream() Upstream { return c.up }

// Close gives the client's connections up.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, x := range c.ex {
		errs = append(errs, x.Close())
	}
	c.ex = nil
	return errors.Join(errs...)
}

func (c *Client) exchanger(s Scheme) (Exchanger, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.ex[s]; x != nil {
		return x, nil
	}
	x, err := c.opts.exchanger(c.up, s)
	if err != nil {
		return nil, err
	}
	if c.ex == nil {
		c.ex = make(map[Scheme]Exchanger)
	}
	c.ex[s] = x
	return x, nil
}

// Exchange sends a packed query as it is, over the client's own transport,
// and returns the parsed answer. Nothing is retried: a truncated answer comes
// back with TC set.
func (c *Client) Exchange(ctx context.Context, m *Message) (*Reply, error) {
	return c.exchange(ctx, m, c.up.Scheme)
}

func (c *Client) exchange(ctx context.Context, m *Message, s Scheme) (*Reply, error) {
	x, err := c.exchanger(s)
	if err != nil {
		return nil, err
	}
	raw, err := x.Exchange(ctx, m)
	r := &Reply{Server: c.up, Transport: s, Wire: raw.Wire, Remote: raw.Remote,
		Started: raw.Started, RTT: raw.RTT, Setup: raw.Setup, Reused: raw.Reused, Strays: raw.Strays}
	if err != nil {
		return r, err
	}
	if r.Msg, err = m.Parse(raw.Wire); err != nil {
		return r, &ServerError{c.up, "read from", err}
	}
	server, why := m.checkCookie(r.Msg)
	if why != Matches {
		r.Strays.add(why)
		return r, &ServerError{c.up, "read from", fmt.Errorf("%w: the cookie is wrong", ErrMismatch)}
	}
	if server != nil {
		r.ServerCookie = true
		c.opts.Cookies.put(c.up, server)
	}
	return r, nil
}

// Query asks for q once and returns the answer, whatever its response code.
// It follows up where the protocol says so: a truncated answer is asked for
// again over TCP (RFC 7766), a server that does not understand EDNS is asked
// without it (RFC 6891 section 6.2.2), and BADCOOKIE is met with the new
// cookie, then with TCP (RFC 7873 section 5.3). It gives up when ctx is done.
//
// The reply is not nil even if there is an error: Strays and Server are
// always filled in.
func (c *Client) Query(ctx context.Context, q Query) (*Reply, error) {
	scheme := c.up.Scheme
	if scheme == "" {
		scheme = UDP
	}
	if scheme == UDP && (q.Type == typeAXFR || q.Type == typeIXFR) {
		scheme = TCP
	}
	var strays Strays
	edns, badCookies, truncated := true, 0, false
	for {
		m, err := c.opts.build(q, c.up, scheme, edns)
		if err != nil {
			return &Reply{Server: c.up}, err
		}
		r, err := c.exchange(ctx, m, scheme)
		if r == nil {
			r = &Reply{Server: c.up}
		}
		r.Strays.merge(strays)
		r.Truncated = truncated
		r.EDNSDropped = !edns && !c.opts.NoEDNS
		if err != nil {
			return r, err
		}
		strays = r.Strays
		switch {
		case r.Msg.Truncated && scheme == UDP && !c.opts.KeepTruncated:
			c.opts.Trace.retry(c.up, "truncated: asking over tcp")
			scheme, truncated = TCP, true
		case r.Msg.Rcode == rcodeBadCookie && badCookies < 2:
			// The new cookie is in the jar by now.
			if badCookies++; badCookies == 2 {
				scheme = TCP
			}
			c.opts.Trace.retry(c.up, "asking with the new cookie")
		case edns && !c.opts.NoEDNS && scheme != MDNS && r.Msg.IsEdns0() == nil &&
			(r.Msg.Rcode == rcodeFormErr || r.Msg.Rcode == rcodeNotImp):
			c.opts.Trace.retry(c.up, "asking without EDNS")
			edns = false
		default:
			return r, nil
		}
	}
}

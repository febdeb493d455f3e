// Package overquic carries DNS over QUIC: DoQ (RFC 9250) and DNS over HTTPS
// with HTTP/3 (RFC 8484, RFC 9114). It is a package of its own so that only
// programs that use it link quic-go:
//
//	opts := resolve.Options{Transports: overquic.Transports()}
//
// In DoQ each query has a stream of its own on a connection that is kept. The
// ID is 0 on the wire, the message has two octets of length before it, and
// the end of the query is the end of the stream (RFC 9250 section 4.2). 0-RTT
// is not used, as it can be replayed (section 4.5). Servers are verified as
// with DNS over TLS.
package overquic

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/wherry-net/wherry/resolve"
)

// Error codes of RFC 9250 section 4.3.
const (
	doqNoError          quic.ApplicationErrorCode = 0
	doqProtocolError    quic.ApplicationErrorCode = 2
	doqRequestCancelled quic.StreamErrorCode      = 3
)

// alpn is DoQ's protocol name (RFC 9250 section 4.1.1).
const alpn = "doq"

// handshakeTimeout bounds connecting; the query's own deadline may be sooner.
const handshakeTimeout = 10 * time.Second

// Transports returns the transports for [resolve.QUIC] and [resolve.H3].
func Transports() map[resolve.Scheme]resolve.NewExchanger {
	return map[resolve.Scheme]resolve.NewExchanger{resolve.QUIC: NewQUIC, resolve.H3: NewH3}
}

func config() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTimeout,
		MaxIdleTimeout:       30 * time.Second,
		// A server opens streams only for HTTP/3's control and QPACK.
		MaxIncomingStreams:    -1,
		MaxIncomingUniStreams: 8,
	}
}

// dialer opens QUIC connections to one server, each on a socket of its own
// from the injected socket layer.
type dialer struct {
	up   resolve.Upstream
	opts *resolve.Options
}

func (d dialer) dial(ctx context.Context, tlsConf *tls.Config, cfg *quic.Config) (*quic.Conn, func() error, error) {
	addr, err := resolveUDP(ctx, d.up)
	if err != nil {
		return nil, nil, err
	}
	network := "udp4"
	if addr.IP.To4() == nil {
		network = "udp6"
	}
	pc, err := d.opts.ListenPacket(ctx, network, ":0")
	if err != nil {
		return nil, nil, fmt.Errorf("open a socket: %w", err)
	}
	t := &quic.Transport{Conn: pc}
	c, err := t.Dial(ctx, addr, tlsConf, cfg)
	if err != nil {
		t.Close()
		pc.Close()
		return nil, nil, err
	}
	return c, func() error { return errors.Join(t.Close(), pc.Close()) }, nil
}

func resolveUDP(ctx context.Context, u resolve.Upstream) (*net.UDPAddr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Host)
	if err != nil {
		return nil, err
	}
	return net.ResolveUDPAddr("udp", net.JoinHostPort(addrs[0].Unmap().String(), strconv.Itoa(int(u.Port))))
}

// NewQUIC returns an exchanger for DNS over QUIC.
func NewQUIC(u resolve.Upstream, o *resolve.Options) resolve.Exchanger {
	return &doq{dialer: dialer{u, o}}
}

// doq keeps one connection; queries wait for each other only while it is
// being opened.
type doq struct {
	dialer

	mu      sync.Mutex
	conn    *quic.Conn
	release func() error
	dialing chan struct{} // closed when the dial in progress is over
}

func (x *doq) Close() error {
	x.mu.Lock()
	c, release := x.conn, x.release
	x.conn, x.release = nil, nil
	x.mu.Unlock()
	if c == nil {
		return nil
	}
	c.CloseWithError(doqNoError, "")
	return release()
}

func (x *doq) get(ctx context.Context) (c *quic.Conn, setup time.Duration, err error) {
	for {
		x.mu.Lock()
		if x.conn != nil && x.conn.Context().Err() == nil {
			c := x.conn
			x.mu.Unlock()
			return c, 0, nil
		}
		if wait := x.dialing; wait != nil {
			x.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, 0, ctx.Err()
			}
		}
		x.dialing = make(chan struct{})
		old := x.release
		x.conn, x.release = nil, nil
		x.mu.Unlock()
		if old != nil {
			old()
		}
		start := time.Now()
		c, release, err := x.dial(ctx, x.opts.TLSConfig(x.up, alpn), config())
		x.mu.Lock()
		if err == nil {
			x.conn, x.release = c, release
		}
		close(x.dialing)
		x.dialing = nil
		x.mu.Unlock()
		return c, time.Since(start), err
	}
}

// Exchange implements [resolve.Exchanger]. A connection that the server has
// given up meanwhile is replaced once.
func (x *doq) Exchange(ctx context.Context, m *resolve.Message) (raw resolve.Raw, err error) {
	for {
		c, setup, err := x.get(ctx)
		if err != nil {
			return raw, x.fail(ctx, "connect to", err)
		}
		raw, err = x.onStream(ctx, c, m)
		raw.Setup, raw.Reused = setup, setup == 0
		if err == nil || setup != 0 || ctx.Err() != nil || c.Context().Err() == nil {
			return raw, err
		}
	}
}

func (x *doq) onStream(ctx context.Context, c *quic.Conn, m *resolve.Message) (raw resolve.Raw, err error) {
	raw.Remote = c.RemoteAddr().String()
	raw.Started = time.Now()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return raw, x.fail(ctx, "open a stream to", err)
	}
	abandon := func() {
		s.CancelRead(doqRequestCancelled)
		s.CancelWrite(doqRequestCancelled)
	}
	defer context.AfterFunc(ctx, abandon)()
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(m.Wire)), uint16(len(m.Wire)))
	out = append(out, 0, 0) // RFC 9250 section 4.2.1: the ID must be 0
	out = append(out, m.Wire[2:]...)
	if _, err = s.Write(out); err == nil {
		err = s.Close()
	}
	if err != nil {
		abandon()
		return raw, x.fail(ctx, "send to", err)
	}
	var n [2]byte
	if _, err := io.ReadFull(s, n[:]); err != nil {
		abandon()
		return raw, x.fail(ctx, "read from", err)
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(s, b); err != nil {
		abandon()
		return raw, x.fail(ctx, "read from", err)
	}
	raw.RTT = time.Since(raw.Started)
	if len(b) >= 2 && (b[0] != 0 || b[1] != 0) {
		// Section 4.2.1 makes this a fatal error of the protocol.
		c.CloseWithError(doqProtocolError, "")
		return raw, x.fail(ctx, "read from", fmt.Errorf("%w: the ID is not 0", resolve.ErrMismatch))
	}
	s.CancelRead(doqRequestCancelled) // nothing else may follow
	err = resolve.AcceptZeroID(x.up, &raw, m, b)
	return raw, err
}

func (x *doq) fail(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &resolve.ServerError{Server: x.up, Op: op, Err: err}
}

// NewH3 returns an exchanger for DNS over HTTPS with HTTP/3.
func NewH3(u resolve.Upstream, o *resolve.Options) resolve.Exchanger {
	d := dialer{u, o}
	t := &http3.Transport{
		TLSClientConfig:        o.TLSConfig(u, http3.NextProtoH3),
		QUICConfig:             config(),
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		// The URL names whom the certificate must be for; the address to
		// connect to is the upstream's.
		Dial: func(ctx context.Context, _ string, tlsConf *tls.Config, cfg *quic.Config) (*quic.Conn, error) {
			tlsConf.ServerName = u.ServerName()
			c, release, err := d.dial(ctx, tlsConf, cfg)
			if err != nil {
				return nil, err
			}
			// The connection's socket goes when the connection does.
			context.AfterFunc(c.Context(), func() { release() })
			return c, nil
		},
	}
	return resolve.NewHTTPExchanger(u, t, t.Close)
}

package resolve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

const dnsMessageType = "application/dns-message"

// maxHTTPHeader bounds what a server can make us hold besides the message.
const maxHTTPHeader = 16 << 10

func newHTTPSExchanger(u Upstream, o *Options) Exchanger {
	// The transport finishes dialling for requests that have been given up,
	// in case another wants the connection; life ends that too.
	life, end := context.WithCancel(context.Background())
	t := &http.Transport{
		// The URL names whom the certificate must be for; the address to
		// connect to is the upstream's.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := o.dial(ctx, "tcp", u)
			if err != nil {
				return nil, err
			}
			return &livingConn{c, context.AfterFunc(life, func() { c.Close() })}, nil
		},
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		TLSClientConfig:        o.TLSConfig(u, "h2", "http/1.1"),
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHTTPHeader,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        30 * time.Second,
	}
	return NewHTTPExchanger(u, t, func() error { end(); t.CloseIdleConnections(); return nil })
}

const tlsHandshakeTimeout = 10 * time.Second

// livingConn is a connection that ends with its exchanger at the latest.
type livingConn struct {
	net.Conn
	forget func() bool
}

func (c *livingConn) Close() error {
	c.forget()
	return c.Conn.Close()
}

// NewHTTPExchanger returns an [Exchanger] that posts queries to u's URL
// through rt (RFC 8484). It is what HTTPS uses, and what an HTTP/3 transport
// is plugged in with. Redirects are refused. close may be nil.
func NewHTTPExchanger(u Upstream, rt http.RoundTripper, close func() error) Exchanger {
	return &httpExchanger{up: u, url: u.URL(), rt: rt, close: close}
}

type httpExchanger struct {
	up    Upstream
	url   string
	rt    http.RoundTripper
	close func() error
}

func (x *httpExchanger) Close() error {
	if x.close == nil {
		return nil
	}
	return x.close()
}

func (x *httpExchanger) Exchange(ctx context.Context, m *Message) (raw Raw, err error) {
	// Caches between us and the server work only if equal questions are
	// equal messages: RFC 8484 section 4.1 asks for ID 0.
	body := append([]byte(nil), m.Wire...)
	body[0], body[1] = 0, 0

	start := time.Now()
	var mu sync.Mutex
	raw.Started = start
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			raw.Reused = i.Reused
			raw.Started = time.Now()
			if !i.Reused {
				raw.Setup = raw.Started.Sub(start)
			}
			if i.Conn != nil && i.Conn.RemoteAddr() != nil {
				raw.Remote = i.Conn.RemoteAddr().String()
			}
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.url, bytes.NewReader(body))
	if err != nil {
		return raw, &ServerError{x.up, "make a request to", err}
	}
	req.Header.Set("Content-Type", dnsMessageType)
	req.Header.Set("Accept", dnsMessageType)
	req.Header.Set("User-Agent", "") // nothing about us that DNS does not say
	resp, err := x.rt.RoundTrip(req)
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		if ctx.Err() != nil {
			return raw, ctxError(ctx)
		}
		var dial *ServerError
		if errors.As(err, &dial) { // our own, from within the HTTP client
			return raw, dial
		}
		return raw, &ServerError{x.up, "ask", err}
	}
	defer resp.Body.Close()
	ct := resp.Header.Get("Content-Type")
	if mt, _, err := mime.ParseMediaType(ct); resp.StatusCode != http.StatusOK || err != nil || mt != dnsMessageType {
		io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		return raw, &ServerError{x.up, "ask", &HTTPError{resp.StatusCode, ct}}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		if ctx.Err() != nil {
			return raw, ctxError(ctx)
		}
		return raw, &ServerError{x.up, "read from", err}
	}
	raw.RTT = time.Since(raw.Started)
	if len(b) == 1<<16 {
		return raw, &ServerError{x.up, "read from", fmt.Errorf("%w: longer than 65535 octets", ErrMalformed)}
	}
	err = AcceptZeroID(x.up, &raw, m, b)
	return raw, err
}

// AcceptZeroID checks an answer to a query that was sent with ID 0, gives it
// the query's own ID, and stores it in raw. The transports where the stream
// pairs query and answer need it (RFC 8484, RFC 9250 section 4.2.1).
func AcceptZeroID(u Upstream, raw *Raw, m *Message, b []byte) error {
	if len(b) < headerLen {
		return &ServerError{u, "read from", fmt.Errorf("%w: %d octets", ErrMalformed, len(b))}
	}
	// Some servers make up an ID of their own over HTTP; the stream is what
	// pairs them.
	b[0], b[1] = m.Wire[0], m.Wire[1]
	if why := m.Match(b); why != Matches {
		raw.Strays.add(why)
		return &ServerError{u, "read from", ErrMismatch}
	}
	raw.Wire = b
	return nil
}

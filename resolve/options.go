package resolve

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

// A Dialer opens connected sockets. *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A PacketListener opens unconnected UDP sockets, which QUIC and multicast
// DNS need. A [Dialer] that also implements it is used for them; otherwise
// net.ListenConfig is.
type PacketListener interface {
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// Options say how servers are asked. The zero value is the default: EDNS with
// a buffer of 1232 octets, recursion desired, nothing else.
type Options struct {
	// Dialer opens the sockets; nil means net.Dialer.
	Dialer Dialer
	// Transports plugs in further transports, such as those of the package
	// overquic for H3 and QUIC.
	Transports map[Scheme]NewExchanger
	// TLS is the base of the configuration for encrypted transports: root
	// certificates, key log. ServerName and NextProtos are filled in.
	TLS *tls.Config

	// Timeout limits one query with all its tries; 0 means Tries times the
	// system's timeout, or 10 seconds where there is none.
	Timeout time.Duration
	// Tries is how often each server is asked before giving up; 0 means the
	// system's number of attempts, or 3.
	Tries int

	// BufSize is the EDNS buffer size; 0 means 1232 octets, which avoids
	// fragments (DNS Flag Day 2020).
	BufSize uint16
	// NoEDNS leaves out the OPT record.
	NoEDNS bool
	// NSID asks for the server's identity (RFC 5001).
	NSID bool
	// ClientSubnet is sent as RFC 7871 says; the zero value sends none.
	ClientSubnet netip.Prefix
	// Cookies keeps DNS cookies (RFC 7873); nil sends none.
	Cookies *CookieJar
	// Padding pads queries to a multiple of so many octets (RFC 7830). 0
	// means 128 on encrypted transports, as RFC 8467 says, and none on
	// others; a negative number means never.
	Padding int
	// DNSSEC sets DO: signatures are wanted (RFC 3225).
	DNSSEC bool
	// CheckingDisabled sets CD, AuthenticData sets AD in queries (RFC 4035,
	// RFC 6840 section 5.7).
	CheckingDisabled, AuthenticData bool
	// NoRecurse clears RD.
	NoRecurse bool
	// RandomCase sends the letters of the name in random case over UDP and
	// takes only answers that repeat it ("0x20").
	RandomCase bool
	// KeepTruncated returns a truncated answer instead of asking over TCP.
	KeepTruncated bool

	// Trace tells what happens; nil tells nobody.
	Trace *Trace
}

// A Trace has functions that are called as queries go out and answers come
// in. Any of them, and the whole, may be nil. They may be called from several
// goroutines at once and must not block.
type Trace struct {
	// Sent is called before each query is sent.
	Sent func(server Upstream, q Query, try int)
	// Received is called for each answer that was accepted.
	Received func(server Upstream, q Query, r *Reply)
	// Stray is called for each packet that was not taken for the answer.
	Stray func(server Upstream, why Stray)
	// Failed is called when a server could not be asked.
	Failed func(server Upstream, q Query, err error)
	// Retry is called when the same server is asked again in another way:
	// "truncated: asking over tcp", "asking without EDNS", "new cookie".
	Retry func(server Upstream, why string)
}

func (t *Trace) sent(u Upstream, q Query, try int) {
	if t != nil && t.Sent != nil {
		t.Sent(u, q, try)
	}
}

func (t *Trace) received(u Upstream, q Query, r *Reply) {
	if t != nil && t.Received != nil {
		t.Received(u, q, r)
	}
}

func (t *Trace) stray(u Upstream, s Stray) {
	if t != nil && t.Stray != nil {
		t.Stray(u, s)
	}
}

func (t *Trace) failed(u Upstream, q Query, err error) {
	if t != nil && t.Failed != nil {
		t.Failed(u, q, err)
	}
}

func (t *Trace) retry(u Upstream, why string) {
	if t != nil && t.Retry != nil {
		t.Retry(u, why)
	}
}

var netDialer net.Dialer

func (o *Options) dial(ctx context.Context, network string, u Upstream) (net.Conn, error) {
	var d Dialer = &netDialer
	if o.Dialer != nil {
		d = o.Dialer
	}
	c, err := d.DialContext(ctx, network, u.Address())
	if err != nil {
		return nil, &ServerError{u, "connect to", err}
	}
	return c, nil
}

// ListenPacket opens an unconnected UDP socket through the Dialer if that can.
func (o *Options) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if l, ok := o.Dialer.(PacketListener); ok {
		return l.ListenPacket(ctx, network, address)
	}
	var lc net.ListenConfig
	return lc.ListenPacket(ctx, network, address)
}

// TLSConfig returns the configuration for a connection to u that negotiates
// one of the given protocols.
func (o *Options) TLSConfig(u Upstream, protos ...string) *tls.Config {
	c := &tls.Config{}
	if o.TLS != nil {
		c = o.TLS.Clone()
	}
	c.ServerName = u.ServerName()
	c.NextProtos = protos
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

const defaultBufSize = 1232

func (o *Options) bufSize() uint16 {
	switch {
	case o.BufSize == 0:
		return defaultBufSize
	case o.BufSize < 512:
		return 512 // RFC 6891 section 6.2.3: lower values mean 512
	}
	return o.BufSize
}

func (o *Options) padding(s Scheme) int {
	if o.Padding == 0 && s.Encrypted() {
		return 128
	}
	return max(o.Padding, 0)
}

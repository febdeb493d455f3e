package resolve_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
)

// pipePackets makes unconnected sockets of pipes to one server.
type pipePackets struct {
	*pipeNet
	server string
}

func (p pipePackets) ListenPacket(ctx context.Context, network, _ string) (net.PacketConn, error) {
	c, err := p.DialContext(ctx, network, p.server)
	if err != nil {
		return nil, err
	}
	return pipePacketConn{c}, nil
}

type pipePacketConn struct{ net.Conn }

func (c pipePacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c pipePacketConn) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

// TestMDNS has a responder on loopback answer one-shot queries as RFC 6762
// section 6.7 says, after a query and an unrelated response.
func TestMDNS(t *testing.T) {
	answer := func(_ int, q []byte, send func([]byte)) {
		m := new(dns.Msg)
		if err := m.Unpack(q); err != nil || m.RecursionDesired || m.IsEdns0() != nil {
			t.Errorf("not a one-shot query: %v, %v", m, err)
		}
		send(q)
		send(dnstest.Answer(q, nil, "other.local. 10 IN A 192.0.2.66"))
		flush := func(m *dns.Msg) {
			for _, rr := range m.Answer {
				rr.Header().Class |= 1 << 15
			}
		}
		if m.Question[0].Qtype == dns.TypePTR {
			send(dnstest.Answer(q, flush, "_http._tcp.local. 10 IN PTR one._http._tcp.local."))
			send(dnstest.Answer(q, flush, "_http._tcp.local. 10 IN PTR two._http._tcp.local."))
			send(dnstest.Answer(q, flush, "_http._tcp.local. 10 IN PTR one._http._tcp.local."))
			return
		}
		send(dnstest.Answer(q, flush, "printer.local. 10 IN A 192.0.2.5"))
	}
	s := dnstest.NewFaultServer(t, answer, nil)
	u := upstream(t, "mdns", s.Addr)
	r := &resolve.Resolver{Servers: []resolve.Upstream{u}, Options: patient(resolve.Options{})}
	res := r.Lookup(t.Context(), "printer.local", dns.TypeA, 0)
	if res.Outcome != resolve.Found || len(res.Records()) != 1 || res.Records()[0].Header().Class != dns.ClassINET || res.Transport != resolve.MDNS {
		t.Fatalf("%s, %v", res.Outcome, res.Err)
	}
	if host, _, err := net.SplitHostPort(res.Remote); err != nil || host != "127.0.0.1" || res.Strays.NotResponse != 1 || res.Strays.WrongQuestion != 1 {
		t.Errorf("from %s, %+v", res.Remote, res.Strays)
	}
	noRawControls(t, res)
	// How long to wait for more is a matter of time, which is simulated.
	synctest.Test(t, func(t *testing.T) {
		p := &pipeNet{servers: map[string]dnstest.Handler{s.Addr.String(): answer}}
		r := &resolve.Resolver{Servers: []resolve.Upstream{u}, Options: resolve.Options{Dialer: pipePackets{p, u.Address()}}}
		start := time.Now()
		res := r.Lookup(t.Context(), "_http._tcp.local", dns.TypePTR, 0)
		if took := time.Since(start).Round(10 * time.Millisecond); len(res.Records()) != 2 || took != 1010*time.Millisecond || len(res.Attempts) != 2 {
			t.Errorf("browsing: %v, %v after %v, %d attempts", res.Records(), res.Err, took, len(res.Attempts))
		}
	})
	for name, want := range map[string]bool{"x.local": true, "local.": true, "X.LOCAL.": true, "notlocal": false, "local.example": false,
		"1.2.254.169.in-addr.arpa.": true, "1.0.0.127.in-addr.arpa.": false, "1.0.8.e.f.ip6.arpa.": true, "1.0.c.e.f.ip6.arpa.": false} {
		if resolve.IsMDNS(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

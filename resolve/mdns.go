package resolve

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// mdnsGroup4 is the IPv4 group of multicast DNS (RFC 6762 section 3).
var mdnsGroup4 = Upstream{Scheme: MDNS, Host: "224.0.0.251", Port: 5353}

// MDNSUpstream returns the upstream that stands for all hosts on the local
// link: the IPv4 group of multicast DNS.
func MDNSUpstream() Upstream { return mdnsGroup4 }

// IsMDNS reports whether a name belongs to multicast DNS: .local, and the
// reverse names of link-local addresses (RFC 6762 sections 3 and 4).
func IsMDNS(name string) bool {
	n := strings.ToLower(dns.Fqdn(name))
	if n == "local." || strings.HasSuffix(n, ".local.") ||
		strings.HasSuffix(n, ".254.169.in-addr.arpa.") {
		return true
	}
	for _, z := range []string{"8", "9", "a", "b"} {
		if strings.HasSuffix(n, "."+z+".e.f.ip6.arpa.") {
			return true
		}
	}
	return false
}

// mdnsGather is how long answers to a question that many hosts may answer are
// collected; RFC 6762 section 6 lets them wait up to 120 ms, and more when
// they are packed with known answers.
const mdnsGather = time.Second

// mdnsExchanger asks one-shot multicast queries (RFC 6762 section 5.1): from
// a port other than 5353, to which responders answer by unicast.
type mdnsExchanger struct {
	up   Upstream
	opts *Options
}

func (x *mdnsExchanger) Close() error { return nil }

func (x *mdnsExchanger) Exchange(ctx context.Context, m *Message) (raw Raw, err error) {
	ip, err := netip.ParseAddr(x.up.Host)
	if err != nil {
		return raw, &ServerError{x.up, "ask", err}
	}
	network := "udp4"
	if ip.Is6() {
		network = "udp6"
	}
	c, err := x.opts.ListenPacket(ctx, network, ":0")
	if err != nil {
		return raw, &ServerError{x.up, "open a socket for", err}
	}
	defer c.Close()
	if d, ok := ctx.Deadline(); ok {
		c.SetDeadline(d)
	}
	stop := context.AfterFunc(ctx, func() {
		if ctx.Err() == context.Canceled {
			c.SetDeadline(aLongTimeAgo)
		}
	})
	defer stop()

	raw.Started = time.Now()
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, x.up.Port))
	if _, err := c.WriteTo(m.Wire, to); err != nil {
		return raw, &ServerError{x.up, "send to", err}
	}
	var all *dns.Msg
	buf := make([]byte, 9000) // RFC 6762 section 17
	late := false
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil && !late && tooLate(ctx, err) {
			late = true
			c.SetReadDeadline(time.Now().Add(lateRead))
			continue
		}
		if err != nil {
			if all != nil {
				break
			}
			if ctx.Err() != nil {
				return raw, ctxError(ctx)
			}
			if isTimeout(err) {
				return raw, context.DeadlineExceeded
			}
			return raw, &ServerError{x.up, "read from", err}
		}
		msg, why := matchMDNS(m, buf[:n])
		if why != Matches {
			raw.Strays.add(why)
			x.opts.Trace.stray(x.up, why)
			continue
		}
		if all == nil {
			all = msg
			raw.RTT = time.Since(raw.Started)
			raw.Remote = from.String()
			if m.Query.Type != dns.TypePTR && m.Query.Type != dns.TypeANY {
				break // names of hosts are unique on the link
			}
			if !late {
				c.SetReadDeadline(time.Now().Add(mdnsGather))
			}
			continue
		}
		mergeMDNS(all, msg)
	}
	if raw.Wire, err = all.Pack(); err != nil {
		return raw, &ServerError{x.up, "read from", ErrMalformed}
	}
	return raw, nil
}

// matchMDNS takes a response that has the query's ID, as legacy unicast
// responses do (section 6.7), or 0, and that holds a record of the name.
func matchMDNS(m *Message, b []byte) (*dns.Msg, Stray) {
	if len(b) < headerLen {
		return nil, Malformed
	}
	if b[2]&0x80 == 0 {
		return nil, NotResponse
	}
	if id := binary.BigEndian.Uint16(b); id != m.ID() && id != 0 {
		return nil, WrongID
	}
	msg := new(dns.Msg)
	if msg.Unpack(b) != nil {
		return nil, Malformed
	}
	ours := false
	for _, sec := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range sec {
			if rr.Header().Rrtype != dns.TypeOPT {
				rr.Header().Class &^= 1 << 15 // the cache-flush bit
			}
		}
	}
	for _, rr := range msg.Answer {
		ours = ours || strings.EqualFold(rr.Header().Name, m.Query.Name)
	}
	if !ours {
		return nil, WrongQuestion
	}
	msg.Id = m.ID()
	msg.Question = []dns.Question{{Name: m.Query.Name, Qtype: m.Query.Type, Qclass: m.Query.Class}}
	return msg, Matches
}

// maxMDNS bounds the records that are gathered.
const maxMDNS = 500

func mergeMDNS(all, more *dns.Msg) {
	add := func(dst []dns.RR, src []dns.RR) []dns.RR {
	next:
		for _, rr := range src {
			for _, have := range dst {
				if dns.IsDuplicate(have, rr) {
					continue next
				}
			}
			if len(dst) < maxMDNS {
				dst = append(dst, rr)
			}
		}
		return dst
	}
	all.Answer = add(all.Answer, more.Answer)
	all.Extra = add(all.Extra, more.Extra)
}

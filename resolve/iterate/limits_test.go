package iterate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/iterate"
)

// hostile is a network in which one function plays all servers.
type hostile func(server netip.Addr, q *dns.Msg) *dns.Msg

func (h hostile) Exchange(_ context.Context, server netip.AddrPort, q *dns.Msg, _ iterate.Transport) (*dns.Msg, time.Duration, error) {
	m := h(server.Addr(), q)
	if m == nil {
		return nil, 0, context.DeadlineExceeded
	}
	return m, time.Millisecond, nil
}

func referral(q *dns.Msg, zone string, ns ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	for i, n := range ns {
		name, addr, ok := strings.Cut(n, "=")
		m.Ns = append(m.Ns, &dns.NS{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 3600}, Ns: name})
		if ok {
			m.Extra = append(m.Extra, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600},
				A: netip.MustParseAddr(addr).AsSlice()})
		}
		if i > 2000 {
			break
		}
	}
	return m
}

func suffix(name string, labels int) string {
	idx := dns.Split(name)
	if labels >= len(idx) {
		return name
	}
	return name[idx[len(idx)-labels]:]
}

// TestLimits meets one malicious zone for each limit. None may cost more than
// 200 queries, or more work than goes with them.
func TestLimits(t *testing.T) {
	long := strings.Repeat("a.", 100)
	for _, tt := range []struct {
		name  string
		ask   string
		serve hostile
		want  string // LimitError.What, or "loop", or "servers"
	}{
		{"a referral for every label, and an alias to do it again", long + "one.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			name := dns.CanonicalName(q.Question[0].Name)
			// Each reply delegates one label more; the full name is an alias
			// into another tree as deep.
			depth := depths[name[:1]+tld(name)]
			if n := dns.CountLabel(name); depth < n {
				depths[name[:1]+tld(name)]++
				return referral(q, suffix(name, depth+1), "ns."+suffix(name, 1)+"=192.0.2.1")
			}
			m := new(dns.Msg).SetReply(q)
			m.Authoritative = true
			m.Answer = []dns.RR{rr(fmt.Sprintf("%s 60 IN CNAME %sx%d.", name, long, len(depths)))}
			return m
		}, "referrals"},
		{"aliases without end", "a0.test.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			m := new(dns.Msg).SetReply(q)
			m.Authoritative = true
			var n int
			fmt.Sscanf(strings.ToLower(q.Question[0].Name), "a%d.test.", &n)
			m.Answer = []dns.RR{rr(fmt.Sprintf("a%d.test. 60 IN CNAME a%d.test.", n, n+1))}
			return m
		}, "aliases"},
		{"all aliases in one reply", "a0.test.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			m := new(dns.Msg).SetReply(q)
			m.Authoritative = true
			for n := range 500 {
				m.Answer = append(m.Answer, rr(fmt.Sprintf("a%d.test. 60 IN CNAME a%d.test.", n, n+1)))
			}
			return m
		}, "aliases"},
		{"servers that do not exist (NXNSAttack)", "www.evil.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			name := dns.CanonicalName(q.Question[0].Name)
			if strings.HasSuffix(name, "evil.") {
				var ns []string
				for i := range 1500 {
					ns = append(ns, fmt.Sprintf("n%d.victim.", i))
				}
				return referral(q, "evil.", ns...)
			}
			m := new(dns.Msg).SetRcode(q, dns.RcodeNameError)
			m.Authoritative = true
			m.Ns = []dns.RR{rr("victim. 60 IN SOA a. b. 1 2 3 4 5")}
			return m
		}, "name servers that do not exist"},
		{"servers without end", "www.t0.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			// Every server's name lies in another zone with as many servers.
			zone := tld(dns.CanonicalName(q.Question[0].Name))
			var n int
			fmt.Sscanf(zone, "t%d.", &n)
			var ns []string
			for i := range 1500 {
				ns = append(ns, fmt.Sprintf("n%d.t%d.", i, n+1))
			}
			return referral(q, zone, ns...)
		}, "name server addresses"},
		{"servers that never answer", "www.evil.", func(a netip.Addr, q *dns.Msg) *dns.Msg {
			if a != netip.MustParseAddr("192.0.2.53") {
				return nil
			}
			var ns []string
			for i := range 1500 {
				ns = append(ns, fmt.Sprintf("n%d.evil.=198.51.%d.%d", i%32, i/250, i%250))
			}
			return referral(q, "evil.", ns...)
		}, "queries"},
		{"two zones that need each other (TsuNAME)", "www.one.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			if strings.HasSuffix(dns.CanonicalName(q.Question[0].Name), "one.") {
				return referral(q, "one.", "ns.two.")
			}
			return referral(q, "two.", "ns.one.")
		}, "loop"},
		{"a zone that delegates to itself", "www.one.", func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			return referral(q, "one.", "ns.one.=192.0.2.7")
		}, "servers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clear(depths)
			asked := 0
			o := iterate.Options{
				Exchanger: hostile(func(a netip.Addr, q *dns.Msg) *dns.Msg { asked++; return tt.serve(a, q) }),
				Now:       func() time.Time { return now }, Seed: 3, NoIPv6: true, NoAnchors: true,
				Hints:      []iterate.Hint{{Name: "root.", Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}}},
				NoMinimise: true,
			}
			// Allocations measure work as no busy machine changes it.
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			res, err := iterate.New(o).Lookup(t.Context(), tt.ask, dns.TypeA, iterate.LookupOptions{})
			runtime.ReadMemStats(&after)
			work := after.Mallocs - before.Mallocs
			if asked > 200 || res.Cost.Queries != asked {
				t.Errorf("%d queries, of which %d are accounted for", asked, res.Cost.Queries)
			}
			if work > 600_000 { // 150,000 at most
				t.Errorf("%d allocations", work)
			}
			t.Logf("%d queries, %d referrals, %d targets, %d allocations: %v", asked, res.Cost.Referrals, res.Cost.Targets, work, err)
			var limit *iterate.LimitError
			var loop *iterate.LoopError
			var none *iterate.ServersError
			switch {
			case tt.want == "loop":
				if !errors.As(err, &loop) && !(errors.As(err, &none) && strings.Contains(err.Error(), "depends on itself")) {
					t.Errorf("got %v, want a loop told", err)
				}
			case tt.want == "servers":
				if !errors.As(err, &none) {
					t.Errorf("got %v, want a ServersError", err)
				}
			case !errors.As(err, &limit) || limit.What != tt.want:
				t.Errorf("got %v, want the limit on %s", err, tt.want)
			}
		})
	}
}

var depths = map[string]int{}

func tld(name string) string { return suffix(name, 1) }

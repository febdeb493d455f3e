package iterate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/iterate"
	"github.com/wherry-net/wherry/resolve/zoneserver"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// offline is a hierarchy in memory; change, if set, alters replies.
type offline struct {
	h      *zoneserver.Hierarchy
	change func(server netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg
}

func (o offline) Exchange(_ context.Context, server netip.AddrPort, q *dns.Msg, tr iterate.Transport) (*dns.Msg, time.Duration, error) {
	m := o.h.Reply(server.Addr(), q)
	if m != nil && o.change != nil {
		m = o.change(server, q, m, tr)
	}
	if m == nil {
		return nil, 0, context.DeadlineExceeded
	}
	// Over the wire and back, so that nothing is shared with the server.
	wire, err := m.Pack()
	if err != nil {
		return nil, 0, err
	}
	out := new(dns.Msg)
	return out, 5 * time.Millisecond, out.Unpack(wire)
}

func hierarchy(t testing.TB) (*zoneserver.Hierarchy, iterate.Options) {
	t.Helper()
	h, err := zoneserver.Load("../../testdata/zones")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sign(now); err != nil {
		t.Fatal(err)
	}
	return h, optionsFor(t, h)
}

func optionsFor(t testing.TB, h *zoneserver.Hierarchy) iterate.Options {
	t.Helper()
	var hints, anchors bytes.Buffer
	if err := h.WriteHints(&hints); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteAnchors(&anchors); err != nil {
		t.Fatal(err)
	}
	o := iterate.Options{Exchanger: offline{h: h}, Now: func() time.Time { return now }, Seed: 7}
	var err error
	if o.Hints, o.Port, err = iterate.ParseHints(&hints, "hints"); err != nil {
		t.Fatal(err)
	}
	if o.Anchors, err = dnssec.ParseAnchors(&anchors, "anchors"); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestHierarchy(t *testing.T) {
	_, o := hierarchy(t)
	r := iterate.New(o)
	for _, tt := range []struct {
		name  string
		typ   uint16
		rcode int
		n     int // records without signatures
		state dnssec.State
	}{
		{"www.example.com.", dns.TypeA, dns.RcodeSuccess, 1, dnssec.Secure},
		{"WWW.Example.COM", dns.TypeAAAA, dns.RcodeSuccess, 1, dnssec.Secure},
		{"example.com.", dns.TypeMX, dns.RcodeSuccess, 1, dnssec.Secure},
		{"example.com.", dns.TypeSRV, dns.RcodeSuccess, 0, dnssec.Secure},
		{"alias.example.com.", dns.TypeA, dns.RcodeSuccess, 2, dnssec.Secure},
		{"alias.example.com.", dns.TypeCNAME, dns.RcodeSuccess, 1, dnssec.Secure},
		{"x.wild.example.com.", dns.TypeA, dns.RcodeSuccess, 1, dnssec.Secure},
		{"a.b.wild.example.com.", dns.TypeA, dns.RcodeSuccess, 1, dnssec.Secure},
		{"x.wild.example.com.", dns.TypeTXT, dns.RcodeSuccess, 0, dnssec.Secure},
		{"www.old.example.com.", dns.TypeA, dns.RcodeSuccess, 3, dnssec.Secure},
		{"_tcp.example.com.", dns.TypeA, dns.RcodeSuccess, 0, dnssec.Secure}, // ENT
		{"nothing.example.com.", dns.TypeA, dns.RcodeNameError, 0, dnssec.Secure},
		{"deep.below.nothing.example.com.", dns.TypeA, dns.RcodeNameError, 0, dnssec.Secure},
		{"unsigned.example.com.", dns.TypeDS, dns.RcodeSuccess, 0, dnssec.Secure},
		{"example.com.", dns.TypeDS, dns.RcodeSuccess, 1, dnssec.Secure},
		{"www.unsigned.example.com.", dns.TypeA, dns.RcodeSuccess, 1, dnssec.Insecure},
		{"no.unsigned.example.com.", dns.TypeA, dns.RcodeNameError, 0, dnssec.Insecure},
		{"far.example.com.", dns.TypeA, dns.RcodeSuccess, 2, dnssec.Insecure},
		{"www.bogus.example.com.", dns.TypeA, dns.RcodeSuccess, 1, dnssec.Bogus},
		{"org.", dns.TypeNS, dns.RcodeNameError, 0, dnssec.Secure},
		{".", dns.TypeNS, dns.RcodeSuccess, 1, dnssec.Secure},
		{".", dns.TypeDS, dns.RcodeSuccess, 0, dnssec.Secure},
		{"com.", dns.TypeDNSKEY, dns.RcodeSuccess, 2, dnssec.Secure},
	} {
		t.Run(tt.name+dns.Type(tt.typ).String(), func(t *testing.T) {
			for _, cached := range []bool{false, true} {
				res, err := r.Lookup(t.Context(), tt.name, tt.typ, iterate.LookupOptions{})
				if err != nil {
					t.Fatalf("cached %v: %v", cached, err)
				}
				n := 0
				for _, rr := range res.Answer {
					if rr.Header().Rrtype != dns.TypeRRSIG {
						n++
					}
				}
				if res.Rcode != tt.rcode || n != tt.n || res.Verdict.State != tt.state {
					t.Errorf("cached %v: %s, %d records, %s; want %s, %d, %s", cached, dns.RcodeToString[res.Rcode], n, res.Verdict,
						dns.RcodeToString[tt.rcode], tt.n, tt.state)
				}
				if res.Verdict.Reason == "" {
					t.Error("the verdict has no reason")
				}
			}
		})
	}
}

// TestProvedBefore: what one denial proved answers for its neighbours without
// another query (RFC 8198), and what it did not prove is asked for.
func TestProvedBefore(t *testing.T) {
	_, o := hierarchy(t)
	r := iterate.New(o)
	ask := func(name string, typ uint16) *iterate.Result {
		t.Helper()
		res, err := r.Lookup(t.Context(), name, typ, iterate.LookupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	ask("nothing.example.com.", dns.TypeA) // between ns2 and old
	ask("x.wild.example.com.", dns.TypeA)  // the wildcard
	ask("www.example.com.", dns.TypeTXT)   // www has A and AAAA
	for _, tt := range []struct {
		name  string
		typ   uint16
		free  bool
		rcode int
		n     int
	}{
		{"nowhere.example.com.", dns.TypeMX, true, dns.RcodeNameError, 0},
		{"a.b.nowhere.example.com.", dns.TypeA, true, dns.RcodeNameError, 0},
		{"y.wild.example.com.", dns.TypeA, true, dns.RcodeSuccess, 1},
		{"y.z.wild.example.com.", dns.TypeA, true, dns.RcodeSuccess, 1},
		{"www.example.com.", dns.TypeSRV, true, dns.RcodeSuccess, 0},
		{"www.example.com.", dns.TypeAAAA, false, dns.RcodeSuccess, 1},
		{"mail.example.com.", dns.TypeA, false, dns.RcodeSuccess, 1},
		{"www.unsigned.example.com.", dns.TypeA, false, dns.RcodeSuccess, 1},
	} {
		res := ask(tt.name, tt.typ)
		if (res.Cost.Queries == 0) != tt.free || res.Rcode != tt.rcode || len(res.Records()) != tt.n {
			t.Errorf("%s: %d queries, %s, %v", tt.name, res.Cost.Queries, dns.RcodeToString[res.Rcode], res.Records())
		}
	}
}

// TestMinimised: no server learns more of the name than it needs (RFC 9156).
func TestMinimised(t *testing.T) {
	_, o := hierarchy(t)
	res, err := iterate.New(o).Lookup(t.Context(), "a.b.c.nothing.wild.example.com.", dns.TypeTXT, iterate.LookupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range res.Hops {
		if h.Zone == "example.com." {
			continue // the zone that the name is in
		}
		if n := dns.CountLabel(h.Name); n > dns.CountLabel(h.Zone)+1 || h.Type == dns.TypeTXT {
			t.Errorf("the servers of %s were asked for %s %s", h.Zone, h.Name, dns.Type(h.Type))
		}
	}
}

// slow makes one server slow, as far as its round-trip times tell.
type slow struct {
	offline
	server netip.Addr
}

func (s slow) Exchange(ctx context.Context, server netip.AddrPort, q *dns.Msg, tr iterate.Transport) (*dns.Msg, time.Duration, error) {
	m, rtt, err := s.offline.Exchange(ctx, server, q, tr)
	if server.Addr() == s.server {
		rtt += 300 * time.Millisecond
	}
	return m, rtt, err
}

// TestQuickest: once both are known, the quicker server is asked.
func TestQuickest(t *testing.T) {
	h, o := hierarchy(t)
	o.Exchanger, o.NoDNSSEC = slow{offline{h: h}, netip.MustParseAddr("127.53.0.3")}, true
	r := iterate.New(o)
	asked := map[string]int{}
	for i := range 40 {
		res, err := r.Lookup(t.Context(), fmt.Sprintf("n%d.example.com.", i), dns.TypeA, iterate.LookupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range res.Hops {
			asked[h.Server]++
		}
	}
	if asked["ns1.example.com."] > 1 || asked["ns2.example.com."] < 39 {
		t.Errorf("asked: %v", asked)
	}
	if asked["a.root-servers.test."] > 1 || asked["a.gtld-servers.com."] > 1 {
		t.Errorf("the delegation is not remembered: %v", asked)
	}
}

func TestLoopIsTold(t *testing.T) {
	_, o := hierarchy(t)
	_, err := iterate.New(o).Lookup(t.Context(), "loop.example.com.", dns.TypeA, iterate.LookupOptions{})
	var loop *iterate.LoopError
	if !errors.As(err, &loop) {
		t.Fatalf("got %v, want a LoopError", err)
	}
}

// TestWhatBroke checks that the sentence names the zone and the fault.
func TestWhatBroke(t *testing.T) {
	for directive, want := range map[string]struct {
		ede  uint16
		text string
	}{
		"expired":   {dns.ExtendedErrorCodeSignatureExpired, "the signature of bogus.example.com's DNSKEY set expired on 2026-11-14 12:00 UTC"},
		"future":    {dns.ExtendedErrorCodeSignatureNotYetValid, "not valid before 2026-11-28"},
		"corrupt":   {dns.ExtendedErrorCodeDNSBogus, "does not match its content"},
		"wrong-ds":  {dns.ExtendedErrorCodeDNSKEYMissing, "none of bogus.example.com's keys matches the DS record in example.com"},
		"stripped":  {dns.ExtendedErrorCodeDNSKEYMissing, "serve no DNSKEY set"},
		"no-denial": {dns.ExtendedErrorCodeNSECMissing, "do not prove that nx.bogus.example.com does not exist"},
	} {
		t.Run(directive, func(t *testing.T) {
			h, err := zoneserver.Load("../../testdata/zones")
			if err != nil {
				t.Fatal(err)
			}
			for _, z := range h.Zones {
				if z.Name == "bogus.example.com." {
					z.Directive = directive
				}
			}
			if err := h.Sign(now); err != nil {
				t.Fatal(err)
			}
			name := "www.bogus.example.com."
			if directive == "no-denial" {
				name = "nx.bogus.example.com."
			}
			res, err := iterate.New(optionsFor(t, h)).Lookup(t.Context(), name, dns.TypeA, iterate.LookupOptions{})
			if err != nil {
				t.Fatal(err)
			}
			v := res.Verdict
			if v.State != dnssec.Bogus || v.EDE != int(want.ede) || !strings.Contains(v.Reason, want.text) {
				t.Errorf("got %s", v)
			}
		})
	}
}

// TestValidateAt shows that the clock decides: before the signatures, and after.
func TestValidateAt(t *testing.T) {
	_, o := hierarchy(t)
	for at, want := range map[time.Time]dnssec.State{
		now.Add(-48 * time.Hour):      dnssec.Bogus,
		now:                           dnssec.Secure,
		now.Add(13 * 24 * time.Hour):  dnssec.Secure,
		now.Add(365 * 24 * time.Hour): dnssec.Bogus,
	} {
		o.Now = func() time.Time { return at }
		res, err := iterate.New(o).Lookup(t.Context(), "www.example.com.", dns.TypeA, iterate.LookupOptions{})
		if err != nil || res.Verdict.State != want {
			t.Errorf("at %v: %v, %v; want %s", at, res.Verdict, err, want)
		}
	}
}

// TestAwkwardServers changes what the servers of example.com reply, and expects
// the lookup to cope.
func TestAwkwardServers(t *testing.T) {
	leaf := func(a netip.AddrPort) bool {
		return a.Addr() == netip.MustParseAddr("127.53.0.3") || a.Addr() == netip.MustParseAddr("127.53.0.4")
	}
	one := netip.MustParseAddr("127.53.0.3")
	for name, change := range map[string]func(netip.AddrPort, *dns.Msg, *dns.Msg, iterate.Transport) *dns.Msg{
		"truncates": func(a netip.AddrPort, _, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			if leaf(a) && tr == iterate.UDP {
				m.Truncated, m.Answer, m.Ns = true, nil, nil
			}
			return m
		},
		"refuses EDNS": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if leaf(a) && q.IsEdns0() != nil {
				return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
			}
			return m
		},
		"flattens case": func(a netip.AddrPort, _, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			m.Question[0].Name = strings.ToLower(m.Question[0].Name)
			return m
		},
		"one is silent": func(a netip.AddrPort, _, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one {
				return nil
			}
			return m
		},
		"one refuses": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one {
				return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
			}
			return m
		},
		"one refers upwards": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one {
				m = new(dns.Msg).SetReply(q)
				m.Ns = []dns.RR{rr("com. 3600 IN NS a.gtld-servers.com.")}
			}
			return m
		},
		"one answers another question": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one {
				m.Question[0].Name = "other.example.com."
			}
			return m
		},
		"one strips signatures": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one {
				m.Answer = strip(m.Answer)
			}
			return m
		},
		"one lies": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if a.Addr() == one && q.Question[0].Qtype == dns.TypeA {
				for _, rr := range m.Answer {
					if a, ok := rr.(*dns.A); ok {
						a.A[3]++
						defer func() { a.A[3]-- }()
					}
				}
				return m.Copy()
			}
			return m
		},
		"poisons": func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			if leaf(a) {
				m.Extra = append(m.Extra, rr("a.gtld-servers.com. 3600 IN A 192.0.2.66"))
				m.Ns = append(m.Ns, rr("com. 3600 IN NS evil.example.com."))
			}
			return m
		},
		"wants cookies": func(a netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			opt := q.IsEdns0()
			if opt == nil || tr == iterate.TCP {
				return m
			}
			c := opt.Option[0].(*dns.EDNS0_COOKIE).Cookie
			fresh := c[:16] + strings.Repeat("ab", 8)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: fresh})
			if c != fresh {
				m.Rcode, m.Answer, m.Ns = dns.RcodeBadCookie, nil, nil
			}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, o := hierarchy(t)
			o.Exchanger = offline{h, change}
			for seed := uint64(1); seed < 6; seed++ {
				o.Seed = seed
				res, err := iterate.New(o).Lookup(t.Context(), "www.example.com.", dns.TypeA, iterate.LookupOptions{})
				if err != nil {
					var b bytes.Buffer
					res.WriteText(&b)
					t.Fatalf("%v\n%s", err, b.String())
				}
				want := dnssec.Secure
				if name == "refuses EDNS" {
					want = dnssec.Bogus // without EDNS there are no signatures
				}
				if res.Verdict.State != want || !strings.Contains(res.Answer[0].String(), "192.0.2.80") {
					t.Errorf("seed %d: %v, %s", seed, res.Answer, res.Verdict)
				}
			}
		})
	}
}

func rr(s string) dns.RR {
	r, err := dns.NewRR(s)
	if err != nil {
		panic(err)
	}
	return r
}

func strip(rrs []dns.RR) []dns.RR {
	var out []dns.RR
	for _, r := range rrs {
		if r.Header().Rrtype != dns.TypeRRSIG {
			out = append(out, r)
		}
	}
	return out
}

func TestRender(t *testing.T) {
	_, o := hierarchy(t)
	res, err := iterate.New(o).Lookup(t.Context(), "www.example.com.", dns.TypeA, iterate.LookupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := res.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, want := range []string{"\n.  ", "\ncom.  ", "\nexample.com.  "} {
		i := strings.Index("\n"+text.String(), want)
		if i <= at {
			t.Errorf("no line for %q after the one before:\n%s", strings.TrimSpace(want), text.String())
		}
		at = i
	}
	if !strings.Contains(text.String(), "5.0 ms") {
		t.Errorf("no times:\n%s", text.String())
	}

	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Status string
		Answer []struct {
			TTL      uint32
			RdataA   string
			RDATAHEX string
		} `json:"answerRRs"`
		Hops []struct {
			Zone string
			RTT  float64 `json:"rtt_ms"`
		}
		Dnssec struct{ State string }
	}
	if err := json.Unmarshal(b, &back); err != nil || back.Dnssec.State != "secure" || len(back.Hops) < 3 || back.Hops[0].RTT != 5 ||
		back.Answer[0].RdataA != "192.0.2.80" || back.Answer[0].RDATAHEX != "C0000250" || back.Answer[0].TTL != 3600 {
		t.Errorf("%v: %s", err, b)
	}

	var svg bytes.Buffer
	if err := res.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg.String())
}

func wellFormed(t *testing.T, s string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("the SVG is not well-formed: %v\n%s", err, s)
		}
	}
}

// TestEscaping puts control characters and markup wherever a server can.
func TestEscaping(t *testing.T) {
	evil := `\027[31m<script>&"\007.example.com.`
	_, o := hierarchy(t)
	h, _ := hierarchy(t)
	o = optionsFor(t, h)
	o.Exchanger = offline{h, func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
		if a.Addr() == netip.MustParseAddr("127.53.0.2") {
			m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: evil}}
			m.Extra = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: evil, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: []byte{127, 53, 0, 3}}}
		}
		return m
	}}
	res, err := iterate.New(o).Lookup(t.Context(), "text.example.com.", dns.TypeTXT, iterate.LookupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b, svg bytes.Buffer
	res.WriteText(&b)
	if err := res.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	if wellFormed(t, svg.String()); strings.Contains(svg.String(), "<script>") {
		t.Error("raw markup in the drawing")
	}
	b.Write(svg.Bytes())
	j, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	b.WriteString(res.Verdict.String())
	for i, c := range b.Bytes() {
		if (c < 0x20 && c != '\n') || c == 0x7f {
			t.Fatalf("a raw %#x at %d: %q", c, i, b.String()[max(0, i-40):i+10])
		}
	}
}

func TestAllPaths(t *testing.T) {
	h, o := hierarchy(t)
	o.Exchanger = offline{h, func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
		if a.Addr() == netip.MustParseAddr("127.53.0.4") {
			m.Answer = []dns.RR{rr("www.example.com. 60 IN A 192.0.2.81")}
		}
		return m
	}}
	levels, err := iterate.New(o).AllPaths(t.Context(), "www.example.com.", dns.TypeA)
	if err != nil {
		t.Fatal(err)
	}
	if len(levels) != 3 || levels[0].Differ || levels[1].Differ || !levels[2].Differ || len(levels[2].Servers) != 2 {
		t.Fatalf("%+v", levels)
	}
	var b bytes.Buffer
	if err := iterate.WriteLevels(&b, levels); err != nil || !strings.Contains(b.String(), "[differs]") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(netip.AddrPort, *dns.Msg, *dns.Msg, iterate.Transport) *dns.Msg
		want   string // a problem; empty if they agree
	}{
		{"agree", nil, ""},
		{"serial", func(a netip.AddrPort, q, m *dns.Msg, _ iterate.Transport) *dns.Msg {
			for i, rr := range m.Answer {
				if soa, ok := rr.(*dns.SOA); ok && a.Addr() == netip.MustParseAddr("127.53.0.4") {
					c := *soa
					c.Serial++
					m.Answer[i] = &c
				}
			}
			return m
		}, "the SOA serials differ: 2026112101 at ns1.example.com (127.53.0.3); 2026112102 at ns2.example.com (127.53.0.4)"},
		{"no TCP", func(a netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			if a.Addr() == netip.MustParseAddr("127.53.0.4") && tr == iterate.TCP {
				return nil
			}
			return m
		}, "ns2.example.com (127.53.0.4) is not to be had over TCP"},
		{"answers", func(a netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			if a.Addr() == netip.MustParseAddr("127.53.0.4") && q.Question[0].Qtype == dns.TypeA && strings.EqualFold(q.Question[0].Name, "www.example.com.") {
				m.Answer = []dns.RR{rr("www.example.com. 60 IN A 192.0.2.81")}
			}
			return m
		}, "the answers for www.example.com A differ"},
		{"parent NS", func(a netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			if a.Addr() == netip.MustParseAddr("127.53.0.2") && len(m.Ns) > 0 {
				m.Ns = m.Ns[:1]
			}
			return m
		}, "the parent names ns1.example.com. as servers of example.com"},
		{"glue", func(a netip.AddrPort, q, m *dns.Msg, tr iterate.Transport) *dns.Msg {
			if a.Addr() == netip.MustParseAddr("127.53.0.2") && len(m.Extra) > 0 {
				m.Extra = append([]dns.RR{rr("ns2.example.com. 60 IN A 127.53.0.9")}, m.Extra...)
			}
			return m
		}, "the parent's glue for ns2.example.com says 127.53.0.9, the zone itself does not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, o := hierarchy(t)
			o.Exchanger = offline{h, tt.change}
			a, err := iterate.New(o).Check(t.Context(), "www.example.com.", dns.TypeA)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			a.WriteText(&b)
			if (tt.want == "") != a.Agree || !strings.Contains(strings.Join(a.Problems, "\n"), tt.want) {
				t.Errorf("want %q:\n%s", tt.want, b.String())
			}
		})
	}
}

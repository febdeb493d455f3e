package resolve_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
)

// TestEDNSOptions asks real servers with every option: identity, cookies (of
// which the server's comes back and is sent the next time), and class CH.
func TestEDNSOptions(t *testing.T) {
	zones := testZones(t)
	for name, run := range map[string]func(testing.TB) *dnstest.Peer{
		"nsd":  func(t testing.TB) *dnstest.Peer { return dnstest.NSD(t, dnstest.Config{Zones: zones}) },
		"knot": func(t testing.TB) *dnstest.Peer { return dnstest.Knot(t, dnstest.Config{Zones: zones}) },
		"bind": func(t testing.TB) *dnstest.Peer { return dnstest.BIND(t, dnstest.Config{Zones: zones}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := run(t)
			r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, "udp", p.Addr)}, Options: patient(resolve.Options{
				NSID: true, DNSSEC: true, RandomCase: true, Padding: 64, Cookies: new(resolve.CookieJar),
				ClientSubnet: netip.MustParsePrefix("192.0.2.0/24"), CheckingDisabled: true, AuthenticData: true})}
			for i := range 3 {
				res := r.Resolve(t.Context(), resolve.Query{Name: "example.test.", Type: dns.TypeMX})
				if res.Outcome != resolve.Found || !res.ServerCookie || res.Strays.Total() != 0 || res.EDNSDropped {
					t.Fatalf("query %d: %s, %v, cookie %v, %+v", i, res.Outcome, res.Err, res.ServerCookie, res.Strays)
				}
				nsid := ""
				for _, o := range res.Msg.IsEdns0().Option {
					if n, ok := o.(*dns.EDNS0_NSID); ok {
						nsid = string(unhex(n.Nsid))
					}
				}
				if nsid != name+"-test" {
					t.Errorf("identity %q", nsid)
				}
			}
			r = &resolve.Resolver{Servers: r.Servers, Options: patient(resolve.Options{NoEDNS: true})}
			res := r.Resolve(t.Context(), resolve.Query{Name: "example.test."})
			if res.Outcome != resolve.Found || res.Msg.IsEdns0() != nil {
				t.Errorf("without EDNS: %s, %v", res.Outcome, res.Err)
			}
			if name != "knot" {
				res = r.Resolve(t.Context(), resolve.Query{Name: "version.bind.", Type: dns.TypeTXT, Class: dns.ClassCHAOS})
				if res.Outcome != resolve.Found {
					t.Errorf("class CH: %s, %v", res.Outcome, res.Err)
				}
			}
		})
	}
}

func unhex(s string) []byte {
	var b []byte
	for i := 0; i+1 < len(s); i += 2 {
		b = append(b, byte(strings.IndexByte("0123456789abcdef", s[i])<<4|strings.IndexByte("0123456789abcdef", s[i+1])))
	}
	return b
}

// TestPadding reads queries as an eavesdropper could: on encrypted transports
// all are multiples of 128 octets (RFC 8467 section 4.1).
func TestPadding(t *testing.T) {
	seen := make(chan int, 10)
	probe := func(u resolve.Upstream, _ *resolve.Options) resolve.Exchanger { return lengths{seen} }
	for _, tt := range []struct {
		scheme resolve.Scheme
		pad    int
		block  int
	}{{resolve.TLS, 0, 128}, {resolve.QUIC, 0, 128}, {resolve.TLS, 468, 468}, {resolve.UDP, 64, 64}, {resolve.UDP, 0, 1}, {resolve.TLS, -1, 1}} {
		lens := map[int]bool{}
		for _, n := range []int{1, 9, 30, 60} {
			c := resolve.NewClient(resolve.Upstream{Scheme: tt.scheme, Host: "192.0.2.1", Port: 53},
				&resolve.Options{Padding: tt.pad, TLS: &tls.Config{}, Transports: map[resolve.Scheme]resolve.NewExchanger{tt.scheme: probe}})
			_, _ = c.Query(t.Context(), resolve.Query{Name: strings.Repeat("x", n) + ".test."})
			l := <-seen
			lens[l] = true
			if l%tt.block != 0 {
				t.Errorf("%s, padding %d: %d octets", tt.scheme, tt.pad, l)
			}
		}
		if tt.block >= 128 && len(lens) != 1 || tt.block == 1 && len(lens) != 4 {
			t.Errorf("%s, padding %d: lengths %v", tt.scheme, tt.pad, lens)
		}
	}
}

// FuzzAnswer gives arbitrary packets to the code that decides whether they
// answer a query, and to the parser behind it.
func FuzzAnswer(f *testing.F) {
	q := new(dns.Msg)
	q.SetQuestion("x.test.", dns.TypeA)
	q.Id = 1
	m, err := resolve.NewMessage(q)
	if err != nil {
		f.Fatal(err)
	}
	a := dnstest.Answer(m.Wire, nil, "x.test. 60 IN A 192.0.2.1", "x.test. 60 IN CNAME y.test.")
	f.Add(a)
	f.Add(a[:20])
	f.Add(m.Wire)
	f.Add(dnstest.Answer(m.Wire, func(m *dns.Msg) { m.Truncated = true; m.SetEdns0(1232, true) }))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m.Match(b) != resolve.Matches {
			return
		}
		msg, err := m.Parse(b)
		if err != nil {
			return
		}
		if msg.Id != 1 || !msg.Response {
			t.Fatalf("taken for the answer: %v", msg)
		}
		if len(msg.Question) == 1 && (!strings.EqualFold(msg.Question[0].Name, "x.test.") || msg.Question[0].Qtype != dns.TypeA || msg.Question[0].Qclass != dns.ClassINET) {
			t.Fatalf("another question: %v", msg.Question)
		}
		r := &resolve.Result{Query: resolve.Query{Name: "x.test.", Type: dns.TypeA, Class: dns.ClassINET}}
		r.Msg = msg
		r.Outcome = resolve.OutcomeOf(r.Query, msg)
		if found := len(r.Records()) > 0; found != (r.Outcome == resolve.Found) && msg.Rcode == dns.RcodeSuccess {
			t.Fatalf("%s with %d records", r.Outcome, len(r.Records()))
		}
		if len(r.Aliases()) > 16 {
			t.Fatal("a chain without end")
		}
		resolve.ExtendedErrors(msg)
		resolve.NegativeTTL(msg)
		for _, rr := range msg.Answer {
			if strings.ContainsFunc(resolve.Data(rr)+resolve.DigData(rr), resolve.Unprintable) {
				t.Fatalf("%q", resolve.Data(rr))
			}
		}
	})
}

// lengths is an exchanger that tells how long queries are and answers none.
type lengths struct{ seen chan int }

func (l lengths) Close() error { return nil }

func (l lengths) Exchange(_ context.Context, m *resolve.Message) (resolve.Raw, error) {
	l.seen <- len(m.Wire)
	return resolve.Raw{}, context.Canceled
}

package resolve_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
	"github.com/wherry-net/wherry/resolve/format"
)

func testZones(t testing.TB) map[string]string {
	t.Helper()
	b, err := os.ReadFile("testdata/example.test.zone")
	if err != nil {
		t.Fatal(err)
	}
	rev := "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 3600\n@ IN SOA ns1.example.test. hostmaster.example.test. 1 7200 3600 1209600 300\n IN NS ns1.example.test.\n1 IN PTR example.test.\n25 IN PTR mail.example.test.\n"
	return map[string]string{"example.test.": string(b), "2.0.192.in-addr.arpa.": rev}
}

// questions are asked of every server and of dig and kdig.
var questions = []struct{ name, typ string }{
	{"example.test.", "SOA"}, {"example.test.", "NS"}, {"example.test.", "A"}, {"example.test.", "AAAA"},
	{"example.test.", "MX"}, {"example.test.", "TXT"}, {"example.test.", "CAA"}, {"example.test.", "HTTPS"},
	{"quotes.example.test.", "TXT"}, {"esc.example.test.", "TXT"}, {"long.example.test.", "TXT"},
	{"_sip._tcp.example.test.", "SRV"}, {"svc.example.test.", "SVCB"}, {"https.example.test.", "HTTPS"},
	{"_443._tcp.example.test.", "TLSA"}, {"naptr.example.test.", "NAPTR"},
	{"c1.example.test.", "A"}, {"c1.example.test.", "CNAME"}, {"c1.example.test.", "NAPTR"}, {"cdangle.example.test.", "A"},
	{"x.wild.example.test.", "A"}, {"a.b.wild.example.test.", "TXT"}, {"b.ent.example.test.", "A"},
	{"sshfp.example.test.", "SSHFP"}, {"hinfo.example.test.", "HINFO"}, {"rp.example.test.", "RP"},
	{"loc.example.test.", "LOC"}, {"uri.example.test.", "URI"}, {"www.dn.example.test.", "A"}, {"dn.example.test.", "DNAME"},
	{"unknown.example.test.", "TYPE65280"}, {`odd\.dot.example.test.`, "A"}, {`sp\032ace.example.test.`, "A"},
	{"xn--bcher-kva.example.test.", "A"}, {"under_score.example.test.", "A"}, {"many.example.test.", "A"},
	{"nothing.example.test.", "A"}, {"v4only.example.test.", "AAAA"}, {"1.2.0.192.in-addr.arpa.", "PTR"},
}

func upstream(t testing.TB, scheme string, a netip.AddrPort) resolve.Upstream {
	t.Helper()
	u, err := resolve.ParseUpstream(scheme + "://" + a.String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestAgainstServers asks each of Debian's servers for every type and
// compares the answers with what dig and kdig print.
func TestAgainstServers(t *testing.T) {
	zones := testZones(t)
	for _, start := range []struct {
		name string
		run  func(testing.TB) *dnstest.Peer
	}{
		{"nsd", func(t testing.TB) *dnstest.Peer { return dnstest.NSD(t, dnstest.Config{Zones: zones}) }},
		{"knot", func(t testing.TB) *dnstest.Peer { return dnstest.Knot(t, dnstest.Config{Zones: zones}) }},
		{"bind", func(t testing.TB) *dnstest.Peer { return dnstest.BIND(t, dnstest.Config{Zones: zones}) }},
		{"unbound", func(t testing.TB) *dnstest.Peer {
			auth := dnstest.Knot(t, dnstest.Config{Zones: zones})
			stubs := map[string]netip.AddrPort{}
			for z := range zones {
				stubs[z] = auth.Addr
			}
			return dnstest.Unbound(t, dnstest.Config{Stubs: stubs})
		}},
	} {
		t.Run(start.name, func(t *testing.T) {
			t.Parallel()
			dig, kdig := dnstest.Tool(t, "dig"), dnstest.Tool(t, "kdig")
			p := start.run(t)
			r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, "udp", p.Addr)}, Options: patient(resolve.Options{})}
			defer r.Close()
			for _, q := range questions {
				typ, ok := resolve.ParseType(q.typ)
				if !ok {
					t.Fatalf("type %s", q.typ)
				}
				res := r.Resolve(context.Background(), resolve.Query{Name: q.name, Type: typ})
				if res.Err != nil {
					t.Errorf("%s %s: %v", q.name, q.typ, res.Err)
					continue
				}
				got := canonical(t, res.Msg.Answer)
				for _, tool := range []string{dig, kdig} {
					rcode, want := digAnswer(t, tool, p.Addr, q.name, q.typ)
					if resolve.RcodeName(res.Msg.Rcode) != rcode || !slices.Equal(got, want) {
						t.Errorf("%s %s differs from %s:\ngot  %s %q\nwant %s %q", q.name, q.typ, tool, resolve.RcodeName(res.Msg.Rcode), got, rcode, want)
					}
				}
				if q.name == "long.example.test." && !res.Truncated {
					t.Errorf("%s: 4 KB came over UDP", q.name)
				}
				noRawControls(t, res)
			}
		})
	}
}

// noRawControls prints res in every format and fails on any control byte.
func noRawControls(t *testing.T, res *resolve.Result) {
	t.Helper()
	for k := format.Nslookup; k <= format.CSV; k++ {
		var b bytes.Buffer
		p := format.New(k, &b, format.Options{})
		if err := p.Print(res); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && r != '\t' && resolve.Unprintable(r) || r == 0xfffd {
				t.Errorf("%s prints %U raw:\n%q", k, r, b.String())
			}
		}
	}
}

// canonical returns the records as sorted text that does not depend on who
// printed them: by way of the wire format, without TTLs, which count down.
func canonical(t *testing.T, rrs []dns.RR) []string {
	t.Helper()
	var out []string
	for _, rr := range rrs {
		buf := make([]byte, 65535)
		rr = dns.Copy(rr)
		rr.Header().Ttl = 0
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Fatalf("pack %s: %v", rr, err)
		}
		back, _, err := dns.UnpackRR(buf[:n], 0)
		if err != nil {
			t.Fatalf("unpack %s: %v", rr, err)
		}
		out = append(out, back.String())
	}
	slices.Sort(out)
	return out
}

func digAnswer(t *testing.T, tool string, a netip.AddrPort, name, typ string) (rcode string, rrs []string) {
	t.Helper()
	args := []string{"@" + a.Addr().String(), "-p", fmt.Sprint(a.Port()), name, typ, "+time=60"}
	if strings.HasSuffix(tool, "kdig") {
		args = append(args, "+noidn") // it would print U-labels
	}
	out, err := exec.Command(tool, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", tool, args, err)
	}
	section := false
	var parsed []dns.RR
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if i := strings.Index(line, "status: "); i >= 0 {
			rcode, _, _ = strings.Cut(line[i+8:], ";")
			rcode, _, _ = strings.Cut(rcode, ",")
		}
		switch {
		case strings.HasPrefix(line, ";; ANSWER SECTION"):
			section = true
		case line == "" || strings.HasPrefix(line, ";"):
			section = section && line != ""
		case section:
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Fatalf("%s prints %q: %v", tool, line, err)
			}
			parsed = append(parsed, rr)
		}
	}
	if rcode == "" {
		t.Fatalf("%s %q: no status in\n%s", tool, args, out)
	}
	return rcode, canonical(t, parsed)
}

// TestShortEqualsDig compares the very text: what scripts read must not
// depend on which of the two they call.
func TestShortEqualsDig(t *testing.T) {
	dig := dnstest.Tool(t, "dig")
	p := dnstest.NSD(t, dnstest.Config{Zones: testZones(t)})
	r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, "udp", p.Addr)}, Options: patient(resolve.Options{})}
	for _, q := range questions {
		typ, _ := resolve.ParseType(q.typ)
		var b strings.Builder
		pr := format.New(format.Short, &b, format.Options{})
		if err := pr.Print(r.Resolve(context.Background(), resolve.Query{Name: q.name, Type: typ})); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(dig, "@127.0.0.1", "-p", fmt.Sprint(p.Addr.Port()), q.name, q.typ, "+short", "+time=60").Output()
		if err != nil {
			t.Fatal(err)
		}
		got, want := strings.Split(b.String(), "\n"), strings.Split(string(out), "\n")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s %s:\ngot  %q\nwant %q", q.name, q.typ, got, want)
		}
	}
}

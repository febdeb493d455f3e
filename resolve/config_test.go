package resolve

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func addrs(s ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range s {
		out = append(out, netip.AddrPortFrom(netip.MustParseAddr(a), 53))
	}
	return out
}

func TestParseResolvConf(t *testing.T) {
	base := func(f func(*Config)) *Config {
		c := &Config{Servers: addrs("127.0.0.1"), Ndots: 1, Timeout: 5 * time.Second, Attempts: 2}
		f(c)
		return c
	}
	for _, tt := range []struct {
		name, in, host string
		env            map[string]string
		want           *Config
	}{
		{"empty", "", "", nil, base(func(*Config) {})},
		{"all of it", "# comment\n; another\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver 192.0.2.4\nsearch a.example b.example.\noptions ndots:2 timeout:3 attempts:4 rotate edns0 trust-ad use-vc\n", "", nil,
			&Config{Servers: addrs("192.0.2.1", "2001:db8::1", "fe80::1%eth0"), Search: []string{"a.example", "b.example"}, Ndots: 2, Timeout: 3 * time.Second, Attempts: 4, Rotate: true, EDNS0: true, TrustAD: true, UseTCP: true}},
		{"limits", "options ndots:99 timeout:99 attempts:99\n", "", nil, base(func(c *Config) { c.Ndots, c.Timeout, c.Attempts = 15, 30*time.Second, 5 })},
		{"zero", "options ndots:0 timeout:0 attempts:0\n", "", nil, base(func(c *Config) { c.Ndots, c.Timeout, c.Attempts = 0, time.Second, 1 })},
		{"nonsense", "options ndots:x timeout:-1 attempts: what\nnameserver nowhere\nnameserver\nsearch\nfoo bar\n", "", nil, base(func(*Config) {})},
		{"the last of search and domain counts", "search a.example\ndomain b.example c.example\n", "", nil, base(func(c *Config) { c.Search = []string{"b.example"} })},
		{"host name's domain", "", "host.corp.example", nil, base(func(c *Config) { c.Search = []string{"corp.example"} })},
		{"but not if there is a list", "search .\n", "host.corp.example", nil, base(func(*Config) {})},
		{"environment", "search a.example\noptions ndots:3 timeout:9\n", "", map[string]string{"LOCALDOMAIN": "x.example y.example", "RES_OPTIONS": "ndots:5 rotate"},
			base(func(c *Config) {
				c.Search, c.Ndots, c.Timeout, c.Rotate = []string{"x.example", "y.example"}, 5, 9*time.Second, true
			})},
		{"comment within a line is data", "nameserver 192.0.2.1 # the first\n", "", nil, base(func(c *Config) { c.Servers = addrs("192.0.2.1") })},
		{"international", "search bücher.example\n", "", nil, base(func(c *Config) { c.Search = []string{"xn--bcher-kva.example"} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ParseResolvConf(strings.NewReader(tt.in), tt.host, func(k string) string { return tt.env[k] })
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestCandidates(t *testing.T) {
	c := &Config{Search: []string{"a.example", "b.example"}, Ndots: 2}
	for name, want := range map[string][]string{
		"www":          {"www.a.example.", "www.b.example.", "www."},
		"www.corp":     {"www.corp.a.example.", "www.corp.b.example.", "www.corp."},
		"www.corp.com": {"www.corp.com.", "www.corp.com.a.example.", "www.corp.com.b.example."},
		"www.":         {"www."},
	} {
		if got := c.candidates(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

const scutilOutput = `DNS configuration

resolver #1
  search domain[0] : home.example
  search domain[1] : corp.example
  nameserver[0] : 192.0.2.1
  nameserver[1] : 2001:db8::1
  if_index : 6 (en0)
  flags    : Request A records, Request AAAA records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)
  timeout  : 3

resolver #2
  domain   : vpn.example
  nameserver[0] : 198.51.100.1
  port     : 5300
  order    : 100

resolver #3
  domain   : local
  options  : mdns
  timeout  : 5
  flags    : Request A records
  nameserver[0] : 192.0.2.99

DNS configuration (for scoped queries)

resolver #1
  nameserver[0] : 203.0.113.1
`

func TestParseScutil(t *testing.T) {
	c := ParseScutil(strings.NewReader(scutilOutput))
	if !slices.Equal(c.Servers, addrs("192.0.2.1", "2001:db8::1")) || c.Timeout != 3*time.Second || !slices.Equal(c.Search, []string{"home.example", "corp.example"}) {
		t.Errorf("%+v", c)
	}
	if got := c.ServersFor("x.VPN.example."); len(got) != 1 || got[0].String() != "198.51.100.1:5300" {
		t.Errorf("for the VPN: %v", got)
	}
	for _, n := range []string{"example.", "notvpn.example.", "x.local."} {
		if got := c.ServersFor(n); !slices.Equal(got, c.Servers) {
			t.Errorf("for %s: %v", n, got)
		}
	}
}

const hostsText = "127.0.0.1 localhost localhost.localdomain # ours\n::1\tlocalhost ip6-localhost\n192.0.2.1 Web.Example web\n192.0.2.2 web.example.\nnonsense web\n#192.0.2.3 web\n::ffff:192.0.2.4 mapped\nfe80::1%eth0 linklocal\n"

func TestHostsLookup(t *testing.T) {
	for _, tt := range []struct {
		name string
		typ  uint16
		want []string
	}{
		{"localhost.", dns.TypeA, []string{"127.0.0.1"}},
		{"LOCALHOST.", dns.TypeAAAA, []string{"::1"}},
		{"web.example.", dns.TypeA, []string{"192.0.2.1", "192.0.2.2"}},
		{"web.", dns.TypeA, []string{"192.0.2.1"}},
		{"web.", dns.TypeAAAA, nil},
		{"web.", dns.TypeMX, nil},
		{"mapped.", dns.TypeA, []string{"192.0.2.4"}},
		{"linklocal.", dns.TypeAAAA, []string{"fe80::1"}},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, []string{"Web.Example.", "web."}},
		{ReverseName(netip.MustParseAddr("::1")), dns.TypePTR, []string{"localhost.", "ip6-localhost."}},
		{"absent.", dns.TypeA, nil},
	} {
		var got []string
		rrs, known := HostsLookup(strings.NewReader(hostsText), Query{Name: tt.name, Type: tt.typ})
		for _, rr := range rrs {
			got = append(got, Data(rr))
		}
		if want := tt.name != "absent." && tt.typ != dns.TypeMX; known != want {
			t.Errorf("%s %s: known %v", tt.name, TypeName(tt.typ), known)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s %s: %q", tt.name, TypeName(tt.typ), got)
		}
	}
	many := strings.Repeat("192.0.2.1 x x x x x\n", 1000)
	if got, _ := HostsLookup(strings.NewReader(many), Query{Name: "x."}); len(got) != maxHostsRecords {
		t.Errorf("%d records", len(got))
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nsearch a b\noptions ndots:3", "h.example", "ndots:1")
	f.Add(scutilOutput, "", "")
	f.Fuzz(func(t *testing.T, text, host, env string) {
		for _, c := range []*Config{ParseResolvConf(strings.NewReader(text), host, func(string) string { return env }), ParseScutil(strings.NewReader(text))} {
			if len(c.Search) > maxSearch || c.Ndots < 0 || c.Ndots > maxNdots || c.Timeout < time.Second || c.Timeout > maxTimeout*time.Second || c.Attempts < 1 || c.Attempts > maxAttempts {
				t.Fatalf("out of bounds: %+v", c)
			}
			for _, s := range c.Search {
				if _, err := ParseName(s); err != nil {
					t.Fatalf("search %q: %v", s, err)
				}
			}
			for _, n := range c.candidates("x.y") {
				if !strings.HasSuffix(n, ".") {
					t.Fatalf("candidate %q", n)
				}
			}
		}
	})
}

func FuzzHosts(f *testing.F) {
	f.Add(hostsText, "web", uint16(1))
	f.Add(hostsText, "1.2.0.192.in-addr.arpa", uint16(12))
	f.Fuzz(func(t *testing.T, text, name string, typ uint16) {
		rrs, _ := HostsLookup(strings.NewReader(text), Query{Name: name, Type: typ})
		if len(rrs) > maxHostsRecords {
			t.Fatalf("%d records", len(rrs))
		}
		for _, rr := range rrs {
			if strings.ContainsFunc(Data(rr), Unprintable) {
				t.Fatalf("%q", Data(rr))
			}
		}
	})
}

func FuzzUpstream(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "[::1]:53", "tls://x#y", "https://x/q?a=b", "@h3://x:1/", "fe80::1%a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseUpstream(s)
		if err != nil {
			if strings.ContainsFunc(err.Error(), Unprintable) {
				t.Fatalf("%q: error %q", s, err)
			}
			return
		}
		text := u.String()
		if strings.ContainsFunc(text, Unprintable) {
			t.Fatalf("%q prints as %q", s, text)
		}
		back, err := ParseUpstream(text)
		if err != nil || back != u {
			t.Fatalf("%q is %+v, prints as %q, which is %+v, %v", s, u, text, back, err)
		}
		if u.Scheme == HTTPS || u.Scheme == H3 {
			if strings.ContainsAny(u.URL(), " \r\n") {
				t.Fatalf("URL %q", u.URL())
			}
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"example.com", "bücher.example", `a\.b`, "xn--bcher-kva", "_x._y", "\u202e", "例え。テスト"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if strings.ContainsFunc(err.Error(), Unprintable) {
				t.Fatalf("%q: error %q", s, err)
			}
			return
		}
		again, err := ParseName(n)
		if err != nil || again != n {
			t.Fatalf("%q becomes %q becomes %q, %v", s, n, again, err)
		}
		if strings.ContainsFunc(DisplayName(n), Unprintable) || strings.ContainsFunc(Escape(s), Unprintable) {
			t.Fatalf("%q displays as %q", s, DisplayName(n))
		}
	})
}

func FuzzTSIGKey(f *testing.F) {
	f.Add("hmac-sha256:k:c2VjcmV0")
	f.Add("key \"k\" { algorithm hmac-sha512; secret \"c2VjcmV0\"; };")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseTSIGKey(strings.NewReader(s))
		if err == nil && (len(k.Secret) == 0 || tsigHash(k.Algorithm) == nil || !dns.IsFqdn(k.Name)) {
			t.Fatalf("%q: %+v", s, k)
		}
	})
}

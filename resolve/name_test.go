package resolve

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestParseName(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"example.com", "example.com"},
		{"Example.COM.", "Example.COM."},
		{".", "."},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"},
		{"_sip._tcp.例え.テスト", "_sip._tcp.xn--r8jz45g.xn--zckzah"},
		{"例え。テスト", "xn--r8jz45g.xn--zckzah"},
		{"straße.de", "xn--strae-oqa.de"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{`a\.b.example`, `a\.b.example`},
		{`sp\032ace.example`, `sp\032ace.example`},
		{"under_score.example", "under_score.example"},
		{"*.example", "*.example"},
		{strings.Repeat("a", 63) + ".x", strings.Repeat("a", 63) + ".x"},
	} {
		got, err := ParseName(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%q: %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{"", "..", "a..b", ".a", strings.Repeat("a", 64), strings.Repeat("abcdefg.", 40),
		"a b", "a\tb", "a\x00b", "a\x1b[31m", "ü" + strings.Repeat("x", 80), "a\u202eb.example", `a\`, "xn--ü"} {
		got, err := ParseName(in)
		var ne *NameError
		if !errors.As(err, &ne) {
			t.Errorf("%q: %q, %v", in, got, err)
		} else if strings.ContainsFunc(err.Error(), Unprintable) {
			t.Errorf("%q: the error is not printable: %q", in, err)
		}
	}
}

func TestDisplayName(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"example.com.", "example.com."},
		{"xn--bcher-kva.example.", "bücher.example."},
		{"_x.XN--bcher-kva.example.", "_x.bücher.example."},
		{"xn--zzzzzzzzzzz.example.", "xn--zzzzzzzzzzz.example."},
		{"xn--a-ecp.ru.", "xn--a-ecp.ru."},
		{`a\027b.`, `a\027b.`},
		{"a\x1bb.", `a\027b.`},
	} {
		if got := DisplayName(tt.in); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestReverse(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"192.0.2.1", "1.2.0.192.in-addr.arpa."},
		{"::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa."},
		{"2001:db8::567:89ab", "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa."},
		{"fe80::1%eth0", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa."},
	} {
		got, err := ReverseNames(tt.in)
		if err != nil || len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %q, %v", tt.in, got, err)
			continue
		}
		a, ok := ReverseAddr(got[0])
		if want := netip.MustParseAddr(tt.in).Unmap().WithZone(""); !ok || a != want {
			t.Errorf("%s: back to %v", tt.in, a)
		}
		if want, _ := dns.ReverseAddr(netip.MustParseAddr(tt.in).WithZone("").String()); want != tt.want {
			t.Errorf("%s: the library says %s", tt.in, want)
		}
	}
	for _, tt := range []struct {
		in          string
		n           int
		first, last string
	}{
		{"192.0.2.0/30", 4, "0.2.0.192.in-addr.arpa.", "3.2.0.192.in-addr.arpa."},
		{"192.0.2.77/29", 8, "72.2.0.192.in-addr.arpa.", "79.2.0.192.in-addr.arpa."},
		{"255.255.255.254/31", 2, "254.255.255.255.in-addr.arpa.", "255.255.255.255.in-addr.arpa."},
		{"10.0.0.0/16", 65536, "0.0.0.10.in-addr.arpa.", "255.255.0.10.in-addr.arpa."},
		{"2001:db8::/124", 16, ReverseName(netip.MustParseAddr("2001:db8::")), ReverseName(netip.MustParseAddr("2001:db8::f"))},
	} {
		got, err := ReverseNames(tt.in)
		if err != nil || len(got) != tt.n || got[0] != tt.first || got[tt.n-1] != tt.last {
			t.Errorf("%s: %d names, %v", tt.in, len(got), err)
		}
	}
	for _, in := range []string{"10.0.0.0/15", "::/0", "2001:db8::/64", "x", "1.2.3", "1.2.3.4/33", ""} {
		if got, err := ReverseNames(in); err == nil {
			t.Errorf("%s: %d names", in, len(got))
		}
	}
	for _, in := range []string{"in-addr.arpa.", "1.2.3.in-addr.arpa.", "x.2.3.4.in-addr.arpa.", "a.ip6.arpa.", strings.Repeat("0.", 31) + "00ip6.arpa.", "example.com."} {
		if a, ok := ReverseAddr(in); ok {
			t.Errorf("%s: %v", in, a)
		}
	}
}

func TestParseUpstream(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Upstream
		out  string // "" if in
	}{
		{"192.0.2.1", Upstream{Scheme: UDP, Host: "192.0.2.1", Port: 53}, ""},
		{"@192.0.2.1:5353", Upstream{Scheme: UDP, Host: "192.0.2.1", Port: 5353}, "192.0.2.1:5353"},
		{"2001:db8::1", Upstream{Scheme: UDP, Host: "2001:db8::1", Port: 53}, ""},
		{"[2001:db8::1]:54", Upstream{Scheme: UDP, Host: "2001:db8::1", Port: 54}, ""},
		{"fe80::1%eth0", Upstream{Scheme: UDP, Host: "fe80::1%eth0", Port: 53}, ""},
		{"ns1.example.com", Upstream{Scheme: UDP, Host: "ns1.example.com", Port: 53}, ""},
		{"udp://192.0.2.1", Upstream{Scheme: UDP, Host: "192.0.2.1", Port: 53}, "192.0.2.1"},
		{"TCP://192.0.2.1:53/", Upstream{Scheme: TCP, Host: "192.0.2.1", Port: 53}, "tcp://192.0.2.1"},
		{"tls://dns.example", Upstream{Scheme: TLS, Host: "dns.example", Port: 853}, ""},
		{"tls://[2001:db8::1]:853", Upstream{Scheme: TLS, Host: "2001:db8::1", Port: 853}, "tls://[2001:db8::1]"},
		{"tls://192.0.2.1#dns.example", Upstream{Scheme: TLS, Host: "192.0.2.1", Port: 853, AuthName: "dns.example"}, ""},
		{"https://dns.example", Upstream{Scheme: HTTPS, Host: "dns.example", Port: 443, Path: "/dns-query"}, ""},
		{"https://dns.example/", Upstream{Scheme: HTTPS, Host: "dns.example", Port: 443, Path: "/dns-query"}, "https://dns.example"},
		{"https://dns.example:8443/q/x?k=v", Upstream{Scheme: HTTPS, Host: "dns.example", Port: 8443, Path: "/q/x?k=v"}, ""},
		{"https://dns.example/dns-query{?dns}", Upstream{Scheme: HTTPS, Host: "dns.example", Port: 443, Path: "/dns-query"}, "https://dns.example"},
		{"h3://192.0.2.1", Upstream{Scheme: H3, Host: "192.0.2.1", Port: 443, Path: "/dns-query"}, ""},
		{"quic://bücher.example", Upstream{Scheme: QUIC, Host: "xn--bcher-kva.example", Port: 853}, "quic://xn--bcher-kva.example"},
	} {
		got, err := ParseUpstream(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.in, got, err)
			continue
		}
		want := tt.out
		if want == "" {
			want = tt.in
		}
		if got.String() != want {
			t.Errorf("%s prints as %s", tt.in, got)
		}
	}
	for _, in := range []string{"", "@", "ftp://x", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:x", "192.0.2.256", "1.2.3",
		"[::1", "[::1]53", "[192.0.2.1]", "[::1]:", "::g", "udp://192.0.2.1#name", "tls://x#", "a b", "a\x1bb", "https://", "host/path", "x:y:z"} {
		got, err := ParseUpstream(in)
		var ue *UpstreamError
		if in == "tls://x#" {
			continue // an empty name is none
		}
		if !errors.As(err, &ue) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
}

func TestParseType(t *testing.T) {
	for in, want := range map[string]uint16{"a": 1, "AAAA": 28, "Mx": 15, "TYPE65280": 65280, "type1": 1, "any": 255, "HTTPS": 65, "svcb": 64, "NSEC3PARAM": 51} {
		if got, ok := ParseType(in); !ok || got != want {
			t.Errorf("%s: %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "TYPE", "TYPE0", "TYPE65536", "TYPE-1", "TYPE+1", "NONE", "Reserved", "example"} {
		if got, ok := ParseType(in); ok {
			t.Errorf("%s: %d", in, got)
		}
	}
	if TypeName(65280) != "TYPE65280" || TypeName(1) != "A" || ClassName(3) != "CH" || ClassName(77) != "CLASS77" || RcodeName(16) != "BADVERS" || RcodeName(3999) != "RCODE3999" {
		t.Error("names")
	}
}

func TestParseClientSubnet(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.0/24": "192.0.2.0/24", "192.0.2.7": "192.0.2.0/24", "2001:db8:1:2::": "2001:db8:1::/56",
		"0": "0.0.0.0/0", "0/0": "0.0.0.0/0", "::/0": "::/0", "192.0.2.1/32": "192.0.2.1/32"} {
		if got, err := ParseClientSubnet(in); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/08", "fe80::1%eth0/64", "::ffff:192.0.2.0/120", "192.0.2.0/24/8"} {
		if got, err := ParseClientSubnet(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestEscape(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"}, {"bücher 例", "bücher 例"}, {"a\x1b[31mb", `a\027[31mb`}, {"\x00\n\r\t\x7f", `\000\010\013\009\127`},
		{"\u0085\u009b", `\u{85}\u{9b}`}, {"a\u202eb\u2066c", `a\u{202e}b\u{2066}c`}, {"\xff\xfe", `\255\254`}, {"\ufeffx\u200b", `\u{feff}x\u{200b}`}, {"\u2028", `\u{2028}`},
	} {
		if got := Escape(tt.in); got != tt.want {
			t.Errorf("%q: %q", tt.in, got)
		}
	}
}

func TestSummarize(t *testing.T) {
	if got := Summarize(nil); got != (Timings{}) {
		t.Errorf("nothing: %+v", got)
	}
	var ds []time.Duration
	for i := 200; i > 0; i-- {
		ds = append(ds, time.Duration(i)*time.Millisecond)
	}
	got := Summarize(ds)
	want := Timings{Count: 200, Min: time.Millisecond, Median: 100 * time.Millisecond, P99: 198 * time.Millisecond, Max: 200 * time.Millisecond, Mean: 100500 * time.Microsecond}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if one := Summarize(ds[:1]); one.Min != one.P99 || one.Median != 200*time.Millisecond {
		t.Errorf("one: %+v", one)
	}
}

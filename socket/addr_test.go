package socket

import (
	"errors"
	"strings"
	"testing"
)

func TestParseHostPort(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want HostPort
		str  string
	}{
		{":7000", HostPort{"", 7000}, ":7000"},
		{":0", HostPort{"", 0}, ":0"},
		{"host", HostPort{"host", 7557}, "host:7557"},
		{"host.example.", HostPort{"host.example.", 7557}, "host.example.:7557"},
		{"my_host-1.lan:22", HostPort{"my_host-1.lan", 22}, "my_host-1.lan:22"},
		{"bücher.example", HostPort{"bücher.example", 7557}, "bücher.example:7557"},
		{"192.0.2.1", HostPort{"192.0.2.1", 7557}, "192.0.2.1:7557"},
		{"192.0.2.1:1", HostPort{"192.0.2.1", 1}, "192.0.2.1:1"},
		{"::", HostPort{"::", 7557}, "[::]:7557"},
		{"::1:7557", HostPort{"::1:7557", 7557}, "[::1:7557]:7557"},
		{"[::1]", HostPort{"::1", 7557}, "[::1]:7557"},
		{"[2001:db8::1]:65535", HostPort{"2001:db8::1", 65535}, "[2001:db8::1]:65535"},
		{"fe80::1%eth0", HostPort{"fe80::1%eth0", 7557}, "[fe80::1%eth0]:7557"},
		{"[fe80::1%eth0]:9", HostPort{"fe80::1%eth0", 9}, "[fe80::1%eth0]:9"},
		{"::ffff:192.0.2.1", HostPort{"::ffff:192.0.2.1", 7557}, "[::ffff:192.0.2.1]:7557"},
	} {
		got, err := ParseHostPort(tt.in, DefaultPort)
		if err != nil || got != tt.want {
			t.Errorf("ParseHostPort(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
			continue
		}
		if got.String() != tt.str {
			t.Errorf("ParseHostPort(%q).String() = %q, want %q", tt.in, got, tt.str)
		}
	}
}

func TestParseHostPortErrors(t *testing.T) {
	for _, tt := range []struct{ in, reason string }{
		{"", "empty"},
		{"host:", "no port after the colon"},
		{"host:http", "not a number"},
		{"host:+1", "not a number"},
		{"host:65536", "not a number from 0 to 65535"},
		{"host:-1", "not a number from 0 to 65535"},
		{"http://host/", "URL"},
		{"me@host", "user name"},
		{"a b", "no host name has"},
		{"a\x1b[31m", "no host name has"},
		{"a\u202eb", "no host name has"},
		{"dir/file", "no host name has"},
		{"[::1", "no closing bracket"},
		{"[::1]7557", "where :PORT belongs"},
		{"[host]:1", "no IPv6 address between its brackets"},
		{"[192.0.2.1]:1", "no IPv6 address between its brackets"},
		{"[::1]:x", "not a number"},
		{"[::1]:", "no port after the colon"},
		{"fe80::1%a\x1b[m", "no host name has"},
		{"[fe80::1%a b]", "no host name has"},
		{"1:2:3", "no IPv6 address"},
		{"2001:db8::g", "no IPv6 address"},
		{"10.0.0.256", "no IPv4 address"},
		{"1.2.3", "no IPv4 address"},
		{"1234:1", "no IPv4 address"},
		{"host%eth0", "zone"},
		{".", "empty label"},
		{strings.Repeat("a.", 127) + "a", "longer"},
	} {
		got, err := ParseHostPort(tt.in, DefaultPort)
		if _, ok := errors.AsType[*AddressError](err); !ok {
			t.Errorf("ParseHostPort(%q) = %+v, %v; want an *AddressError", tt.in, got, err)
		} else if !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("ParseHostPort(%q): %v; want it to say %q", tt.in, err, tt.reason)
		}
	}
}

// What was parsed and is written out again means the same, and nothing that
// would steer a terminal gets into it.
func FuzzParseHostPort(f *testing.F) {
	for _, s := range []string{":7557", "host", "host:1", "[::1]:2", "::1", "fe80::1%eth0", "1.2.3.4:5", "a\x00b", "[", "%", "::%:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hp, err := ParseHostPort(s, DefaultPort)
		if err != nil {
			for _, r := range err.Error() {
				if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
					t.Fatalf("raw control character %U in %q", r, err)
				}
			}
			return
		}
		again, err := ParseHostPort(hp.String(), 1)
		if err != nil || again != hp {
			t.Fatalf("%q -> %+v -> %q -> %+v, %v", s, hp, hp, again, err)
		}
	})
}

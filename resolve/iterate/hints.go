package iterate

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Hint is one root server: where a lookup begins.
type Hint struct {
	Name  string
	Addrs []netip.AddrPort // port 0 means the resolver's port
}

// RootHints is the built-in list of root servers, as of 2023-11-27, when
// b.root-servers.net got its present addresses.
func RootHints() []Hint {
	list := []struct{ letter, v4, v6 string }{
		{"a", "198.41.0.4", "2001:503:ba3e::2:30"},
		{"b", "170.247.170.2", "2801:1b8:10::b"},
		{"c", "192.33.4.12", "2001:500:2::c"},
		{"d", "199.7.91.13", "2001:500:2d::d"},
		{"e", "192.203.230.10", "2001:500:a8::e"},
		{"f", "192.5.5.241", "2001:500:2f::f"},
		{"g", "192.112.36.4", "2001:500:12::d0d"},
		{"h", "198.97.190.53", "2001:500:1::53"},
		{"i", "192.36.148.17", "2001:7fe::53"},
		{"j", "192.58.128.30", "2001:503:c27::2:30"},
		{"k", "193.0.14.129", "2001:7fd::1"},
		{"l", "199.7.83.42", "2001:500:9f::42"},
		{"m", "202.12.27.33", "2001:dc3::35"},
	}
	hints := make([]Hint, len(list))
	for i, s := range list {
		hints[i] = Hint{Name: s.letter + ".root-servers.net.", Addrs: []netip.AddrPort{
			netip.AddrPortFrom(netip.MustParseAddr(s.v4), 0),
			netip.AddrPortFrom(netip.MustParseAddr(s.v6), 0),
		}}
	}
	return hints
}

// ParseHints reads a root hints file: the zone file that IANA publishes as
// named.root. A line with the comment
//
//	;port=N
//
// says that all of the hierarchy's servers listen on port N; it is returned as
// port, which is 0 otherwise. `lab dns` writes it where it may not bind port 53.
func ParseHints(r io.Reader, name string) (hints []Hint, port uint16, err error) {
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, 0, fmt.Errorf("reading hints %s: %w", name, err)
	}
	sc := bufio.NewScanner(strings.NewReader(string(text)))
	for sc.Scan() {
		_, comment, _ := strings.Cut(sc.Text(), ";")
		if v, ok := strings.CutPrefix(strings.TrimSpace(comment), "port="); ok {
			p, err := strconv.ParseUint(strings.TrimSpace(v), 10, 16)
			if err != nil || p == 0 {
				return nil, 0, fmt.Errorf("hints %s: %q is not a port", name, v)
			}
			port = uint16(p)
		}
	}
	addrs := make(map[string][]netip.AddrPort)
	var names []string
	zp := dns.NewZoneParser(strings.NewReader(string(text)), ".", name)
	zp.SetDefaultTTL(3600000)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		switch rr := rr.(type) {
		case *dns.NS:
			if n := dns.CanonicalName(rr.Ns); rr.Hdr.Name == "." && !slices.Contains(names, n) {
				names = append(names, n)
			}
		case *dns.A, *dns.AAAA:
			if a, ok := addrOf(rr); ok {
				n := dns.CanonicalName(rr.Header().Name)
				addrs[n] = append(addrs[n], netip.AddrPortFrom(a, 0))
			}
		}
	}
	if err := zp.Err(); err != nil {
		return nil, 0, fmt.Errorf("hints %s: %w", name, err)
	}
	for _, n := range names {
		if len(addrs[n]) > 0 {
			hints = append(hints, Hint{n, addrs[n]})
		}
	}
	if len(hints) == 0 {
		return nil, 0, fmt.Errorf("hints %s: no name server of the root with an address", name)
	}
	return hints, port, nil
}

// addrOf is the address in an A or AAAA record.
func addrOf(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A.To4())
		return a, ok
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA.To16())
		return a, ok
	}
	return netip.Addr{}, false
}

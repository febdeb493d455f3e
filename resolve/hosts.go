package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/miekg/dns"
)

// maxHostsRecords bounds what one name can have in a hosts file.
const maxHostsRecords = 256

// HostsLookup reads a hosts file (hosts(5)) for the answer to q: addresses of
// a name, or the names of an address for a PTR question. The records have a
// TTL of 0. known says that the file has the name: then the system does not
// ask servers for its addresses, even if it has only one of the other version
// of IP. Lines that make no sense are skipped, as the system does.
func HostsLookup(r io.Reader, q Query) (rrs []dns.RR, known bool) {
	q = q.withDefaults()
	if q.Class != dns.ClassINET {
		return nil, false
	}
	want := strings.TrimSuffix(q.Name, ".")
	var wantAddr netip.Addr
	switch q.Type {
	case dns.TypeA, dns.TypeAAAA:
	case dns.TypePTR:
		var ok bool
		if wantAddr, ok = ReverseAddr(q.Name); !ok {
			return nil, false
		}
	default:
		return nil, false
	}
	var out []dns.RR
	hdr := dns.RR_Header{Name: dns.Fqdn(q.Name), Rrtype: q.Type, Class: dns.ClassINET}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), 64<<10)
	for sc.Scan() && len(out) < maxHostsRecords {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		a = a.Unmap()
		for _, name := range f[1:] {
			if len(out) == maxHostsRecords {
				break
			}
			name = strings.TrimSuffix(name, ".")
			switch {
			case q.Type == dns.TypePTR:
				if a.WithZone("") == wantAddr {
					if n, err := ParseName(name); err == nil {
						out = append(out, &dns.PTR{Hdr: hdr, Ptr: dns.Fqdn(n)})
					}
				}
			case !strings.EqualFold(name, want):
			case q.Type == dns.TypeA && a.Is4():
				known = true
				out = append(out, &dns.A{Hdr: hdr, A: a.AsSlice()})
			case q.Type == dns.TypeA, a.Is4():
				known = true
			default:
				known = true
				out = append(out, &dns.AAAA{Hdr: hdr, AAAA: a.WithZone("").AsSlice()})
			}
		}
	}
	return out, known || len(out) > 0
}

func hostsFileLookup(path string, q Query) ([]dns.RR, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	return HostsLookup(f, q)
}

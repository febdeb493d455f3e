// Package zoneserver serves a directory of zone files as a whole hierarchy of
// name servers on loopback addresses: a root, its children, their children,
// each zone on an address of its own, signed when it starts. It is for trying
// things out without the internet, not for serving the world.
//
//	h, err := zoneserver.Load("testdata/zones")
//	err = h.Sign(time.Now())
//	err = h.Listen()          // port 53 where that is allowed, else another
//	h.WriteHints(f)           // for lookup --root-hints
//	h.WriteAnchors(g)         // for lookup --trust-anchor
//	err = h.Serve(ctx)
//
// # The directory
//
// Every file NAME.zone is one zone in master file format (RFC 1035, section
// 5), NAME being its origin; root.zone is the root, and is made up if it is
// missing. Delegations are completed: a zone whose closest ancestor does not
// mention it is delegated there, glue is added, and DS records are put where
// both are signed. A name server with an address in 127.0.0.0/8 is served
// there; any other gets an address in 127.53.0.0/16, which replaces its own.
//
// # Directives
//
// A comment line ";wherry: WORD" in a zone file changes how it is treated:
//
//	unsigned     it is not signed, and its parent says so
//	expired      its signatures ended a week ago
//	future       its signatures begin in a week
//	corrupt      the signatures of all but its DNSKEY set are damaged
//	wrong-ds     the DS record in its parent is that of another key
//	stripped     its parent has a DS record, but it is served unsigned
//	no-denial    it does not prove what does not exist
package zoneserver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/miekg/dns"
)

// Zone is one zone as it is served.
type Zone struct {
	Name      string
	File      string // empty for a root that was made up
	Directive string

	sets   map[string]map[uint16][]dns.RR // owner, type; canonical names
	sigs   map[string]map[uint16][]dns.RR
	names  map[string]bool // owners, and the empty non-terminals above them
	chain  []string        // owners of NSEC records, in canonical order
	signed bool
	ksk    *key
	zsk    *key
	addrs  []netip.Addr
}

// Hierarchy is the zones of a directory.
type Hierarchy struct {
	Zones []*Zone // the root first
	Port  uint16  // all servers listen on it; set by Listen

	byAddr map[netip.Addr][]*Zone
	socks  []sock
}

var directives = []string{"", "unsigned", "expired", "future", "corrupt", "wrong-ds", "stripped", "no-denial"}

// maxZoneFile bounds a zone file.
const maxZoneFile = 64 << 20

// Load reads the zone files of a directory and completes the hierarchy.
func Load(dir string) (*Hierarchy, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.zone"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("reading zones: %w", err)
		}
		return nil, fmt.Errorf("no *.zone files in %s", dir)
	}
	h := new(Hierarchy)
	for _, f := range files {
		z, err := loadZone(f)
		if err != nil {
			return nil, err
		}
		if h.zone(z.Name) != nil {
			return nil, fmt.Errorf("%s: zone %s is in another file too", f, z.Name)
		}
		h.Zones = append(h.Zones, z)
	}
	if h.zone(".") == nil {
		h.Zones = append(h.Zones, madeUpRoot())
	}
	sort.SliceStable(h.Zones, func(i, j int) bool {
		a, b := h.Zones[i].Name, h.Zones[j].Name
		if x, y := dns.CountLabel(a), dns.CountLabel(b); x != y {
			return x < y
		}
		return a < b
	})
	if err := h.complete(); err != nil {
		return nil, err
	}
	return h, nil
}

func loadZone(file string) (*Zone, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxZoneFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, maxZoneFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(filepath.Base(file), ".zone")
	if name == "root" {
		name = "."
	}
	z := &Zone{Name: dns.CanonicalName(name), File: file, sets: make(map[string]map[uint16][]dns.RR)}
	sc := bufio.NewScanner(bytes.NewReader(text))
	for sc.Scan() {
		d, ok := strings.CutPrefix(strings.TrimSpace(sc.Text()), ";wherry:")
		if !ok {
			continue
		}
		z.Directive = strings.TrimSpace(d)
		if !slices.Contains(directives, z.Directive) {
			return nil, fmt.Errorf("%s: %q is no directive (%s)", file, z.Directive, strings.Join(directives[1:], ", "))
		}
	}
	zp := dns.NewZoneParser(bytes.NewReader(text), z.Name, file)
	zp.SetDefaultTTL(3600)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		owner := dns.CanonicalName(rr.Header().Name)
		if !dns.IsSubDomain(z.Name, owner) {
			return nil, fmt.Errorf("%s: %s is outside the zone %s", file, owner, z.Name)
		}
		switch rr.(type) {
		case *dns.RRSIG, *dns.NSEC, *dns.NSEC3, *dns.NSEC3PARAM, *dns.DNSKEY:
			continue // made anew
		}
		z.add(rr)
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("zone %s: %w", z.Name, err)
	}
	if len(z.get(z.Name, dns.TypeSOA)) != 1 {
		return nil, fmt.Errorf("%s: the zone %s needs one SOA record at its apex", file, z.Name)
	}
	return z, nil
}

func madeUpRoot() *Zone {
	z := &Zone{Name: ".", sets: make(map[string]map[uint16][]dns.RR)}
	z.add(&dns.SOA{Hdr: hdr(".", dns.TypeSOA, 86400), Ns: "a.root-servers.test.", Mbox: "nobody.invalid.",
		Serial: 1, Refresh: 1800, Retry: 900, Expire: 604800, Minttl: 300})
	z.add(&dns.NS{Hdr: hdr(".", dns.TypeNS, 86400), Ns: "a.root-servers.test."})
	z.add(&dns.A{Hdr: hdr("a.root-servers.test.", dns.TypeA, 86400), A: net.IPv4(127, 53, 0, 1).To4()})
	return z
}

func hdr(name string, typ uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: ttl}
}

func (z *Zone) add(rr dns.RR) {
	h := rr.Header()
	h.Name = dns.CanonicalName(h.Name)
	m := z.sets[h.Name]
	if m == nil {
		m = make(map[uint16][]dns.RR)
		z.sets[h.Name] = m
	}
	for _, old := range m[h.Rrtype] {
		if dns.IsDuplicate(old, rr) {
			return
		}
	}
	m[h.Rrtype] = append(m[h.Rrtype], rr)
}

func (z *Zone) get(name string, typ uint16) []dns.RR { return z.sets[name][typ] }

func (z *Zone) nsNames(name string) []string {
	var out []string
	for _, rr := range z.get(name, dns.TypeNS) {
		out = append(out, dns.CanonicalName(rr.(*dns.NS).Ns))
	}
	return out
}

func (h *Hierarchy) zone(name string) *Zone {
	for _, z := range h.Zones {
		if z.Name == name {
			return z
		}
	}
	return nil
}

// owner is the deepest zone that holds name.
func (h *Hierarchy) owner(name string) *Zone {
	var best *Zone
	for _, z := range h.Zones {
		if dns.IsSubDomain(z.Name, name) && (best == nil || dns.CountLabel(z.Name) > dns.CountLabel(best.Name)) {
			best = z
		}
	}
	return best
}

// parent is the closest zone above.
func (h *Hierarchy) parent(z *Zone) *Zone {
	if z.Name == "." {
		return nil
	}
	i, end := dns.NextLabel(z.Name, 0)
	if end {
		return h.owner(".")
	}
	return h.owner(z.Name[i:])
}

// complete gives every zone an address, and its parent what points there.
func (h *Hierarchy) complete() error {
	taken := make(map[netip.Addr]bool)
	for _, z := range h.Zones {
		for _, m := range z.sets {
			for _, rr := range m[dns.TypeA] {
				if a, ok := netip.AddrFromSlice(rr.(*dns.A).A.To4()); ok && a.IsLoopback() {
					taken[a] = true
				}
			}
		}
	}
	next := netip.AddrFrom4([4]byte{127, 53, 0, 1})
	fresh := func() netip.Addr {
		for taken[next] {
			next = next.Next()
		}
		taken[next] = true
		return next
	}
	h.byAddr = make(map[netip.Addr][]*Zone)
	for _, z := range h.Zones {
		if len(z.nsNames(z.Name)) == 0 {
			return fmt.Errorf("%s: the zone %s has no NS record at its apex", z.File, z.Name)
		}
		var own netip.Addr // what servers without a loopback address get
		for _, ns := range z.nsNames(z.Name) {
			home := h.owner(ns)
			addrs := loopback(home, ns)
			if len(addrs) == 0 {
				if !own.IsValid() {
					own = fresh()
				}
				addrs = []netip.Addr{own}
				if home.sets[ns] == nil {
					home.sets[ns] = make(map[uint16][]dns.RR)
				}
				delete(home.sets[ns], dns.TypeAAAA)
				home.sets[ns][dns.TypeA] = []dns.RR{&dns.A{Hdr: hdr(ns, dns.TypeA, 3600), A: own.AsSlice()}}
			}
			for _, a := range addrs {
				if !slices.Contains(z.addrs, a) {
					z.addrs = append(z.addrs, a)
				}
				if !slices.Contains(h.byAddr[a], z) {
					h.byAddr[a] = append(h.byAddr[a], z)
				}
			}
		}
	}
	for _, z := range h.Zones {
		p := h.parent(z)
		if p == nil {
			continue
		}
		if len(p.get(z.Name, dns.TypeNS)) == 0 {
			for _, ns := range z.nsNames(z.Name) {
				p.add(&dns.NS{Hdr: hdr(z.Name, dns.TypeNS, 3600), Ns: ns})
			}
		}
		delete(p.sets[z.Name], dns.TypeDS)
		for _, ns := range p.nsNames(z.Name) {
			if !dns.IsSubDomain(z.Name, ns) {
				continue // not below the cut: found without glue
			}
			if m := p.sets[ns]; m != nil {
				delete(m, dns.TypeA)
				delete(m, dns.TypeAAAA)
			}
			for _, a := range loopback(h.owner(ns), ns) {
				p.add(&dns.A{Hdr: hdr(ns, dns.TypeA, 3600), A: a.AsSlice()})
			}
		}
	}
	for _, z := range h.Zones {
		z.index()
	}
	return nil
}

// index lists all names that exist.
func (z *Zone) index() {
	z.names = map[string]bool{z.Name: true}
	for owner, m := range z.sets {
		if len(m) == 0 {
			continue
		}
		for n := owner; !z.names[n]; {
			z.names[n] = true
			i, end := dns.NextLabel(n, 0)
			if end {
				break
			}
			n = n[i:]
		}
	}
}

// loopback lists the addresses of name in 127.0.0.0/8 that z holds.
func loopback(z *Zone, name string) []netip.Addr {
	var out []netip.Addr
	for _, rr := range z.get(name, dns.TypeA) {
		if a, ok := netip.AddrFromSlice(rr.(*dns.A).A.To4()); ok && a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

// Addrs are the addresses the zone is served on.
func (z *Zone) Addrs() []netip.Addr { return slices.Clone(z.addrs) }

// Signed says whether the zone is served with signatures.
func (z *Zone) Signed() bool { return z.signed }

var errNotListening = errors.New("the servers do not listen yet")

package dnssec

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Anchor is a trust anchor: the keys of Zone that are trusted without proof,
// as DS digests, as DNSKEYs, or both.
type Anchor struct {
	Zone string
	DS   []*dns.DS
	Keys []*dns.DNSKEY
}

// RootKey is one built-in key of the root, with the dates of its life as IANA
// publishes them (https://data.iana.org/root-anchors/root-anchors.xml); a
// resolver that follows RFC 5011 trusts a new key thirty days after it first
// saw it signed by the old one.
type RootKey struct {
	DS        *dns.DS
	Name      string    // as IANA calls it
	ValidFrom time.Time // from IANA's validFrom
	Published time.Time // first seen in the root zone
	Trusted   time.Time // Published and the 30 days of RFC 5011, section 2.4.1
}

// RootKeys lists the root's keys that are built in.
func RootKeys() []RootKey {
	ds := func(tag uint16, digest string) *dns.DS {
		return &dns.DS{
			Hdr:    dns.RR_Header{Name: ".", Rrtype: dns.TypeDS, Class: dns.ClassINET, Ttl: 172800},
			KeyTag: tag, Algorithm: dns.RSASHA256, DigestType: dns.SHA256, Digest: digest,
		}
	}
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	return []RootKey{
		{ds(20326, "e06d44b80b8f1d39a95c0b0d7c65d08458e880409bbc683457104237c7f8ec8d"), "KSK-2017",
			day(2017, time.February, 2), day(2017, time.July, 11), day(2017, time.August, 10)},
		{ds(38696, "683d2d0acb8c9b712a1948b27f741219298d0a450d612c483af444a4c0fb2b16"), "KSK-2024",
			day(2024, time.July, 18), day(2025, time.January, 11), day(2025, time.February, 10)},
	}
}

// RootAnchors is the built-in trust anchor: both keys of the root.
func RootAnchors() []Anchor {
	a := Anchor{Zone: "."}
	for _, k := range RootKeys() {
		a.DS = append(a.DS, k.DS)
	}
	return []Anchor{a}
}

// ParseAnchors reads trust anchors from a zone file of DS and DNSKEY records,
// as dig, ldns, Unbound (auto-trust-anchor-file) and Knot Resolver write them.
// Keys marked revoked or without the secure entry point bit are taken as they
// are: what stands in the file is what its owner trusts.
func ParseAnchors(r io.Reader, name string) ([]Anchor, error) {
	byZone := make(map[string]*Anchor)
	var order []string
	zp := dns.NewZoneParser(bufio.NewReader(io.LimitReader(r, 1<<20)), ".", name)
	zp.SetDefaultTTL(3600)
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		zone := dns.CanonicalName(rr.Header().Name)
		a := byZone[zone]
		if a == nil {
			a = &Anchor{Zone: zone}
			byZone[zone] = a
			order = append(order, zone)
		}
		switch rr := rr.(type) {
		case *dns.DS:
			a.DS = append(a.DS, rr)
		case *dns.DNSKEY:
			a.Keys = append(a.Keys, rr)
		default:
			return nil, fmt.Errorf("trust anchors in %s: a %s record is neither DS nor DNSKEY",
				name, dns.TypeToString[rr.Header().Rrtype])
		}
	}
	if err := zp.Err(); err != nil {
		return nil, fmt.Errorf("trust anchors in %s: %w", name, err)
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("trust anchors in %s: no DS or DNSKEY record", name)
	}
	out := make([]Anchor, len(order))
	for i, z := range order {
		out[i] = *byZone[z]
	}
	return out, nil
}

// String lists the anchor's keys in presentation format, one a line.
func (a Anchor) String() string {
	var b strings.Builder
	for _, ds := range a.DS {
		fmt.Fprintln(&b, ds)
	}
	for _, k := range a.Keys {
		fmt.Fprintln(&b, k)
	}
	return b.String()
}

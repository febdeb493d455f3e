package zoneserver

import (
	"bytes"
	"crypto"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/miekg/dns"
)

type key struct {
	rr   *dns.DNSKEY
	priv crypto.Signer
}

// validity is how long signatures hold; the hierarchy signs anew at each start.
const validity = 14 * 24 * time.Hour

func newKey(zone string, flags uint16) (*key, error) {
	k := &dns.DNSKEY{Hdr: hdr(zone, dns.TypeDNSKEY, 3600), Flags: flags, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	priv, err := k.Generate(256)
	if err != nil {
		return nil, fmt.Errorf("making a key for %s: %w", zone, err)
	}
	return &key{k, priv.(crypto.Signer)}, nil
}

// Sign makes keys for all zones, puts DS records into parents, and signs as of
// now with ECDSA P-256 and NSEC.
func (h *Hierarchy) Sign(now time.Time) error {
	// From the leaves up, so that a parent signs the DS records of its children.
	for i := len(h.Zones) - 1; i >= 0; i-- {
		z := h.Zones[i]
		if z.Directive == "unsigned" {
			continue
		}
		var err error
		if z.ksk, err = newKey(z.Name, dns.ZONE|dns.SEP); err != nil {
			return err
		}
		if z.zsk, err = newKey(z.Name, dns.ZONE); err != nil {
			return err
		}
		if p := h.parent(z); p != nil && p.Directive != "unsigned" {
			ds := z.ksk.rr.ToDS(dns.SHA256)
			if z.Directive == "wrong-ds" {
				other, err := newKey(z.Name, dns.ZONE|dns.SEP)
				if err != nil {
					return err
				}
				ds = other.rr.ToDS(dns.SHA256)
			}
			ds.Hdr = hdr(z.Name, dns.TypeDS, 3600)
			p.add(ds)
		}
		if z.Directive == "stripped" {
			continue
		}
		z.add(z.ksk.rr)
		z.add(z.zsk.rr)
	}
	for _, z := range h.Zones {
		if z.Directive == "unsigned" || z.Directive == "stripped" {
			continue
		}
		if err := z.sign(now); err != nil {
			return err
		}
	}
	return nil
}

func (z *Zone) sign(now time.Time) error {
	from, to := now.Add(-time.Hour), now.Add(validity)
	switch z.Directive {
	case "expired":
		// A week, since resolvers forgive up to a day of clock skew.
		from, to = now.Add(-2*validity), now.Add(-7*24*time.Hour)
	case "future":
		from, to = now.Add(7*24*time.Hour), now.Add(2*validity)
	}
	if err := z.makeChain(); err != nil {
		return err
	}
	z.sigs = make(map[string]map[uint16][]dns.RR)
	for owner, m := range z.sets {
		if z.below(owner) {
			continue // glue belongs to the child
		}
		for typ, set := range m {
			if owner != z.Name && len(m[dns.TypeNS]) > 0 && typ != dns.TypeDS && typ != dns.TypeNSEC {
				continue // at a cut the parent signs only DS and NSEC
			}
			k := z.zsk
			if typ == dns.TypeDNSKEY {
				k = z.ksk
			}
			sig := &dns.RRSIG{
				Hdr: hdr(owner, dns.TypeRRSIG, set[0].Header().Ttl), Algorithm: k.rr.Algorithm,
				SignerName: z.Name, KeyTag: k.rr.KeyTag(),
				Inception: uint32(from.Unix()), Expiration: uint32(to.Unix()),
			}
			if err := sig.Sign(k.priv, set); err != nil {
				return fmt.Errorf("signing %s %s: %w", owner, dns.Type(typ), err)
			}
			if z.Directive == "corrupt" && typ != dns.TypeDNSKEY {
				// Another signature of the right form: that of nothing.
				s := []byte(sig.Signature)
				if s[0] == 'A' {
					s[0] = 'B'
				} else {
					s[0] = 'A'
				}
				sig.Signature = string(s)
			}
			if z.sigs[owner] == nil {
				z.sigs[owner] = make(map[uint16][]dns.RR)
			}
			z.sigs[owner][typ] = []dns.RR{sig}
		}
	}
	z.signed = true
	return nil
}

// below says that owner lies strictly below a zone cut.
func (z *Zone) below(owner string) bool {
	for n := owner; n != z.Name && n != "."; {
		i, end := dns.NextLabel(n, 0)
		if end {
			return false
		}
		if n = n[i:]; n != z.Name && len(z.get(n, dns.TypeNS)) > 0 {
			return true
		}
	}
	return false
}

// makeChain links all authoritative owners by NSEC (RFC 4034, section 4).
func (z *Zone) makeChain() error {
	z.chain = nil
	for owner := range z.sets {
		if !z.below(owner) {
			z.chain = append(z.chain, owner)
		}
	}
	sort.Slice(z.chain, func(i, j int) bool { return canonicalLess(z.chain[i], z.chain[j]) })
	ttl := z.get(z.Name, dns.TypeSOA)[0].(*dns.SOA).Minttl
	for i, owner := range z.chain {
		types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
		cut := owner != z.Name && len(z.get(owner, dns.TypeNS)) > 0
		for t := range z.sets[owner] {
			if !cut || t == dns.TypeNS || t == dns.TypeDS {
				types = append(types, t)
			}
		}
		slices.Sort(types)
		z.sets[owner][dns.TypeNSEC] = []dns.RR{&dns.NSEC{
			Hdr: hdr(owner, dns.TypeNSEC, ttl), NextDomain: z.chain[(i+1)%len(z.chain)], TypeBitMap: slices.Compact(types),
		}}
	}
	return nil
}

// canonicalLess orders names as RFC 4034, section 6.1 says.
func canonicalLess(a, b string) bool {
	la, lb := wire(a), wire(b)
	for i := 0; i < len(la) && i < len(lb); i++ {
		if c := bytes.Compare(la[i], lb[i]); c != 0 {
			return c < 0
		}
	}
	return len(la) < len(lb)
}

// wire is the labels of a canonical name, rightmost first.
func wire(name string) [][]byte {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		return nil
	}
	var out [][]byte
	for i := 0; i < n && buf[i] != 0; i += 1 + int(buf[i]) {
		out = append(out, buf[i+1:i+1+int(buf[i])])
	}
	slices.Reverse(out)
	return out
}

package dnssec

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// zoneTrust is what is known of one name as the apex of a zone. With noCut it is
// none, and the zone above goes on.
type zoneTrust struct {
	name    string
	state   State
	noCut   bool
	missing bool // NXDOMAIN: nothing is below either
	keys    []*dns.DNSKEY
	verdict Verdict // with state other than Secure
	chain   []Link
	expires time.Time
}

func (z *zoneTrust) verdictNow() Verdict {
	v := z.verdict
	v.State, v.Chain = z.state, z.chain
	return v
}

// anchorFor finds the deepest anchor at or above name, and whether a negative
// anchor below it takes precedence.
func (v *Validator) anchorFor(name string) (a Anchor, found, unsigned bool) {
	for n := name; ; n = Parent(n) {
		if a, ok := v.anchors[n]; ok {
			return a, true, false
		}
		if slices.Contains(v.neg, n) {
			return a, false, true
		}
		if n == "." {
			return a, false, false
		}
	}
}

// trust walks from the closest anchor down to target, a name at a time, and
// returns the state of the zone that target is in: for a secure one its keys.
func (v *Validator) trust(ctx context.Context, now time.Time, target string) *zoneTrust {
	a, found, unsigned := v.anchorFor(target)
	switch {
	case unsigned:
		return &zoneTrust{name: target, state: Insecure, verdict: verdict(Insecure, target, NoEDE,
			"validation is switched off at %s or above", Show(target))}
	case !found:
		return &zoneTrust{name: target, state: Indeterminate, verdict: verdict(Indeterminate, target, NoEDE,
			"no trust anchor covers %s", Show(target))}
	}
	cur := v.anchorKeys(ctx, now, a)
	for n := dns.CountLabel(a.Zone) + 1; n <= dns.CountLabel(target) && cur.state == Secure; n++ {
		name := Ancestor(target, n)
		next := v.remembered(now, name)
		if next == nil {
			next = v.descend(ctx, now, cur, name)
		}
		if next.missing {
			break
		}
		if !next.noCut {
			cur = next
		} else if next.state != Secure {
			return next
		}
	}
	return cur
}

// anchorKeys fetches the keys of the anchor's zone and verifies them by it.
func (v *Validator) anchorKeys(ctx context.Context, now time.Time, a Anchor) *zoneTrust {
	if z := v.remembered(now, a.Zone); z != nil && !z.noCut {
		return z
	}
	z := &zoneTrust{name: a.Zone}
	ds := usableDS(a.DS)
	keyOK := slices.ContainsFunc(a.Keys, func(k *dns.DNSKEY) bool { return SupportedAlgorithm(k.Algorithm) })
	if len(ds) == 0 && !keyOK {
		z.state = Insecure
		z.verdict = verdict(Insecure, a.Zone, int(dns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm),
			"the trust anchor of %s uses only algorithms or digests that are not supported", Show(a.Zone))
		return z
	}
	return v.zoneKeys(ctx, now, z, ds, a.Keys, "the trust anchor", nil, time.Time{})
}

// usableDS drops digests and algorithms that are not implemented, and SHA-1
// where a stronger digest stands beside it (RFC 4509, section 3).
func usableDS(all []*dns.DS) []*dns.DS {
	var out []*dns.DS
	strong := false
	for _, ds := range all {
		if SupportedAlgorithm(ds.Algorithm) && SupportedDigest(ds.DigestType) {
			out = append(out, ds)
			strong = strong || ds.DigestType != dns.SHA1
		}
	}
	if strong {
		out = slices.DeleteFunc(out, func(ds *dns.DS) bool { return ds.DigestType == dns.SHA1 })
	}
	return out
}

// zoneKeys fetches z's DNSKEY set, finds the keys that ds or trusted name, and
// lets them vouch for the rest (RFC 4035, section 5.2).
func (v *Validator) zoneKeys(ctx context.Context, now time.Time, z *zoneTrust, ds []*dns.DS, trusted []*dns.DNSKEY, by string, chain []Link, until time.Time) *zoneTrust {
	fail := func(vd Verdict) {
		z.state, z.verdict = Bogus, vd
		z.chain = append(slices.Clone(chain), Link{Zone: z.name, State: Bogus, Text: vd.Reason})
	}
	var avoid []netip.AddrPort
	for range attempts {
		r, err := v.fetch(ctx, z.name, dns.TypeDNSKEY, avoid)
		if err != nil {
			if avoid == nil {
				fail(verdict(Bogus, z.name, int(dns.ExtendedErrorCodeDNSKEYMissing),
					"%s vouches for %s, but its DNSKEY set cannot be had: %s", by, Show(z.name), Escape(err.Error())))
			}
			return z
		}
		avoid = append(avoid, r.Server)
		set := Find(Group(r.Answer), z.name, dns.TypeDNSKEY)
		if r.Kind != Answer || set == nil {
			fail(verdict(Bogus, z.name, int(dns.ExtendedErrorCodeDNSKEYMissing),
				"%s vouches for %s, but its servers serve no DNSKEY set", by, Show(z.name)))
			continue
		}
		entry := entryKeys(set, ds, trusted)
		if len(entry) == 0 {
			fail(verdict(Bogus, z.name, int(dns.ExtendedErrorCodeDNSKEYMissing),
				"none of %s's keys matches %s (key %s)", Show(z.name), by, wantedTags(ds, trusted)))
			continue
		}
		sig, bad := verifySet(now, set, z.name, entry)
		if bad != nil {
			fail(broken(set, z.name, bad))
			continue
		}
		z.state, z.verdict = Secure, Verdict{State: Secure, EDE: NoEDE}
		z.keys = nil
		link := Link{Zone: z.name, State: Secure}
		for _, rr := range set.RRs {
			k := rr.(*dns.DNSKEY)
			if k.Flags&dns.ZONE == 0 || k.Flags&dns.REVOKE != 0 {
				continue
			}
			z.keys = append(z.keys, k)
			link.KeyTags = append(link.KeyTags, k.KeyTag())
			if n := algorithmName(k.Algorithm); !slices.Contains(link.Algorithms, n) {
				link.Algorithms = append(link.Algorithms, n)
			}
		}
		link.Text = fmt.Sprintf("%s: key %d (%s) matches %s and signs the DNSKEY set, until %s",
			Show(z.name), sig.KeyTag, algorithmName(sig.Algorithm), by, stamp(sig.Expiration))
		z.chain = append(slices.Clone(chain), link)
		z.expires = earliest(until, expiry(now, set, sig))
		return v.remember(z)
	}
	return z
}

// entryKeys are the keys of the set that a DS or an anchor names.
func entryKeys(set *RRset, ds []*dns.DS, trusted []*dns.DNSKEY) []*dns.DNSKEY {
	var out []*dns.DNSKEY
	digests := 0
	for _, rr := range set.RRs {
		k, ok := rr.(*dns.DNSKEY)
		if !ok || k.Flags&dns.REVOKE != 0 {
			continue
		}
		match := slices.ContainsFunc(trusted, func(t *dns.DNSKEY) bool {
			return t.Algorithm == k.Algorithm && t.Protocol == k.Protocol && t.PublicKey == k.PublicKey
		})
		for _, d := range ds {
			if match || d.KeyTag != k.KeyTag() || d.Algorithm != k.Algorithm {
				continue
			}
			if digests++; digests > 4*MaxKeys {
				return out
			}
			match = matchDS(d, k)
		}
		if match {
			out = append(out, k)
		}
	}
	return out
}

func wantedTags(ds []*dns.DS, keys []*dns.DNSKEY) string {
	s := ""
	add := func(tag uint16) {
		if s != "" {
			s += ", "
		}
		s += fmt.Sprint(tag)
	}
	for _, d := range ds {
		add(d.KeyTag)
	}
	for _, k := range keys {
		add(k.KeyTag())
	}
	return s
}

// expiry is when a verified set stops being usable: its TTL, or its signature.
func expiry(now time.Time, set *RRset, sig *dns.RRSIG) time.Time {
	ttl := sig.OrigTtl
	for _, rr := range set.RRs {
		ttl = min(ttl, rr.Header().Ttl)
	}
	left := sig.Expiration - uint32(now.Unix())
	return now.Add(time.Duration(min(ttl, left)) * time.Second)
}

// descend decides what name is, one label below what is known of zone cur: a
// secure zone, an unsigned one, or no zone of its own.
func (v *Validator) descend(ctx context.Context, now time.Time, cur *zoneTrust, name string) *zoneTrust {
	var z *zoneTrust
	var avoid []netip.AddrPort
	for range attempts {
		r, err := v.fetch(ctx, name, dns.TypeDS, avoid)
		if err != nil {
			if z == nil {
				z = &zoneTrust{name: name, state: Bogus, verdict: verdict(Bogus, cur.name, int(dns.ExtendedErrorCodeDNSBogus),
					"whether %s is signed cannot be learnt from %s: %s", Show(name), Show(cur.name), Escape(err.Error()))}
				z.chain = append(slices.Clone(cur.chain), Link{Zone: name, State: Bogus, Text: z.verdict.Reason})
			}
			return z
		}
		avoid = append(avoid, r.Server)
		if z = v.judgeDS(ctx, now, cur, name, r); z.state != Bogus || z.verdict.Zone == name {
			return z // fine, or broken in the child, which no other answer of the parent mends
		}
	}
	return z
}

func (v *Validator) judgeDS(ctx context.Context, now time.Time, cur *zoneTrust, name string, r *Response) *zoneTrust {
	z := &zoneTrust{name: name}
	end := func(vd Verdict) *zoneTrust {
		z.state, z.verdict = vd.State, vd
		z.chain = append(slices.Clone(cur.chain), Link{Zone: name, State: vd.State, Text: vd.Reason})
		if vd.State == Insecure {
			z.expires = earliest(cur.expires, now.Add(ttlOf(r)))
			v.remember(z)
		}
		return z
	}
	same := func(missing bool) *zoneTrust {
		z.state, z.noCut, z.missing = Secure, true, missing
		z.expires = earliest(cur.expires, now.Add(ttlOf(r)))
		return v.remember(z)
	}
	sets := Group(r.Answer)
	switch r.Kind {
	case Answer:
		set := Find(sets, name, dns.TypeDS)
		if set == nil {
			return end(verdict(Bogus, cur.name, int(dns.ExtendedErrorCodeDNSBogus), "%s's DS set is missing from the answer for it", Show(name)))
		}
		sig, bad := verifySet(now, set, cur.name, cur.keys)
		if bad != nil {
			return end(broken(set, cur.name, bad))
		}
		var all []*dns.DS
		for _, rr := range set.RRs {
			all = append(all, rr.(*dns.DS))
		}
		ds := usableDS(all)
		if len(ds) == 0 {
			code := int(dns.ExtendedErrorCodeUnsupportedDSDigestType)
			if !slices.ContainsFunc(all, func(d *dns.DS) bool { return SupportedAlgorithm(d.Algorithm) }) {
				code = int(dns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm)
			}
			return end(verdict(Insecure, name, code,
				"%s is signed, but only with algorithms or digests that are not supported, so it counts as unsigned", Show(name)))
		}
		by := fmt.Sprintf("the DS record in %s", Show(cur.name))
		return v.zoneKeys(ctx, now, z, ds, nil, by, cur.chain, earliest(cur.expires, expiry(now, set, sig)))
	case CNAME, DNAME:
		// An alias cannot be a zone's apex, so the zone above goes on; but
		// only a signed alias proves that.
		if vd := v.checkSets(now, cur, positiveSets(sets, r)); vd.State == Bogus {
			return end(vd)
		}
		return same(false)
	}
	d, vd := v.denial(now, cur, r)
	if vd.State == Bogus {
		return end(vd)
	}
	if d.tooDear {
		return end(verdict(Insecure, name, int(dns.ExtendedErrorCodeUnsupportedNSEC3IterValue),
			"%s uses NSEC3 with more than %d iterations, so it counts as unsigned from %s down", Show(cur.name), MaxIterations, Show(name)))
	}
	if r.Kind == NXDomain && d.nxdomain(name) == proofSecure {
		return same(true)
	}
	switch d.nodata(name, dns.TypeDS) {
	case proofSecure:
		if d.delegation(name) {
			return end(verdict(Insecure, name, NoEDE,
				"%s proves by %s that %s is delegated without DS record: it is unsigned from here down", Show(cur.name), d.kind(), Show(name)))
		}
		return same(false)
	case proofInsecure:
		return end(verdict(Insecure, name, NoEDE,
			"%s lies in an opt-out span of %s's NSEC3 chain: if it exists it is unsigned", Show(name), Show(cur.name)))
	}
	if d.nxdomain(name) == proofInsecure {
		return end(verdict(Insecure, name, NoEDE,
			"%s lies in an opt-out span of %s's NSEC3 chain: if it exists it is unsigned", Show(name), Show(cur.name)))
	}
	return end(verdict(Bogus, cur.name, int(dns.ExtendedErrorCodeNSECMissing),
		"%s is signed, but its servers do not prove that %s has no DS record", Show(cur.name), Show(name)))
}

func ttlOf(r *Response) time.Duration {
	ttl := uint32(3600)
	for _, rr := range append(slices.Clone(r.Answer), r.Authority...) {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return time.Duration(ttl) * time.Second
}

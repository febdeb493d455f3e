package dnssec

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Kind is what a response says about its question.
type Kind uint8

// The kinds of response. A chain of aliases is one response a step.
const (
	Answer   Kind = iota // records of the type asked for
	CNAME                // the name is an alias
	DNAME                // an ancestor of the name is renamed
	NoData               // the name has no such records
	NXDomain             // the name does not exist
)

func (k Kind) String() string {
	return [...]string{"answer", "CNAME", "DNAME", "no data", "NXDOMAIN"}[k]
}

// Response is one response to judge: the sections that matter, of one step in a
// chain of aliases.
type Response struct {
	Name      string // the name asked for, canonical
	Type      uint16
	Kind      Kind
	Answer    []dns.RR // the set and its signatures; for DNAME with the CNAME made from it
	Authority []dns.RR // SOA, NSEC, NSEC3 and their signatures
	Server    netip.AddrPort
}

// Fetcher asks for a name and type on the validator's behalf, without using the
// servers in avoid, whose earlier answers did not hold. An error says that no
// answer is to be had.
type Fetcher func(ctx context.Context, name string, typ uint16, avoid []netip.AddrPort) (*Response, error)

// Options configures a Validator.
type Options struct {
	// Anchors are the trust anchors; none makes every answer Indeterminate.
	Anchors []Anchor

	// Unsigned lists names at and below which nothing is validated unless a
	// deeper anchor says so (negative trust anchors, RFC 7646).
	Unsigned []string
}

// Validator judges responses. It remembers the keys of zones that it has
// verified, for as long as their TTLs and signatures allow. It is safe for
// concurrent use.
type Validator struct {
	fetch   Fetcher
	anchors map[string]Anchor
	neg     []string
	memory  *memory
}

type memory struct {
	mu      sync.Mutex
	zones   map[string]*zoneTrust
	denials map[string]*denialMemory
}

// maxZones bounds what a Validator remembers.
const maxZones = 4096

// attempts is how many servers may be tried for a DS or DNSKEY set that does
// not verify, before the zone is called bogus.
const attempts = 3

// NewValidator returns a Validator that fetches through fetch.
func NewValidator(fetch Fetcher, o Options) *Validator {
	v := &Validator{fetch: fetch, anchors: make(map[string]Anchor), memory: &memory{
		zones: make(map[string]*zoneTrust), denials: make(map[string]*denialMemory)}}
	for _, a := range o.Anchors {
		zone := dns.CanonicalName(a.Zone)
		have := v.anchors[zone]
		have.Zone = zone
		have.DS = append(have.DS, a.DS...)
		have.Keys = append(have.Keys, a.Keys...)
		v.anchors[zone] = have
	}
	for _, n := range o.Unsigned {
		v.neg = append(v.neg, dns.CanonicalName(n))
	}
	return v
}

// With returns a Validator that fetches through fetch and shares its anchors
// and its memory with v.
func (v *Validator) With(fetch Fetcher) *Validator {
	c := *v
	c.fetch = fetch
	return &c
}

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
	for n := name; ; n = parent(n) {
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

func (v *Validator) remembered(now time.Time, name string) *zoneTrust {
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	z := v.memory.zones[name]
	if z != nil && now.After(z.expires) {
		delete(v.memory.zones, name)
		return nil
	}
	return z
}

func (v *Validator) remember(z *zoneTrust) *zoneTrust {
	if z.state == Bogus || z.expires.IsZero() {
		return z // the next lookup may meet better servers
	}
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	if len(v.memory.zones) >= maxZones {
		clear(v.memory.zones)
	}
	v.memory.zones[z.name] = z
	return z
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
		name := ancestor(target, n)
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

// denials is the verified denial records of a response.
type denials struct {
	nsec    nsecSet
	nsec3   *nsec3Set
	tooDear bool // NSEC3 beyond MaxIterations
	expires time.Time
	sets    []*RRset // what verified, and until when it may be kept
	until   []time.Time
}

func (d *denials) either(a func() proof, b func() proof) proof {
	if p := a(); p != proofNone || d.nsec3 == nil {
		return p
	}
	return b()
}

func (d *denials) nxdomain(name string) proof {
	return d.either(func() proof { return d.nsec.nxdomain(name) }, func() proof { return d.nsec3.nxdomain(name) })
}

func (d *denials) nodata(name string, typ uint16) proof {
	return d.either(func() proof { return d.nsec.nodata(name, typ) }, func() proof { return d.nsec3.nodata(name, typ) })
}

func (d *denials) wildcard(name, encloser string) proof {
	return d.either(func() proof { return d.nsec.wildcard(name, encloser) }, func() proof { return d.nsec3.wildcard(name, encloser) })
}

// delegation says whether the record at name shows a zone cut.
func (d *denials) delegation(name string) bool {
	if r := d.nsec.at(name); r != nil {
		return hasType(r.TypeBitMap, dns.TypeNS)
	}
	if d.nsec3 != nil {
		if r := d.nsec3.at(name); r != nil {
			return hasType(r.TypeBitMap, dns.TypeNS)
		}
	}
	return false
}

func (d *denials) kind() string {
	if len(d.nsec.recs) > 0 {
		return "NSEC"
	}
	return "NSEC3"
}

// denial verifies the SOA, NSEC and NSEC3 sets in the authority section. Sets
// without signature are left out; one that fails its check makes it bogus.
func (v *Validator) denial(now time.Time, cur *zoneTrust, r *Response) (*denials, Verdict) {
	d := &denials{nsec: nsecSet{zone: cur.name}}
	var n3 []*dns.NSEC3
	for _, set := range Group(r.Authority) {
		switch set.Type {
		case dns.TypeSOA, dns.TypeNSEC, dns.TypeNSEC3:
		default:
			continue
		}
		if len(set.RRs) == 0 || len(set.Sigs) == 0 || !dns.IsSubDomain(cur.name, set.Name) {
			continue
		}
		sig, bad := verifySet(now, set, cur.name, cur.keys)
		if bad != nil {
			return d, broken(set, cur.name, bad)
		}
		d.expires = earliest(d.expires, expiry(now, set, sig))
		if set.Type != dns.TypeSOA && int(sig.Labels) < ownerLabels(set.Name) {
			continue // a denial record is never a wildcard's expansion
		}
		d.sets, d.until = append(d.sets, set), append(d.until, expiry(now, set, sig))
		for _, rr := range set.RRs {
			switch rr := rr.(type) {
			case *dns.NSEC:
				d.nsec.recs = append(d.nsec.recs, rr)
			case *dns.NSEC3:
				n3 = append(n3, rr)
			}
		}
	}
	if len(n3) > 0 {
		var err error
		if d.nsec3, err = newNSEC3Set(cur.name, n3); err != nil {
			d.nsec3, d.tooDear = nil, true
		}
	}
	return d, Verdict{State: Secure, EDE: NoEDE}
}

func ownerLabels(name string) int {
	n := dns.CountLabel(name)
	if len(name) > 1 && name[:2] == "*." {
		n--
	}
	return n
}

func ttlOf(r *Response) time.Duration {
	ttl := uint32(3600)
	for _, rr := range append(slices.Clone(r.Answer), r.Authority...) {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return time.Duration(ttl) * time.Second
}

// positiveSets are the sets of an answer that must verify: all but the CNAME
// that a server made from a DNAME.
func positiveSets(sets []*RRset, r *Response) []*RRset {
	var out []*RRset
	for _, s := range sets {
		if len(s.RRs) == 0 || r.Kind == DNAME && s.Type != dns.TypeDNAME {
			continue
		}
		out = append(out, s)
	}
	return out
}

func (v *Validator) checkSets(now time.Time, z *zoneTrust, sets []*RRset) Verdict {
	for _, s := range sets {
		if _, bad := verifySet(now, s, z.name, z.keys); bad != nil {
			return broken(s, z.name, bad)
		}
	}
	return Verdict{State: Secure, EDE: NoEDE}
}

// Validate judges one response as of now.
func (v *Validator) Validate(ctx context.Context, now time.Time, r *Response) Verdict {
	if r.Type == dns.TypeRRSIG {
		return verdict(Indeterminate, r.Name, NoEDE, "signatures are not themselves signed, so there is nothing to validate")
	}
	switch r.Kind {
	case NoData, NXDomain:
		return v.negative(ctx, now, r)
	}
	sets := positiveSets(Group(r.Answer), r)
	if len(sets) == 0 {
		return verdict(Bogus, r.Name, int(dns.ExtendedErrorCodeDNSBogus), "the answer for %s holds no records", Show(r.Name))
	}
	out := v.positive(ctx, now, r, sets[0])
	for _, s := range sets[1:] {
		out = Join(out, v.positive(ctx, now, r, s))
	}
	return out
}

// zoneOf finds the zone that must have signed a set at name: by its signer if
// the signer can be believed, else by walking to the name itself.
func (v *Validator) zoneOf(ctx context.Context, now time.Time, name string, typ uint16, signer string) *zoneTrust {
	top := name
	if typ == dns.TypeDS && name != "." {
		top = parent(name) // the parent's side of the cut
	}
	if signer != "" && dns.IsSubDomain(signer, top) {
		if a, ok, _ := v.anchorFor(top); ok && !dns.IsSubDomain(a.Zone, signer) {
			signer = "" // a signer above the anchor has no say below it
		} else {
			z := v.trust(ctx, now, signer)
			if z.state != Secure || z.name == signer {
				return z
			}
		}
	}
	return v.trust(ctx, now, top)
}

func (v *Validator) positive(ctx context.Context, now time.Time, r *Response, set *RRset) Verdict {
	z := v.zoneOf(ctx, now, set.Name, set.Type, set.signer())
	if z.state != Secure {
		return z.verdictNow()
	}
	sig, bad := verifySet(now, set, z.name, z.keys)
	if bad != nil {
		vd := broken(set, z.name, bad)
		vd.Chain = append(slices.Clone(z.chain), Link{Zone: z.name, State: Bogus, Text: vd.Reason})
		return vd
	}
	out := Verdict{State: Secure, Zone: z.name, EDE: NoEDE, Chain: slices.Clone(z.chain), Expires: earliest(z.expires, expiry(now, set, sig))}
	out.Reason = fmt.Sprintf("%s's %s set is signed by %s (key %d, %s) and the signature holds until %s",
		Show(set.Name), typeName(set.Type), Show(z.name), sig.KeyTag, algorithmName(sig.Algorithm), stamp(sig.Expiration))
	if int(sig.Labels) >= ownerLabels(set.Name) {
		return out
	}
	encloser := ancestor(set.Name, int(sig.Labels))
	d, vd := v.denial(now, z, r)
	if vd.State == Bogus {
		vd.Chain = z.chain
		return vd
	}
	p := d.wildcard(set.Name, encloser)
	switch {
	case d.tooDear:
		out.State, out.EDE = Insecure, int(dns.ExtendedErrorCodeUnsupportedNSEC3IterValue)
		out.Reason = fmt.Sprintf("%s uses NSEC3 with more than %d iterations, so it counts as unsigned", Show(z.name), MaxIterations)
	case p == proofInsecure:
		out.State = Insecure
		out.Reason = fmt.Sprintf("%s comes from a wildcard, and an opt-out span leaves open whether a closer name exists", Show(set.Name))
	case p == proofNone:
		out.State, out.EDE = Bogus, int(dns.ExtendedErrorCodeNSECMissing)
		out.Reason = fmt.Sprintf("%s comes from the wildcard *.%s, but nothing proves that %s itself does not exist",
			Show(set.Name), Show(encloser), Show(set.Name))
	default:
		out.Expires = earliest(out.Expires, d.expires)
		v.keepDenial(d, z.name, set, int(sig.Labels), out.Expires)
		out.Reason += fmt.Sprintf("; it comes from the wildcard *.%s", Show(encloser))
	}
	return out
}

func (v *Validator) negative(ctx context.Context, now time.Time, r *Response) Verdict {
	signer := ""
	for _, set := range Group(r.Authority) {
		switch set.Type {
		case dns.TypeNSEC, dns.TypeNSEC3:
			if s := set.signer(); s != "" && dns.IsSubDomain(s, r.Name) {
				signer = s
			}
		case dns.TypeSOA:
			if s := set.signer(); signer == "" && s != "" && dns.IsSubDomain(s, r.Name) {
				signer = s
			}
		}
	}
	z := v.zoneOf(ctx, now, r.Name, r.Type, signer)
	if z.state != Secure {
		return z.verdictNow()
	}
	d, vd := v.denial(now, z, r)
	if vd.State == Bogus {
		vd.Chain = append(slices.Clone(z.chain), Link{Zone: z.name, State: Bogus, Text: vd.Reason})
		return vd
	}
	out := Verdict{State: Secure, Zone: z.name, EDE: NoEDE, Chain: slices.Clone(z.chain), Expires: earliest(z.expires, d.expires)}
	what := fmt.Sprintf("%s does not exist", Show(r.Name))
	var p proof
	if r.Kind == NXDomain {
		p = d.nxdomain(r.Name)
	} else {
		what = fmt.Sprintf("%s has no %s records", Show(r.Name), typeName(r.Type))
		p = d.nodata(r.Name, r.Type)
	}
	switch {
	case d.tooDear:
		out.State, out.EDE = Insecure, int(dns.ExtendedErrorCodeUnsupportedNSEC3IterValue)
		out.Reason = fmt.Sprintf("%s uses NSEC3 with more than %d iterations, so it counts as unsigned", Show(z.name), MaxIterations)
	case p == proofSecure:
		v.keepDenial(d, z.name, nil, 0, time.Time{})
		out.Reason = fmt.Sprintf("%s proves by %s that %s", Show(z.name), d.kind(), what)
	case p == proofInsecure:
		out.State = Insecure
		out.Reason = fmt.Sprintf("%s: an opt-out span of %s's NSEC3 chain leaves open whether an unsigned delegation is there", what, Show(z.name))
	default:
		out.State, out.EDE = Bogus, int(dns.ExtendedErrorCodeNSECMissing)
		out.Reason = fmt.Sprintf("%s is signed, but its servers do not prove that %s", Show(z.name), what)
		out.Chain = append(out.Chain, Link{Zone: z.name, State: Bogus, Text: out.Reason})
	}
	return out
}

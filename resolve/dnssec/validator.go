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
		top = Parent(name) // the parent's side of the cut
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
	encloser := Ancestor(set.Name, int(sig.Labels))
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

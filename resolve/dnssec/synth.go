package dnssec

import (
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Aggressive use of what was proved before (RFC 8198): verified denial records
// deny every name in their spans, and a verified wildcard answers for every name
// that it would match, until they expire.

// denialMemory is what is remembered of one zone.
type denialMemory struct {
	soa   *heldSet
	spans map[string]*heldSet   // NSEC and NSEC3 by owner
	wild  map[question]*heldSet // by wildcard owner and type
}

type question struct {
	name string
	typ  uint16
}

type heldSet struct {
	rrs     []dns.RR // with signatures
	expires time.Time
}

const (
	maxDenialZones = 1024
	maxSpans       = 256 // records of one zone
)

func hold(set *RRset, expires time.Time) *heldSet {
	h := &heldSet{rrs: slices.Clone(set.RRs), expires: expires}
	for _, sig := range set.Sigs {
		h.rrs = append(h.rrs, sig)
	}
	return h
}

// keepDenial remembers the verified sets of a secure denial, and the wildcard
// set that an answer was made from, if any.
func (v *Validator) keepDenial(d *denials, zone string, wildcard *RRset, labels int, expires time.Time) {
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	m := v.memory.denials[zone]
	if m == nil {
		if len(v.memory.denials) >= maxDenialZones {
			clear(v.memory.denials)
		}
		m = &denialMemory{spans: make(map[string]*heldSet), wild: make(map[question]*heldSet)}
		v.memory.denials[zone] = m
	}
	for i, set := range d.sets {
		h := hold(set, d.until[i])
		if set.Type == dns.TypeSOA {
			m.soa = h
			continue
		}
		if r, ok := set.RRs[0].(*dns.NSEC3); ok && optOut(r) {
			continue // leaves open what is in its span
		}
		if len(m.spans) >= maxSpans {
			clear(m.spans)
		}
		m.spans[set.Name] = h
	}
	if wildcard == nil {
		return
	}
	owner := child("*", Ancestor(wildcard.Name, labels))
	h := hold(wildcard, expires)
	for i, rr := range h.rrs {
		h.rrs[i] = dns.Copy(rr)
		h.rrs[i].Header().Name = owner
	}
	if len(m.wild) >= maxSpans {
		clear(m.wild)
	}
	m.wild[question{owner, wildcard.Type}] = h
}

// Synthesise answers from what was proved before, without asking anybody. ok is
// false when that does not suffice.
func (v *Validator) Synthesise(now time.Time, name string, typ uint16) (r *Response, vd Verdict, ok bool) {
	if typ == dns.TypeANY || typ == dns.TypeRRSIG {
		return nil, Verdict{}, false
	}
	top := name
	if typ == dns.TypeDS && name != "." {
		top = Parent(name)
	}
	for zone := top; ; zone = Parent(zone) {
		if soa, spans, wild := v.held(now, zone); len(spans) > 0 {
			z := v.remembered(now, zone)
			if z == nil || z.state != Secure || z.noCut {
				return nil, Verdict{}, false
			}
			return synthesise(now, z, soa, spans, wild, name, typ)
		}
		if zone == "." {
			return nil, Verdict{}, false
		}
	}
}

// held copies what is still valid of a zone's memory.
func (v *Validator) held(now time.Time, zone string) (soa *heldSet, spans []*heldSet, wild map[question]*heldSet) {
	v.memory.mu.Lock()
	defer v.memory.mu.Unlock()
	m := v.memory.denials[zone]
	if m == nil {
		return nil, nil, nil
	}
	if m.soa != nil && now.Before(m.soa.expires) {
		soa = m.soa
	}
	for owner, h := range m.spans {
		if !now.Before(h.expires) {
			delete(m.spans, owner)
			continue
		}
		spans = append(spans, h)
	}
	wild = make(map[question]*heldSet)
	for q, h := range m.wild {
		if now.Before(h.expires) {
			wild[q] = h
		}
	}
	return soa, spans, wild
}

// records makes a denial of some held sets; hashes are shared between calls.
func records(zone string, spans []*heldSet, hashes map[string]string) *denials {
	d := &denials{nsec: nsecSet{zone: zone}}
	var n3 []*dns.NSEC3
	for _, h := range spans {
		switch rr := h.rrs[0].(type) {
		case *dns.NSEC:
			d.nsec.recs = append(d.nsec.recs, rr)
		case *dns.NSEC3:
			n3 = append(n3, rr)
		}
	}
	if len(n3) > 0 {
		if s, err := newNSEC3Set(zone, n3); err == nil {
			s.hashes = hashes
			d.nsec3 = s
		}
	}
	return d
}

func synthesise(now time.Time, z *zoneTrust, soa *heldSet, spans []*heldSet, wild map[question]*heldSet, name string, typ uint16) (*Response, Verdict, bool) {
	hashes := make(map[string]string)
	r := &Response{Name: name, Type: typ}
	var holds func([]*heldSet) bool
	d := records(z.name, spans, hashes)
	var source *heldSet
	switch {
	case soa != nil && d.nxdomain(name) == proofSecure:
		r.Kind = NXDomain
		holds = func(s []*heldSet) bool { return records(z.name, s, hashes).nxdomain(name) == proofSecure }
	case soa != nil && d.nodata(name, typ) == proofSecure:
		r.Kind = NoData
		holds = func(s []*heldSet) bool { return records(z.name, s, hashes).nodata(name, typ) == proofSecure }
	default:
		// A wildcard that is held shows that its encloser exists; what is left
		// to show is that nothing closer does.
		for encloser := name; source == nil; {
			if encloser == z.name || encloser == "." {
				return nil, Verdict{}, false
			}
			encloser = Parent(encloser)
			owner := child("*", encloser)
			h := wild[question{owner, typ}]
			kind := Answer
			if h == nil {
				h, kind = wild[question{owner, dns.TypeCNAME}], CNAME
			}
			if h == nil || d.wildcard(name, encloser) != proofSecure {
				continue
			}
			source, r.Kind = h, kind
			holds = func(s []*heldSet) bool { return records(z.name, s, hashes).wildcard(name, encloser) == proofSecure }
		}
	}
	// Keep only the records that the proof needs: leave out halves, quarters and
	// so on, as long as it holds.
	for n := (len(spans) + 1) / 2; n > 0; n /= 2 {
		for i := 0; i < len(spans); {
			if without := slices.Delete(slices.Clone(spans), i, min(i+n, len(spans))); holds(without) {
				spans = without
			} else {
				i += n
			}
		}
	}
	used := spans
	if source != nil {
		used = append([]*heldSet{source}, used...)
	} else {
		used = append([]*heldSet{soa}, used...)
	}
	expires := z.expires
	for _, h := range used {
		expires = earliest(expires, h.expires)
	}
	ttl := uint32(expires.Sub(now) / time.Second)
	for i, h := range used {
		for _, rr := range h.rrs {
			c := dns.Copy(rr)
			c.Header().Ttl = min(c.Header().Ttl, ttl)
			if source != nil && i == 0 {
				c.Header().Name = name
				r.Answer = append(r.Answer, c)
			} else {
				r.Authority = append(r.Authority, c)
			}
		}
	}
	vd := Verdict{State: Secure, Zone: z.name, EDE: NoEDE, Chain: slices.Clone(z.chain), Expires: expires}
	vd.Reason = fmt.Sprintf("%s has proved by %s before that %s", Show(z.name), d.kind(), map[Kind]string{
		NXDomain: Show(name) + " does not exist",
		NoData:   fmt.Sprintf("%s has no %s records", Show(name), typeName(typ)),
		Answer:   Show(name) + " is answered by a wildcard",
		CNAME:    Show(name) + " is answered by a wildcard",
	}[r.Kind])
	return r, vd, true
}

package dnssec

import (
	"github.com/miekg/dns"
)

// proof is what a set of denial records shows.
type proof int

const (
	proofNone     proof = iota // nothing of the kind
	proofSecure                // shown
	proofInsecure              // an opt-out span leaves it open (RFC 5155, section 6)
)

func hasType(bitmap []uint16, typ uint16) bool {
	for _, t := range bitmap {
		if t == typ {
			return true
		}
	}
	return false
}

// delegationOnly says that the bitmap is that of the parent's side of a zone
// cut, which says nothing about names at or below it other than for DS
// (RFC 6840, section 4.1).
func delegationOnly(bitmap []uint16) bool {
	return hasType(bitmap, dns.TypeNS) && !hasType(bitmap, dns.TypeSOA)
}

// nsecSet is the validated NSEC records of one response, all of one zone.
type nsecSet struct {
	zone string
	recs []*dns.NSEC
}

// covering finds the record whose span holds name, for use as proof that name
// does not exist. Records from above a cut or a DNAME do not speak for names
// below it (RFC 6840, section 4.1).
func (s nsecSet) covering(name string) *dns.NSEC {
	for _, r := range s.recs {
		owner, next := dns.CanonicalName(r.Hdr.Name), dns.CanonicalName(r.NextDomain)
		if !dns.IsSubDomain(s.zone, name) || !nsecCovers(s.zone, owner, next, name) {
			continue
		}
		if dns.IsSubDomain(owner, name) && (delegationOnly(r.TypeBitMap) || hasType(r.TypeBitMap, dns.TypeDNAME)) {
			continue
		}
		return r
	}
	return nil
}

func nsecCovers(zone, owner, next, name string) bool {
	switch {
	case compareNames(name, owner) <= 0:
		return false
	case next == zone || compareNames(owner, next) >= 0:
		return true // the last NSEC of the zone points back to its apex
	}
	return compareNames(name, next) < 0
}

func (s nsecSet) at(name string) *dns.NSEC {
	for _, r := range s.recs {
		if dns.CanonicalName(r.Hdr.Name) == name {
			return r
		}
	}
	return nil
}

// closestEncloser is the deepest existing ancestor of name that a record
// covering name shows: what name shares with the span's ends.
func closestEncloser(r *dns.NSEC, name string) string {
	n := max(commonLabels(name, dns.CanonicalName(r.Hdr.Name)), commonLabels(name, dns.CanonicalName(r.NextDomain)))
	return Ancestor(name, n)
}

// nxdomain proves that name does not exist, nor a wildcard that would have
// matched it (RFC 4035, section 5.4).
func (s nsecSet) nxdomain(name string) proof {
	r := s.covering(name)
	if r == nil || dns.IsSubDomain(name, dns.CanonicalName(r.NextDomain)) {
		return proofNone // an empty non-terminal exists
	}
	if s.covering(child("*", closestEncloser(r, name))) == nil {
		return proofNone
	}
	return proofSecure
}

// noDataAt says whether one NSEC whose owner answers for the name denies typ.
func noDataAt(bitmap []uint16, name string, typ uint16) bool {
	if hasType(bitmap, typ) || hasType(bitmap, dns.TypeCNAME) {
		return false
	}
	if typ == dns.TypeDS {
		// Only the parent's side speaks for DS; the root has no parent.
		return !hasType(bitmap, dns.TypeSOA) || name == "."
	}
	return !delegationOnly(bitmap)
}

// nodata proves that name has no records of typ: it exists without them, it is
// an empty non-terminal, or a wildcard matches that lacks them.
func (s nsecSet) nodata(name string, typ uint16) proof {
	if r := s.at(name); r != nil {
		if noDataAt(r.TypeBitMap, name, typ) {
			return proofSecure
		}
		return proofNone
	}
	r := s.covering(name)
	if r == nil {
		return proofNone
	}
	if dns.IsSubDomain(name, dns.CanonicalName(r.NextDomain)) {
		return proofSecure // empty non-terminal
	}
	if w := s.at(child("*", closestEncloser(r, name))); w != nil && noDataAt(w.TypeBitMap, name, typ) {
		return proofSecure
	}
	return proofNone
}

// wildcard proves that nothing closer than encloser's wildcard matches name, so
// that the expansion was right (RFC 4035, section 5.3.4).
func (s nsecSet) wildcard(name, encloser string) proof {
	r := s.covering(name)
	if r == nil || closestEncloser(r, name) != encloser || dns.IsSubDomain(name, dns.CanonicalName(r.NextDomain)) {
		return proofNone
	}
	return proofSecure
}

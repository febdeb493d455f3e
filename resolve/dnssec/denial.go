package dnssec

import (
	"time"

	"github.com/miekg/dns"
)

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

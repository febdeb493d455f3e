package dnssec

import (
	"crypto/sha1"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/miekg/dns"
)

// nsec3Set is the validated NSEC3 records of one response. Records of another
// hash, with unknown flags or with other parameters than the first usable one
// are left out (RFC 5155, section 8.2).
type nsec3Set struct {
	zone   string
	recs   []*dns.NSEC3
	salt   []byte
	iter   uint16
	hashes map[string]string // name to hash, so that none is computed twice
}

var errIterations = errors.New("the zone asks for more NSEC3 iterations than we compute")

func newNSEC3Set(zone string, recs []*dns.NSEC3) (*nsec3Set, error) {
	s := &nsec3Set{zone: zone, hashes: make(map[string]string)}
	var salt string
	for _, r := range recs {
		if r.Hash != dns.SHA1 || r.Flags > 1 || Parent(dns.CanonicalName(r.Hdr.Name)) != zone {
			continue
		}
		if r.Iterations > MaxIterations {
			return nil, errIterations
		}
		if s.salt == nil {
			b, err := hex.DecodeString(strings.TrimPrefix(r.Salt, "-"))
			if err != nil {
				continue
			}
			s.salt, s.iter, salt = append([]byte{}, b...), r.Iterations, strings.ToLower(r.Salt)
		} else if r.Iterations != s.iter || strings.ToLower(r.Salt) != salt {
			continue
		}
		s.recs = append(s.recs, r)
	}
	return s, nil
}

// hash is the owner label of name's NSEC3 (RFC 5155, section 5), upper case; it
// is empty once the budget is spent, so that nothing matches any more.
func (s *nsec3Set) hash(name string) string {
	if h, ok := s.hashes[name]; ok {
		return h
	}
	if len(s.hashes) >= MaxHashes {
		return ""
	}
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(name, buf, 0, nil, false)
	if err != nil {
		return ""
	}
	x := sha1.Sum(append(buf[:n:n], s.salt...))
	for range s.iter {
		x = sha1.Sum(append(x[:len(x):len(x)], s.salt...))
	}
	h := base32.HexEncoding.EncodeToString(x[:])
	s.hashes[name] = h
	return h
}

func (s *nsec3Set) at(name string) *dns.NSEC3 {
	if !dns.IsSubDomain(s.zone, name) {
		return nil
	}
	h := s.hash(name)
	for _, r := range s.recs {
		if h != "" && strings.EqualFold(firstLabel(r.Hdr.Name), h) {
			return r
		}
	}
	return nil
}

func (s *nsec3Set) covering(name string) *dns.NSEC3 {
	h := s.hash(name)
	if h == "" {
		return nil
	}
	for _, r := range s.recs {
		owner, next := strings.ToUpper(firstLabel(r.Hdr.Name)), strings.ToUpper(r.NextDomain)
		if owner < next && owner < h && h < next {
			return r
		}
		if owner >= next && (h > owner || h < next) && h != owner {
			return r // the last of the chain
		}
	}
	return nil
}

// encloser finds the closest encloser of name, and the record that covers the
// next closer name (RFC 5155, section 8.3). ok is false when either is missing,
// or when the encloser is a cut or a DNAME, below which this zone has no say.
func (s *nsec3Set) encloser(name string) (ce string, cover *dns.NSEC3, ok bool) {
	next := name
	for n := name; ; n = Parent(n) {
		if r := s.at(n); r != nil {
			if n == name {
				return n, nil, false // it exists
			}
			if hasType(r.TypeBitMap, dns.TypeDNAME) || delegationOnly(r.TypeBitMap) {
				return n, nil, false
			}
			cover = s.covering(next)
			return n, cover, cover != nil
		}
		if n == s.zone || n == "." {
			return "", nil, false
		}
		next = n
	}
}

func optOut(r *dns.NSEC3) bool { return r.Flags&1 != 0 }

func (s *nsec3Set) nxdomain(name string) proof {
	ce, cover, ok := s.encloser(name)
	if !ok || s.covering(child("*", ce)) == nil {
		return proofNone
	}
	if optOut(cover) {
		return proofInsecure // a delegation may hide in the span
	}
	return proofSecure
}

func (s *nsec3Set) nodata(name string, typ uint16) proof {
	if r := s.at(name); r != nil {
		if noDataAt(r.TypeBitMap, name, typ) {
			return proofSecure
		}
		return proofNone
	}
	ce, cover, ok := s.encloser(name)
	if !ok {
		return proofNone
	}
	if w := s.at(child("*", ce)); w != nil {
		if !noDataAt(w.TypeBitMap, name, typ) {
			return proofNone
		}
		if optOut(cover) {
			return proofInsecure
		}
		return proofSecure
	}
	if optOut(cover) {
		// No DS for a span without signatures (RFC 5155, section 8.6), and
		// no more is known of other types either (RFC 5155, errata 3441).
		return proofInsecure
	}
	return proofNone
}

// wildcard proves that the next closer name below encloser does not exist
// (RFC 5155, section 8.8).
func (s *nsec3Set) wildcard(name, encloser string) proof {
	next := Ancestor(name, dns.CountLabel(encloser)+1)
	cover := s.covering(next)
	switch {
	case cover == nil:
		return proofNone
	case optOut(cover):
		return proofInsecure
	}
	return proofSecure
}

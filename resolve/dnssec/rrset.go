package dnssec

import (
	"bytes"
	"strings"

	"github.com/miekg/dns"
)

// RRset is the records of one owner name and type, with the signatures that
// cover them.
type RRset struct {
	Name string // owner, canonical (lower case, fully qualified)
	Type uint16
	RRs  []dns.RR
	Sigs []*dns.RRSIG
}

// Group sorts records into RRsets, in order of first appearance. Signatures go
// to the set that they cover; a signature whose set is absent forms a set
// without records. OPT and other pseudo records are dropped.
func Group(rrs []dns.RR) []*RRset {
	type key struct {
		name string
		typ  uint16
	}
	var sets []*RRset
	index := make(map[key]*RRset)
	get := func(name string, typ uint16) *RRset {
		k := key{dns.CanonicalName(name), typ}
		if s := index[k]; s != nil {
			return s
		}
		s := &RRset{Name: k.name, Type: typ}
		index[k] = s
		sets = append(sets, s)
		return s
	}
	for _, rr := range rrs {
		h := rr.Header()
		switch rr := rr.(type) {
		case *dns.OPT, *dns.TSIG, *dns.SIG:
		case *dns.RRSIG:
			s := get(h.Name, rr.TypeCovered)
			s.Sigs = append(s.Sigs, rr)
		default:
			s := get(h.Name, h.Rrtype)
			s.RRs = append(s.RRs, rr)
		}
	}
	return sets
}

// Find returns the set with this owner and type that has records, or nil.
func Find(sets []*RRset, name string, typ uint16) *RRset {
	name = dns.CanonicalName(name)
	for _, s := range sets {
		if s.Type == typ && len(s.RRs) > 0 && s.Name == name {
			return s
		}
	}
	return nil
}

// signer is the first plausible signer of the set: an ancestor of the owner, or
// the owner itself. It is empty when there is none.
func (s *RRset) signer() string {
	for _, sig := range s.Sigs {
		if name := dns.CanonicalName(sig.SignerName); dns.IsSubDomain(name, s.Name) {
			return name
		}
	}
	return ""
}

// wireLabels returns the labels of a name in lower case, unescaped, rightmost
// first, so that comparing them element by element is the canonical order of
// RFC 4034, section 6.1.
func wireLabels(name string) [][]byte {
	buf := make([]byte, 256)
	n, err := dns.PackDomainName(dns.CanonicalName(name), buf, 0, nil, false)
	if err != nil {
		return nil
	}
	var labels [][]byte
	for i := 0; i < n && buf[i] != 0; {
		l := int(buf[i])
		labels = append(labels, bytes.ToLower(buf[i+1:i+1+l]))
		i += 1 + l
	}
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return labels
}

// compareNames is the canonical order of names (RFC 4034, section 6.1).
func compareNames(a, b string) int {
	la, lb := wireLabels(a), wireLabels(b)
	for i := 0; i < len(la) && i < len(lb); i++ {
		if c := bytes.Compare(la[i], lb[i]); c != 0 {
			return c
		}
	}
	return len(la) - len(lb)
}

// Parent strips the leftmost label; the parent of the root is the root.
func Parent(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[i:]
	}
	return "."
}

// Ancestor keeps the rightmost n labels.
func Ancestor(name string, n int) string {
	idx := dns.Split(name)
	if n <= 0 || len(idx) == 0 {
		return "."
	}
	if n >= len(idx) {
		return name
	}
	return name[idx[len(idx)-n]:]
}

func child(label, zone string) string {
	if zone == "." {
		return label + "."
	}
	return label + "." + zone
}

// firstLabel is the leftmost label, still escaped.
func firstLabel(name string) string {
	if i, end := dns.NextLabel(name, 0); !end {
		return name[:i-1]
	}
	return strings.TrimSuffix(name, ".")
}

func commonLabels(a, b string) int { return dns.CompareDomainName(a, b) }

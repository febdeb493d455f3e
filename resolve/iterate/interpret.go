package iterate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// meaning is what a reply says to a question put to a server of a zone.
type meaning struct {
	outcome Outcome
	reason  string
	steps   []*step // answer, aliases, denial
	next    *cut    // referral
	nextDS  *step   // what the referral says of the child's DS set
	soft    bool    // acceptable only if no other server says better
}

func bad(o Outcome, format string, args ...any) meaning {
	return meaning{outcome: o, reason: fmt.Sprintf(format, args...)}
}

// interpret reads a reply. Only what lies within the zone that was asked for is
// looked at: a server has no say outside of its bailiwick, so a record that it
// slips in from elsewhere is as if it were not there.
func (l *lookup) interpret(k *cut, srv server, q question, m *dns.Msg) meaning {
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeYXDomain:
	default:
		return bad(OutError, "%s", rcodeName(m.Rcode))
	}
	if m.RecursionAvailable && !m.Authoritative && !k.forward {
		mean := l.read(k, srv, q, m)
		if mean.outcome == OutLame {
			return mean
		}
		// It answers from its cache instead of from the zone. Better than
		// nothing, but only if nothing better is to be had.
		mean.soft = true
		return mean
	}
	return l.read(k, srv, q, m)
}

func (l *lookup) read(k *cut, srv server, q question, m *dns.Msg) meaning {
	inside := func(rr dns.RR) bool { return dns.IsSubDomain(k.zone, dns.CanonicalName(rr.Header().Name)) }
	answer := dnssec.Group(keep(m.Answer, inside))
	ns := keep(m.Ns, inside)
	l.learnChildNS(k, q, m, answer)

	mk := func(name string, kind dnssec.Kind, rrs []dns.RR) *step {
		s := &step{zone: k.zone, rcode: dns.RcodeSuccess, rank: rankAnswer, stored: l.now}
		s.Name, s.Type, s.Kind, s.Server = name, q.typ, kind, srv.addr
		s.Answer = rrs
		s.Authority = denialRecords(ns)
		if m.Authoritative || k.forward {
			s.rank = rankAuthority
		}
		return s
	}

	var steps []*step
	name := q.name
	seen := map[string]bool{name: true}
	aliasWanted := q.typ == dns.TypeCNAME
	finish := func(s *step, o Outcome, reason string) meaning {
		l.r.setExpiry(l.now, s)
		return meaning{outcome: o, reason: reason, steps: append(steps, s)}
	}
chain:
	for len(steps) <= l.r.opts.Limits.Aliases {
		if q.typ == dns.TypeANY || q.typ == dns.TypeRRSIG {
			var rrs []dns.RR
			for _, rr := range m.Answer {
				if inside(rr) && dns.CanonicalName(rr.Header().Name) == name && (q.typ == dns.TypeANY || rr.Header().Rrtype == q.typ) {
					rrs = append(rrs, rr)
				}
			}
			if len(rrs) > 0 {
				return finish(mk(name, dnssec.Answer, rrs), OutAnswer, "")
			}
		} else if set := dnssec.Find(answer, name, q.typ); set != nil && (!aliasWanted || len(set.Sigs) > 0 || dnameAbove(answer, name) == nil) {
			return finish(mk(name, dnssec.Answer, setRRs(set)), OutAnswer, "")
		}
		var s *step
		var target string
		if set := dnameAbove(answer, name); set != nil && !(q.typ == dns.TypeDNAME && set.Name == name) {
			d := set.RRs[0].(*dns.DNAME)
			s = mk(name, dnssec.DNAME, setRRs(set))
			var ok bool
			if target, ok = substitute(name, set.Name, dns.CanonicalName(d.Target)); !ok {
				s.rcode = dns.RcodeYXDomain
				s.Kind = dnssec.DNAME
				return finish(s, OutAnswer, "the name would grow too long")
			}
			s.Answer = append(s.Answer, &dns.CNAME{
				Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: d.Hdr.Ttl},
				Target: target,
			})
			if aliasWanted {
				return finish(s, OutAnswer, "")
			}
		} else if set := dnssec.Find(answer, name, dns.TypeCNAME); set != nil && q.typ != dns.TypeCNAME {
			s = mk(name, dnssec.CNAME, setRRs(set))
			target = dns.CanonicalName(set.RRs[0].(*dns.CNAME).Target)
		} else {
			break
		}
		l.r.setExpiry(l.now, s)
		steps = append(steps, s)
		name = target
		if seen[name] || !dns.IsSubDomain(k.zone, name) {
			break chain
		}
		// Below a cut that is already known, its own servers know better.
		if !k.forward {
			if c := l.r.cache.closest(l.now, name); c != nil && c.zone != k.zone && dns.IsSubDomain(k.zone, c.zone) {
				break chain
			}
		}
		seen[name] = true
	}
	if len(steps) > 0 {
		if k.forward {
			// A recursive server has followed the chain to its end.
			if s := denialStep(mk, name, m, ns, k); s != nil {
				return finish(s, outcomeOf(s.Kind), "")
			}
		}
		return meaning{outcome: OutAlias, steps: steps}
	}
	if m.Rcode == dns.RcodeNameError {
		s := mk(q.name, dnssec.NXDomain, nil)
		s.rcode = dns.RcodeNameError
		return finish(s, OutNXDomain, "")
	}

	for _, rr := range ns {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(dns.CanonicalName(soa.Hdr.Name), q.name) {
			mean := finish(mk(q.name, dnssec.NoData, nil), OutNoData, "")
			if q.typ == dns.TypeDS && q.name != "." && dns.CanonicalName(soa.Hdr.Name) == q.name {
				mean.soft = true // the child's side of the cut, which has no DS
			}
			return mean
		}
	}
	if mean, ok := l.referral(k, srv, q, m, ns); ok {
		return mean
	}
	if m.RecursionAvailable && !m.Authoritative && !k.forward {
		return bad(OutLame, "a recursive server, not one of %s", dnssec.Show(k.zone))
	}
	mean := finish(mk(q.name, dnssec.NoData, nil), OutNoData, "an empty reply without SOA")
	mean.soft = !m.Authoritative || l.anyRecords(m)
	return mean
}

// anyRecords says that a reply without an answer still carried something in the
// answer section, so that the server meant something that does not fit.
func (l *lookup) anyRecords(m *dns.Msg) bool { return len(m.Answer) > 0 }

func outcomeOf(k dnssec.Kind) Outcome {
	switch k {
	case dnssec.NXDomain:
		return OutNXDomain
	case dnssec.NoData:
		return OutNoData
	case dnssec.Answer:
		return OutAnswer
	}
	return OutAlias
}

func denialStep(mk func(string, dnssec.Kind, []dns.RR) *step, name string, m *dns.Msg, ns []dns.RR, k *cut) *step {
	if !dns.IsSubDomain(k.zone, name) {
		return nil
	}
	if m.Rcode == dns.RcodeNameError {
		s := mk(name, dnssec.NXDomain, nil)
		s.rcode = dns.RcodeNameError
		return s
	}
	for _, rr := range ns {
		if rr.Header().Rrtype == dns.TypeSOA {
			return mk(name, dnssec.NoData, nil)
		}
	}
	return nil
}

// referral reads NS records in the authority section.
func (l *lookup) referral(k *cut, srv server, q question, m *dns.Msg, ns []dns.RR) (meaning, bool) {
	above := false
	for _, rr := range m.Ns {
		if rr.Header().Rrtype == dns.TypeNS && !dns.IsSubDomain(k.zone, dns.CanonicalName(rr.Header().Name)) {
			above = true
		}
	}
	for _, set := range dnssec.Group(ns) {
		if set.Type != dns.TypeNS || len(set.RRs) == 0 || !dns.IsSubDomain(set.Name, q.name) {
			continue
		}
		if set.Name == k.zone {
			if m.Authoritative || k.forward {
				s := &step{zone: k.zone, rank: rankAuthority, stored: l.now}
				s.Name, s.Type, s.Kind, s.Server = q.name, q.typ, dnssec.NoData, srv.addr
				s.Authority = denialRecords(ns)
				l.r.setExpiry(l.now, s)
				return meaning{outcome: OutNoData, reason: "an empty authoritative reply", steps: []*step{s}}, true
			}
			return bad(OutLame, "refers to %s, whose server it is", dnssec.Show(k.zone)), true
		}
		if q.typ == dns.TypeDS && set.Name == q.name {
			// The parent does not understand DS; that is as good as none.
			s := &step{zone: k.zone, rank: rankAnswer, stored: l.now}
			s.Name, s.Type, s.Kind, s.Server = q.name, q.typ, dnssec.NoData, srv.addr
			s.Authority = denialRecords(ns)
			l.r.setExpiry(l.now, s)
			return meaning{outcome: OutNoData, reason: "a referral in place of a DS answer", steps: []*step{s}, soft: true}, true
		}
		mean := meaning{outcome: OutReferral, next: l.cutFrom(k, set, m.Extra)}
		mean.nextDS = l.referralDS(k, srv, set.Name, ns)
		return mean, true
	}
	if above {
		return bad(OutLame, "refers upwards, away from %s", dnssec.Show(k.zone)), true
	}
	return meaning{}, false
}

// cutFrom makes a cut of an NS set and the glue beside it. Glue counts for
// names within the zone that was asked; other addresses are looked up.
func (l *lookup) cutFrom(k *cut, set *dnssec.RRset, extra []dns.RR) *cut {
	c := &cut{zone: set.Name, glue: make(map[string][]netip.Addr)}
	ttl := uint32(86400)
	for _, rr := range set.RRs {
		if len(c.ns) >= maxNS {
			break // a delegation this wide is an attack, not a service
		}
		ttl = min(ttl, rr.Header().Ttl)
		if n := dns.CanonicalName(rr.(*dns.NS).Ns); !slices.Contains(c.ns, n) {
			c.ns = append(c.ns, n)
		}
	}
	for _, rr := range extra {
		a, ok := addrOf(rr)
		n := dns.CanonicalName(rr.Header().Name)
		if !ok || !slices.Contains(c.ns, n) || !l.r.opts.AnyGlue && !dns.IsSubDomain(k.zone, n) ||
			len(c.glue[n]) >= maxGlue || slices.Contains(c.glue[n], a) {
			continue
		}
		c.glue[n] = append(c.glue[n], a)
	}
	c.expires = l.now.Add(l.r.clampTTL(ttl))
	return c
}

const (
	maxNS   = 32 // servers of one zone that are considered
	maxGlue = 16 // addresses of one server that are considered
)

// referralDS is what a signed referral says of the child's DS set.
func (l *lookup) referralDS(k *cut, srv server, child string, ns []dns.RR) *step {
	s := &step{zone: k.zone, rank: rankReferral, stored: l.now}
	s.Name, s.Type, s.Server = child, dns.TypeDS, srv.addr
	if set := dnssec.Find(dnssec.Group(ns), child, dns.TypeDS); set != nil {
		s.Kind, s.Answer = dnssec.Answer, setRRs(set)
	} else {
		s.Kind = dnssec.NoData
		s.Authority = denialRecords(ns)
		if !slices.ContainsFunc(s.Authority, func(rr dns.RR) bool {
			t := rr.Header().Rrtype
			return t == dns.TypeNSEC || t == dns.TypeNSEC3
		}) {
			return nil
		}
	}
	l.r.setExpiry(l.now, s)
	return s
}

// learnChildNS keeps what a zone's own servers say its NS set is: a second
// opinion for when the parent's delegation fails.
func (l *lookup) learnChildNS(k *cut, q question, m *dns.Msg, answer []*dnssec.RRset) {
	if k.forward || k.zone == "." {
		return
	}
	set := dnssec.Find(answer, k.zone, dns.TypeNS)
	if set == nil {
		set = dnssec.Find(dnssec.Group(m.Ns), k.zone, dns.TypeNS)
	}
	if set == nil {
		return
	}
	if c := l.cutFrom(k, set, m.Extra); len(c.ns) > 0 {
		l.r.cache.storeChild(c)
	}
}

func keep(rrs []dns.RR, ok func(dns.RR) bool) []dns.RR {
	var out []dns.RR
	for _, rr := range rrs {
		if ok(rr) && rr.Header().Class == dns.ClassINET {
			out = append(out, rr)
		}
	}
	return out
}

func setRRs(s *dnssec.RRset) []dns.RR {
	out := slices.Clone(s.RRs)
	for _, sig := range s.Sigs {
		out = append(out, sig)
	}
	return out
}

// denialRecords are the records of an authority section that a denial or a
// wildcard rests on.
func denialRecords(ns []dns.RR) []dns.RR {
	return keep(ns, func(rr dns.RR) bool {
		t := rr.Header().Rrtype
		if sig, ok := rr.(*dns.RRSIG); ok {
			t = sig.TypeCovered
		}
		return t == dns.TypeSOA || t == dns.TypeNSEC || t == dns.TypeNSEC3
	})
}

func dnameAbove(sets []*dnssec.RRset, name string) *dnssec.RRset {
	for n := name; n != "."; {
		n = dnssec.Parent(n)
		if s := dnssec.Find(sets, n, dns.TypeDNAME); s != nil {
			return s
		}
	}
	return nil
}

// substitute replaces the suffix owner of name by target (RFC 6672, 2.2).
func substitute(name, owner, target string) (string, bool) {
	prefix := name
	if owner != "." {
		prefix = strings.TrimSuffix(name, owner)
	}
	if target == "." {
		target = ""
	}
	out := dns.Fqdn(prefix + target)
	_, ok := dns.IsDomainName(out)
	buf := make([]byte, 300)
	if n, err := dns.PackDomainName(out, buf, 0, nil, false); err != nil || n > 255 {
		ok = false
	}
	return out, ok
}

// setExpiry decides how long a response may be kept.
func (r *Resolver) setExpiry(now time.Time, s *step) {
	const none = uint32(1<<32 - 1)
	ttl := none
	for _, rr := range s.Answer {
		ttl = min(ttl, rr.Header().Ttl)
	}
	if s.Kind == dnssec.NoData || s.Kind == dnssec.NXDomain {
		ttl = 0 // without SOA a denial is not kept (RFC 2308, section 5)
		for _, rr := range s.Authority {
			if soa, ok := rr.(*dns.SOA); ok {
				ttl = min(soa.Hdr.Ttl, soa.Minttl, maxNegativeTTL)
			}
		}
		for _, rr := range s.Authority {
			ttl = min(ttl, rr.Header().Ttl)
		}
	}
	if ttl == none {
		ttl = 0
	}
	s.expires = now.Add(r.clampTTL(ttl))
}

const maxNegativeTTL = 3 * 3600 // RFC 2308, section 5

func (r *Resolver) clampTTL(ttl uint32) time.Duration {
	ttl = max(min(ttl, r.opts.MaxTTL), r.opts.MinTTL)
	return time.Duration(ttl) * time.Second
}

func rcodeName(rc int) string {
	if s, ok := dns.RcodeToString[rc]; ok {
		return s
	}
	return fmt.Sprintf("RCODE%d", rc)
}

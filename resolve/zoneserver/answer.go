package zoneserver

import (
	"net/netip"
	"sort"
	"strings"

	"github.com/miekg/dns"
)

// maxAliases bounds the chain that one reply follows within its zone.
const maxAliases = 8

// Reply is what the server at addr replies to a query, as RFC 1034, section
// 4.3.2 describes. It is nil for what deserves no reply at all.
func (h *Hierarchy) Reply(addr netip.Addr, q *dns.Msg) *dns.Msg {
	if q.Response {
		return nil
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	do := false
	if opt := q.IsEdns0(); opt != nil {
		do = opt.Do()
		m.SetEdns0(1232, do)
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return m
		}
	}
	if q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	qq := q.Question[0]
	name := dns.CanonicalName(qq.Name)
	z := h.pick(addr, name, qq.Qtype)
	if z == nil || qq.Qclass != dns.ClassINET || qq.Qtype == dns.TypeAXFR || qq.Qtype == dns.TypeIXFR {
		m.Authoritative = false
		m.Rcode = dns.RcodeRefused
		return m
	}
	r := &reply{z: z, m: m, do: do && z.signed, typ: qq.Qtype}
	r.find(name, 0)
	return m
}

// pick is the deepest zone of this server that holds name; a DS record is the
// parent's.
func (h *Hierarchy) pick(addr netip.Addr, name string, typ uint16) *Zone {
	var best *Zone
	for _, z := range h.byAddr[addr] {
		if !dns.IsSubDomain(z.Name, name) || typ == dns.TypeDS && z.Name == name && name != "." {
			continue
		}
		if best == nil || dns.CountLabel(z.Name) > dns.CountLabel(best.Name) {
			best = z
		}
	}
	if best == nil && typ == dns.TypeDS {
		for _, z := range h.byAddr[addr] {
			if z.Name == name {
				return z
			}
		}
	}
	return best
}

type reply struct {
	z   *Zone
	m   *dns.Msg
	do  bool
	typ uint16
}

// put appends a set and its signatures to a section, under another owner where
// it was made from a wildcard.
func (r *reply) put(to *[]dns.RR, owner string, typ uint16, as string) {
	for _, list := range [][]dns.RR{r.z.get(owner, typ), r.sigs(owner, typ)} {
		for _, rr := range list {
			if as != owner {
				rr = dns.Copy(rr)
				rr.Header().Name = as
			}
			*to = append(*to, rr)
		}
	}
}

func (r *reply) sigs(owner string, typ uint16) []dns.RR {
	if !r.do {
		return nil
	}
	return r.z.sigs[owner][typ]
}

func (r *reply) find(name string, depth int) {
	z := r.z
	// From the apex down: a cut or a DNAME on the way decides.
	labels := dns.Split(name)
	for i := len(labels) - dns.CountLabel(z.Name) - 1; i >= 0; i-- {
		n := name[labels[i]:]
		if len(z.get(n, dns.TypeNS)) > 0 && (n != name || r.typ != dns.TypeDS) {
			r.referral(n, depth)
			return
		}
		if n != name && len(z.get(n, dns.TypeDNAME)) > 0 {
			r.dname(n, name, depth)
			return
		}
	}
	if d := z.get(z.Name, dns.TypeDNAME); len(d) > 0 && name != z.Name {
		r.dname(z.Name, name, depth)
		return
	}
	if z.exists(name) {
		r.at(name, name, depth)
		return
	}
	encloser := name
	for !z.exists(encloser) {
		i, end := dns.NextLabel(encloser, 0)
		if end {
			encloser = "."
			break
		}
		encloser = encloser[i:]
	}
	wild := "*." + strings.TrimPrefix(encloser, ".")
	if len(z.sets[wild]) > 0 {
		r.at(wild, name, depth)
		r.cover(name)
		return
	}
	r.m.Rcode = dns.RcodeNameError
	r.soa()
	r.cover(name)
	r.cover(wild)
}

// exists is true of owners and of the empty non-terminals above them.
func (z *Zone) exists(name string) bool { return z.names[name] }

// at answers from one owner, seen as name.
func (r *reply) at(owner, name string, depth int) {
	z := r.z
	if r.typ == dns.TypeANY {
		for typ := range z.sets[owner] {
			r.put(&r.m.Answer, owner, typ, name)
		}
		if len(r.m.Answer) > 0 {
			return
		}
	}
	if len(z.get(owner, r.typ)) > 0 {
		r.put(&r.m.Answer, owner, r.typ, name)
		return
	}
	if c := z.get(owner, dns.TypeCNAME); len(c) > 0 {
		r.put(&r.m.Answer, owner, dns.TypeCNAME, name)
		r.follow(dns.CanonicalName(c[0].(*dns.CNAME).Target), depth)
		return
	}
	r.soa()
	if len(z.get(owner, dns.TypeNSEC)) > 0 {
		r.nsec(owner)
	} else {
		r.cover(owner) // an empty non-terminal
	}
}

func (r *reply) follow(target string, depth int) {
	if depth < maxAliases && dns.IsSubDomain(r.z.Name, target) {
		r.find(target, depth+1)
	}
}

func (r *reply) dname(owner, name string, depth int) {
	if r.typ == dns.TypeDNAME && owner == name {
		r.at(owner, name, depth)
		return
	}
	r.put(&r.m.Answer, owner, dns.TypeDNAME, owner)
	d := r.z.get(owner, dns.TypeDNAME)[0].(*dns.DNAME)
	target := strings.TrimSuffix(name, owner) + dns.CanonicalName(d.Target)
	target = dns.Fqdn(strings.TrimSuffix(target, "."))
	if buf := make([]byte, 300); target != "." {
		if n, err := dns.PackDomainName(target, buf, 0, nil, false); err != nil || n > 255 {
			r.m.Rcode = dns.RcodeYXDomain
			return
		}
	}
	r.m.Answer = append(r.m.Answer, &dns.CNAME{Hdr: hdr(name, dns.TypeCNAME, d.Hdr.Ttl), Target: target})
	r.follow(target, depth)
}

func (r *reply) referral(cut string, depth int) {
	if depth == 0 {
		r.m.Authoritative = false
	}
	r.m.Ns = append(r.m.Ns, r.z.get(cut, dns.TypeNS)...)
	if r.do {
		if len(r.z.get(cut, dns.TypeDS)) > 0 {
			r.put(&r.m.Ns, cut, dns.TypeDS, cut)
		} else {
			r.nsec(cut)
		}
	}
	for _, ns := range r.z.nsNames(cut) {
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			r.m.Extra = append(r.m.Extra, r.z.get(ns, typ)...)
		}
	}
}

func (r *reply) soa() {
	z := r.z
	soa := dns.Copy(z.get(z.Name, dns.TypeSOA)[0]).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl) // RFC 2308, section 3
	r.m.Ns = append(append(r.m.Ns, soa), r.sigs(z.Name, dns.TypeSOA)...)
}

func (r *reply) nsec(owner string) {
	if !r.do || r.z.Directive == "no-denial" {
		return
	}
	for _, rr := range r.m.Ns {
		if n, ok := rr.(*dns.NSEC); ok && n.Hdr.Name == owner {
			return
		}
	}
	r.put(&r.m.Ns, owner, dns.TypeNSEC, owner)
}

// cover adds the NSEC whose span holds name.
func (r *reply) cover(name string) {
	c := r.z.chain
	if !r.do || len(c) == 0 {
		return
	}
	// The last owner that does not sort after name; before the first there is
	// the last of the chain, but the apex sorts before all of its zone.
	i := sort.Search(len(c), func(i int) bool { return canonicalLess(name, c[i]) }) - 1
	if i >= 0 {
		r.nsec(c[i])
	}
}

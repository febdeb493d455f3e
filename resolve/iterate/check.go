package iterate

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// Agreement is the outcome of Check: what every authoritative server of a zone
// says, and whether they agree.
type Agreement struct {
	Zone     string        `json:"zone"`
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	Agree    bool          `json:"agree"`
	Problems []string      `json:"problems"` // one sentence each, safe to print; empty if they agree
	Notes    []string      `json:"notes"`    // worth knowing, but no disagreement
	ParentNS []string      `json:"parent_ns"`
	Servers  []CheckServer `json:"servers"`
}

// CheckServer is one address of one authoritative server.
type CheckServer struct {
	Server string   `json:"server"`
	Addr   string   `json:"address"`
	Serial uint32   `json:"serial"`
	NS     []string `json:"ns"`
	Answer string   `json:"answer"`
	UDP    Reach    `json:"udp"`
	TCP    Reach    `json:"tcp"`

	addr   netip.AddrPort
	hasSOA bool
}

// Reach is how a server is reached over one transport.
type Reach struct {
	OK    bool    `json:"ok"`
	RTT   float64 `json:"rtt_ms"`
	Error string  `json:"error,omitempty"`
}

// Check asks every authoritative server of the zone that name is in, on every
// address, over UDP and TCP: for the SOA serial, the NS set, and the answer to
// name and typ; and compares them with each other and with what the parent
// says. An error means that the zone could not be found at all.
func (r *Resolver) Check(ctx context.Context, name string, typ uint16) (*Agreement, error) {
	l := &lookup{r: r, ctx: ctx, now: r.opts.Now(), failedNS: make(map[question]bool)}
	name = dns.CanonicalName(name)
	k, _, err := l.cutOf(name)
	if err != nil {
		return nil, fmt.Errorf("finding the zone of %s: %w", dnssec.Show(name), err)
	}
	a := &Agreement{Zone: k.zone, Name: name, Type: typeName(typ), Problems: []string{}, Notes: []string{}}
	for _, ns := range k.ns {
		a.ParentNS = append(a.ParentNS, plain(ns))
	}
	sort.Strings(a.ParentNS)

	// The servers are those the parent names and those the zone itself names.
	all := &cut{zone: k.zone, ns: slices.Clone(k.ns), glue: map[string][]netip.Addr{}, servers: k.servers}
	fixed := k.fixed
	if c := r.cache.child(l.now, k.zone); c != nil && !fixed {
		for _, ns := range c.ns {
			if !slices.Contains(all.ns, ns) {
				all.ns = append(all.ns, ns)
			}
		}
	}
	for ns, addrs := range k.glue {
		all.glue[ns] = slices.Clone(addrs)
	}
	if !fixed {
		a.compareGlue(l, k, all)
	}
	list := r.allServers(l, all)
	if len(list) == 0 {
		a.problem("no server of %s has an address", dnssec.Show(k.zone))
	}
	for _, ns := range all.ns {
		if !slices.ContainsFunc(list, func(s server) bool { return s.name == ns }) {
			a.problem("%s, a server of %s, has no address", dnssec.Show(ns), dnssec.Show(k.zone))
		}
	}
	a.Servers = make([]CheckServer, len(list))
	each(list, func(i int, s server) { a.Servers[i] = r.probe(l, all, s, question{name, typ}) })
	a.compare(k, fixed)
	a.Agree = len(a.Problems) == 0
	return a, nil
}

func (a *Agreement) problem(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(a.Problems, s) {
		a.Problems = append(a.Problems, s)
	}
}

// compareGlue holds the parent's glue against what the zone's own servers say,
// and adds the addresses that only they know.
func (a *Agreement) compareGlue(l *lookup, k, all *cut) {
	for _, ns := range k.ns {
		glue := k.glue[ns]
		if len(glue) == 0 {
			if dns.IsSubDomain(k.zone, ns) {
				a.problem("the parent gives no glue for %s, which lies in %s itself", dnssec.Show(ns), dnssec.Show(k.zone))
			}
			continue
		}
		var own []netip.Addr
		known := false
		for _, typ := range l.r.families() {
			q := question{ns, typ}
			l.stack = append(l.stack, q)
			mean, _, err := l.ask(&cut{zone: k.zone, ns: k.ns, glue: k.glue}, q, nil)
			l.stack = l.stack[:len(l.stack)-1]
			if err != nil || len(mean.steps) == 0 {
				continue
			}
			known = true
			own = append(own, stepAddrs(mean.steps[len(mean.steps)-1])...)
		}
		if !known || !dns.IsSubDomain(k.zone, ns) {
			continue
		}
		for _, g := range glue {
			if !slices.Contains(own, g) {
				a.problem("the parent's glue for %s says %s, the zone itself does not", dnssec.Show(ns), g)
			}
		}
		for _, o := range own {
			if !slices.Contains(glue, o) {
				a.problem("%s has the address %s in the zone, but the parent's glue lacks it", dnssec.Show(ns), o)
				all.glue[ns] = append(all.glue[ns], o)
			}
		}
	}
}

// probe asks one server everything.
func (r *Resolver) probe(l *lookup, k *cut, s server, q question) CheckServer {
	c := CheckServer{Server: plain(s.name), Addr: hostPort(s.addr), addr: s.addr}
	sub := func() *lookup {
		return &lookup{r: r, ctx: l.ctx, now: l.now, failedNS: map[question]bool{}, stack: []question{q}}
	}
	reach := func(tr Transport) Reach {
		one := sub()
		m, hop, err := one.once(k, s, question{k.zone, dns.TypeSOA}, true, false, tr)
		if err != nil {
			return Reach{Error: dnssec.Escape(hop.Reason)}
		}
		out := Reach{OK: true, RTT: float64(hop.RTT) / float64(time.Millisecond)}
		switch {
		case m.Rcode != dns.RcodeSuccess:
			out.OK, out.Error = false, rcodeName(m.Rcode)
		case !m.Authoritative:
			out.OK, out.Error = false, "not authoritative"
		}
		for _, rr := range m.Answer {
			if soa, ok := rr.(*dns.SOA); ok && out.OK && dns.CanonicalName(soa.Hdr.Name) == k.zone {
				c.Serial, c.hasSOA = soa.Serial, true
			}
		}
		if out.OK && !c.hasSOA {
			out.OK, out.Error = false, "no SOA record in the answer"
		}
		return out
	}
	c.UDP, c.TCP = reach(UDP), reach(TCP)
	if !c.UDP.OK && !c.TCP.OK {
		return c
	}
	one := sub()
	if m, _, err := one.exchange(k, s, question{k.zone, dns.TypeNS}); err == nil {
		for _, rr := range m.Answer {
			if ns, ok := rr.(*dns.NS); ok && len(c.NS) < maxNS {
				c.NS = append(c.NS, plain(dns.CanonicalName(ns.Ns)))
			}
		}
		sort.Strings(c.NS)
	}
	if m, hop, err := one.exchange(k, s, q); err != nil {
		c.Answer = "no answer: " + dnssec.Escape(hop.Reason)
	} else {
		c.Answer = describe(q, one.interpret(k, s, q, m))
	}
	return c
}

// compare finds where the servers part ways.
func (a *Agreement) compare(k *cut, fixed bool) {
	for _, s := range a.Servers {
		who := fmt.Sprintf("%s (%s)", strings.TrimSuffix(s.Server, "."), s.Addr)
		switch {
		case !s.UDP.OK && !s.TCP.OK:
			a.problem("%s does not serve %s: %s over UDP, %s over TCP", who, dnssec.Show(k.zone), s.UDP.Error, s.TCP.Error)
		case !s.UDP.OK:
			a.problem("%s is not to be had over UDP: %s", who, s.UDP.Error)
		case !s.TCP.OK:
			a.problem("%s is not to be had over TCP: %s", who, s.TCP.Error)
		}
	}
	group := func(what string, of func(CheckServer) (string, bool)) {
		by := make(map[string][]string)
		for _, s := range a.Servers {
			if v, ok := of(s); ok {
				by[v] = append(by[v], fmt.Sprintf("%s (%s)", strings.TrimSuffix(s.Server, "."), s.Addr))
			}
		}
		if len(by) < 2 {
			return
		}
		var parts []string
		for v, who := range by {
			sort.Strings(who)
			parts = append(parts, fmt.Sprintf("%s at %s", v, strings.Join(who, ", ")))
		}
		sort.Strings(parts)
		a.problem("%s: %s", what, strings.Join(parts, "; "))
	}
	up := func(s CheckServer) bool { return s.UDP.OK || s.TCP.OK }
	group("the SOA serials differ", func(s CheckServer) (string, bool) { return fmt.Sprint(s.Serial), s.hasSOA })
	group("the NS sets differ", func(s CheckServer) (string, bool) { return strings.Join(s.NS, " "), up(s) && len(s.NS) > 0 })
	group(fmt.Sprintf("the answers for %s %s differ", dnssec.Show(a.Name), a.Type),
		func(s CheckServer) (string, bool) { return s.Answer, up(s) })
	if fixed {
		return
	}
	for _, s := range a.Servers {
		if len(s.NS) > 0 && !slices.Equal(s.NS, a.ParentNS) {
			a.problem("the parent names %s as servers of %s, %s itself names %s", strings.Join(a.ParentNS, " "),
				dnssec.Show(k.zone), strings.TrimSuffix(s.Server, "."), strings.Join(s.NS, " "))
		}
	}
	if len(a.ParentNS) < 2 {
		a.Notes = append(a.Notes, fmt.Sprintf("%s has one server only (RFC 2182 asks for two)", dnssec.Show(k.zone)))
	}
}

// WriteText writes a line a server, then the verdict and its reasons.
func (a *Agreement) WriteText(w io.Writer) error {
	var b strings.Builder
	reach := func(r Reach) string {
		if r.OK {
			return fmt.Sprintf("%.1f ms", r.RTT)
		}
		return r.Error
	}
	for _, s := range a.Servers {
		fmt.Fprintf(&b, "%-20s %-40s serial %-10d udp %s, tcp %s  %s\n", plain(a.Zone), s.Server+" ("+s.Addr+")",
			s.Serial, reach(s.UDP), reach(s.TCP), s.Answer)
	}
	for _, n := range a.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	if a.Agree {
		fmt.Fprintf(&b, "agree: all %d addresses of %s's servers say the same\n", len(a.Servers), dnssec.Show(a.Zone))
	} else {
		fmt.Fprintf(&b, "disagree: %s\n", strings.Join(a.Problems, "\n          "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

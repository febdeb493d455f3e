package iterate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// ask puts a question to the servers of a cut until one gives an answer that
// can be used. Servers come in rounds, each dearer than the one before:
// addresses at hand, names without address, names whose glue did not work, and
// last what the zone itself says its servers are.
func (l *lookup) ask(k *cut, q question, avoid []netip.AddrPort) (meaning, server, error) {
	a := &asking{l: l, k: k, q: q, avoid: avoid, tried: make(map[netip.AddrPort]int)}
	for i, round := range []func() bool{a.known, a.missing, a.again, a.stale, a.childs, a.glued} {
		if i > 1 && (a.softer != nil || len(avoid) > 0) {
			break // something is at hand, or was: not worth digging for more
		}
		if round() {
			return a.got, a.from, nil
		}
		if a.err != nil {
			return meaning{}, server{}, a.err
		}
	}
	if a.softer != nil {
		return *a.softer, a.softFrom, nil
	}
	e := &ServersError{Zone: dnssec.Show(k.zone), Asked: len(a.tried), Last: a.last, NoServer: len(a.tried) == 0,
		Silent: len(a.tried) > 0 && !a.heard, Err: a.why}
	return meaning{}, server{}, e
}

type asking struct {
	l     *lookup
	k     *cut
	q     question
	avoid []netip.AddrPort
	tried map[netip.AddrPort]int

	got      meaning
	from     server
	softer   *meaning
	softFrom server
	last     string
	silent   []server
	heard    bool  // somebody replied, if only nonsense
	why      error // why a server's address was not found
	err      error // ends the whole lookup
}

// try asks each server once; true means that a.got holds a usable answer.
func (a *asking) try(list []server) bool {
	l := a.l
	l.r.cache.order(l.now, list, l.r.shuffle)
	for _, s := range list {
		if a.tried[s.addr] > 0 || slices.Contains(a.avoid, s.addr) || !l.r.usable(s.addr.Addr()) {
			continue
		}
		if a.one(s) || a.err != nil {
			return a.err == nil
		}
	}
	return false
}

func (a *asking) one(s server) bool {
	l := a.l
	a.tried[s.addr]++
	m, hop, err := l.exchange(a.k, s, a.q)
	if err != nil {
		if l.fatal(err) {
			a.err = err
			return false
		}
		if hop.Outcome == OutTimeout {
			a.silent = append(a.silent, s)
		}
		a.heard = a.heard || hop.Rcode >= 0
		a.last = hop.Reason
		return false
	}
	a.heard = true
	mean := l.interpret(a.k, s, a.q, m)
	hop.Outcome, hop.Reason = mean.outcome, mean.reason
	switch {
	case mean.next != nil:
		hop.Next = mean.next.zone
	case mean.outcome == OutAlias:
		hop.Next = lastTarget(mean.steps)
	}
	hop.Aside = len(mean.steps) == 0 && mean.next == nil
	l.addHop(hop)
	if hop.Aside {
		a.last = fmt.Sprintf("%s: %s", mean.outcome, mean.reason)
		l.r.cache.noteServer(s.addr, func(i *infra) { i.failed, i.backoff = l.now, 5*time.Second })
		return false
	}
	if mean.soft {
		if a.softer == nil {
			a.softer, a.softFrom = &mean, s
		}
		a.last = mean.reason
		return false
	}
	a.got, a.from = mean, s
	return true
}

// known asks the addresses that are at hand.
func (a *asking) known() bool {
	return a.try(a.l.addresses(a.k))
}

// missing looks up the addresses of servers that came without.
func (a *asking) missing() bool {
	return a.each(a.k.ns, func(ns string) bool { return len(a.k.glue[ns]) == 0 })
}

// again gives the silent ones a second chance: datagrams do get lost.
func (a *asking) again() bool {
	list := a.silent
	a.silent = nil
	for _, s := range list {
		if a.tried[s.addr] < 2 && (a.one(s) || a.err != nil) {
			return a.err == nil
		}
	}
	return false
}

// stale looks up the servers that had glue, in case that is out of date.
func (a *asking) stale() bool {
	return a.each(a.k.ns, func(ns string) bool { return len(a.k.glue[ns]) > 0 })
}

// childs asks the servers that the zone itself names.
func (a *asking) childs() bool {
	c := a.l.r.cache.child(a.l.now, a.k.zone)
	if c == nil {
		return false
	}
	if a.try(a.l.addresses(c)) || a.err != nil {
		return a.err == nil
	}
	return a.each(c.ns, func(ns string) bool { return !slices.Contains(a.k.ns, ns) })
}

// glued asks addresses that some referral gave for the servers, though their own
// zones say otherwise: where parent and child differ, the parent may be right.
func (a *asking) glued() bool {
	var list []server
	for _, ns := range a.k.ns {
		for _, ad := range a.l.r.cache.glueFor(a.l.now, ns) {
			list = append(list, server{ns, netip.AddrPortFrom(ad, a.l.r.opts.Port)})
		}
	}
	return a.try(list)
}

// each resolves the names that want says, one at a time, and asks what turns
// up.
func (a *asking) each(names []string, want func(string) bool) bool {
	if a.k.forward || len(a.k.servers) > 0 && a.k.zone != "." {
		return false
	}
	list := slices.Clone(names)
	a.l.r.shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, ns := range list {
		if !want(ns) {
			continue
		}
		for _, typ := range a.l.r.families() {
			addrs, err := a.l.target(ns, typ, a.k.zone)
			if err != nil && a.l.fatal(err) {
				a.err = err
				return false
			}
			if err != nil && a.last == "" {
				a.why = err
				a.last = fmt.Sprintf("the address of %s cannot be found: %s", dnssec.Show(ns), dnssec.Escape(rootCause(err).Error()))
			}
			var list []server
			for _, ad := range addrs {
				list = append(list, server{ns, netip.AddrPortFrom(ad, a.l.r.opts.Port)})
			}
			if a.try(list) || a.err != nil {
				return a.err == nil
			}
		}
	}
	return false
}

// rootCause is the innermost reason for which no server could be asked.
func rootCause(err error) error {
	var e *ServersError
	for errors.As(err, &e) && e.Err != nil {
		err = e.Err
	}
	return err
}

// addresses lists what can be asked without looking anything up.
func (l *lookup) addresses(k *cut) []server {
	list := slices.Clone(k.servers)
	for _, ns := range k.ns {
		addrs := k.glue[ns]
		if len(addrs) == 0 {
			for _, typ := range l.r.families() {
				if s := l.r.cache.lookup(l.now, question{ns, typ}, rankAnswer); s != nil && s.Kind == dnssec.Answer {
					addrs = append(addrs, stepAddrs(s)...)
				}
			}
		}
		for _, ad := range addrs {
			list = append(list, server{ns, netip.AddrPortFrom(ad, l.r.opts.Port)})
		}
	}
	return list
}

func stepAddrs(s *step) []netip.Addr {
	var out []netip.Addr
	for _, rr := range s.Answer {
		if a, ok := addrOf(rr); ok && len(out) < maxGlue {
			out = append(out, a)
		}
	}
	return out
}

// usable leaves out addresses that no public server can have, and families
// that are switched off.
func (r *Resolver) usable(a netip.Addr) bool {
	if a.Is4() && r.opts.NoIPv4 || a.Is6() && r.opts.NoIPv6 || a.IsLoopback() && r.opts.NoLoopback {
		return false
	}
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func (r *Resolver) families() []uint16 {
	switch {
	case r.opts.NoIPv6:
		return []uint16{dns.TypeA}
	case r.opts.NoIPv4:
		return []uint16{dns.TypeAAAA}
	}
	return []uint16{dns.TypeA, dns.TypeAAAA}
}

// fatal says that an error ends the whole lookup, not just one server's turn.
func (l *lookup) fatal(err error) bool {
	var limit *LimitError
	return errors.As(err, &limit) || l.ctx.Err() != nil
}

// exchange puts one question to one server, and sees it through truncation,
// missing EDNS, cookies and mixed case. With an error the hop is already noted.
func (l *lookup) exchange(k *cut, s server, q question) (*dns.Msg, Hop, error) {
	in := l.r.cache.server(s.addr)
	edns, mix, tr := !in.noEDNS, !l.r.opts.No0x20 && !in.no0x20, UDP
	if l.r.opts.TCPOnly {
		tr = TCP
	}
	var last error
	var hop Hop
	for range 5 {
		m, h, err := l.once(k, s, q, edns, mix, tr)
		hop = h
		if err != nil {
			if hop.Outcome != "" {
				l.addHop(hop)
			}
			return nil, hop, err
		}
		again := ""
		switch {
		case (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented || m.Rcode == dns.RcodeBadVers) && edns:
			// Servers that choke on EDNS say so in three ways (RFC 6891, 7).
			edns, again = false, "does not speak EDNS: "+rcodeName(m.Rcode)
			l.r.cache.noteServer(s.addr, func(i *infra) { i.noEDNS = true })
		case m.Rcode == dns.RcodeBadCookie && tr == UDP:
			again = "wants its cookie"
			if l.badCookie++; l.badCookie > 3 {
				tr = TCP
			}
		case !sameQuestion(m, q):
			hop.Outcome, hop.Reason, hop.Aside = OutInvalid, "answers another question", true
			last = errors.New(hop.Reason)
			l.addHop(hop)
			return nil, hop, last
		case mix && len(m.Question) == 1 && m.Question[0].Name != l.sentName && tr == UDP:
			// Either the server does not keep the case, or it was not the
			// server: TCP tells (draft-vixie-dnsext-dns0x20).
			tr, again = TCP, "did not keep the name's case"
			l.r.cache.noteServer(s.addr, func(i *infra) { i.no0x20 = true })
			mix = false
		case m.Truncated && tr == UDP:
			tr, again = TCP, "truncated"
			hop.Outcome = OutTruncated
		case m.Truncated:
			hop.Outcome, hop.Reason, hop.Aside = OutInvalid, "truncated over TCP", true
			l.addHop(hop)
			return nil, hop, errors.New(hop.Reason)
		default:
			return m, hop, nil
		}
		if hop.Outcome == "" {
			hop.Outcome = OutRetry
		}
		hop.Reason, hop.Aside = again, true
		l.addHop(hop)
	}
	return nil, hop, fmt.Errorf("%s", hop.Reason)
}

func sameQuestion(m *dns.Msg, q question) bool {
	if len(m.Question) == 0 {
		// Some servers leave the question out of an error; nothing else.
		return m.Rcode != dns.RcodeSuccess
	}
	return len(m.Question) == 1 && m.Question[0].Qtype == q.typ && dns.CanonicalName(m.Question[0].Name) == q.name
}

// once is one query and its reply.
func (l *lookup) once(k *cut, s server, q question, edns, mix bool, tr Transport) (*dns.Msg, Hop, error) {
	hop := Hop{Zone: k.zone, Server: s.name, Addr: s.addr, Transport: tr, Name: q.name, Type: q.typ,
		Rcode: -1, Depth: len(l.stack) - 1, Purpose: l.purpose}
	if l.cost.Queries >= l.r.opts.Limits.Queries {
		return nil, hop, &LimitError{"queries", l.r.opts.Limits.Queries}
	}
	if err := l.ctx.Err(); err != nil {
		return nil, hop, err
	}
	l.cost.Queries++
	m := new(dns.Msg)
	m.Id = l.r.id()
	m.Opcode = dns.OpcodeQuery
	m.RecursionDesired = k.forward
	name := q.name
	if mix {
		name = l.r.mixCase(name)
	}
	l.sentName = name
	m.Question = []dns.Question{{Name: name, Qtype: q.typ, Qclass: dns.ClassINET}}
	m.CheckingDisabled = k.forward && !l.r.opts.NoDNSSEC
	var clientCookie string
	if edns {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetUDPSize(1232) // DNS Flag Day 2020: fits everywhere unfragmented
		if !l.r.opts.NoDNSSEC {
			o.SetDo()
		}
		if !l.r.opts.NoCookie && tr == UDP {
			clientCookie = l.r.clientCookie(s.addr.Addr())
			o.Option = append(o.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: clientCookie + l.r.cache.server(s.addr).cookie})
		}
		m.Extra = append(m.Extra, o)
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.r.timeout(s.addr, tr))
	defer cancel()
	reply, rtt, err := l.r.opts.Exchanger.Exchange(ctx, s.addr, m, tr)
	if err == nil && (reply.Id != m.Id || !reply.Response) {
		err = errors.New("a reply to another query")
	}
	if err != nil {
		if l.ctx.Err() != nil {
			return nil, hop, l.ctx.Err()
		}
		hop.Outcome, hop.Aside = OutError, true
		hop.Reason = dnssec.Escape(err.Error())
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
			hop.Outcome, hop.Reason = OutTimeout, "no reply in time"
		}
		l.r.cache.noteServer(s.addr, func(i *infra) {
			i.failed = l.now
			i.backoff = min(max(2*i.backoff, 10*time.Second), 15*time.Minute)
		})
		return nil, hop, fmt.Errorf("asking %s: %w", s.addr, err)
	}
	hop.RTT, hop.Rcode = rtt, reply.Rcode
	if opt := reply.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			c, ok := o.(*dns.EDNS0_COOKIE)
			if !ok || clientCookie == "" {
				continue
			}
			if !strings.HasPrefix(strings.ToLower(c.Cookie), clientCookie) {
				// Not the echo of what was sent: off-path (RFC 7873, 5.3).
				hop.Outcome, hop.Reason, hop.Aside = OutInvalid, "wrong cookie", true
				return nil, hop, errors.New("the reply carries another query's cookie")
			}
			if sc := c.Cookie[16:]; len(sc) >= 16 && len(sc) <= 64 {
				l.r.cache.noteServer(s.addr, func(i *infra) { i.cookie = sc })
			}
		}
	}
	l.r.cache.noteServer(s.addr, func(i *infra) {
		i.failed, i.backoff = time.Time{}, 0
		if i.srtt == 0 {
			i.srtt = max(rtt, 1)
		} else {
			i.srtt += (rtt - i.srtt) / 8
		}
	})
	return reply, hop, nil
}

// timeout is how long to wait for one reply: four smoothed round trips, within
// bounds that keep a lost datagram cheap and a slow server reachable.
func (r *Resolver) timeout(a netip.AddrPort, tr Transport) time.Duration {
	i := r.cache.server(a)
	d := 4 * i.srtt
	if i.srtt == 0 {
		d = 1500 * time.Millisecond
	}
	d = min(max(d, 400*time.Millisecond), 3*time.Second)
	if tr == TCP {
		d *= 2 // handshake and all
	}
	return d
}

// clientCookie derives eight octets from the server's address and a secret of
// this resolver (RFC 7873, section 4.1), in hex.
func (r *Resolver) clientCookie(a netip.Addr) string {
	return hex.EncodeToString(r.mac(a.AsSlice())[:8])
}

func lastTarget(steps []*step) string {
	s := steps[len(steps)-1]
	for _, rr := range s.Answer {
		if c, ok := rr.(*dns.CNAME); ok {
			return dns.CanonicalName(c.Target)
		}
	}
	return ""
}

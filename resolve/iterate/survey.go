package iterate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// Level is one zone on the path of a lookup with all of its servers, each asked
// the same question.
type Level struct {
	Zone    string    `json:"zone"`
	Name    string    `json:"name"`
	Type    uint16    `json:"type"`
	Servers []Witness `json:"servers"`
	// Differ says that servers that replied gave different replies.
	Differ bool `json:"differ"`
}

// Witness is what one address of one server replied.
type Witness struct {
	Server string         `json:"server"`
	Addr   netip.AddrPort `json:"address"`
	RTT    time.Duration  `json:"rtt_ns"`
	Reply  string         `json:"reply,omitempty"` // what it said, in one line, safe to print; the same for the same content
	Err    string         `json:"error,omitempty"`
	Odd    bool           `json:"differs"` // replied unlike the majority
	Slow   bool           `json:"slow"`    // took more than twice the median, and over 20 ms more
}

// parallel is how many servers a survey asks at a time.
const parallel = 8

// AllPaths asks every address of every server at every level on the way to a
// name the same question, and marks who answers differently or slower.
func (r *Resolver) AllPaths(ctx context.Context, name string, typ uint16) ([]Level, error) {
	l := &lookup{r: r, ctx: ctx, now: r.opts.Now(), failedNS: make(map[question]bool)}
	name = dns.CanonicalName(name)
	k := r.cache.closest(l.now, ".")
	if k == nil {
		return nil, &ServersError{Zone: "the root", NoServer: true}
	}
	var levels []Level
	q := question{name, typ}
	for range r.opts.Limits.Referrals {
		lv, next := r.survey(l, k, q)
		levels = append(levels, lv)
		if next == nil {
			return levels, nil
		}
		k = next
	}
	return levels, &LimitError{"referrals", r.opts.Limits.Referrals}
}

// survey asks all servers of a cut, and returns the referral that most gave.
func (r *Resolver) survey(l *lookup, k *cut, q question) (Level, *cut) {
	lv := Level{Zone: k.zone, Name: q.name, Type: q.typ}
	list := r.allServers(l, k)
	nexts := make([]*cut, len(list))
	lv.Servers = make([]Witness, len(list))
	each(list, func(i int, s server) {
		sub := &lookup{r: r, ctx: l.ctx, now: l.now, failedNS: map[question]bool{}, stack: []question{q}}
		w := Witness{Server: s.name, Addr: s.addr}
		m, hop, err := sub.exchange(k, s, q)
		w.RTT = hop.RTT
		if err != nil {
			w.Err = dnssec.Escape(hop.Reason)
		} else {
			mean := sub.interpret(k, s, q, m)
			w.Reply = describe(q, mean)
			nexts[i] = mean.next
		}
		lv.Servers[i] = w
	})
	lv.mark()
	best := lv.majority()
	for i, w := range lv.Servers {
		if w.Err == "" && w.Reply == best && nexts[i] != nil {
			return lv, nexts[i]
		}
	}
	return lv, nil
}

// each calls f for all servers, several at a time, and waits.
func each(list []server, f func(i int, s server)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i, s := range list {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			f(i, s)
		}()
	}
	wg.Wait()
}

// allServers lists every address of every server of a cut, looking up what came
// without.
func (r *Resolver) allServers(l *lookup, k *cut) []server {
	list := slices.Clone(k.servers)
	for _, ns := range k.ns {
		addrs := slices.Clone(k.glue[ns])
		if len(addrs) == 0 {
			for _, typ := range r.families() {
				found, err := l.target(ns, typ, k.zone)
				if err != nil {
					continue // its absence shows in the survey
				}
				addrs = append(addrs, found...)
			}
		}
		for _, a := range addrs {
			list = append(list, server{ns, netip.AddrPortFrom(a, r.opts.Port)})
		}
	}
	list = slices.DeleteFunc(list, func(s server) bool { return !r.usable(s.addr.Addr()) })
	sort.SliceStable(list, func(i, j int) bool {
		if list[i].name != list[j].name {
			return list[i].name < list[j].name
		}
		return list[i].addr.Addr().Less(list[j].addr.Addr())
	})
	return slices.CompactFunc(list, func(a, b server) bool { return a == b })
}

// describe says in one line what a reply means, the same line for the same
// content whatever the order and the TTLs.
func describe(q question, m meaning) string {
	switch {
	case m.next != nil:
		ns := slices.Clone(m.next.ns)
		sort.Strings(ns)
		return "refers to " + plain(m.next.zone) + " at " + plain(strings.Join(ns, " "))
	case len(m.steps) > 0:
		var parts []string
		for _, s := range m.steps {
			for _, rr := range s.Answer {
				if rr.Header().Rrtype != dns.TypeRRSIG {
					parts = append(parts, dataOf(rr))
				}
			}
		}
		sort.Strings(parts)
		last := m.steps[len(m.steps)-1].Kind
		switch {
		case last == dnssec.NXDomain:
			parts = append(parts, "NXDOMAIN")
		case last == dnssec.NoData:
			parts = append(parts, "no such record")
		}
		return strings.Join(parts, ", ")
	}
	return string(m.outcome) + ": " + m.reason
}

// dataOf is a record without its TTL and class, safe to print.
func dataOf(rr dns.RR) string {
	s := rr.String()
	data := strings.TrimPrefix(s, rr.Header().String())
	return dnssec.Escape(typeName(rr.Header().Rrtype) + " " + strings.ReplaceAll(data, "\t", " "))
}

func (lv *Level) majority() string {
	count := make(map[string]int)
	best := ""
	for _, w := range lv.Servers {
		if w.Err != "" {
			continue
		}
		count[w.Reply]++
		if count[w.Reply] > count[best] || count[w.Reply] == count[best] && w.Reply < best {
			best = w.Reply
		}
	}
	return best
}

func (lv *Level) mark() {
	best := lv.majority()
	var times []time.Duration
	for _, w := range lv.Servers {
		if w.Err == "" {
			times = append(times, w.RTT)
		}
	}
	slices.Sort(times)
	for i := range lv.Servers {
		w := &lv.Servers[i]
		if w.Err != "" {
			continue
		}
		w.Odd = w.Reply != best
		lv.Differ = lv.Differ || w.Odd
		median := times[len(times)/2]
		w.Slow = w.RTT > 2*median && w.RTT > median+20*time.Millisecond
	}
}

// WriteLevels writes what AllPaths found: a line a server.
func WriteLevels(w io.Writer, levels []Level) error {
	var b strings.Builder
	for _, lv := range levels {
		fmt.Fprintf(&b, "%s asked for %s %s:\n", plain(lv.Zone), plain(lv.Name), typeName(lv.Type))
		for _, s := range lv.Servers {
			mark, said, rtt := " ", s.Reply, millis(s.RTT)
			if s.Err != "" {
				mark, said, rtt = "!", s.Err, "-"
			}
			if s.Odd {
				mark = "!"
			}
			if s.Slow {
				said += "  [slow]"
			}
			if s.Odd {
				said += "  [differs]"
			}
			fmt.Fprintf(&b, "%s %-20s %-44s %9s  %s\n", mark, plain(lv.Zone), plain(s.Server)+" ("+hostPort(s.Addr)+")", rtt, said)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cutOf finds the cut that name lies in, and the one above it.
func (l *lookup) cutOf(name string) (here, above *cut, err error) {
	// An SOA query that ends in an answer or a denial tells the zone's apex.
	steps, err := l.resolve(name, dns.TypeSOA, nil)
	if err != nil {
		return nil, nil, err
	}
	apex := name
	for _, rr := range append(slices.Clone(steps[0].Answer), steps[0].Authority...) {
		if soa, ok := rr.(*dns.SOA); ok && dns.IsSubDomain(dns.CanonicalName(soa.Hdr.Name), name) {
			apex = dns.CanonicalName(soa.Hdr.Name)
		}
	}
	if apex == "." {
		k := l.r.cache.closest(l.now, ".")
		return k, nil, nil
	}
	above = l.r.cache.closest(l.now, dnssec.Parent(apex))
	if above == nil {
		return nil, nil, errors.New("the delegation has expired already")
	}
	// Walk down from what is known above until the parent itself is reached.
	for {
		m, err := l.parentReferral(above, apex)
		if err != nil {
			return nil, nil, err
		}
		if m.zone == apex {
			return m, above, nil
		}
		above = m
	}
}

func (l *lookup) parentReferral(above *cut, apex string) (*cut, error) {
	l.stack = append(l.stack, question{apex, dns.TypeNS})
	defer func() { l.stack = l.stack[:len(l.stack)-1] }()
	mean, _, err := l.ask(above, question{apex, dns.TypeNS}, nil)
	switch {
	case err != nil:
		return nil, err
	case mean.next != nil:
		return mean.next, nil
	case len(mean.steps) > 0 && mean.steps[0].Kind == dnssec.Answer:
		// Parent and child share their servers.
		k := &cut{zone: apex, glue: map[string][]netip.Addr{}, expires: l.now.Add(time.Hour)}
		for _, rr := range mean.steps[0].Answer {
			if ns, ok := rr.(*dns.NS); ok && len(k.ns) < maxNS {
				k.ns = append(k.ns, dns.CanonicalName(ns.Ns))
			}
		}
		return k, nil
	}
	return nil, fmt.Errorf("%s does not delegate %s", dnssec.Show(above.zone), dnssec.Show(apex))
}

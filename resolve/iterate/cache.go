package iterate

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// rank is the credibility of data (RFC 2181, section 5.4.1): what is cached is
// replaced only by data of the same or a higher rank.
type rank uint8

const (
	rankReferral  rank = iota + 1 // authority section of a referral
	rankAnswer                    // answer of a server that does not claim authority
	rankAuthority                 // answer of a server that does
)

// step is one response as it is kept: one link of a chain of aliases.
type step struct {
	dnssec.Response
	rcode   int
	zone    string // whose servers said so
	rank    rank
	stored  time.Time
	expires time.Time
	verdict dnssec.Verdict // State is Unchecked until validated
}

// aged returns the step with TTLs counted down to now.
func (s *step) aged(now time.Time) *step {
	c := *s
	age := uint32(max(0, now.Sub(s.stored)/time.Second))
	c.Answer, c.Authority = agedRRs(s.Answer, age), agedRRs(s.Authority, age)
	return &c
}

func agedRRs(rrs []dns.RR, age uint32) []dns.RR {
	if age == 0 {
		return rrs
	}
	out := make([]dns.RR, len(rrs))
	for i, rr := range rrs {
		out[i] = dns.Copy(rr)
		h := out[i].Header()
		h.Ttl -= min(h.Ttl, age)
	}
	return out
}

type question struct {
	name string
	typ  uint16
}

// cut is a zone and the servers that are said to serve it.
type cut struct {
	zone    string
	ns      []string
	glue    map[string][]netip.Addr
	servers []server // given by address: root hints, stubs, forwarders
	forward bool     // recursive servers: they are asked with RD
	fixed   bool     // not learnt, so never forgotten
	expires time.Time
}

// server is one address to ask.
type server struct {
	name string
	addr netip.AddrPort
}

// cache is what a Resolver remembers between lookups. Responses answer
// questions; cuts say only where to ask, so that glue never becomes an answer.
type cache struct {
	mu        sync.Mutex
	responses map[question]*step
	cuts      map[string]*cut // from the parent's referral
	childNS   map[string]*cut // from the zone's own servers: a second opinion
	glue      map[string]glue
	infra     map[netip.AddrPort]*infra
}

// glue is the addresses of a name server as a referral gave them.
type glue struct {
	addrs   []netip.Addr
	expires time.Time
}

// infra is what is known of one server address.
type infra struct {
	srtt    time.Duration // smoothed round-trip time; 0 if never asked
	noEDNS  bool
	no0x20  bool
	cookie  string // server cookie, hex
	failed  time.Time
	backoff time.Duration
}

// maxEntries bounds each table of the cache.
const maxEntries = 10000

func newCache() *cache {
	return &cache{
		responses: make(map[question]*step),
		cuts:      make(map[string]*cut),
		childNS:   make(map[string]*cut),
		glue:      make(map[string]glue),
		infra:     make(map[netip.AddrPort]*infra),
	}
}

// bound makes room in a table by dropping arbitrary entries.
func bound[K comparable, V any](m map[K]V) {
	if len(m) < maxEntries {
		return
	}
	n := len(m) / 8
	for k := range m {
		delete(m, k)
		if n--; n == 0 {
			return
		}
	}
}

// anyType keys an NXDOMAIN, which holds for all types.
const anyType = dns.TypeNone

// lookup finds a usable response: of the type, an alias, or a denial. A secure
// NXDOMAIN of an ancestor denies all below it (RFC 8020).
func (c *cache) lookup(now time.Time, q question, least rank) *step {
	c.mu.Lock()
	defer c.mu.Unlock()
	get := func(k question) *step {
		s := c.responses[k]
		if s == nil || s.rank < least {
			return nil
		}
		if !now.Before(s.expires) {
			delete(c.responses, k)
			return nil
		}
		return s.aged(now)
	}
	if s := get(q); s != nil {
		return s
	}
	if s := get(question{q.name, dns.TypeCNAME}); s != nil && s.Kind == dnssec.CNAME && q.typ != dns.TypeANY && q.typ != dns.TypeRRSIG {
		return s
	}
	for n := q.name; ; n = dnssec.Parent(n) {
		if s := get(question{n, anyType}); s != nil && (n == q.name || s.verdict.State == dnssec.Secure) {
			// An NXDOMAIN holds for every type, so what it answers is this
			// question; the proof for an ancestor covers this name as well.
			if n == q.name {
				s.Name, s.Type = q.name, q.typ
			}
			return s
		}
		if n == "." {
			return nil
		}
	}
}

func keyOf(s *step) question {
	switch s.Kind {
	case dnssec.NXDomain:
		return question{s.Name, anyType}
	case dnssec.CNAME:
		return question{s.Name, dns.TypeCNAME}
	}
	return question{s.Name, s.Type}
}

func (c *cache) store(now time.Time, s *step) {
	if !now.Before(s.expires) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := keyOf(s)
	if old := c.responses[k]; old != nil && now.Before(old.expires) && old.rank > s.rank {
		return
	}
	if s.Kind != dnssec.NXDomain {
		delete(c.responses, question{s.Name, anyType})
	}
	bound(c.responses)
	c.responses[k] = s
}

// judged records the verdict on a response, and forgets bogus ones.
func (c *cache) judged(s *step, v dnssec.Verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := keyOf(s)
	old := c.responses[k]
	if old == nil || !old.stored.Equal(s.stored) || old.Server != s.Server {
		return
	}
	if v.State == dnssec.Bogus {
		delete(c.responses, k)
		return
	}
	n := *old
	n.verdict = v
	if v.State == dnssec.Secure && !v.Expires.IsZero() && v.Expires.Before(n.expires) {
		n.expires = v.Expires
	}
	c.responses[k] = &n
}

func (c *cache) forget(q question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.responses, q)
}

// closest is the deepest known cut at or above name.
func (c *cache) closest(now time.Time, name string) *cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := name; ; n = dnssec.Parent(n) {
		if k := c.cuts[n]; k != nil {
			if k.fixed || now.Before(k.expires) {
				return k
			}
			delete(c.cuts, n)
		}
		if n == "." {
			return nil
		}
	}
}

func (c *cache) storeCut(k *cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.cuts[k.zone]; old != nil && old.fixed {
		return
	}
	if len(c.cuts) >= maxEntries {
		for z, k := range c.cuts {
			if !k.fixed {
				delete(c.cuts, z)
			}
		}
	}
	c.cuts[k.zone] = k
	for ns, addrs := range k.glue {
		bound(c.glue)
		c.glue[ns] = glue{addrs, k.expires}
	}
}

func (c *cache) glueFor(now time.Time, ns string) []netip.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g, ok := c.glue[ns]; ok && now.Before(g.expires) {
		return g.addrs
	}
	return nil
}

func (c *cache) forgetCut(zone string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.cuts[zone]; k != nil && !k.fixed {
		delete(c.cuts, zone)
	}
}

func (c *cache) storeChild(k *cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bound(c.childNS)
	c.childNS[k.zone] = k
}

func (c *cache) child(now time.Time, zone string) *cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.childNS[zone]; k != nil && now.Before(k.expires) {
		return k
	}
	return nil
}

// server returns a copy of what is known of addr.
func (c *cache) server(addr netip.AddrPort) infra {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := c.infra[addr]; i != nil {
		return *i
	}
	return infra{}
}

func (c *cache) noteServer(addr netip.AddrPort, f func(*infra)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.infra[addr]
	if i == nil {
		bound(c.infra)
		i = &infra{}
		c.infra[addr] = i
	}
	f(i)
}

// order sorts servers by what to expect of them: those that failed lately last,
// the rest by smoothed RTT; one never asked counts as quick, so that it gets
// its turn. Equals are shuffled, so that load spreads.
func (c *cache) order(now time.Time, list []server, shuffle func(n int, swap func(i, j int))) {
	shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	cost := func(s server) time.Duration {
		i := c.server(s.addr)
		d := i.srtt
		if !i.failed.IsZero() && now.Before(i.failed.Add(i.backoff)) {
			d += time.Minute
		}
		// Within a band of 10 ms servers count as equal.
		return d.Truncate(10 * time.Millisecond)
	}
	slices.SortStableFunc(list, func(a, b server) int { return int(cost(a)/time.Millisecond) - int(cost(b)/time.Millisecond) })
}

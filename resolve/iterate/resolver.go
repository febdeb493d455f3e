package iterate

import (
	"context"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// Options configures a Resolver. The zero value resolves from the built-in
// root hints over the real network, and validates by the built-in anchors.
type Options struct {
	Exchanger Exchanger        // default: real sockets
	Now       func() time.Time // default: time.Now; also the time to validate as of
	Seed      uint64           // non-zero makes IDs, case and order repeatable; for tests

	Hints []Hint // default: RootHints
	Port  uint16 // of all servers; default 53
	Stubs []Stub // zones whose servers are given instead of found

	Anchors    []dnssec.Anchor // default: dnssec.RootAnchors
	NoAnchors  bool            // trust nothing: every answer is indeterminate
	Unsigned   []string        // names at and below which nothing is validated
	NoDNSSEC   bool            // do not ask for signatures, nor validate
	NoIPv4     bool
	NoIPv6     bool
	NoMinimise bool   // send the full name to every server (see RFC 9156)
	MinimiseBy uint16 // type of minimised queries; default A
	No0x20     bool   // do not mix the case of names
	NoCookie   bool   // do not send cookies (RFC 7873)
	TCPOnly    bool
	AnyGlue    bool // believe addresses outside the referring zone; unsafe
	NoLoopback bool // do not ask servers that referrals place on loopback addresses

	MinTTL uint32 // seconds; keeps answers at least so long
	MaxTTL uint32 // seconds; default one day

	Limits Limits
}

// Stub is a zone whose servers are known beforehand.
type Stub struct {
	Zone    string
	Servers []netip.AddrPort // port 0 means Options.Port
	Forward bool             // the servers recurse: ask them for everything below Zone
}

// Resolver looks names up from the root and remembers what it learns. It is
// safe for concurrent use; lookups run in their callers' goroutines.
type Resolver struct {
	opts      Options
	cache     *cache
	validator *dnssec.Validator

	mu     sync.Mutex
	rng    *rand.Rand
	secret [32]byte
}

// New returns a Resolver.
func New(o Options) *Resolver {
	if o.Exchanger == nil {
		o.Exchanger = new(Network)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Port == 0 {
		o.Port = 53
	}
	if o.Hints == nil {
		o.Hints = RootHints()
	}
	if o.Anchors == nil && !o.NoAnchors {
		o.Anchors = dnssec.RootAnchors()
	}
	if o.MinimiseBy == 0 {
		o.MinimiseBy = dns.TypeA
	}
	if o.MaxTTL == 0 {
		o.MaxTTL = 86400
	}
	o.Limits.fill()
	r := &Resolver{opts: o, cache: newCache()}
	if o.Seed != 0 {
		r.rng = rand.New(rand.NewPCG(o.Seed, 0))
		for i := range r.secret {
			r.secret[i] = byte(r.rng.Uint32())
		}
	} else {
		var seed [32]byte
		crand.Read(seed[:]) // never fails (crypto/rand)
		crand.Read(r.secret[:])
		r.rng = rand.New(rand.NewChaCha8(seed))
	}
	root := &cut{zone: ".", fixed: true, glue: map[string][]netip.Addr{}}
	for _, h := range o.Hints {
		for _, a := range h.Addrs {
			root.servers = append(root.servers, server{dns.CanonicalName(h.Name), r.withPort(a)})
		}
	}
	r.cache.cuts["."] = root
	for _, s := range o.Stubs {
		k := &cut{zone: dns.CanonicalName(s.Zone), fixed: true, forward: s.Forward, glue: map[string][]netip.Addr{}}
		for _, a := range s.Servers {
			k.servers = append(k.servers, server{"", r.withPort(a)})
		}
		r.cache.cuts[k.zone] = k
	}
	return r
}

func (r *Resolver) withPort(a netip.AddrPort) netip.AddrPort {
	if a.Port() == 0 {
		return netip.AddrPortFrom(a.Addr(), r.opts.Port)
	}
	return a
}

func (r *Resolver) id() uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return uint16(r.rng.Uint32())
}

func (r *Resolver) shuffle(n int, swap func(i, j int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rng.Shuffle(n, swap)
}

func (r *Resolver) mixCase(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := []byte(name)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && r.rng.Uint32()&1 == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func (r *Resolver) mac(b []byte) []byte {
	h := hmac.New(sha256.New, r.secret[:])
	h.Write(b)
	return h.Sum(nil)
}

// Result is the outcome of a lookup.
type Result struct {
	Name  string
	Type  uint16
	Rcode int // NOERROR, NXDOMAIN, YXDOMAIN; SERVFAIL with an error

	// Answer is the chain of aliases and the records at its end; Authority the
	// SOA and the proofs. Both hold the signatures.
	Answer    []dns.RR
	Authority []dns.RR

	// Verdict is the DNSSEC state of the whole. A bogus answer is still
	// returned; it must not be used, but may be shown.
	Verdict dnssec.Verdict

	Hops    []Hop
	Cost    Cost
	Elapsed time.Duration // by Options.Now
}

// lookup is the state of one lookup in progress.
type lookup struct {
	r     *Resolver
	ctx   context.Context
	now   time.Time
	trace *Trace
	// validating says that secure denials seen before may answer.
	validating bool
	cost       Cost
	nx         int        // name server names that turned out not to exist
	stack      []question // what is being resolved for what
	purpose    string
	hops       []Hop
	sentName   string
	badCookie  int
	failedNS   map[question]bool // do not try twice within one lookup
}

// maxDepth bounds lookups for the sake of lookups.
const maxDepth = 12

var errTooDeep = errors.New("the servers' names need servers whose names need servers, and so on, too deep")

// LookupOptions are for one lookup.
type LookupOptions struct {
	Trace            *Trace
	CheckingDisabled bool // do not validate
}

// Lookup resolves one name and type. The error is a *LimitError, *LoopError,
// *ServersError, or the context's; the Result is returned even then and holds
// the hops. Validation failure is no error: see Result.Verdict.
func (r *Resolver) Lookup(ctx context.Context, name string, typ uint16, o LookupOptions) (*Result, error) {
	start := r.opts.Now()
	l := &lookup{r: r, ctx: ctx, now: start, trace: o.Trace, failedNS: make(map[question]bool)}
	res := &Result{Name: dns.CanonicalName(name), Type: typ, Verdict: dnssec.Verdict{EDE: dnssec.NoEDE}}
	if _, ok := dns.IsDomainName(name); !ok {
		return res, fmt.Errorf("%q is not a domain name", dnssec.Escape(name))
	}
	l.validating = !r.opts.NoDNSSEC && !o.CheckingDisabled
	steps, err := l.resolve(res.Name, typ, nil)
	if l.validating && len(steps) > 0 {
		steps, res.Verdict, err = l.validate(res.Name, typ, steps, err)
	}
	res.assemble(steps)
	if err != nil {
		res.Rcode = dns.RcodeServerFailure
	}
	if res.Verdict.State == dnssec.Secure && r.sentinelFails(res.Name, typ) {
		res.Rcode, res.Answer, res.Authority = dns.RcodeServerFailure, nil, nil
	}
	res.Hops, res.Cost = l.hops, l.cost
	res.Elapsed = r.opts.Now().Sub(start)
	return res, err
}

func (res *Result) assemble(steps []*step) {
	seen := make(map[string]bool)
	add := func(to *[]dns.RR, rrs []dns.RR) {
		for _, rr := range rrs {
			c := dns.Copy(rr)
			c.Header().Ttl = 0
			if k := c.String(); !seen[k] {
				seen[k] = true
				*to = append(*to, rr)
			}
		}
	}
	for _, s := range steps {
		add(&res.Answer, s.Answer)
		add(&res.Authority, s.Authority)
		res.Rcode = s.rcode
	}
}

// validate judges every step of the chain. What is bogus from one server may
// be sound from another, so such a step is asked for again elsewhere before
// the verdict stands.
func (l *lookup) validate(name string, typ uint16, steps []*step, err error) ([]*step, dnssec.Verdict, error) {
	v := l.validator()
	avoid := make(map[question][]netip.AddrPort)
	var verdict dnssec.Verdict
	for attempt := 0; ; attempt++ {
		verdict = dnssec.Verdict{EDE: dnssec.NoEDE}
		var bogus *step
		for i, s := range steps {
			sv := s.verdict
			if sv.State == dnssec.Unchecked {
				sv = v.Validate(l.ctx, l.now, &s.Response)
				l.r.cache.judged(s, sv)
			}
			if i == 0 {
				verdict = sv
			} else {
				verdict = dnssec.Join(verdict, sv)
			}
			if sv.State == dnssec.Bogus && bogus == nil {
				bogus = s
			}
		}
		if bogus == nil || attempt >= 3 || l.ctx.Err() != nil {
			return steps, verdict, err
		}
		q := question{bogus.Name, typ}
		avoid[q] = append(avoid[q], bogus.Server)
		l.r.cache.forget(q)
		again, err2 := l.resolve(name, typ, avoid)
		if err2 != nil || len(again) == 0 {
			return steps, verdict, err // nobody says better
		}
		steps, err = again, nil
	}
}

func (l *lookup) validator() *dnssec.Validator {
	return l.r.sharedValidator().With(func(ctx context.Context, name string, typ uint16, avoid []netip.AddrPort) (*dnssec.Response, error) {
		q := question{name, typ}
		var steps []*step
		var err error
		was := l.purpose
		l.purpose = "keys of " + dnssec.Show(name)
		defer func() { l.purpose = was }()
		if len(avoid) == 0 {
			if s := l.r.cache.lookup(l.now, q, rankReferral); s != nil {
				return &s.Response, nil
			}
		}
		steps, err = l.fetch(q, avoid)
		if err != nil {
			return nil, err
		}
		return &steps[0].Response, nil
	})
}

func (r *Resolver) sharedValidator() *dnssec.Validator {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.validator == nil {
		r.validator = dnssec.NewValidator(nil, dnssec.Options{Anchors: r.opts.Anchors, Unsigned: r.opts.Unsigned})
	}
	return r.validator
}

// resolve follows aliases from name to the end. With an error it returns the
// steps up to there.
func (l *lookup) resolve(name string, typ uint16, avoid map[question][]netip.AddrPort) ([]*step, error) {
	var chain []*step
	seen := map[string]bool{}
	cur := name
	for {
		if seen[cur] {
			return chain, &LoopError{dnssec.Show(cur), "aliases"}
		}
		if len(chain) > l.r.opts.Limits.Aliases {
			return chain, &LimitError{"aliases", l.r.opts.Limits.Aliases}
		}
		seen[cur] = true
		q := question{cur, typ}
		var steps []*step
		if s := l.r.cache.lookup(l.now, q, rankAnswer); s != nil && len(avoid[q]) == 0 {
			steps = []*step{s}
		} else if s := l.synthesise(q); s != nil && len(avoid[q]) == 0 {
			steps = []*step{s}
		} else {
			var err error
			if steps, err = l.fetch(q, avoid[q]); err != nil {
				return chain, err
			}
		}
		for i, s := range steps {
			if i > 0 {
				seen[s.Name] = true
				if a := avoid[question{s.Name, typ}]; len(a) > 0 {
					steps = steps[:i] // this one was bogus before: ask for it
					delete(seen, s.Name)
					break
				}
			}
		}
		chain = append(chain, steps...)
		last := steps[len(steps)-1]
		if typ == dns.TypeCNAME || last.rcode != dns.RcodeSuccess || last.Kind != dnssec.CNAME && last.Kind != dnssec.DNAME {
			return chain, nil
		}
		cur = lastTarget(steps)
	}
}

// synthesise answers from what DNSSEC proved before (RFC 8198).
func (l *lookup) synthesise(q question) *step {
	if !l.validating {
		return nil
	}
	r, v, ok := l.r.sharedValidator().Synthesise(l.now, q.name, q.typ)
	if !ok {
		return nil
	}
	s := &step{Response: *r, zone: v.Zone, rank: rankAuthority, stored: l.now, expires: v.Expires, verdict: v}
	if r.Kind == dnssec.NXDomain {
		s.rcode = dns.RcodeNameError
	}
	return s
}

// fetch asks from the closest known cut down, following referrals, until there
// is an answer, and puts it in the cache.
func (l *lookup) fetch(q question, avoid []netip.AddrPort) ([]*step, error) {
	if slices.Contains(l.stack, q) {
		return nil, &LoopError{dnssec.Show(q.name), "name servers"}
	}
	if len(l.stack) >= maxDepth {
		return nil, errTooDeep
	}
	l.stack = append(l.stack, q)
	defer func() { l.stack = l.stack[:len(l.stack)-1] }()

	from := q.name
	if q.typ == dns.TypeDS && q.name != "." {
		from = dnssec.Parent(q.name) // the parent's side of the cut knows
	}
	k := l.r.cache.closest(l.now, from)
	if k == nil {
		return nil, &ServersError{Zone: "the root", NoServer: true}
	}
	full := l.r.opts.NoMinimise || k.forward
	known := dns.CountLabel(k.zone)
	minimised, cached := 0, !k.fixed
	for {
		ask := q
		// RFC 9156, section 2.3: after ten steps the rest goes at once.
		if n := known + 1; !full && n < dns.CountLabel(q.name) && minimised < 10 {
			ask = question{dnssec.Ancestor(q.name, n), l.r.opts.MinimiseBy}
			minimised++
		}
		mean, _, err := l.ask(k, ask, avoid)
		if err != nil {
			switch {
			case l.fatal(err):
				return nil, err
			case ask != q:
				full = true // some servers fail on what they do not expect
				continue
			case cached && len(avoid) == 0:
				// The cut may have moved since it was learnt.
				l.r.cache.forgetCut(k.zone)
				cached = false
				if up := l.r.cache.closest(l.now, from); up != nil && up.zone != k.zone {
					k, known = up, dns.CountLabel(up.zone)
					continue
				}
			}
			return nil, err
		}
		if mean.next != nil {
			if l.cost.Referrals++; l.cost.Referrals > l.r.opts.Limits.Referrals {
				return nil, &LimitError{"referrals", l.r.opts.Limits.Referrals}
			}
			k, cached = mean.next, false
			known = dns.CountLabel(k.zone)
			l.r.cache.storeCut(k)
			if mean.nextDS != nil {
				l.r.cache.store(l.now, mean.nextDS)
			}
			continue
		}
		if ask != q {
			known = dns.CountLabel(ask.name)
			if mean.outcome != OutNoData && mean.outcome != OutAnswer {
				// An alias or an NXDOMAIN in the middle: let the full name
				// tell, as some servers deny empty non-terminals.
				full = true
			}
			continue
		}
		for _, s := range mean.steps {
			l.r.cache.store(l.now, s)
		}
		return mean.steps, nil
	}
}

// target finds addresses of a name server.
func (l *lookup) target(ns string, typ uint16, zone string) ([]netip.Addr, error) {
	q := question{ns, typ}
	if l.failedNS[q] {
		return nil, nil
	}
	if s := l.r.cache.lookup(l.now, q, rankAnswer); s != nil && s.Kind == dnssec.Answer {
		return stepAddrs(s), nil
	}
	if l.cost.Targets++; l.cost.Targets > l.r.opts.Limits.Targets {
		return nil, &LimitError{"name server addresses", l.r.opts.Limits.Targets}
	}
	if l.nx >= l.r.opts.Limits.NXTargets {
		return nil, &LimitError{"name servers that do not exist", l.r.opts.Limits.NXTargets}
	}
	was := l.purpose
	l.purpose = "address of " + dnssec.Show(ns) + " for " + dnssec.Show(zone)
	defer func() { l.purpose = was }()
	steps, err := l.resolve(ns, typ, nil)
	if err != nil {
		var loop *LoopError
		if !errors.As(err, &loop) {
			// A loop depends on where it was entered; other failures last.
			l.failedNS[q] = true
		}
		return nil, err
	}
	last := steps[len(steps)-1]
	if last.Kind == dnssec.NXDomain {
		l.nx++
		l.failedNS[q] = true
	}
	return stepAddrs(last), nil
}

func (l *lookup) addHop(h Hop) {
	l.hops = append(l.hops, h)
	if l.trace != nil && l.trace.Hop != nil {
		l.trace.Hop(h)
	}
}

// sentinelFails implements the root key trust anchor sentinel (RFC 8509): a
// secure address answer for root-key-sentinel-is-ta-N is withheld unless key N
// is trusted for the root, and the other way round for not-ta.
func (r *Resolver) sentinelFails(name string, typ uint16) bool {
	if typ != dns.TypeA && typ != dns.TypeAAAA {
		return false
	}
	label, _, _ := strings.Cut(name, ".")
	is := true
	tag, ok := strings.CutPrefix(label, "root-key-sentinel-is-ta-")
	if !ok {
		if tag, ok = strings.CutPrefix(label, "root-key-sentinel-not-ta-"); !ok {
			return false
		}
		is = false
	}
	n, err := strconv.ParseUint(tag, 10, 16)
	if err != nil || len(tag) != 5 {
		return false
	}
	trusted := false
	for _, a := range r.opts.Anchors {
		if a.Zone != "." {
			continue
		}
		for _, ds := range a.DS {
			trusted = trusted || uint64(ds.KeyTag) == n
		}
		for _, k := range a.Keys {
			trusted = trusted || uint64(k.KeyTag()) == n
		}
	}
	return trusted != is
}

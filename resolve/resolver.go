package resolve

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/cache"
)

// A Resolver answers questions as a system's stub resolver does: from the
// hosts file, from the cache, and by asking servers in turn until one of them
// answers. It may be used by several goroutines at once; its fields must not
// be changed after the first use.
type Resolver struct {
	// Servers are asked in order. If there are none, those of Config are.
	Servers []Upstream
	// Config is the system's configuration. It is read when first needed if
	// it is nil. If Servers are given, nothing of it is used: no search list,
	// no hosts file, no timeouts.
	Config *Config
	// Options say how servers are asked.
	Options Options
	// NoSearch takes every name as absolute.
	NoSearch bool
	// HostsFile is read before servers are asked; "" means the system's,
	// "-" none.
	HostsFile string
	// Cache answers and remembers; nil means none.
	Cache *cache.Cache
	// RefreshCache asks servers even for what the cache holds.
	RefreshCache bool
	// NoMDNS asks servers for .local too, instead of the local link.
	NoMDNS bool
	// Now is the clock for the cache; nil means time.Now.
	Now func() time.Time

	mu        sync.Mutex
	clients   map[Upstream]*Client
	configErr error
}

// Defaults where neither Options nor a Config say anything.
const (
	defaultTimeout = 10 * time.Second
	defaultTries   = 3
	mdnsTimeout    = 2 * time.Second
	drainTime      = 50 * time.Millisecond
)

// Close gives up all connections.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, c.Close())
	}
	r.clients = nil
	return errors.Join(errs...)
}

// Client returns the resolver's client for a server, whose connections it
// shares.
func (r *Resolver) Client(u Upstream) *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.clients[u]; c != nil {
		return c
	}
	c := NewClient(u, &r.Options)
	if r.clients == nil {
		r.clients = make(map[Upstream]*Client)
	}
	r.clients[u] = c
	return c
}

// system returns the configuration to use, or nil if Servers are given.
func (r *Resolver) system() (*Config, error) {
	if len(r.Servers) > 0 {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Config == nil && r.configErr == nil {
		r.Config, r.configErr = SystemConfig()
	}
	return r.Config, r.configErr
}

func (r *Resolver) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// Upstreams returns the servers that would be asked about name, in order.
func (r *Resolver) Upstreams(name string) ([]Upstream, error) {
	if len(r.Servers) > 0 {
		return r.Servers, nil
	}
	if IsMDNS(name) && !r.NoMDNS {
		return []Upstream{mdnsGroup4}, nil
	}
	cfg, err := r.system()
	if err != nil {
		return nil, err
	}
	addrs := cfg.ServersFor(name)
	if len(addrs) == 0 {
		return nil, ErrNoServers
	}
	ups := make([]Upstream, len(addrs))
	for i, a := range addrs {
		ups[i] = UpstreamOf(a)
		if cfg.UseTCP {
			ups[i].Scheme = TCP
		}
	}
	if cfg.Rotate && len(ups) > 1 {
		n := int(randomUint16()) % len(ups)
		ups = append(ups[n:], ups[:n]...)
	}
	return ups, nil
}

// Lookup answers q for name as a person typed it: an IP address asked for
// with type PTR becomes its reverse name, international names are converted,
// and names are completed from the system's search list. The result is never
// nil; if nothing could be learned, its Err says why.
func (r *Resolver) Lookup(ctx context.Context, name string, typ, class uint16) *Result {
	q := Query{name, typ, class}.withDefaults()
	fail := func(err error) *Result {
		return &Result{Asked: name, Query: q, Outcome: Failed, Err: err}
	}
	absolute := r.NoSearch
	if q.Type == dns.TypePTR && IsAddress(name) {
		names, err := ReverseNames(name)
		if err != nil {
			return fail(err)
		}
		if len(names) != 1 {
			return fail(&NameError{name, "stands for many names; ask for them one by one"})
		}
		name, absolute = names[0], true
	}
	ascii, err := ParseName(name)
	if err != nil {
		return fail(err)
	}
	cfg, err := r.system()
	if err != nil {
		return fail(err)
	}
	names := []string{dns.Fqdn(ascii)}
	if !absolute && cfg != nil && !IsMDNS(ascii) {
		names = cfg.candidates(ascii)
	}
	// As the C library does: the first name that exists is taken, and if
	// none does, what was said about the name as it was typed.
	var searched []string
	var asIs *Result
	for _, n := range names {
		q.Name = n
		res := r.Resolve(ctx, q)
		res.Asked = name
		if res.Outcome != NXDomain {
			res.Searched = searched
			return res
		}
		if n == dns.Fqdn(ascii) {
			asIs = res
		} else {
			searched = append(searched, n)
		}
	}
	asIs.Searched = searched
	return asIs
}

// Resolve answers q, whose name is absolute. The result is never nil.
func (r *Resolver) Resolve(ctx context.Context, q Query) *Result {
	q = q.withDefaults()
	q.Name = dns.Fqdn(q.Name)
	res := &Result{Asked: q.Name, Query: q}
	if r.fromHosts(res) {
		return res
	}
	ups, err := r.Upstreams(q.Name)
	if err != nil {
		res.Outcome, res.Err = Failed, err
		return res
	}
	var key cache.Key
	var stale *cache.Entry
	if r.Cache != nil {
		key = cache.KeyOf(q.Name, q.Type, q.Class, r.cacheScope(ups))
		key.DO, key.CD = r.Options.DNSSEC, r.Options.CheckingDisabled
		e, state := r.Cache.Get(r.now(), key)
		switch {
		case state == cache.Fresh && !r.RefreshCache:
			if r.fromCache(res, e, FromCache) {
				return res
			}
		case state != cache.Miss:
			stale = e
		}
	}
	r.ask(ctx, res, ups)
	switch {
	case r.Cache == nil:
	case res.Outcome == Failed || res.Outcome == ServFail || res.Outcome == Refused:
		if stale != nil && ctx.Err() == nil {
			r.fromCache(res, stale, FromStale)
		}
	default:
		r.Cache.Put(r.now(), key, res.Wire, res.Server.String(), string(res.Transport))
	}
	return res
}

// cacheScope tells apart answers of different servers: one that filters, or
// knows private names, must not answer for another.
func (r *Resolver) cacheScope(ups []Upstream) string {
	if len(r.Servers) == 0 {
		return "" // the system's, whichever they are
	}
	names := make([]string, len(ups))
	for i, u := range ups {
		names[i] = u.String()
	}
	s := strings.Join(names, " ")
	if p := r.Options.ClientSubnet; p.IsValid() {
		s += " ecs=" + p.String()
	}
	return s
}

func (r *Resolver) fromHosts(res *Result) bool {
	path := r.HostsFile
	if path == "" && len(r.Servers) == 0 {
		path = HostsFile()
	}
	if path == "" || path == "-" {
		return false
	}
	rrs, known := hostsFileLookup(path, res.Query)
	if !known {
		return false
	}
	m := new(dns.Msg)
	m.SetQuestion(res.Query.Name, res.Query.Type)
	m.Response = true
	m.Answer = rrs
	wire, err := m.Pack()
	if err != nil {
		return false
	}
	res.Reply = Reply{Msg: m, Wire: wire}
	res.Outcome, res.Source, res.HostsFile = OutcomeOf(res.Query, m), FromHosts, path
	return true
}

func (r *Resolver) fromCache(res *Result, e *cache.Entry, src Source) bool {
	now := r.now()
	m, err := e.Msg(now)
	if err != nil {
		return false
	}
	strays := res.Strays
	res.Reply = Reply{Msg: m, Wire: e.Wire, Transport: Scheme(e.Transport), Strays: strays}
	if u, err := ParseUpstream(e.Server); err == nil {
		res.Server = u
	}
	res.Source, res.Err, res.Age = src, nil, now.Sub(e.Stored)
	res.Outcome = OutcomeOf(res.Query, m)
	return true
}

// plan says how long a query may take and how often each server is asked.
func (r *Resolver) plan(ups []Upstream) (total time.Duration, tries int, each time.Duration) {
	cfg, _ := r.system()
	total, tries = r.Options.Timeout, r.Options.Tries
	if tries <= 0 {
		if tries = defaultTries; cfg != nil {
			tries = cfg.Attempts
		}
	}
	n := tries * len(ups)
	if total <= 0 {
		switch {
		case ups[0].Scheme == MDNS:
			total = mdnsTimeout
		case cfg != nil:
			total = cfg.Timeout * time.Duration(n)
		default:
			total = defaultTimeout * time.Duration(len(ups))
		}
	}
	return total, tries, total / time.Duration(n)
}

// ask goes through the servers until one gives a usable answer. A query that
// takes long is not given up when the next one goes out: whichever answer
// comes first counts, and one that comes late is said to be.
func (r *Resolver) ask(ctx context.Context, res *Result, ups []Upstream) {
	total, tries, each := r.plan(ups)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()

	type answer struct {
		try   int
		reply *Reply
		err   error
	}
	n := tries * len(ups)
	answers := make(chan answer, n) // nobody is left blocked on it
	skip := make(map[Upstream]bool) // servers that said they will not answer
	next, flying := 0, 0
	launch := func() bool {
		for ; next < n; next++ {
			u := ups[next%len(ups)]
			if skip[u] {
				continue
			}
			try := len(res.Attempts)
			res.Attempts = append(res.Attempts, Attempt{Server: u, Started: time.Now(), Err: context.DeadlineExceeded})
			next++
			flying++
			c := r.Client(u)
			r.Options.Trace.sent(u, res.Query, try)
			if n == 1 {
				reply, err := c.Query(ctx, res.Query)
				answers <- answer{try, reply, err}
				return true
			}
			go func() {
				reply, err := c.Query(ctx, res.Query)
				answers <- answer{try, reply, err}
			}()
			return true
		}
		return false
	}

	var fallback *Reply // an answer like SERVFAIL, if no better one comes
	var firstErr error
	var strays Strays
	timer := time.NewTimer(each)
	defer timer.Stop()
	launch()
	for flying > 0 {
		var a answer
		select {
		case a = <-answers:
		case <-timer.C:
			if launch() {
				timer.Reset(each)
			}
			continue
		}
		flying--
		at := &res.Attempts[a.try]
		at.Took, at.Err = time.Since(at.Started), a.err
		if a.reply != nil {
			strays.merge(a.reply.Strays)
		}
		if a.err == nil {
			at.Rcode = a.reply.Msg.Rcode
			r.Options.Trace.received(at.Server, res.Query, a.reply)
			if !retryable(at.Rcode) {
				if a.try != len(res.Attempts)-1 {
					strays.Late++
				}
				// What the other queries saw meanwhile counts too. They
				// end at once, unless a dialer does not heed its context.
				cancel()
				for late := time.After(drainTime); flying > 0; flying-- {
					select {
					case b := <-answers:
						if b.reply != nil {
							strays.merge(b.reply.Strays)
						}
					case <-late:
						flying = 1
					}
				}
				r.finish(res, a.reply, strays)
				return
			}
			if fallback == nil || fallback.Msg.Rcode == dns.RcodeRefused {
				fallback = a.reply
			}
			skip[at.Server] = true
		} else if !isTimeout(a.err) {
			r.Options.Trace.failed(at.Server, res.Query, a.err)
			if firstErr == nil {
				firstErr = a.err
			}
			// What cannot be reached now can hardly be in a moment.
			skip[at.Server] = true
		}
		if ctx.Err() == nil && launch() {
			timer.Reset(each)
		}
	}
	switch {
	case fallback != nil:
		r.finish(res, fallback, strays)
	default:
		res.Outcome, res.Strays = Failed, strays
		res.Server = ups[0]
		if errors.Is(ctx.Err(), context.Canceled) {
			res.Err = context.Cause(ctx)
		} else if res.Err = firstErr; firstErr == nil {
			res.Err = &TimeoutError{Servers: ups, After: time.Since(begun), Tries: len(res.Attempts), Strays: strays}
		}
	}
}

// retryable says whether another server may know better: this one is broken
// or does not serve us.
func retryable(rcode int) bool {
	return rcode == dns.RcodeServerFailure || rcode == dns.RcodeRefused || rcode == dns.RcodeNotImplemented
}

func (r *Resolver) finish(res *Result, reply *Reply, strays Strays) {
	res.Reply = *reply
	res.Strays = strays
	res.Outcome = OutcomeOf(res.Query, reply.Msg)
	res.Source = FromServer
}

// A Question is one of several for [Resolver.LookupAll].
type Question struct {
	Name        string
	Type, Class uint16
	// Resolver answers it; nil means the one that LookupAll is called on.
	Resolver *Resolver
}

// LookupAll answers questions side by side, at most parallel of them at once
// (0 means 16), and calls done with each result in the order of the
// questions, as soon as it and those before it are there. It stops early if
// done returns false.
func (r *Resolver) LookupAll(ctx context.Context, qs []Question, parallel int, done func(int, *Result) bool) {
	if parallel <= 0 {
		parallel = 16
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make([]chan *Result, len(qs))
	for i := range results {
		results[i] = make(chan *Result, 1)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	slots := make(chan struct{}, parallel)
	wg.Go(func() {
		for i, q := range qs {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				by := q.Resolver
				if by == nil {
					by = r
				}
				results[i] <- by.Lookup(ctx, q.Name, q.Type, q.Class)
			})
		}
	})
	for i := range qs {
		if !done(i, <-results[i]) {
			return
		}
	}
}

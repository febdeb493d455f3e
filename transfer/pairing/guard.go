package pairing

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// GuardConfig says how much guessing is borne. The zero value is for a one-time
// code.
type GuardConfig struct {
	// Keep is for a listener that serves until it is stopped: wrong guesses do
	// not burn the code but slow down, by source and over all.
	Keep bool

	// Guesses is how many wrong guesses burn a one-time code, and how many a
	// source has free before delays begin under Keep. Default: 3.
	Guesses int

	// MaxPending is how many unproven connections there may be at once; default:
	// 64. MaxPendingPerSource is how many of them from one source; default: 16.
	// One more takes the place of the oldest that has not begun to guess within
	// PendingGrace (default: 1 s); if there is none, it is refused. So idle
	// connections keep nobody out.
	MaxPending, MaxPendingPerSource int
	PendingGrace                    time.Duration

	// Delay is the first delay of a source under Keep; each wrong guess doubles
	// it up to MaxDelay. Defaults: 1 s and 1 min.
	Delay, MaxDelay time.Duration

	// MaxSources bounds how many sources are remembered; the least delayed is
	// forgotten first. Default: 1024.
	MaxSources int

	// Burst and Refill bound the wrong guesses of all sources together under
	// Keep: Burst at once, then one each Refill. Defaults: 32 and 10 s, so that a
	// day holds 8,672 guesses, 0.2% of the words NewCode draws from.
	Burst  int
	Refill time.Duration
}

// forgetAfter is how long a source must be quiet for its wrong guesses to be
// forgotten.
const forgetAfter = 15 * time.Minute

func (c GuardConfig) withDefaults() GuardConfig {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&c.Guesses, 3)
	def(&c.MaxPending, 64)
	def(&c.MaxPendingPerSource, 16)
	def(&c.MaxSources, 1024)
	def(&c.Burst, 32)
	dur(&c.Delay, time.Second)
	dur(&c.MaxDelay, time.Minute)
	dur(&c.Refill, 10*time.Second)
	dur(&c.PendingGrace, time.Second)
	return c
}

// A Guard counts guesses at one code. It reads no clock and starts nothing: now
// is an argument. It may be used by several goroutines at once.
//
//	Admit ──▶ pending ──Charge──▶ charged ──Succeed──▶ proved ──End──▶ (not counted)
//	             │                   │
//	      End or evicted            End ──▶ one wrong guess
//	             ▼
//	        (not counted)
//
// A guess is charged before the listener answers with its share, and given back
// only for a proof. So neither leaving early nor guessing in parallel gives
// anybody more guesses than are counted.
type Guard struct {
	cfg GuardConfig

	mu      sync.Mutex
	live    []*Attempt           // not ended, oldest first
	pending map[netip.Prefix]int // how many of live are of a source
	charged int                  // how many of live are charged
	wrong   int

	sources map[netip.Prefix]*source
	// Under Keep: guesses that may be charged now, as of tokensAt.
	tokens   int
	tokensAt time.Time

	changed chan struct{} // closed when a charged guess ends; nil while nobody waits
}

type source struct {
	wrong   int
	charged int
	until   time.Time // no charge before
	last    time.Time
}

// NewGuard makes a Guard for one code.
func NewGuard(cfg GuardConfig) *Guard {
	cfg = cfg.withDefaults()
	return &Guard{
		cfg:     cfg,
		pending: make(map[netip.Prefix]int),
		sources: make(map[netip.Prefix]*source),
		tokens:  cfg.Burst,
	}
}

// Keep is the configuration's.
func (g *Guard) Keep() bool { return g.cfg.Keep }

// Wrong is how many guesses were wrong so far.
func (g *Guard) Wrong() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wrong
}

// Burnt says that no further guess will be taken.
func (g *Guard) Burnt() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.burnt()
}

func (g *Guard) burnt() bool { return !g.cfg.Keep && g.wrong >= g.cfg.Guesses }

// sourceOf is what counts as one source: an IPv4 address, or the /64 that one
// IPv6 host has to itself. Connections without an address (a pipe) share one.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// Admit takes a new connection, before anything is read from it. The error is
// [ErrBurnt] or [ErrBusy]. The Attempt must be ended.
func (g *Guard) Admit(now time.Time, from netip.Addr) (*Attempt, error) {
	a, evicted, err := g.admit(now, sourceOf(from))
	if evicted != nil {
		evicted() // outside the lock, since it closes a connection
	}
	return a, err
}

func (g *Guard) admit(now time.Time, src netip.Prefix) (a *Attempt, evicted func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.burnt() {
		return nil, nil, ErrBurnt
	}
	crowded := g.pending[src] >= g.cfg.MaxPendingPerSource
	if crowded || len(g.live) >= g.cfg.MaxPending {
		old := g.evictable(now, src, crowded)
		if old == nil {
			return nil, nil, ErrBusy
		}
		g.remove(old)
		old.state = attemptEvicted
		evicted = old.onEvict
	}
	a = &Attempt{g: g, src: src, since: now}
	g.live = append(g.live, a)
	g.pending[src]++
	return a, evicted, nil
}

// evictable is the oldest attempt, of src if it is src that is crowded, that has
// had its time and guessed nothing.
func (g *Guard) evictable(now time.Time, src netip.Prefix, crowded bool) *Attempt {
	for _, a := range g.live {
		if now.Sub(a.since) < g.cfg.PendingGrace {
			return nil // all that follow are younger
		}
		if a.state == attemptPending && (!crowded || a.src == src) {
			return a
		}
	}
	return nil
}

// remove takes a out of live.
func (g *Guard) remove(a *Attempt) {
	if i := slices.Index(g.live, a); i >= 0 {
		g.live = slices.Delete(g.live, i, i+1)
	}
	if g.pending[a.src]--; g.pending[a.src] <= 0 {
		delete(g.pending, a.src)
	}
}

// An Attempt is one connection's standing with its Guard.
type Attempt struct {
	g       *Guard
	src     netip.Prefix
	since   time.Time
	state   attemptState
	onEvict func()

	chargedAt time.Time
	source    *source // that was charged; nil for a one-time code
}

type attemptState int

const (
	attemptPending attemptState = iota
	attemptCharged
	attemptProved
	attemptEvicted
	attemptEnded
)

// OnEvict says what to do when the attempt is evicted: close its connection. It
// is called at most once, and at once if that has happened already.
func (a *Attempt) OnEvict(f func()) {
	a.g.mu.Lock()
	evicted := a.state == attemptEvicted
	if !evicted {
		a.onEvict = f
	}
	a.g.mu.Unlock()
	if evicted {
		f()
	}
}

// Evicted says that the attempt had to make room.
func (a *Attempt) Evicted() bool {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	return a.state == attemptEvicted
}

// Charge counts a guess, before anything is answered that could test one. The
// error is [ErrBurnt]; [ErrBusy], when the guesses left are all being made by
// others or the attempt was evicted; or a [*DelayError].
func (a *Attempt) Charge(now time.Time) error {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	switch a.state {
	case attemptPending:
	case attemptEvicted:
		return ErrBusy
	default:
		return ErrProtocol
	}
	s, err := g.charge(now, a.src)
	if err != nil {
		return err
	}
	g.charged++
	a.state, a.chargedAt, a.source = attemptCharged, now, s
	return nil
}

// Changed gives a channel that is closed when a guess that is under way ends.
// Taken before a Charge that gives [ErrBusy], it says when to try again. Several
// connections of an honest peer, opened at once, so wait for each other.
func (a *Attempt) Changed() <-chan struct{} {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

func (g *Guard) wake() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// charge says whether src may guess now. The source is nil for a one-time code.
func (g *Guard) charge(now time.Time, src netip.Prefix) (*source, error) {
	if !g.cfg.Keep {
		if g.burnt() {
			return nil, ErrBurnt
		}
		if g.wrong+g.charged >= g.cfg.Guesses {
			return nil, ErrBusy
		}
		return nil, nil
	}
	g.refill(now)
	if g.tokens <= 0 {
		return nil, &DelayError{Wait: g.tokensAt.Add(g.cfg.Refill).Sub(now)}
	}
	s := g.sources[src]
	if s != nil && s.charged == 0 && now.Sub(s.last) > forgetAfter {
		delete(g.sources, src)
		s = nil
	}
	if s == nil {
		g.makeRoom()
		s = &source{}
		g.sources[src] = s
	}
	if wait := s.until.Sub(now); wait > 0 {
		return nil, &DelayError{Wait: wait}
	}
	if s.charged > 0 && s.wrong+s.charged >= g.cfg.Guesses {
		return nil, ErrBusy // one by one, when the free guesses are used up
	}
	g.tokens--
	s.charged++
	s.last = now
	return s, nil
}

// failed makes a source wait, from when it made the guess.
func (s *source) failed(chargedAt time.Time, cfg GuardConfig) {
	s.charged--
	s.wrong++
	over := s.wrong - cfg.Guesses
	if over < 0 {
		return
	}
	d := cfg.MaxDelay
	if over < 30 && cfg.Delay<<over < d {
		d = cfg.Delay << over
	}
	if until := chargedAt.Add(d); until.After(s.until) {
		s.until = until
	}
}

func (g *Guard) refill(now time.Time) {
	if g.tokensAt.IsZero() || g.tokens >= g.cfg.Burst {
		g.tokensAt = now
		return
	}
	n := int(now.Sub(g.tokensAt) / g.cfg.Refill)
	if n <= 0 {
		return
	}
	g.tokens = min(g.tokens+n, g.cfg.Burst)
	g.tokensAt = g.tokensAt.Add(time.Duration(n) * g.cfg.Refill)
}

// makeRoom forgets the source that waits least. The bucket over all sources
// bounds how often that can happen, so a scan will do.
func (g *Guard) makeRoom() {
	if len(g.sources) < g.cfg.MaxSources {
		return
	}
	var least netip.Prefix
	var found *source
	for p, s := range g.sources {
		if found == nil || s.until.Before(found.until) || s.until.Equal(found.until) && s.last.Before(found.last) {
			least, found = p, s
		}
	}
	delete(g.sources, least)
}

// Succeed gives back what was charged: the peer proved the code. A source that
// did is no guesser, so its delays end as well.
func (a *Attempt) Succeed(now time.Time) {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if a.state != attemptCharged {
		return
	}
	a.state = attemptProved
	g.charged--
	if a.source != nil {
		g.tokens = min(g.tokens+1, g.cfg.Burst)
		a.source.charged--
		a.source.wrong, a.source.until = 0, time.Time{}
	}
	g.wake()
}

// End ends the attempt and says whether that was a wrong guess. Ending again
// does nothing.
func (a *Attempt) End() (wrong bool) {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if a.state == attemptEvicted || a.state == attemptEnded {
		return false
	}
	wrong = a.state == attemptCharged
	a.state = attemptEnded
	g.remove(a)
	if wrong {
		g.charged--
		g.wrong++
		if a.source != nil {
			a.source.failed(a.chargedAt, g.cfg)
		}
		g.wake()
	}
	return wrong
}

// Package cache remembers answers of the DNS for as long as their TTLs allow,
// and a while longer for when no server answers.
//
//   - Positive answers live for the smallest TTL among their records
//     (RFC 2181 section 5.2).
//   - NXDOMAIN and NODATA live for the smaller of the SOA record's TTL and
//     its minimum field; without an SOA record they are not kept
//     (RFC 2308 section 5).
//   - Expired entries stay for [Cache.MaxStale], to be served, marked, when
//     every server fails (RFC 8767).
//   - Nothing is fetched ahead of time, and failures are not remembered.
//
// Everything is bounded: the number of entries, their size together, and each
// TTL. The clock is an argument everywhere.
//
// # File format
//
// A cache file is text: the line
//
//	wherry-dns-cache 1
//
// and then one JSON object a line, one for each entry, the one used last at
// the end:
//
//	{"name":"example.com.","type":1,"class":1,"scope":"192.0.2.1",
//	 "flags":"do","stored":"2026-11-21T05:00:00Z","ttl":300,
//	 "server":"192.0.2.1","transport":"udp","message":"<base64>"}
//
// message is the answer in wire format with the TTLs that it came with. A
// reader skips lines that it cannot understand, so that a damaged file costs
// answers, not the lookup.
package cache

import (
	"container/list"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Default limits; see the fields of [Cache].
const (
	DefaultMaxEntries  = 10000
	DefaultMaxBytes    = 32 << 20
	DefaultMaxTTL      = 24 * time.Hour
	DefaultMaxNegative = 3 * time.Hour
	DefaultMaxStale    = 24 * time.Hour
	// StaleTTL is the TTL that records of a stale answer carry (RFC 8767
	// section 4).
	StaleTTL = 30
)

// A Key is what an answer is remembered under.
type Key struct {
	Name  string // absolute, in lower case
	Type  uint16
	Class uint16
	// Scope tells answers of different servers apart; "" is a scope too.
	Scope string
	// DO and CD are the query's flags: signatures wanted, checking disabled.
	DO, CD bool
}

// KeyOf makes a key: it lowers the name's case and ends it in a dot.
func KeyOf(name string, typ, class uint16, scope string) Key {
	return Key{Name: dns.CanonicalName(name), Type: typ, Class: class, Scope: scope}
}

// An Entry is an answer that is remembered. It is not changed once stored.
type Entry struct {
	Key
	Wire      []byte // the message, TTLs as they came
	Stored    time.Time
	TTL       time.Duration
	Server    string // who answered
	Transport string // over what
}

// Expires returns when the entry ceases to be fresh.
func (e *Entry) Expires() time.Time { return e.Stored.Add(e.TTL) }

// Left returns how much of the entry's life is left at now; it is negative
// for a stale one.
func (e *Entry) Left(now time.Time) time.Duration { return e.Expires().Sub(now) }

// Msg returns the answer with its TTLs counted down to now; those of a stale
// answer are [StaleTTL].
func (e *Entry) Msg(now time.Time) (*dns.Msg, error) {
	m := new(dns.Msg)
	if err := m.Unpack(e.Wire); err != nil {
		return nil, err
	}
	age := max(0, now.Sub(e.Stored))
	stale := age >= e.TTL
	for _, sec := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range sec {
			h := rr.Header()
			switch {
			case h.Rrtype == dns.TypeOPT: // its TTL field is flags
			case stale:
				h.Ttl = StaleTTL
			default:
				h.Ttl = min(h.Ttl, uint32(e.TTL/time.Second))
				h.Ttl -= min(h.Ttl, uint32(age/time.Second))
			}
		}
	}
	return m, nil
}

// size is what an entry counts for: its octets and the bookkeeping.
func (e *Entry) size() int { return len(e.Wire) + len(e.Name) + len(e.Scope) + len(e.Server) + 200 }

// A State says what a look into the cache found.
type State uint8

// States.
const (
	Miss State = iota
	Fresh
	Stale // expired, but not longer than MaxStale ago
)

// A Cache remembers answers. The zero value is ready and has the default
// limits, which must be changed before the first use only. A cache may be
// used by several goroutines.
type Cache struct {
	MaxEntries  int           // the least recently used go first
	MaxBytes    int           // of all entries together
	MaxTTL      time.Duration // longer TTLs are cut (RFC 8767 section 4 advises days)
	MaxNegative time.Duration // the same for negative answers (RFC 2308 section 5: 1 to 3 hours)
	MaxStale    time.Duration // negative: stale answers are not kept

	mu      sync.Mutex
	entries map[Key]*list.Element // of *Entry
	lru     list.List             // the most recently used in front
	bytes   int
	dirty   bool
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (c *Cache) maxStale() time.Duration { return max(0, or(c.MaxStale, DefaultMaxStale)) }

// Get looks k up.
func (c *Cache) Get(now time.Time, k Key) (*Entry, State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil, Miss
	}
	e := el.Value.(*Entry)
	left := e.Left(now)
	if left <= -c.maxStale() {
		c.remove(el)
		return nil, Miss
	}
	c.lru.MoveToFront(el)
	if left <= 0 {
		return e, Stale
	}
	return e, Fresh
}

// Put remembers the answer wire under k if it may be remembered, and says
// whether it was. server and transport are for telling.
func (c *Cache) Put(now time.Time, k Key, wire []byte, server, transport string) bool {
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		return false
	}
	ttl, ok := c.ttl(k, m)
	if !ok {
		return false
	}
	c.insert(&Entry{Key: k, Wire: append([]byte(nil), wire...), Stored: now.Truncate(time.Second), TTL: ttl,
		Server: server, Transport: transport})
	return true
}

// ttl decides whether and how long an answer may be kept.
func (c *Cache) ttl(k Key, m *dns.Msg) (time.Duration, bool) {
	if m.Truncated || !m.Response || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0, false
	}
	positive := false
	ttl := or(c.MaxTTL, DefaultMaxTTL)
	for _, rr := range m.Answer {
		h := rr.Header()
		positive = positive || h.Rrtype == k.Type || k.Type == dns.TypeANY
		ttl = min(ttl, seconds(h.Ttl))
	}
	if m.Rcode == dns.RcodeNameError || !positive {
		var soa *dns.SOA
		for _, rr := range m.Ns {
			if s, ok := rr.(*dns.SOA); ok {
				soa = s
			}
		}
		if soa == nil {
			return 0, false
		}
		ttl = min(ttl, or(c.MaxNegative, DefaultMaxNegative), seconds(soa.Hdr.Ttl), seconds(soa.Minttl))
	}
	return ttl, ttl > 0
}

// seconds reads a TTL; one with the top bit set is taken as 0 (RFC 2181
// section 8).
func seconds(ttl uint32) time.Duration {
	if ttl >= 1<<31 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

func (c *Cache) insert(e *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = make(map[Key]*list.Element)
		c.lru.Init()
	}
	if old := c.entries[e.Key]; old != nil {
		c.remove(old)
	}
	if e.size() > or(c.MaxBytes, DefaultMaxBytes) {
		return
	}
	c.entries[e.Key] = c.lru.PushFront(e)
	c.bytes += e.size()
	c.dirty = true
	for len(c.entries) > or(c.MaxEntries, DefaultMaxEntries) || c.bytes > or(c.MaxBytes, DefaultMaxBytes) {
		c.remove(c.lru.Back())
	}
}

func (c *Cache) remove(el *list.Element) {
	e := el.Value.(*Entry)
	c.lru.Remove(el)
	delete(c.entries, e.Key)
	c.bytes -= e.size()
	c.dirty = true
}

// Len returns the number of entries, stale ones included.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// Entries returns all entries that can still be served at now, fresh or
// stale, sorted by name (from the root), type and scope.
func (c *Cache) Entries(now time.Time) []*Entry {
	c.mu.Lock()
	out := make([]*Entry, 0, len(c.entries))
	for el := c.lru.Front(); el != nil; el = el.Next() {
		if e := el.Value.(*Entry); e.Left(now) > -c.maxStale() {
			out = append(out, e)
		}
	}
	c.mu.Unlock()
	sortEntries(out)
	return out
}

// reversed returns a name's labels from the root, for sorting zones together.
func reversed(name string) string {
	l := dns.SplitDomainName(name)
	for i, j := 0, len(l)-1; i < j; i, j = i+1, j-1 {
		l[i], l[j] = l[j], l[i]
	}
	return strings.Join(l, "\x00")
}

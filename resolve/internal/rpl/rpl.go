// Package rpl reads the replay scenarios that Unbound's testbound and CZ.NIC's
// Deckard share (.rpl files), and plays their servers in memory.
//
// A scenario is a configuration, ranges, and steps:
//
//	stub-addr: 193.0.14.129          ; a root server
//	trust-anchor: ". IN DS ..."
//	val-override-date: "20181130101800"
//	CONFIG_END
//	SCENARIO_BEGIN what it is about
//	RANGE_BEGIN 0 100                ; in steps 0 to 100 ...
//	  ADDRESS 193.0.14.129           ; ... this server ...
//	  ENTRY_BEGIN                    ; ... gives this reply
//	  MATCH opcode qtype qname       ; to queries that agree in this
//	  ADJUST copy_id copy_query      ; after this change
//	  REPLY QR AA NOERROR            ; with these flags and rcode
//	  SECTION QUESTION
//	  com. IN NS
//	  SECTION ANSWER
//	  ...
//	  ENTRY_END
//	RANGE_END
//	STEP 1 QUERY                     ; an entry: what a client asks
//	STEP 5 TIME_PASSES ELAPSE 3600
//	STEP 10 CHECK_ANSWER             ; an entry: what it must be answered
//	SCENARIO_END
//
// Comments start with ; or #. Records without TTL have 3600.
package rpl

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Scenario is one file.
type Scenario struct {
	Config Config
	Title  string
	Ranges []*Range
	Steps  []*Step
}

// Config is the part before CONFIG_END, as far as it means something here.
type Config struct {
	Zones     []Zone // stub and forward zones; the root's stub is the root hints
	Anchors   []string
	Unsigned  []string // domain-insecure
	Date      time.Time
	Minimise  bool
	NoIPv4    bool
	NoIPv6    bool
	AnyGlue   bool // harden-glue: no
	MinTTL    uint32
	MaxTTL    uint32
	Localhost bool // do-not-query-localhost: no
}

// Zone is a stub or forward zone.
type Zone struct {
	Name    string
	Addrs   []netip.AddrPort
	Forward bool
}

// Range is the entries that some addresses serve during some steps.
type Range struct {
	From, To int
	Addrs    []netip.Addr
	Entries  []*Entry
}

// Step is one step of the scenario.
type Step struct {
	ID      int
	What    string // QUERY, CHECK_ANSWER, TIME_PASSES, ...
	Elapse  time.Duration
	Entry   *Entry
	Comment string
}

// Entry is a message with what to match and change.
type Entry struct {
	Match  []string
	Adjust []string
	Msg    *dns.Msg
	DO     bool
	Raw    []byte // HEX_ANSWER: the reply as it is
}

// Parse reads a scenario.
func Parse(r io.Reader) (*Scenario, error) {
	p := &parser{sc: bufio.NewScanner(r)}
	p.sc.Buffer(make([]byte, 1<<16), 1<<20)
	s := new(Scenario)
	if err := p.config(&s.Config); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	if err := p.body(s); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	if s.Config.Date.IsZero() {
		s.Config.Date = s.midSignature()
	}
	return s, nil
}

type parser struct {
	sc   *bufio.Scanner
	line int
}

// next is the next line without comment, trimmed, that is not empty.
func (p *parser) next() (string, bool) {
	for p.sc.Scan() {
		p.line++
		if t := strings.TrimSpace(uncomment(p.sc.Text())); t != "" {
			return t, true
		}
	}
	return "", false
}

// uncomment cuts a comment off; ; and # inside quotes do not start one, nor
// does # inside a word.
func uncomment(s string) string {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == ';', s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t'):
			return s[:i]
		}
	}
	return s
}

func (p *parser) config(c *Config) error {
	c.MaxTTL = 0
	kind, name := "", "."
	for {
		t, ok := p.next()
		if !ok {
			return fmt.Errorf("no CONFIG_END")
		}
		if t == "CONFIG_END" {
			return nil
		}
		key, val, ok := strings.Cut(t, ":")
		if !ok {
			continue
		}
		key, val = strings.TrimSpace(key), strings.TrimSpace(val)
		if !strings.Contains(key, "anchor") || strings.Count(val, `"`) == 2 {
			val = strings.Trim(val, `" `)
		}
		off := val == "no" || val == "off" || val == "false"
		switch key {
		case "server", "stub-zone", "forward-zone":
			kind, name = key, "."
		case "name":
			name = dns.CanonicalName(val)
		case "stub-addr", "forward-addr":
			host, port := val, 0
			if h, ps, ok := strings.Cut(val, "@"); ok {
				host = h
				port, _ = strconv.Atoi(ps)
			}
			a, err := netip.ParseAddr(host)
			if err != nil {
				continue // a name: nothing to look it up by
			}
			forward := key == "forward-addr" || kind == "forward-zone"
			i := slices.IndexFunc(c.Zones, func(z Zone) bool { return z.Name == name && z.Forward == forward })
			if i < 0 {
				i = len(c.Zones)
				c.Zones = append(c.Zones, Zone{Name: name, Forward: forward})
			}
			c.Zones[i].Addrs = append(c.Zones[i].Addrs, netip.AddrPortFrom(a, uint16(port)))
		case "trust-anchor":
			c.Anchors = append(c.Anchors, strings.Trim(val, `" `))
		case "domain-insecure":
			c.Unsigned = append(c.Unsigned, dns.CanonicalName(val))
		case "val-override-date":
			if d, err := time.Parse("20060102150405", val); err == nil {
				c.Date = d
			} else if n, err := strconv.ParseInt(val, 10, 64); err == nil && n > 0 {
				c.Date = time.Unix(n, 0)
			}
		case "val-override-timestamp":
			n, err := strconv.ParseInt(val, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			c.Date = time.Unix(n, 0)
		case "query-minimization", "query-minimisation", "qname-minimisation", "qname-minimization":
			c.Minimise = !off
		case "do-ip4":
			c.NoIPv4 = off
		case "do-ip6":
			c.NoIPv6 = off
		case "harden-glue":
			c.AnyGlue = off
		case "do-not-query-localhost":
			c.Localhost = off
		case "features":
			k, v, _ := strings.Cut(val, "=")
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32)
			if err != nil {
				continue
			}
			switch strings.TrimSpace(k) {
			case "min_ttl":
				c.MinTTL = uint32(n)
			case "max_ttl":
				c.MaxTTL = uint32(n)
			}
		case "cache-min-ttl", "cache-max-ttl":
			n, err := strconv.ParseUint(val, 10, 32)
			if err != nil {
				continue
			}
			if key == "cache-min-ttl" {
				c.MinTTL = uint32(n)
			} else {
				c.MaxTTL = uint32(n)
			}
		}
	}
}

func (p *parser) body(s *Scenario) error {
	var rng *Range
	for {
		t, ok := p.next()
		if !ok {
			return nil
		}
		f := strings.Fields(t)
		switch f[0] {
		case "SCENARIO_BEGIN":
			s.Title = strings.Join(f[1:], " ")
		case "SCENARIO_END":
			return nil
		case "RANGE_BEGIN":
			if len(f) < 3 {
				return fmt.Errorf("range without bounds")
			}
			rng = new(Range)
			var err1, err2 error
			rng.From, err1 = strconv.Atoi(f[1])
			rng.To, err2 = strconv.Atoi(f[2])
			if err1 != nil || err2 != nil {
				return fmt.Errorf("range %q", t)
			}
			for _, w := range f[3:] {
				if a, err := netip.ParseAddr(w); err == nil {
					rng.Addrs = append(rng.Addrs, a)
				}
			}
			s.Ranges = append(s.Ranges, rng)
		case "ADDRESS":
			if rng == nil || len(f) < 2 {
				return fmt.Errorf("address outside a range")
			}
			a, err := netip.ParseAddr(f[1])
			if err != nil {
				return err
			}
			rng.Addrs = append(rng.Addrs, a)
		case "RANGE_END":
			rng = nil
		case "ENTRY_BEGIN":
			e, err := p.entry()
			if err != nil {
				return err
			}
			switch {
			case rng != nil:
				rng.Entries = append(rng.Entries, e)
			case len(s.Steps) > 0:
				s.Steps[len(s.Steps)-1].Entry = e
			}
		case "STEP":
			if len(f) < 3 {
				return fmt.Errorf("step %q", t)
			}
			id, err := strconv.Atoi(f[1])
			if err != nil {
				return err
			}
			st := &Step{ID: id, What: f[2]}
			for i := 3; i+1 < len(f); i++ {
				if f[i] == "ELAPSE" {
					sec, err := strconv.ParseFloat(f[i+1], 64)
					if err != nil {
						return err
					}
					st.Elapse = time.Duration(sec * float64(time.Second))
				}
			}
			s.Steps = append(s.Steps, st)
		}
	}
}

func (p *parser) entry() (*Entry, error) {
	e := &Entry{Msg: new(dns.Msg)}
	section := ""
	for {
		t, ok := p.next()
		if !ok {
			return nil, fmt.Errorf("no ENTRY_END")
		}
		f := strings.Fields(t)
		switch f[0] {
		case "ENTRY_END":
			if e.DO {
				e.Msg.SetEdns0(4096, true)
			}
			return e, nil
		case "MATCH":
			for _, w := range f[1:] {
				e.Match = append(e.Match, strings.ToLower(w))
			}
		case "ADJUST":
			for _, w := range f[1:] {
				e.Adjust = append(e.Adjust, strings.ToLower(w))
			}
		case "REPLY", "FLAGS":
			for _, w := range f[1:] {
				e.flag(strings.ToUpper(w))
			}
		case "SECTION":
			if len(f) > 1 {
				section = strings.ToUpper(f[1])
			}
		case "HEX_ANSWER_BEGIN", "HEX_EDNSDATA_BEGIN":
			var b strings.Builder
			for {
				t, ok := p.next()
				if !ok || strings.HasSuffix(t, "_END") {
					break
				}
				b.WriteString(strings.ReplaceAll(t, " ", ""))
			}
			if f[0] == "HEX_ANSWER_BEGIN" {
				raw, err := hex.DecodeString(b.String())
				if err != nil {
					return nil, err
				}
				e.Raw = raw
			}
		default:
			for strings.Count(t, "(") > strings.Count(t, ")") {
				more, ok := p.next()
				if !ok {
					return nil, fmt.Errorf("unbalanced parentheses")
				}
				t += " " + more
			}
			if err := e.record(section, t); err != nil {
				return nil, err
			}
		}
	}
}

func (e *Entry) flag(w string) {
	m := e.Msg
	switch w {
	case "QR":
		m.Response = true
	case "AA":
		m.Authoritative = true
	case "TC":
		m.Truncated = true
	case "RD":
		m.RecursionDesired = true
	case "RA":
		m.RecursionAvailable = true
	case "AD":
		m.AuthenticatedData = true
	case "CD":
		m.CheckingDisabled = true
	case "DO":
		e.DO = true
	default:
		if rc, ok := dns.StringToRcode[w]; ok {
			m.Rcode = rc
		} else if op, ok := dns.StringToOpcode[w]; ok {
			m.Opcode = op
		}
	}
}

func (e *Entry) record(section, t string) error {
	if section == "QUESTION" {
		f := strings.Fields(t)
		q := dns.Question{Name: dns.Fqdn(f[0]), Qclass: dns.ClassINET}
		for _, w := range f[1:] {
			w = strings.ToUpper(w)
			if c, ok := dns.StringToClass[w]; ok && w != "ANY" {
				q.Qclass = c
			} else if n, ok := dns.StringToType[w]; ok {
				q.Qtype = n
			} else if n, err := strconv.ParseUint(strings.TrimPrefix(w, "TYPE"), 10, 16); err == nil && strings.HasPrefix(w, "TYPE") {
				q.Qtype = uint16(n)
			}
		}
		e.Msg.Question = append(e.Msg.Question, q)
		return nil
	}
	zp := dns.NewZoneParser(strings.NewReader(t+"\n"), ".", "")
	zp.SetDefaultTTL(3600)
	rr, ok := zp.Next()
	if !ok {
		return fmt.Errorf("record %q: %w", t, zp.Err())
	}
	// Scenarios list types in any order; on the wire they ascend, and that is
	// what the signatures cover.
	switch rr := rr.(type) {
	case *dns.NSEC:
		slices.Sort(rr.TypeBitMap)
	case *dns.NSEC3:
		slices.Sort(rr.TypeBitMap)
	}
	switch section {
	case "ANSWER":
		e.Msg.Answer = append(e.Msg.Answer, rr)
	case "AUTHORITY":
		e.Msg.Ns = append(e.Msg.Ns, rr)
	case "ADDITIONAL":
		e.Msg.Extra = append(e.Msg.Extra, rr)
	default:
		return fmt.Errorf("record %q outside a section", t)
	}
	return nil
}

// midSignature is a date at which the scenario's first signature is valid, for
// scenarios that name none.
func (s *Scenario) midSignature() time.Time {
	for _, r := range s.Ranges {
		for _, e := range r.Entries {
			for _, rr := range append(slices.Clone(e.Msg.Answer), e.Msg.Ns...) {
				if sig, ok := rr.(*dns.RRSIG); ok {
					return time.Unix(int64(sig.Inception/2+sig.Expiration/2), 0)
				}
			}
		}
	}
	return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
}

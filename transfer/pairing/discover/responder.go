package discover

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	probeWait     = 250 * time.Millisecond // section 8.1
	probes        = 3
	maxLate       = 10          // probes that may be sent again because this machine stood still
	loserWait     = time.Second // section 8.2
	announceWait  = time.Second // section 8.3
	announcements = 2
	multicastWait = time.Second            // section 6: between multicasts of a record
	defenceWait   = 250 * time.Millisecond // the same, in answer to a probe
	sharedMin     = 20 * time.Millisecond  // section 6: before answering with shared records
	sharedSpread  = 100 * time.Millisecond

	// maxConflicts is how many numbers are tried, and how often a given number
	// is contended for, before giving up.
	maxConflicts = 20
)

// ErrNumberTaken says that the offer's number is in use on this network; of an
// offer without a number, that no free one was found.
var ErrNumberTaken = errors.New("the number is in use on this network")

// What a response holds, as a set.
type recordSet uint

const (
	recPTR recordSet = 1 << iota
	recSubtype
	recEnumeration
	recSRV
	recTXT
	recAddrs
	recClaim

	recAll = recPTR | recSubtype | recSRV | recTXT | recAddrs | recClaim
)

// A responder claims a number and answers for one offer.
//
//	probing ──3 probes, no conflict──▶ announcing ──▶ running ──stop──▶ stopped
//	   ▲  │
//	   │  └─conflict─▶ another number, or failed
//	   └──lost a tie: after a second
type responder struct {
	offer    Offer
	given    bool // the number was the caller's
	instance string
	host     string
	rng      *rand.Rand

	state     responderState
	sent      int // probes, or announcements
	late      int // probes that were sent again
	at        time.Time
	conflicts int
	tried     map[int]bool

	links map[int]*linkState
	order []int // of links, so that the same input gives the same output
	out   []packet
}

type responderState int

const (
	probing responderState = iota
	announcing
	running
	stopped
	failed
)

// linkState is what is due on one link.
type linkState struct {
	link
	want recordSet // to be multicast
	at   time.Time // then
	last time.Time // the last multicast
}

// newResponder starts to claim. Names and delays are drawn from random and rng.
func newResponder(now time.Time, o Offer, links []link, random io.Reader, rng *rand.Rand) (*responder, error) {
	r := &responder{offer: o, given: o.Number != 0, rng: rng, links: map[int]*linkState{}, tried: map[int]bool{}}
	var err error
	if r.instance, err = randomLabel(random); err != nil {
		return nil, err
	}
	if r.host, err = randomLabel(random); err != nil {
		return nil, err
	}
	r.setLinks(now, links)
	if !r.given {
		r.nextNumber()
	}
	// A random wait, lest all that start at once (after a power cut) probe at once.
	r.at = now.Add(time.Duration(rng.Int64N(int64(probeWait))))
	return r, nil
}

func (r *responder) instanceName() string { return r.instance + "." + service }
func (r *responder) hostName() string     { return r.host + ".local." }

// nextNumber draws a number not yet tried: small ones first, since people are
// going to type them.
func (r *responder) nextNumber() {
	spread := 99
	if r.conflicts >= maxConflicts/2 {
		spread = maxNumber
	}
	for {
		n := 1 + r.rng.IntN(spread)
		if !r.tried[n] {
			r.tried[n] = true
			r.offer.Number = n
			return
		}
	}
}

// setLinks replaces the links; a new one is told of the offer at once.
func (r *responder) setLinks(now time.Time, links []link) {
	old := r.links
	r.links = make(map[int]*linkState, len(links))
	r.order = r.order[:0]
	for _, l := range links {
		s := &linkState{link: l}
		o := old[l.index]
		if o != nil {
			s.want, s.at, s.last = o.want, o.at, o.last
		}
		if (r.state == announcing || r.state == running) && (o == nil || !slices.Equal(o.prefixes, l.prefixes)) {
			s.want, s.at = recAll, now
		}
		r.links[l.index] = s
		r.order = append(r.order, l.index)
	}
}

// next is when timeout wants to be called; zero for never.
func (r *responder) next() time.Time {
	t := r.at
	for _, i := range r.order {
		if s := r.links[i]; s.want != 0 && (t.IsZero() || s.at.Before(t)) {
			t = s.at
		}
	}
	return t
}

// timeout does what is due.
func (r *responder) timeout(now time.Time) {
	if !r.at.IsZero() && !now.Before(r.at) {
		switch r.state {
		case probing:
			if r.sent > 0 && r.late < maxLate && now.Sub(r.at) >= probeWait {
				// This machine stood still, and perhaps with it the one that has
				// the number: that nothing has come means nothing. Ask again.
				r.late++
				r.at = now.Add(probeWait)
				r.probe()
				break
			}
			if r.sent == probes {
				r.state, r.sent = announcing, 0
				r.announce(now)
				break
			}
			r.sent++
			r.at = now.Add(probeWait)
			r.probe()
		case announcing:
			r.announce(now)
		}
	}
	for _, i := range r.order {
		s := r.links[i]
		if s.want == 0 || now.Before(s.at) {
			continue
		}
		r.out = append(r.out, packet{link: i, data: pack(r.response(s.link, s.want, ttl))})
		s.want, s.last = 0, now
	}
}

func (r *responder) announce(now time.Time) {
	for _, s := range r.links {
		s.want, s.at = recAll, now
	}
	if r.sent++; r.sent == announcements {
		r.state, r.at = running, time.Time{}
		return
	}
	r.at = now.Add(announceWait)
}

// probe asks for the names and says what it would have them be (section 8.1).
func (r *responder) probe() {
	for _, i := range r.order {
		l := r.links[i].link
		m := dnsmessage.Message{}
		for _, name := range []string{claimName(r.offer.Number), r.instanceName(), r.hostName()} {
			m.Questions = append(m.Questions, dnsmessage.Question{Name: mustName(name), Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET})
		}
		for _, rr := range r.records(l, recClaim|recSRV|recAddrs, ttl) {
			rr.Header.Class &^= cacheFlush // section 10.2: not in probes
			m.Authorities = append(m.Authorities, rr)
		}
		r.out = append(r.out, packet{link: i, data: pack(m)})
	}
}

// stop takes the offer back (section 10.1).
func (r *responder) stop() {
	if r.state == announcing || r.state == running {
		for _, i := range r.order {
			r.out = append(r.out, packet{link: i, data: pack(r.response(r.links[i].link, recAll, 0))})
		}
	}
	r.state, r.at = stopped, time.Time{}
	for _, s := range r.links {
		s.want = 0
	}
}

// claimed says that the number is this offer's.
func (r *responder) claimed() bool { return r.state == announcing || r.state == running }

// take gives the packets to be sent.
func (r *responder) take() []packet {
	out := r.out
	r.out = nil
	return out
}

// handle takes a packet that came in on a link.
func (r *responder) handle(now time.Time, b []byte, from netip.AddrPort, index int) {
	s := r.links[index]
	if s == nil || !s.sends(from.Addr()) {
		return // section 11: not from this link
	}
	m, ok := parse(b)
	if !ok {
		return
	}
	if m.header.Response {
		if from.Port() == port { // section 6: else ignore it
			r.handleResponse(now, m)
		}
		return
	}
	if r.state == probing {
		r.handleProbe(now, m)
		return
	}
	if r.claimed() {
		r.handleQuery(now, m, from, s)
	}
}

// handleResponse looks for somebody else who has the number.
func (r *responder) handleResponse(now time.Time, m message) {
	for _, rr := range m.answers {
		body, ok := rr.Body.(*dnsmessage.TXTResource)
		if !ok || rr.Header.TTL == 0 || !is(rr.Header.Name, claimName(r.offer.Number)) || slices.Equal(body.TXT, r.claimTXT()) {
			continue
		}
		if r.state == probing {
			r.conflict(now)
			return
		}
		// Two networks have become one (section 9). The number was read out to
		// somebody long ago, so neither can give way. The words will tell the
		// two apart.
	}
}

// handleProbe looks for somebody else who wants the number at the same time
// (section 8.2): who is lexicographically later has it.
func (r *responder) handleProbe(now time.Time, m message) {
	for _, rr := range m.authority {
		body, ok := rr.Body.(*dnsmessage.TXTResource)
		if !ok || !is(rr.Header.Name, claimName(r.offer.Number)) {
			continue
		}
		if bytes.Compare(txtData(r.claimTXT()), txtData(body.TXT)) >= 0 {
			continue // ours is later, or it is our own probe that comes back
		}
		if !r.given {
			r.conflict(now)
			return
		}
		if r.conflicts++; r.conflicts >= maxConflicts {
			r.state, r.at = failed, time.Time{}
			return
		}
		r.sent, r.at = 0, now.Add(loserWait)
		return
	}
}

// conflict gives the number up.
func (r *responder) conflict(now time.Time) {
	if r.conflicts++; r.given || r.conflicts >= maxConflicts {
		r.state, r.at = failed, time.Time{}
		return
	}
	r.nextNumber()
	r.sent, r.at = 0, now
}

// txtData is a TXT record's data on the wire.
func txtData(strs []string) []byte {
	var b []byte
	for _, s := range strs {
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

func (r *responder) handleQuery(now time.Time, m message, from netip.AddrPort, s *linkState) {
	var want recordSet
	delay := time.Duration(0)
	shared := func(set recordSet) {
		want |= set
		delay = sharedMin + time.Duration(r.rng.Int64N(int64(sharedSpread)))
	}
	for _, q := range m.questions {
		switch {
		case q.Class&^cacheFlush != dnsmessage.ClassINET && q.Class&^cacheFlush != dnsmessage.ClassANY:
		case is(q.Name, service) && asks(q, dnsmessage.TypePTR):
			if !r.known(m, service, r.instanceName()) {
				shared(recPTR)
			}
		case is(q.Name, enumeration) && asks(q, dnsmessage.TypePTR):
			if !r.known(m, enumeration, service) {
				shared(recEnumeration)
			}
		case is(q.Name, subtypeName(r.offer.Number)) && asks(q, dnsmessage.TypePTR):
			// Shared by its type; but the number is ours alone, so nobody else
			// answers and there is nothing to wait for.
			if !r.known(m, subtypeName(r.offer.Number), r.instanceName()) {
				want |= recSubtype
			}
		case is(q.Name, r.instanceName()):
			if asks(q, dnsmessage.TypeSRV) {
				want |= recSRV
			}
			if asks(q, dnsmessage.TypeTXT) {
				want |= recTXT
			}
		case is(q.Name, r.hostName()):
			if asks(q, dnsmessage.TypeA) || asks(q, dnsmessage.TypeAAAA) {
				want |= recAddrs
			}
		case is(q.Name, claimName(r.offer.Number)) && asks(q, dnsmessage.TypeTXT):
			want |= recClaim
		}
	}
	if want == 0 {
		return
	}
	if from.Port() != port {
		r.answerLegacy(m, want, from, s)
		return
	}
	wait := multicastWait
	if len(m.authority) > 0 { // a probe: whoever it is must know at once
		wait, delay = defenceWait, 0
	}
	at := now.Add(delay)
	if earliest := s.last.Add(wait); at.Before(earliest) {
		at = earliest
	}
	if s.want == 0 || at.Before(s.at) {
		s.at = at
	}
	s.want |= want
}

// known says that the querier knows our PTR and will for a while (section 7.1).
func (r *responder) known(m message, name, target string) bool {
	for _, rr := range m.answers {
		if p, ok := rr.Body.(*dnsmessage.PTRResource); ok && is(rr.Header.Name, name) && is(p.PTR, target) && rr.Header.TTL >= ttl/2 {
			return true
		}
	}
	return false
}

// answerLegacy answers a resolver that knows nothing of multicast (section 6.7).
func (r *responder) answerLegacy(m message, want recordSet, from netip.AddrPort, s *linkState) {
	resp := r.response(s.link, want, legacyTTL)
	resp.ID = m.header.ID
	resp.Questions = m.questions[:min(len(m.questions), 4)]
	for _, section := range [][]dnsmessage.Resource{resp.Answers, resp.Additionals} {
		for i := range section {
			section[i].Header.Class &^= cacheFlush
		}
	}
	if b, err := resp.Pack(); err == nil { // it holds names that are not ours
		r.out = append(r.out, packet{link: s.index, to: from, data: b})
	}
}

func (r *responder) claimTXT() []string { return []string{"i=" + r.instance} }

// response answers with want, and adds what a querier would ask next (RFC 6763,
// section 12).
func (r *responder) response(l link, want recordSet, seconds uint32) dnsmessage.Message {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	m.Answers = r.records(l, want, seconds)
	var more recordSet
	if want&(recPTR|recSubtype) != 0 {
		more = recSRV | recTXT | recAddrs
	}
	if want&recSRV != 0 {
		more |= recAddrs
	}
	m.Additionals = r.records(l, more&^want, seconds)
	return m
}

// records are the offer's records, as they are on a link.
func (r *responder) records(l link, set recordSet, seconds uint32) []dnsmessage.Resource {
	var rs []dnsmessage.Resource
	instance := mustName(r.instanceName())
	if set&recPTR != 0 {
		rs = append(rs, resource(service, false, seconds, &dnsmessage.PTRResource{PTR: instance}))
	}
	if set&recSubtype != 0 {
		rs = append(rs, resource(subtypeName(r.offer.Number), false, seconds, &dnsmessage.PTRResource{PTR: instance}))
	}
	if set&recEnumeration != 0 {
		rs = append(rs, resource(enumeration, false, seconds, &dnsmessage.PTRResource{PTR: mustName(service)}))
	}
	if set&recSRV != 0 {
		rs = append(rs, resource(r.instanceName(), true, seconds, &dnsmessage.SRVResource{Port: r.offer.Port, Target: mustName(r.hostName())}))
	}
	if set&recTXT != 0 {
		rs = append(rs, resource(r.instanceName(), true, seconds, &dnsmessage.TXTResource{TXT: r.offer.txt()}))
	}
	if set&recClaim != 0 {
		rs = append(rs, resource(claimName(r.offer.Number), true, seconds, &dnsmessage.TXTResource{TXT: r.claimTXT()}))
	}
	if set&recAddrs != 0 {
		for _, a := range l.addrs() {
			rs = append(rs, addressResource(r.hostName(), seconds, a))
		}
	}
	return rs
}

func validTransport(t string) bool {
	return slices.Contains([]string{"tcp", "udp"}, strings.ToLower(t))
}

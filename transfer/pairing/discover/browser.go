package discover

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	firstInterval = time.Second // section 5.2: then doubled
	lastInterval  = time.Hour
	followUpWait  = 30 * time.Millisecond
	maxFollowUps  = 3 // each instance

	// Bounds on what others make us remember.
	maxInstances = 32
	maxSRV       = 4  // each instance
	maxHostAddrs = 16 // each host
)

// A browser asks for offers and pieces the answers together. It forgets nothing
// that it has learnt and honours no cache-flush or goodbye: within the bounds
// above, a forged record can stand beside a true one but not replace it.
type browser struct {
	number int // 0 for any

	links    map[int]link
	order    []int
	at       time.Time
	interval time.Duration
	followUp time.Time

	instances []*instance
	out       []packet
	found     []Candidate
}

type instance struct {
	label     string
	matches   bool // a PTR for the number led here, or any number will do
	version   int
	transport string
	number    int
	hasTXT    bool
	srvs      []*srv
	asked     int // follow-up queries
}

type srv struct {
	host  string
	port  uint16
	addrs []netip.Addr
	told  int // how many of addrs were part of a Candidate
}

func newBrowser(now time.Time, number int, links []link) *browser {
	b := &browser{number: number, at: now, interval: firstInterval}
	b.setLinks(now, links)
	return b
}

// setLinks replaces the links; a new one is asked at once.
func (b *browser) setLinks(now time.Time, links []link) {
	old := b.links
	b.links = make(map[int]link, len(links))
	b.order = b.order[:0]
	for _, l := range links {
		if _, ok := old[l.index]; !ok {
			b.at = now
		}
		b.links[l.index] = l
		b.order = append(b.order, l.index)
	}
}

func (b *browser) question() string {
	if b.number == 0 {
		return service
	}
	return subtypeName(b.number)
}

// next is when timeout wants to be called.
func (b *browser) next() time.Time {
	if !b.followUp.IsZero() && b.followUp.Before(b.at) {
		return b.followUp
	}
	return b.at
}

// timeout does what is due.
func (b *browser) timeout(now time.Time) {
	if !now.Before(b.at) {
		b.ask()
		b.at = now.Add(b.interval)
		b.interval = min(2*b.interval, lastInterval)
	}
	if !b.followUp.IsZero() && !now.Before(b.followUp) {
		b.followUp = time.Time{}
		b.askMore()
	}
}

// ask sends the question, with the answers that need not be given again.
func (b *browser) ask() {
	m := dnsmessage.Message{Questions: []dnsmessage.Question{
		{Name: mustName(b.question()), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
	}}
	for _, in := range b.instances {
		if in.matches && in.complete() {
			m.Answers = append(m.Answers, resource(b.question(), false, ttl, &dnsmessage.PTRResource{PTR: mustName(in.label + "." + service)}))
		}
	}
	b.sendAll(m)
}

// askMore asks for what is missing of the instances that are known.
func (b *browser) askMore() {
	var m dnsmessage.Message
	question := func(name string, t dnsmessage.Type) {
		m.Questions = append(m.Questions, dnsmessage.Question{Name: mustName(name), Type: t, Class: dnsmessage.ClassINET})
	}
	for _, in := range b.instances {
		if in.complete() || in.asked >= maxFollowUps {
			continue
		}
		in.asked++
		if len(in.srvs) == 0 {
			question(in.label+"."+service, dnsmessage.TypeSRV)
		}
		if !in.hasTXT {
			question(in.label+"."+service, dnsmessage.TypeTXT)
		}
		for _, s := range in.srvs {
			if len(s.addrs) == 0 {
				question(s.host+".local.", dnsmessage.TypeA)
				question(s.host+".local.", dnsmessage.TypeAAAA)
			}
		}
	}
	if len(m.Questions) > 0 {
		b.sendAll(m)
	}
}

func (b *browser) sendAll(m dnsmessage.Message) {
	data := pack(m)
	for _, i := range b.order {
		b.out = append(b.out, packet{link: i, data: data})
	}
}

// take gives the packets to be sent and the candidates that were found.
func (b *browser) take() ([]packet, []Candidate) {
	out, found := b.out, b.found
	b.out, b.found = nil, nil
	return out, found
}

func (in *instance) complete() bool {
	return in.hasTXT && slices.ContainsFunc(in.srvs, func(s *srv) bool { return len(s.addrs) > 0 })
}

// handle takes a packet that came in on a link.
func (b *browser) handle(now time.Time, data []byte, from netip.AddrPort, index int) {
	l, ok := b.links[index]
	if !ok || !l.sends(from.Addr()) || from.Port() != port {
		return
	}
	m, ok := parse(data)
	if !ok || !m.header.Response {
		return
	}
	// In this order, because each kind says which of the next are of interest.
	for _, rr := range m.answers {
		if rr.Header.TTL > 0 {
			b.learnPTR(rr)
		}
	}
	for _, rr := range m.answers {
		if rr.Header.TTL > 0 {
			b.learnService(rr)
		}
	}
	for _, rr := range m.answers {
		if rr.Header.TTL > 0 {
			b.learnAddress(rr, l)
		}
	}
	b.tell()
	for _, in := range b.instances {
		if !in.complete() && in.asked < maxFollowUps && b.followUp.IsZero() {
			b.followUp = now.Add(followUpWait << in.asked)
		}
	}
}

func (b *browser) learnPTR(rr dnsmessage.Resource) {
	p, ok := rr.Body.(*dnsmessage.PTRResource)
	if !ok || !is(rr.Header.Name, b.question()) {
		return
	}
	name, ok := label(p.PTR.String(), service)
	if !ok {
		return
	}
	if in := b.find(name); in != nil {
		return
	}
	if len(b.instances) < maxInstances {
		b.instances = append(b.instances, &instance{label: name, matches: true})
	}
}

func (b *browser) find(label string) *instance {
	for _, in := range b.instances {
		if in.label == label {
			return in
		}
	}
	return nil
}

func (b *browser) learnService(rr dnsmessage.Resource) {
	name, ok := label(rr.Header.Name.String(), service)
	if !ok {
		return
	}
	in := b.find(name)
	if in == nil {
		return
	}
	switch body := rr.Body.(type) {
	case *dnsmessage.SRVResource:
		host, ok := label(body.Target.String(), "local.")
		if !ok || body.Port == 0 || len(in.srvs) >= maxSRV {
			return
		}
		if !slices.ContainsFunc(in.srvs, func(s *srv) bool { return s.host == host && s.port == body.Port }) {
			in.srvs = append(in.srvs, &srv{host: host, port: body.Port})
		}
	case *dnsmessage.TXTResource:
		if in.hasTXT {
			return
		}
		version, transport, number, ok := parseTXT(body.TXT)
		if ok && (b.number == 0 || b.number == number) {
			in.version, in.transport, in.number, in.hasTXT = version, transport, number, true
		}
	}
}

func (b *browser) learnAddress(rr dnsmessage.Resource, l link) {
	a, ok := addressOf(rr)
	if !ok || !l.has(a) {
		return
	}
	host, ok := label(rr.Header.Name.String(), "local.")
	if !ok {
		return
	}
	a = l.zoned(a)
	for _, in := range b.instances {
		for _, s := range in.srvs {
			if s.host == host && len(s.addrs) < maxHostAddrs && !slices.Contains(s.addrs, a) {
				s.addrs = append(s.addrs, a)
			}
		}
	}
}

// tell makes candidates of what is complete and new.
func (b *browser) tell() {
	for _, in := range b.instances {
		if !in.matches || !in.hasTXT {
			continue
		}
		for _, s := range in.srvs {
			if s.told == len(s.addrs) {
				continue
			}
			c := Candidate{Instance: in.label, Number: in.number, Version: in.version, Transport: in.transport}
			for _, a := range s.addrs[s.told:] {
				c.Addrs = append(c.Addrs, netip.AddrPortFrom(a, s.port))
			}
			s.told = len(s.addrs)
			b.found = append(b.found, c)
		}
	}
}

package discover

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/user"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var t0 = time.Unix(1_000_000, 0)

// A simNet is one link with hosts on it, in simulated time. Each packet takes a
// millisecond, reaches everybody (the sender too, as with multicast loopback) and
// may be lost, for each receiver by itself.
type simNet struct {
	t     *testing.T
	now   time.Time
	rng   *rand.Rand
	loss  float64
	hosts []*simHost
	queue []delivery
	log   []sent
	trace *strings.Builder
}

type delivery struct {
	at   time.Time
	to   *simHost
	data []byte
	from netip.AddrPort
}

type sent struct {
	at   time.Time
	by   *simHost
	data []byte
}

type simHost struct {
	addr  netip.Addr
	m     machine
	found []Candidate
	when  []time.Time
}

func newSimNet(t *testing.T, seed uint64) *simNet {
	return &simNet{t: t, now: t0, rng: rand.New(rand.NewPCG(seed, 1)), trace: &strings.Builder{}}
}

func (n *simNet) link(i int) link {
	return link{index: 7, name: "eth0", prefixes: []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 24),
		netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fe80::%x", i)), 64),
	}}
}

func (n *simNet) add(build func(i int, l link) machine) *simHost {
	i := len(n.hosts) + 1
	h := &simHost{addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}
	h.m = build(i, n.link(i))
	n.hosts = append(n.hosts, h)
	return h
}

func (n *simNet) offer(o Offer) (*responder, *simHost) {
	n.t.Helper()
	o.Transport = cmp.Or(o.Transport, "tcp")
	o.Port = cmp.Or(o.Port, 4000)
	var r *responder
	h := n.add(func(i int, l link) machine {
		var err error
		random := rand.NewChaCha8([32]byte{byte(i), byte(n.rng.Uint32())})
		r, err = newResponder(n.now, o, []link{l}, random, rand.New(rand.NewPCG(uint64(i), n.rng.Uint64())))
		if err != nil {
			n.t.Fatal(err)
		}
		return r
	})
	return r, h
}

func (n *simNet) browse(number int) *simHost {
	return n.add(func(_ int, l link) machine { return newBrowser(n.now, number, []link{l}) })
}

// collect sends what the machines put out.
func (n *simNet) collect() {
	for _, h := range n.hosts {
		var out []packet
		switch m := h.m.(type) {
		case *responder:
			out = m.take()
		case *browser:
			var found []Candidate
			out, found = m.take()
			for _, c := range found {
				h.found = append(h.found, c)
				h.when = append(h.when, n.now)
			}
		}
		for _, p := range out {
			n.send(h, p.data)
		}
	}
}

func (n *simNet) send(h *simHost, data []byte) {
	n.log = append(n.log, sent{n.now, h, data})
	fmt.Fprintf(n.trace, "%v %v %x\n", n.now.Sub(t0), h.addr, data)
	for _, to := range n.hosts {
		if n.rng.Float64() < n.loss && to != h {
			continue
		}
		n.queue = append(n.queue, delivery{n.now.Add(time.Millisecond), to, data, netip.AddrPortFrom(h.addr, port)})
	}
}

// run lets d pass.
func (n *simNet) run(d time.Duration) {
	n.t.Helper()
	end := n.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 200_000 {
			n.t.Fatal("the machines do not come to rest")
		}
		n.collect()
		next := end
		for _, h := range n.hosts {
			if t := h.m.next(); !t.IsZero() && t.Before(next) {
				next = t
			}
		}
		for _, q := range n.queue {
			if q.at.Before(next) {
				next = q.at
			}
		}
		if next.After(n.now) {
			n.now = next
		}
		if !n.now.Before(end) {
			return
		}
		i := slices.IndexFunc(n.queue, func(q delivery) bool { return !q.at.After(n.now) })
		if i >= 0 {
			q := n.queue[i]
			n.queue = slices.Delete(n.queue, i, i+1)
			q.to.m.handle(n.now, q.data, q.from, 7)
			continue
		}
		for _, h := range n.hosts {
			if t := h.m.next(); !t.IsZero() && !t.After(n.now) {
				h.m.timeout(n.now)
			}
		}
	}
}

func (h *simHost) numbers() (ns []int) {
	for _, c := range h.found {
		ns = append(ns, c.Number)
	}
	return ns
}

func TestEachFindsItsOwn(t *testing.T) {
	n := newSimNet(t, 1)
	n.offer(Offer{Number: 17, Port: 1717})
	n.offer(Offer{Number: 23, Port: 2323, Transport: "udp"})
	n.run(4 * time.Second) // past the second after the announcement in which nothing is repeated
	b17, b23, b99, all := n.browse(17), n.browse(23), n.browse(99), n.browse(0)
	began := n.now
	n.run(5 * time.Second)
	for _, tt := range []struct {
		h       *simHost
		numbers []int
	}{{b17, []int{17}}, {b23, []int{23}}, {b99, nil}, {all, []int{17, 23}}} {
		got := tt.h.numbers()
		slices.Sort(got)
		if !slices.Equal(got, tt.numbers) {
			t.Errorf("found %v, want %v", got, tt.numbers)
		}
	}
	c := b23.found[0]
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.2:2323"), netip.MustParseAddrPort("[fe80::2%eth0]:2323")}
	if c.Version != 1 || c.Transport != "udp" || !slices.Equal(c.Addrs, want) {
		t.Errorf("found %+v", c)
	}
	// The number is the offer's alone, so it answers at once: a round trip.
	if d := b17.when[0].Sub(began); d > 10*time.Millisecond {
		t.Errorf("found after %v", d)
	}
}

// A browser that was there first hears the announcement.
func TestBrowserFirst(t *testing.T) {
	n := newSimNet(t, 2)
	b := n.browse(17)
	n.run(time.Minute)
	began := n.now
	n.offer(Offer{Number: 17})
	n.run(5 * time.Second)
	if !slices.Equal(b.numbers(), []int{17}) {
		t.Fatalf("found %v", b.numbers())
	}
	if d := b.when[0].Sub(began); d > 1100*time.Millisecond {
		t.Errorf("found %v after the offer began", d)
	}
}

func TestFoundInSpiteOfLoss(t *testing.T) {
	late := 0
	for seed := range uint64(50) {
		n := newSimNet(t, seed)
		n.loss = 0.3
		n.offer(Offer{Number: 17})
		n.run(3 * time.Second)
		b := n.browse(17)
		n.run(20 * time.Second)
		if len(b.found) == 0 {
			late++
		}
	}
	if late > 1 { // five queries, each lost with its answer with probability 0.51
		t.Errorf("%d of 50 not found within 20 s at 30%% loss", late)
	}
}

// A machine that stands still while it claims a number asks again before it takes
// silence for an answer; but not for ever.
func TestClaimOnAMachineThatStandsStill(t *testing.T) {
	n := newSimNet(t, 5)
	first, _ := n.offer(Offer{Number: 17})
	n.run(3 * time.Second)
	n.loss = 1 // what is said meanwhile is not heard
	second, h := n.offer(Offer{Number: 17})
	for second.sent < probes {
		n.run(10 * time.Millisecond)
	}
	n.loss = 0
	n.now = second.next().Add(5 * time.Second)
	second.timeout(n.now)
	if second.claimed() {
		t.Fatal("it takes a number that it has not been awake to ask for")
	}
	n.run(2 * time.Second)
	if !first.claimed() || second.state != failed {
		t.Errorf("first claimed: %v; second: state %d, want failed", first.claimed(), second.state)
	}
	n.hosts = slices.DeleteFunc(n.hosts, func(x *simHost) bool { return x == h })
	slow, _ := n.offer(Offer{Number: 18})
	for i := 0; !slow.claimed(); i++ {
		if i > 3+maxLate {
			t.Fatalf("%d probes, and no claim", i)
		}
		slow.timeout(slow.next().Add(time.Second)) // always late
	}
}

func TestNumberInUseIsNotTaken(t *testing.T) {
	n := newSimNet(t, 3)
	first, _ := n.offer(Offer{Number: 17})
	n.run(2 * time.Second)
	second, _ := n.offer(Offer{Number: 17})
	n.run(2 * time.Second)
	if !first.claimed() || second.state != failed {
		t.Errorf("first claimed: %v; second: state %d, want failed", first.claimed(), second.state)
	}
	// Forty more, left to choose of 99: all differ.
	seen := map[int]bool{17: true}
	for range 40 {
		r, _ := n.offer(Offer{})
		n.run(2 * time.Second)
		if !r.claimed() || seen[r.offer.Number] {
			t.Fatalf("offer %d: claimed %v, in use %v", r.offer.Number, r.claimed(), seen[r.offer.Number])
		}
		seen[r.offer.Number] = true
	}
}

// Two who probe for one number at the same time: one has it (section 8.2).
func TestSimultaneousProbes(t *testing.T) {
	for seed := range uint64(30) {
		n := newSimNet(t, seed)
		a, _ := n.offer(Offer{Number: 17})
		b, _ := n.offer(Offer{Number: 17})
		c, _ := n.offer(Offer{Number: 17})
		free1, _ := n.offer(Offer{})
		free2, _ := n.offer(Offer{})
		free2.offer.Number = free1.offer.Number
		n.run(10 * time.Second)
		claimed := 0
		for _, r := range []*responder{a, b, c} {
			if r.claimed() {
				claimed++
			} else if r.state != failed {
				t.Errorf("seed %d: state %d", seed, r.state)
			}
		}
		if claimed != 1 {
			t.Errorf("seed %d: %d have the number", seed, claimed)
		}
		if !free1.claimed() || !free2.claimed() || free1.offer.Number == free2.offer.Number {
			t.Errorf("seed %d: %d and %d", seed, free1.offer.Number, free2.offer.Number)
		}
	}
}

func TestGoodbye(t *testing.T) {
	n := newSimNet(t, 4)
	r, _ := n.offer(Offer{Number: 17})
	n.run(3 * time.Second)
	r.stop()
	n.collect()
	m, ok := parse(n.log[len(n.log)-1].data)
	if !ok || len(m.answers) < 5 {
		t.Fatalf("%d records taken back", len(m.answers))
	}
	for _, rr := range m.answers {
		if rr.Header.TTL != 0 {
			t.Errorf("%v has TTL %d", rr.Header.Name, rr.Header.TTL)
		}
	}
	logged := len(n.log)
	b := n.browse(17)
	n.run(10 * time.Second)
	for _, s := range n.log[logged:] {
		if s.by != b {
			t.Error("a stopped offer speaks")
		}
	}
	if len(b.found) != 0 {
		t.Errorf("found %v", b.found)
	}
}

// A number that was given back can be had.
func TestNumberIsFreeAfterGoodbye(t *testing.T) {
	n := newSimNet(t, 5)
	r, _ := n.offer(Offer{Number: 17})
	n.run(3 * time.Second)
	r.stop()
	again, _ := n.offer(Offer{Number: 17})
	n.run(3 * time.Second)
	if !again.claimed() {
		t.Error("the number stayed in use")
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	trace := func() string {
		n := newSimNet(t, 6)
		n.loss = 0.1
		n.offer(Offer{})
		n.offer(Offer{})
		n.browse(0)
		n.run(30 * time.Second)
		sum := sha256.Sum256([]byte(n.trace.String()))
		return hex.EncodeToString(sum[:])
	}
	if a, b := trace(), trace(); a != b {
		t.Errorf("%s and %s", a, b)
	}
}

// However often somebody asks, a record is multicast once a second at most
// (section 6), and a probe is answered within a quarter.
func TestMulticastRate(t *testing.T) {
	n := newSimNet(t, 7)
	_, h := n.offer(Offer{Number: 17})
	asker := n.browse(99)
	n.run(5 * time.Second)
	logged := len(n.log)
	for range 1000 {
		n.send(asker, pack(dnsmessage.Message{Questions: []dnsmessage.Question{
			{Name: mustName(subtypeName(17)), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
			{Name: mustName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
		}}))
		n.run(10 * time.Millisecond)
	}
	answers := 0
	for _, s := range n.log[logged:] {
		if s.by == h {
			answers++
		}
	}
	if answers < 9 || answers > 11 {
		t.Errorf("%d answers in 10 s, want 10", answers)
	}
}

func TestKnownAnswers(t *testing.T) {
	n := newSimNet(t, 8)
	r, h := n.offer(Offer{Number: 17})
	asker := n.browse(99)
	n.run(5 * time.Second)
	for _, tt := range []struct {
		ttl  uint32
		want int
	}{{ttl, 0}, {ttl / 2, 0}, {ttl/2 - 1, 1}} {
		logged := len(n.log)
		n.send(asker, pack(dnsmessage.Message{
			Questions: []dnsmessage.Question{{Name: mustName(strings.ToUpper(subtypeName(17))), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}},
			Answers:   []dnsmessage.Resource{resource(subtypeName(17), false, tt.ttl, &dnsmessage.PTRResource{PTR: mustName(r.instanceName())})},
		}))
		n.run(2 * time.Second)
		answers := 0
		for _, s := range n.log[logged:] {
			if s.by == h {
				answers++
			}
		}
		if answers != tt.want {
			t.Errorf("the querier knows it for %d s: %d answers, want %d", tt.ttl, answers, tt.want)
		}
	}
}

// A resolver without multicast DNS asks from another port and gets a plain
// answer (section 6.7).
func TestLegacyQuery(t *testing.T) {
	n := newSimNet(t, 9)
	r, _ := n.offer(Offer{Number: 17})
	n.run(5 * time.Second)
	from := netip.MustParseAddrPort("192.0.2.200:40000")
	q := dnsmessage.Question{Name: mustName(r.hostName()), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	r.handle(n.now, pack(dnsmessage.Message{Header: dnsmessage.Header{ID: 4711}, Questions: []dnsmessage.Question{q}}), from, 7)
	out := r.take()
	if len(out) != 1 || out[0].to != from {
		t.Fatalf("answers %+v", out)
	}
	m, ok := parse(out[0].data)
	if !ok || m.header.ID != 4711 || len(m.questions) != 1 || len(m.answers) == 0 {
		t.Fatalf("answer %+v", m)
	}
	for _, rr := range m.answers {
		if rr.Header.Class != dnsmessage.ClassINET || rr.Header.TTL > 10 {
			t.Errorf("%+v", rr.Header)
		}
	}
}

// On each link an offer tells the addresses of that link and no others.
func TestLinksApart(t *testing.T) {
	eth := link{index: 1, name: "eth0", prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	wlan := link{index: 2, name: "wlan0", prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24")}}
	r, err := newResponder(t0, Offer{Number: 17, Port: 1, Transport: "tcp"}, []link{eth, wlan}, rand.NewChaCha8([32]byte{}), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	check := func(out []packet, want int) {
		t.Helper()
		if len(out) != want {
			t.Errorf("%d packets, want %d", len(out), want)
		}
		for _, p := range out {
			m, _ := parse(p.data)
			for _, rr := range append(m.answers, m.authority...) {
				if a, ok := addressOf(rr); ok && a != r.links[p.link].prefixes[0].Addr() {
					t.Errorf("link %d is told of %v", p.link, a)
				}
			}
		}
	}
	now := t0
	for r.state != running {
		now = r.next()
		r.timeout(now)
	}
	check(r.take(), 2*(probes+announcements))
	// A third link turns up: it is told, the others are left alone.
	usb := link{index: 3, name: "usb0", prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.1/24")}}
	r.setLinks(now, []link{eth, wlan, usb})
	r.timeout(r.next())
	check(r.take(), 1)
}

// Nothing that is sent names a person, a machine or a file.
func TestNothingPersonalIsSent(t *testing.T) {
	n := newSimNet(t, 10)
	n.offer(Offer{})
	n.browse(0)
	n.run(3 * time.Second)
	var personal []string
	if h, err := os.Hostname(); err == nil {
		personal = append(personal, h)
	}
	if u, err := user.Current(); err == nil {
		personal = append(personal, u.Username, u.HomeDir)
	}
	names := regexp.MustCompile(`^((_services\._dns-sd\._udp|(_n\d+\._sub\.|_n\d+\._claim\.|[0-9a-f]{16}\.)?_wherry\._tcp|[0-9a-f]{16})\.local\.)$`)
	texts := regexp.MustCompile(`^(v=1|t=tcp|n=\d+|i=[0-9a-f]{16})$`)
	name := func(s string) {
		if !names.MatchString(s) {
			t.Errorf("the name %q is sent", s)
		}
	}
	for _, s := range n.log {
		for _, p := range personal {
			if len(p) > 3 && bytes.Contains(bytes.ToLower(s.data), []byte(strings.ToLower(p))) {
				t.Errorf("a packet holds %q", p)
			}
		}
		m, ok := parse(s.data)
		if !ok || m.incomplete {
			t.Fatal("a packet of ours does not parse")
		}
		for _, q := range m.questions {
			name(q.Name.String())
		}
		for _, rr := range append(m.answers, m.authority...) {
			name(rr.Header.Name.String())
			switch b := rr.Body.(type) {
			case *dnsmessage.TXTResource:
				for _, s := range b.TXT {
					if !texts.MatchString(s) {
						t.Errorf("the text %q is sent", s)
					}
				}
			case *dnsmessage.PTRResource:
				name(b.PTR.String())
			case *dnsmessage.SRVResource:
				name(b.Target.String())
			}
		}
	}
	if len(n.log) < 6 {
		t.Errorf("only %d packets", len(n.log))
	}
}

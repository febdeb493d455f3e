package discover

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

var testLink = link{index: 7, name: "eth0", prefixes: []netip.Prefix{
	netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("fe80::1/64"), netip.MustParsePrefix("2001:db8::1/64")}}

const (
	trueInstance  = "00000000000000aa"
	trueHost      = "00000000000000bb"
	falseHost     = "00000000000000cc"
	falseInstance = "00000000000000dd"
)

// answer is a whole answer for the number 17.
func answer(instance, host string, port uint16, txt []string, addrs ...string) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true, Authoritative: true}}
	m.Answers = append(m.Answers,
		resource(subtypeName(17), false, ttl, &dnsmessage.PTRResource{PTR: mustName(instance + "." + service)}),
		resource(instance+"."+service, true, ttl, &dnsmessage.SRVResource{Port: port, Target: mustName(host + ".local.")}),
		resource(instance+"."+service, true, ttl, &dnsmessage.TXTResource{TXT: txt}))
	for _, a := range addrs {
		m.Additionals = append(m.Additionals, addressResource(host+".local.", ttl, netip.MustParseAddr(a)))
	}
	return pack(m)
}

var goodTXT = []string{"v=1", "t=tcp", "n=17"}

func browserAt17() *browser {
	b := newBrowser(t0, 17, []link{testLink})
	b.timeout(t0)
	b.take()
	return b
}

var neighbour = netip.MustParseAddrPort("192.0.2.9:5353")

func TestForgedAnswersAreBounded(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		from string
		link int
		want []string // addresses of the candidate; none: not found
	}{
		{"honest", answer(trueInstance, trueHost, 1, goodTXT, "192.0.2.9"), "192.0.2.9:5353", 7, []string{"192.0.2.9:1"}},
		{"honest, IPv6", answer(trueInstance, trueHost, 1, goodTXT, "fe80::9", "2001:db8::9"), "[fe80::9]:5353", 7, []string{"[fe80::9%eth0]:1", "[2001:db8::9]:1"}},
		{"from another network", answer(trueInstance, trueHost, 1, goodTXT, "192.0.2.9"), "198.51.100.1:5353", 7, nil},
		{"from another port", answer(trueInstance, trueHost, 1, goodTXT, "192.0.2.9"), "192.0.2.9:5354", 7, nil},
		{"from a link that we do not use", answer(trueInstance, trueHost, 1, goodTXT, "192.0.2.9"), "192.0.2.9:5353", 8, nil},
		{"to another network", answer(trueInstance, trueHost, 1, goodTXT, "203.0.113.1"), "192.0.2.9:5353", 7, nil},
		{"to our own machine", answer(trueInstance, trueHost, 1, goodTXT, "127.0.0.1", "::1"), "192.0.2.9:5353", 7, nil},
		{"to our own machine, mapped", answer(trueInstance, trueHost, 1, goodTXT, "::ffff:127.0.0.1"), "192.0.2.9:5353", 7, nil},
		{"to a group", answer(trueInstance, trueHost, 1, goodTXT, "224.0.0.251", "ff02::1"), "192.0.2.9:5353", 7, nil},
		{"to nowhere", answer(trueInstance, trueHost, 1, goodTXT, "0.0.0.0", "::"), "192.0.2.9:5353", 7, nil},
		{"port 0", answer(trueInstance, trueHost, 0, goodTXT, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"another number", answer(trueInstance, trueHost, 1, []string{"v=1", "t=tcp", "n=18"}, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"no number", answer(trueInstance, trueHost, 1, []string{"v=1", "t=tcp"}, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"an odd transport", answer(trueInstance, trueHost, 1, []string{"v=1", "t=\x1b[31m", "n=17"}, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"an odd version", answer(trueInstance, trueHost, 1, []string{"v=-1", "t=tcp", "n=17"}, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"a name that is not ours", answer("\x1b[31mx0000000000", trueHost, 1, goodTXT, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
		{"a host that is not ours", answer(trueInstance, "router", 1, goodTXT, "192.0.2.9"), "192.0.2.9:5353", 7, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := browserAt17()
			b.handle(t0, tt.data, netip.MustParseAddrPort(tt.from), tt.link)
			_, found := b.take()
			var got []string
			for _, c := range found {
				for _, a := range c.Addrs {
					got = append(got, a.String())
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found %v, want %v", got, tt.want)
			}
		})
	}
}

// A forger who answers for the true instance, before or after, with its own SRV,
// TXT, addresses or goodbye, cannot make the true offer disappear.
func TestForgedBesideTrue(t *testing.T) {
	honest := answer(trueInstance, trueHost, 4000, goodTXT, "192.0.2.9")
	goodbye := func() []byte {
		m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
		m.Answers = append(m.Answers,
			resource(subtypeName(17), false, 0, &dnsmessage.PTRResource{PTR: mustName(trueInstance + "." + service)}),
			resource(trueInstance+"."+service, true, 0, &dnsmessage.SRVResource{Port: 4000, Target: mustName(trueHost + ".local.")}),
			addressResource(trueHost+".local.", 0, netip.MustParseAddr("192.0.2.9")))
		return pack(m)
	}()
	forged := map[string][]byte{
		"another host":      answer(trueInstance, falseHost, 4000, goodTXT, "192.0.2.66"),
		"another port":      answer(trueInstance, trueHost, 6666, goodTXT),
		"another transport": answer(trueInstance, trueHost, 4000, []string{"v=9", "t=tcp", "n=17"}, "192.0.2.66"),
		"another number":    answer(trueInstance, trueHost, 4000, []string{"v=1", "t=tcp", "n=66"}, "192.0.2.66"),
		"another address":   answer(trueInstance, trueHost, 4000, goodTXT, "192.0.2.66"),
		"another instance":  answer(falseInstance, falseHost, 4000, goodTXT, "192.0.2.66"),
		"goodbye":           goodbye,
	}
	for name, f := range forged {
		for _, first := range []bool{true, false} {
			b := browserAt17()
			packets := [][]byte{honest, f}
			if first {
				packets = [][]byte{f, honest}
			}
			var addrs []string
			for _, p := range packets {
				b.handle(t0, p, neighbour, 7)
				_, found := b.take()
				for _, c := range found {
					for _, a := range c.Addrs {
						addrs = append(addrs, a.String())
					}
				}
			}
			if !slices.Contains(addrs, "192.0.2.9:4000") {
				t.Errorf("%s (first: %v): the true offer is not found, only %v", name, first, addrs)
			}
		}
	}
}

// A flood of instances, services, hosts and addresses fills bounded tables.
func TestFlood(t *testing.T) {
	b := browserAt17()
	rng := rand.New(rand.NewPCG(1, 2))
	candidates := 0
	for i := range 5000 {
		inst, host := fmt.Sprintf("%016x", rng.Uint64N(100)), fmt.Sprintf("%016x", rng.Uint64N(100))
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.Uint32())})
		b.handle(t0.Add(time.Duration(i)*time.Millisecond), answer(inst, host, uint16(1+rng.Uint32N(100)), goodTXT, a.String()), neighbour, 7)
		b.timeout(t0.Add(time.Duration(i) * time.Millisecond))
		out, found := b.take()
		candidates += len(found)
		if len(out) > 4 {
			t.Fatalf("%d packets out for one in", len(out))
		}
	}
	checkBounds(t, b)
	if most := maxInstances * maxSRV * maxHostAddrs; candidates > most {
		t.Errorf("%d candidates, want at most %d", candidates, most)
	}
}

func checkBounds(t testing.TB, b *browser) {
	t.Helper()
	if len(b.instances) > maxInstances {
		t.Errorf("%d instances", len(b.instances))
	}
	for _, in := range b.instances {
		if len(in.srvs) > maxSRV || in.asked > maxFollowUps {
			t.Errorf("%d services, %d questions", len(in.srvs), in.asked)
		}
		for _, s := range in.srvs {
			if len(s.addrs) > maxHostAddrs {
				t.Errorf("%d addresses", len(s.addrs))
			}
		}
	}
}

// Who claims every number that is probed for makes the claim fail, soon, and
// nothing else.
func TestEveryNumberIsSaidToBeInUse(t *testing.T) {
	r, err := newResponder(t0, Offer{Port: 1, Transport: "tcp"}, []link{testLink}, rand.NewChaCha8([32]byte{1}), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	now, packets := t0, 0
	for r.state == probing && packets < 1000 {
		now = r.next()
		r.timeout(now)
		packets += len(r.take())
		m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
		m.Answers = append(m.Answers, resource(claimName(r.offer.Number), true, ttl, &dnsmessage.TXTResource{TXT: []string{"i=" + falseInstance}}))
		r.handle(now, pack(m), neighbour, 7)
	}
	if r.state != failed || packets > 2*maxConflicts || now.Sub(t0) > 10*time.Second {
		t.Errorf("state %d after %d packets and %v", r.state, packets, now.Sub(t0))
	}
}

// FuzzHandle feeds both state machines with anything, in each of their states.
func FuzzHandle(f *testing.F) {
	f.Add(answer(trueInstance, trueHost, 4000, goodTXT, "192.0.2.9", "fe80::9"), false)
	f.Add(answer(trueInstance, falseHost, 1, []string{"v=1", "n=17", strings.Repeat("x", 255)}), false)
	f.Add(pack(dnsmessage.Message{Questions: []dnsmessage.Question{{Name: mustName(subtypeName(17)), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}}), true)
	r, err := newResponder(t0, Offer{Number: 17, Port: 1, Transport: "tcp"}, []link{testLink}, rand.NewChaCha8([32]byte{1}), rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		f.Fatal(err)
	}
	r.timeout(r.next())
	f.Add(r.take()[0].data, false)
	for !r.claimed() {
		r.timeout(r.next())
	}
	f.Add(r.take()[0].data, true)
	f.Fuzz(func(t *testing.T, data []byte, legacy bool) {
		from := neighbour
		if legacy {
			from = netip.MustParseAddrPort("192.0.2.9:40000")
		}
		b := browserAt17()
		for range 3 {
			b.handle(t0, data, from, 7)
		}
		checkBounds(t, b)
		b.timeout(t0.Add(time.Hour))
		out, found := b.take()
		for _, p := range out {
			if len(p.data) > maxMessage {
				t.Errorf("a packet of %d bytes", len(p.data))
			}
		}
		for _, c := range found {
			if len(c.Addrs) == 0 || c.Number != 17 || len(c.Instance) != 16 {
				t.Errorf("candidate %+v", c)
			}
			for _, a := range c.Addrs {
				if !testLink.has(a.Addr()) || a.Port() == 0 {
					t.Errorf("candidate at %v", a)
				}
			}
		}
		for _, state := range []int{0, 2, 10} { // timeouts done: probing, still probing, running
			r, err := newResponder(t0, Offer{Number: 17, Port: 1, Transport: "tcp"}, []link{testLink}, rand.NewChaCha8([32]byte{1}), rand.New(rand.NewPCG(1, 1)))
			if err != nil {
				t.Fatal(err)
			}
			now := t0
			for range state {
				if !r.next().IsZero() {
					now = r.next()
					r.timeout(now)
				}
			}
			r.take()
			r.handle(now, data, from, 7)
			if !r.next().IsZero() {
				r.timeout(r.next())
			}
			out := r.take()
			if len(out) > 2 {
				t.Errorf("%d packets out for one in", len(out))
			}
		}
	})
}

func FuzzTXT(f *testing.F) {
	f.Add(1, "tcp", 17)
	f.Fuzz(func(t *testing.T, version int, transport string, number int) {
		v, tr, n, ok := parseTXT([]string{fmt.Sprintf("v=%d", version), "t=" + transport, fmt.Sprintf("N=%d", number), "n=4", "new=1", "flag", ""})
		want := version >= 1 && version <= 999 && (transport == "tcp" || transport == "udp")
		if number < 1 || number > maxNumber {
			number = 4 // the first that is valid
		}
		if ok != want || ok && (v != version || tr != transport || n != number) {
			t.Errorf("parseTXT = %d, %q, %d, %v", v, tr, n, ok)
		}
		if o := (Offer{Number: n, Transport: tr}); ok {
			if v, tr, n, ok := parseTXT(o.txt()); !ok || v != txtVersion || tr != o.Transport || n != o.Number {
				t.Errorf("%v does not read back", o)
			}
		}
	})
}

func TestParseBounds(t *testing.T) {
	if _, ok := parse(make([]byte, maxMessage+1)); ok {
		t.Error("a message that is too long is read")
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	for range maxRecords + 50 {
		m.Answers = append(m.Answers, addressResource("a.local.", ttl, netip.MustParseAddr("192.0.2.1")))
	}
	if got, ok := parse(pack(m)); !ok || len(got.answers) != maxRecords || !got.incomplete {
		t.Errorf("%d records read", len(got.answers))
	}
	m = dnsmessage.Message{}
	for range maxRecords + 50 {
		m.Questions = append(m.Questions, dnsmessage.Question{Name: mustName("a.local."), Type: 1, Class: 1})
	}
	if got, ok := parse(pack(m)); !ok || len(got.questions) != maxRecords || !got.incomplete {
		t.Errorf("%d questions read", len(got.questions))
	}
	// A name that points at itself, and one of others' with a dot in a label,
	// after a question of ours.
	q := pack(dnsmessage.Message{Questions: []dnsmessage.Question{{Name: mustName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}})
	for name, tail := range map[string]string{"loop": "\xc0\x23", "dot": "\x03a.b\x00"} {
		b := append(slices.Clone(q), tail...)
		b = append(b, 0, 12, 0, 1, 0, 0, 0, 120, 0, 2, 0xc0, 12)
		b[7] = 1
		if got, ok := parse(b); !ok || len(got.questions) != 1 || len(got.answers) != 0 || !got.incomplete {
			t.Errorf("%s: %v, %+v", name, ok, got)
		}
	}
}

package resolve_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
	"github.com/wherry-net/wherry/socket/sockettest"
)

const rightRR, wrongRR = "x.test. 60 IN A 192.0.2.1", "x.test. 60 IN A 203.0.113.66"

func right(q []byte) []byte { return dnstest.Answer(q, nil, rightRR) }
func wrong(q []byte) []byte { return dnstest.Answer(q, nil, wrongRR) }

func edit(b []byte, f func([]byte)) []byte {
	f(b)
	return b
}

// patient is for answers that are sure to come, however slow the machine: a query
// goes out again after a minute, which none of these tests takes.
func patient(o resolve.Options) resolve.Options {
	o.Timeout, o.Tries = 3*time.Minute, 3
	return o
}

// TestFaults sends what must not be taken for the answer, then the answer.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(q []byte) []byte
		want   resolve.Strays
	}{
		{"wrong ID", func(q []byte) []byte { return edit(wrong(q), func(b []byte) { b[0] ^= 0x55 }) }, resolve.Strays{WrongID: 1}},
		{"wrong name", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question[0].Name = "y.test." }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"wrong type", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"type that differs by 0x20", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question[0].Qtype ^= 0x20 }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"wrong class", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"no question", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question = nil }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"two questions", func(q []byte) []byte {
			return dnstest.Answer(q, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, wrongRR)
		}, resolve.Strays{WrongQuestion: 1}},
		{"the query itself", func(q []byte) []byte { return q }, resolve.Strays{NotResponse: 1}},
		{"another opcode", func(q []byte) []byte { return edit(wrong(q), func(b []byte) { b[2] |= 0x28 }) }, resolve.Strays{NotResponse: 1}},
		{"nothing", func(q []byte) []byte { return nil }, resolve.Strays{Malformed: 1}},
		{"eleven octets", func(q []byte) []byte { return wrong(q)[:11] }, resolve.Strays{Malformed: 1}},
		{"cut in the question", func(q []byte) []byte { return wrong(q)[:16] }, resolve.Strays{Malformed: 1}},
		{"cut in a record", func(q []byte) []byte { b := wrong(q); return b[:len(b)-20] }, resolve.Strays{Malformed: 1}},
		{"counts that lie", func(q []byte) []byte {
			return edit(wrong(q), func(b []byte) { b[6], b[7] = 0xff, 0xff })
		}, resolve.Strays{Malformed: 1}},
		{"garbage", func(q []byte) []byte {
			return append(append(slices.Clone(q[:2]), 0x81, 0x80), []byte(strings.Repeat("\xc0\x0c\xff", 60))...)
		}, resolve.Strays{WrongQuestion: 1}},
		{"a name that loops", func(q []byte) []byte {
			return edit(wrong(q), func(b []byte) {
				i := strings.Index(string(b), "\xc0\x0c")
				if i < 0 {
					i = strings.LastIndex(string(b), "\x01x\x04test") // not compressed
				}
				b[i], b[i+1] = 0xc0, byte(i)
			})
		}, resolve.Strays{Malformed: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := dnstest.NewFaultServer(t, func(_ int, q []byte, send func([]byte)) {
				send(tt.before(slices.Clone(q)))
				send(right(q))
			}, nil)
			var seen atomic.Int32
			r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)},
				Options: patient(resolve.Options{Trace: &resolve.Trace{Stray: func(resolve.Upstream, resolve.Stray) { seen.Add(1) }}})}
			res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
			if res.Outcome != resolve.Found || res.Msg.Answer[0].(*dns.A).A.String() != "192.0.2.1" {
				t.Fatalf("%s, %v: %v", res.Outcome, res.Err, res.Msg)
			}
			if res.Strays != tt.want || seen.Load() != 1 {
				t.Errorf("strays %+v, want %+v; told of %d", res.Strays, tt.want, seen.Load())
			}
			if len(res.Attempts) != 1 {
				t.Errorf("%d attempts: the stray packet ended the wait", len(res.Attempts))
			}
		})
	}
}

// pipeNet is a network in simulated time: each query goes to a server at the
// other end of a pipe, which keeps packets apart as UDP does. Where it knows no
// server it says at once that nobody is there.
type pipeNet struct {
	mu      sync.Mutex
	servers map[string]dnstest.Handler // by address; nil is silent
	n       int
}

func (p *pipeNet) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	p.mu.Lock()
	n := p.n
	p.n++
	h, ok := p.servers[address]
	p.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		buf := make([]byte, 512)
		k, err := theirs.Read(buf)
		if err != nil {
			return
		}
		if h != nil {
			time.Sleep(10 * time.Millisecond)
			h(n, buf[:k], func(b []byte) { theirs.Write(b) })
		}
		theirs.Read(buf) // until the other end is closed
	}()
	return ours, nil
}

// TestSilence is about time, so its time is simulated.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := netip.MustParseAddrPort("192.0.2.53:5353")
		p := &pipeNet{servers: map[string]dnstest.Handler{a.String(): func(_ int, q []byte, send func([]byte)) {
			send(edit(wrong(q), func(b []byte) { b[1]++ }))
		}}}
		r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(a)}, Options: resolve.Options{Dialer: p, Timeout: 300 * time.Millisecond, Tries: 3}}
		start := time.Now()
		res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
		took := time.Since(start)
		var te *resolve.TimeoutError
		if res.Outcome != resolve.Failed || !errors.As(res.Err, &te) {
			t.Fatalf("%s, %v", res.Outcome, res.Err)
		}
		if te.Tries != 3 || te.Strays.WrongID != 3 || res.Strays.WrongID != 3 {
			t.Errorf("%+v", te)
		}
		if took < 300*time.Millisecond || took > 310*time.Millisecond {
			t.Errorf("took %v", took)
		}
		checkStarts(t, res, start, 0, 100*time.Millisecond, 200*time.Millisecond)
		if msg := res.Err.Error(); !strings.Contains(msg, a.String()) || !strings.Contains(msg, "3 with a wrong ID") {
			t.Errorf("message %q", msg)
		}
		if p.n != 3 {
			t.Errorf("%d queries", p.n)
		}
	})
}

// checkStarts holds the times at which queries went out to those wanted, in
// simulated time.
func checkStarts(t *testing.T, res *resolve.Result, start time.Time, want ...time.Duration) {
	t.Helper()
	var got []time.Duration
	for _, at := range res.Attempts {
		got = append(got, at.Started.Sub(start))
	}
	if !slices.Equal(got, want) {
		t.Errorf("queries after %v, want %v", got, want)
	}
}

// TestLate has a server answer its first query after the second went out: the
// answer counts, and is said to be late.
func TestLate(t *testing.T) {
	first, second := make(chan struct{}), make(chan struct{})
	s := dnstest.NewFaultServer(t, func(n int, q []byte, send func([]byte)) {
		if n == 0 {
			close(first)
			<-second
			send(right(q))
		}
		// and no answer to any other
	}, nil)
	// A query every 100 ms, the second when the first is there for certain.
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: resolve.Options{Timeout: time.Minute, Tries: 600,
		Trace: &resolve.Trace{Sent: func(_ resolve.Upstream, _ resolve.Query, try int) {
			if try == 1 {
				<-first
				close(second)
			}
		}}}}
	res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
	if res.Outcome != resolve.Found || res.Strays.Late != 1 || len(res.Attempts) < 2 || res.Attempts[0].Err != nil {
		t.Errorf("%s, %v, %+v, %d attempts", res.Outcome, res.Err, res.Strays, len(res.Attempts))
	}
}

// overslept is a socket whose owner is stopped while the answer comes and wakes
// when the deadline is past.
type overslept struct {
	net.Conn
	answered <-chan struct{}
	slept    bool
}

func (c *overslept) Read(b []byte) (int, error) {
	if !c.slept {
		c.slept = true
		<-c.answered
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
	return c.Conn.Read(b)
}

// SetReadDeadline takes any as none: the test must not oversleep it in earnest.
func (c *overslept) SetReadDeadline(time.Time) error { return c.Conn.SetReadDeadline(time.Time{}) }

type oversleeper struct{ answered <-chan struct{} }

func (o oversleeper) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &overslept{Conn: c, answered: o.answered}, nil
}

// TestOverslept: an answer that had come when the time was over counts.
func TestOverslept(t *testing.T) {
	answered := make(chan struct{})
	s := dnstest.NewFaultServer(t, func(_ int, q []byte, send func([]byte)) {
		send(edit(wrong(q), func(b []byte) { b[0]++ }))
		send(right(q))
		close(answered)
	}, nil)
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(resolve.Options{Dialer: oversleeper{answered}})}
	res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
	if res.Outcome != resolve.Found || res.Strays.WrongID != 1 || len(res.Attempts) != 1 {
		t.Errorf("%s, %v, %+v, %d attempts", res.Outcome, res.Err, res.Strays, len(res.Attempts))
	}
}

func TestRefusedPort(t *testing.T) {
	s := dnstest.NewFaultServer(t, nil, nil)
	for _, scheme := range []string{"tcp", "tls", "https"} {
		r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, scheme, s.Addr)}, Options: patient(resolve.Options{})}
		res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
		var se *resolve.ServerError
		if !errors.As(res.Err, &se) || len(res.Attempts) != 1 {
			t.Errorf("%s: %v after %d attempts", scheme, res.Err, len(res.Attempts))
		}
	}
	// UDP: the kernel tells us of the ICMP message.
	a := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(a)}, Options: patient(resolve.Options{})}
	res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
	var se *resolve.ServerError
	if !errors.As(res.Err, &se) || len(res.Attempts) != 1 {
		t.Errorf("udp: %v after %d attempts", res.Err, len(res.Attempts))
	}
}

func rcode(rc int) dnstest.Handler {
	return func(_ int, q []byte, send func([]byte)) {
		send(dnstest.Answer(q, func(m *dns.Msg) { m.Rcode = rc }))
	}
}

func answerRight(_ int, q []byte, send func([]byte)) { send(right(q)) }

// TestFailover has servers that fail before one that answers.
func TestFailover(t *testing.T) {
	good := dnstest.NewFaultServer(t, answerRight, nil)
	servfail := dnstest.NewFaultServer(t, rcode(dns.RcodeServerFailure), nil)
	refused := dnstest.NewFaultServer(t, rcode(dns.RcodeRefused), nil)
	nx := dnstest.NewFaultServer(t, rcode(dns.RcodeNameError), nil)
	closed := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		want    resolve.Outcome
		queries int
	}{
		{"servfail then good", []netip.AddrPort{servfail.Addr, good.Addr}, resolve.Found, 2},
		{"all kinds then good", []netip.AddrPort{refused.Addr, closed, servfail.Addr, good.Addr}, resolve.Found, 4},
		{"no such name is an answer", []netip.AddrPort{nx.Addr, good.Addr}, resolve.NXDomain, 1},
		{"only failures", []netip.AddrPort{refused.Addr, servfail.Addr}, resolve.ServFail, 2},
		{"refused", []netip.AddrPort{refused.Addr}, resolve.Refused, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &resolve.Resolver{Options: patient(resolve.Options{})}
			for _, a := range tt.servers {
				r.Servers = append(r.Servers, resolve.UpstreamOf(a))
			}
			res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
			if res.Outcome != tt.want || len(res.Attempts) != tt.queries {
				t.Errorf("%s, %v, %d attempts %+v", res.Outcome, res.Err, len(res.Attempts), res.Attempts)
			}
			noRawControls(t, res)
		})
	}
}

// TestFailoverFromSilence has servers that say nothing among the others, in
// simulated time: they cost theirs, and no more.
func TestFailoverFromSilence(t *testing.T) {
	const ms = time.Millisecond
	good, silent, refused, closed := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53"), netip.MustParseAddrPort("192.0.2.3:53"), netip.MustParseAddrPort("192.0.2.4:53")
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		want    resolve.Outcome
		starts  []time.Duration
		took    time.Duration
	}{
		{"all kinds then good", []netip.AddrPort{refused, closed, silent, good}, resolve.Found, []time.Duration{0, 10 * ms, 10 * ms, 110 * ms}, 120 * ms},
		{"refused and silent", []netip.AddrPort{silent, refused}, resolve.Refused, []time.Duration{0, 200 * ms, 210 * ms, 410 * ms}, 1200 * ms},
		{"silent", []netip.AddrPort{silent}, resolve.Failed, []time.Duration{0, 400 * ms, 800 * ms}, 1200 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipeNet{servers: map[string]dnstest.Handler{good.String(): answerRight, silent.String(): nil, refused.String(): rcode(dns.RcodeRefused)}}
				r := &resolve.Resolver{Options: resolve.Options{Dialer: p, Timeout: 1200 * ms, Tries: 3}}
				for _, a := range tt.servers {
					r.Servers = append(r.Servers, resolve.UpstreamOf(a))
				}
				start := time.Now()
				res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
				if took := time.Since(start).Round(10 * ms); res.Outcome != tt.want || took != tt.took {
					t.Errorf("%s, %v after %v, want %s after %v", res.Outcome, res.Err, took, tt.want, tt.took)
				}
				checkStarts(t, res, start, tt.starts...)
			})
		})
	}
}

func TestTruncated(t *testing.T) {
	truncate := func(_ int, q []byte, send func([]byte)) {
		send(dnstest.Answer(q, func(m *dns.Msg) { m.Truncated = true }))
	}
	tcp := func(_ int, q []byte, send func([]byte)) { send(right(q)) }
	cut := func(_ int, q []byte, send func([]byte)) {
		b := wrong(q)
		b[2] |= 2 // TC, and cut in the middle of a record
		send(b[:len(b)-18])
	}
	for name, udp := range map[string]dnstest.Handler{"clean": truncate, "cut in a record": cut} {
		s := dnstest.NewFaultServer(t, udp, tcp)
		r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(resolve.Options{})}
		t.Cleanup(func() { r.Close() })
		res := r.Resolve(context.Background(), resolve.Query{Name: "x.test."})
		if res.Outcome != resolve.Found || !res.Truncated || res.Transport != resolve.TCP || res.Records()[0].(*dns.A).A.String() != "192.0.2.1" {
			t.Errorf("%s: %s, %v", name, res.Outcome, res.Err)
		}
		keep := &resolve.Resolver{Servers: r.Servers, Options: patient(resolve.Options{KeepTruncated: true})}
		res = keep.Resolve(context.Background(), resolve.Query{Name: "x.test."})
		if res.Err != nil || !res.Msg.Truncated || res.Transport != resolve.UDP {
			t.Errorf("%s, kept: %s, %v", name, res.Outcome, res.Err)
		}
	}
	// Nobody answers over TCP.
	s := dnstest.NewFaultServer(t, truncate, nil)
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(resolve.Options{})}
	if res := r.Resolve(context.Background(), resolve.Query{Name: "x.test."}); res.Outcome != resolve.Failed {
		t.Errorf("without TCP: %s", res.Outcome)
	}
}

// TestStreamFaults: on TCP a server can hang up, answer the wrong question,
// mix answers up, and close idle connections.
func TestStreamFaults(t *testing.T) {
	ask := func(h dnstest.Handler) *resolve.Result {
		s := dnstest.NewFaultServer(t, nil, h)
		r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, "tcp", s.Addr)}, Options: patient(resolve.Options{})}
		defer r.Close()
		return r.Resolve(context.Background(), resolve.Query{Name: "x.test."})
	}
	if res := ask(func(_ int, q []byte, send func([]byte)) { send(nil) }); res.Outcome != resolve.Failed {
		t.Errorf("hung up: %s", res.Outcome)
	}
	res := ask(func(_ int, q []byte, send func([]byte)) {
		send(edit(wrong(q), func(b []byte) { b[0]++ }))
		send(right(q))
	})
	if res.Outcome != resolve.Found || res.Strays.WrongID != 1 {
		t.Errorf("wrong ID first: %s, %v, %+v", res.Outcome, res.Err, res.Strays)
	}
	if res := ask(func(_ int, q []byte, send func([]byte)) { send([]byte{1, 2, 3}) }); !errors.Is(res.Err, resolve.ErrMalformed) {
		t.Errorf("three octets: %v", res.Err)
	}
	if res := ask(func(_ int, q []byte, send func([]byte)) { b := wrong(q); send(b[:len(b)-13]) }); !errors.Is(res.Err, resolve.ErrMalformed) {
		t.Errorf("cut short: %v", res.Err)
	}
	// The server closes after each answer: the next query opens anew.
	s := dnstest.NewFaultServer(t, nil, func(_ int, q []byte, send func([]byte)) { send(right(q)); send(nil) })
	r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, "tcp", s.Addr)}, Options: patient(resolve.Options{})}
	defer r.Close()
	for i := range 5 {
		if res := r.Resolve(context.Background(), resolve.Query{Name: "x.test."}); res.Outcome != resolve.Found {
			t.Errorf("query %d to a server that hangs up: %v", i, res.Err)
		}
	}
}

func TestEDNSFallback(t *testing.T) {
	s := dnstest.NewFaultServer(t, func(_ int, q []byte, send func([]byte)) {
		if q[11] == 0 { // no additional record
			send(right(q))
			return
		}
		// An old server: a bare header, or a response without OPT.
		send(append(append(slices.Clone(q[:2]), 0x81, 0x81), make([]byte, 8)...))
	}, nil)
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(resolve.Options{})}
	res := r.Resolve(context.Background(), resolve.Query{Name: "x.test."})
	if res.Outcome != resolve.Found || !res.EDNSDropped {
		t.Errorf("%s, %v, dropped %v", res.Outcome, res.Err, res.EDNSDropped)
	}
}

// TestRandomCase: a server that repeats the question is believed, one that
// changes its case is not.
func TestRandomCase(t *testing.T) {
	const name = "a-long-name-with-many-letters.test."
	lower := func(_ int, q []byte, send func([]byte)) {
		send(dnstest.Answer(q, func(m *dns.Msg) { m.Question[0].Name = strings.ToLower(m.Question[0].Name) }, name+" 1 IN A 192.0.2.1"))
	}
	same := func(_ int, q []byte, send func([]byte)) { send(dnstest.Answer(q, nil, name+" 1 IN A 192.0.2.1")) }
	ask := func(h dnstest.Handler, o resolve.Options) *resolve.Result {
		s := dnstest.NewFaultServer(t, h, nil)
		r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(o)}
		return r.Resolve(context.Background(), resolve.Query{Name: name})
	}
	if res := ask(same, resolve.Options{RandomCase: true}); res.Outcome != resolve.Found || res.Msg.Question[0].Name == name {
		t.Errorf("repeated: %s, %v, %v", res.Outcome, res.Err, res.Msg)
	}
	if res := ask(lower, resolve.Options{}); res.Outcome != resolve.Found {
		t.Errorf("lowered, not checked: %s, %v", res.Outcome, res.Err)
	}
	// No answer but the lowered one ever comes, so the wait for one is ended
	// when it has been seen and not been taken.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := dnstest.NewFaultServer(t, lower, nil)
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)},
		Options: patient(resolve.Options{RandomCase: true, Trace: &resolve.Trace{Stray: func(resolve.Upstream, resolve.Stray) { cancel() }}})}
	if res := r.Resolve(ctx, resolve.Query{Name: name}); res.Outcome != resolve.Failed || res.Strays.WrongCase != 1 || res.Strays.Spoofed() != 1 {
		t.Errorf("lowered: %s, %+v", res.Outcome, res.Strays)
	}
}

// TestCookies plays RFC 7873: the server's cookie is sent back, BADCOOKIE is
// met with the new one, and answers with a wrong cookie are not believed.
func TestCookies(t *testing.T) {
	var mu sync.Mutex
	var sent [][]byte
	cookie := func(q []byte) []byte {
		m := new(dns.Msg)
		if m.Unpack(q) != nil || m.IsEdns0() == nil {
			return nil
		}
		for _, o := range m.IsEdns0().Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				return []byte(c.Cookie)
			}
		}
		return nil
	}
	with := func(c string) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: c})
		}
	}
	const serverPart = "0102030405060708"
	s := dnstest.NewFaultServer(t, func(n int, q []byte, send func([]byte)) {
		c := string(cookie(q))
		mu.Lock()
		sent = append(sent, []byte(c))
		mu.Unlock()
		if len(c) < 16 {
			t.Errorf("query %d has cookie %q", n, c)
			return
		}
		switch {
		case len(c) == 16: // the server wants to see its cookie first
			bad := with(c[:16] + serverPart)
			send(dnstest.Answer(q, func(m *dns.Msg) { bad(m); m.Rcode = dns.RcodeBadCookie }))
		default:
			send(dnstest.Answer(q, with("ffffffffffffffff"+serverPart), wrongRR)) // forged
			send(dnstest.Answer(q, nil, wrongRR))                                 // no cookie from one who has them
			send(dnstest.Answer(q, with(c), rightRR))
		}
	}, nil)
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(s.Addr)}, Options: patient(resolve.Options{Cookies: new(resolve.CookieJar)})}
	for range 2 {
		res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
		if res.Outcome != resolve.Found || res.Records()[0].(*dns.A).A.String() != "192.0.2.1" || !res.ServerCookie || res.Strays.WrongCookie != 2 {
			t.Fatalf("%s, %v, %+v", res.Outcome, res.Err, res.Strays)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(sent) != 3 || string(sent[1]) != string(sent[0])+serverPart || string(sent[2]) != string(sent[1]) {
		t.Errorf("cookies sent: %q", sent)
	}
}

// TestCancel gives up a query that waits: the server has it and says nothing,
// or has accepted the connection and says nothing of TLS.
func TestCancel(t *testing.T) {
	waits := make(chan struct{}, 100)
	s := dnstest.NewFaultServer(t, func(int, []byte, func([]byte)) { waits <- struct{}{} }, func(int, []byte, func([]byte)) { waits <- struct{}{} })
	hello, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hello.Close()
	go func() {
		for {
			c, err := hello.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				var b [1]byte
				c.Read(b[:])
				waits <- struct{}{}
				io.Copy(io.Discard, c)
			}()
		}
	}()
	for _, scheme := range []string{"udp", "tcp", "tls", "https"} {
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("the user changed his mind")
		a := s.Addr
		if scheme == "tls" || scheme == "https" {
			a = hello.Addr().(*net.TCPAddr).AddrPort()
		}
		// Half an hour: who does not heed the cancelling hangs here.
		r := &resolve.Resolver{Servers: []resolve.Upstream{upstream(t, scheme, a)}, Options: resolve.Options{Timeout: 30 * time.Minute, Tries: 1}}
		go func() { <-waits; cancel(why) }()
		res := r.Resolve(ctx, resolve.Query{Name: "x.test."})
		if res.Outcome != resolve.Failed || !errors.Is(res.Err, why) && !errors.Is(res.Err, context.Canceled) {
			t.Errorf("%s: %v", scheme, res.Err)
		}
		r.Close()
	}
}

// TestOtherSource has somebody else than the server answer, who knows the ID
// and the question: the kernel hands on what comes from the server only.
func TestOtherSource(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	other, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		buf := make([]byte, 512)
		n, from, err := server.ReadFrom(buf)
		if err != nil {
			return
		}
		for range 10 {
			other.WriteTo(wrong(buf[:n]), from)
		}
		server.WriteTo(right(buf[:n]), from)
	}()
	r := &resolve.Resolver{Servers: []resolve.Upstream{resolve.UpstreamOf(server.LocalAddr().(*net.UDPAddr).AddrPort())}, Options: patient(resolve.Options{})}
	res := r.Resolve(t.Context(), resolve.Query{Name: "x.test."})
	if res.Outcome != resolve.Found || res.Records()[0].(*dns.A).A.String() != "192.0.2.1" {
		t.Errorf("%s, %v, %v", res.Outcome, res.Err, res.Records())
	}
}

package resolve_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/cache"
)

// fakeNet stands in for the network, so that these tests run in bubbles of
// simulated time: answer says what a server answers, nil for nothing.
type fakeNet struct {
	mu     sync.Mutex
	asked  []string // "server name TYPE"
	answer func(server string, q resolve.Query, wire []byte) []byte
}

func (n *fakeNet) options() resolve.Options {
	return resolve.Options{Transports: map[resolve.Scheme]resolve.NewExchanger{
		resolve.UDP:  n.exchanger,
		resolve.MDNS: n.exchanger,
	}}
}

func (n *fakeNet) exchanger(u resolve.Upstream, _ *resolve.Options) resolve.Exchanger {
	return &fakeExchanger{n, u}
}

type fakeExchanger struct {
	net *fakeNet
	up  resolve.Upstream
}

func (x *fakeExchanger) Close() error { return nil }

func (x *fakeExchanger) Exchange(ctx context.Context, m *resolve.Message) (resolve.Raw, error) {
	raw := resolve.Raw{Started: time.Now()}
	q := m.Query
	q.Name = strings.ToLower(q.Name)
	x.net.mu.Lock()
	x.net.asked = append(x.net.asked, x.up.Host+" "+q.String())
	b := x.net.answer(x.up.Host, q, m.Wire)
	x.net.mu.Unlock()
	if b == nil {
		<-ctx.Done()
		return raw, context.Cause(ctx)
	}
	time.Sleep(10 * time.Millisecond) // simulated
	raw.Wire, raw.RTT = b, time.Since(raw.Started)
	return raw, nil
}

func (n *fakeNet) log() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.asked
	n.asked = nil
	return out
}

// zoneAnswer answers from records, with NXDOMAIN for names that have none.
func zoneAnswer(records ...string) func(string, resolve.Query, []byte) []byte {
	return func(_ string, q resolve.Query, wire []byte) []byte {
		var match []string
		exists := false
		for _, s := range records {
			rr, err := dns.NewRR(s)
			if err != nil {
				panic(err)
			}
			if strings.EqualFold(rr.Header().Name, q.Name) {
				exists = true
				if rr.Header().Rrtype == q.Type {
					match = append(match, s)
				}
			}
		}
		return answerTo(wire, exists, match...)
	}
}

func answerTo(wire []byte, exists bool, rrs ...string) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(wire); err != nil {
		panic(err)
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	for _, s := range rrs {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if len(rrs) == 0 {
		soa, _ := dns.NewRR("test. 600 IN SOA ns.test. h.test. 1 2 3 4 60")
		m.Ns = []dns.RR{soa}
		if !exists {
			m.Rcode = dns.RcodeNameError
		}
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func systemConfig(search ...string) *resolve.Config {
	c := resolve.ParseResolvConf(strings.NewReader("nameserver 192.0.2.1\nnameserver 192.0.2.2\n"), "", nil)
	c.Search = search
	return c
}

func TestSearchList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{answer: zoneAnswer("www.b.test. 60 IN A 192.0.2.7", "only.a.test. 60 IN TXT x", "dotted.name. 60 IN A 192.0.2.8")}
		r := &resolve.Resolver{Config: systemConfig("a.test", "b.test"), Options: n.options(), HostsFile: "-"}
		for _, tt := range []struct {
			name     string
			noSearch bool
			typ      uint16
			outcome  resolve.Outcome
			final    string
			searched []string
			asked    int
		}{
			{"www", false, dns.TypeA, resolve.Found, "www.b.test.", []string{"www.a.test."}, 2},
			{"www", true, dns.TypeA, resolve.NXDomain, "www.", nil, 1},
			{"www.", false, dns.TypeA, resolve.NXDomain, "www.", nil, 1},
			{"absent", false, dns.TypeA, resolve.NXDomain, "absent.", []string{"absent.a.test.", "absent.b.test."}, 3},
			{"only", false, dns.TypeA, resolve.NoData, "only.a.test.", nil, 1},
			{"dotted.name", false, dns.TypeA, resolve.Found, "dotted.name.", nil, 1},
			{"192.0.2.1", false, dns.TypePTR, resolve.NXDomain, "1.2.0.192.in-addr.arpa.", nil, 1},
			{"printer.local", false, dns.TypeA, resolve.NXDomain, "printer.local.", nil, 1},
		} {
			r.NoSearch = tt.noSearch
			res := r.Lookup(t.Context(), tt.name, tt.typ, 0)
			log := n.log()
			if res.Outcome != tt.outcome || res.Query.Name != tt.final || !slices.Equal(res.Searched, tt.searched) || len(log) != tt.asked {
				t.Errorf("%s: %s, %s, searched %q, %v, asked %q", tt.name, res.Outcome, res.Query.Name, res.Searched, res.Err, log)
			}
			if tt.name == "printer.local" && !strings.HasPrefix(log[0], "224.0.0.251 ") {
				t.Errorf("%s: asked %q", tt.name, log)
			}
		}
	})
}

func TestHostsFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte("192.0.2.9 www.b.test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &fakeNet{answer: zoneAnswer("www.b.test. 60 IN AAAA 2001:db8::9")}
	r := &resolve.Resolver{Config: systemConfig(), Options: n.options(), HostsFile: path}
	res := r.Lookup(t.Context(), "www.b.test", dns.TypeA, 0)
	if res.Source != resolve.FromHosts || res.HostsFile != path || len(n.log()) != 0 || resolve.Data(res.Records()[0]) != "192.0.2.9" {
		t.Errorf("%+v", res)
	}
	noRawControls(t, res)
	// As the system does: a name in the file is not asked for, even if the
	// file has only the other kind of address.
	if res := r.Lookup(t.Context(), "www.b.test", dns.TypeAAAA, 0); res.Source != resolve.FromHosts || res.Outcome != resolve.NoData || len(n.log()) != 0 {
		t.Errorf("%+v", res)
	}
	// What the file does not have is.
	if res := r.Lookup(t.Context(), "www.b.test", dns.TypeMX, 0); res.Source != resolve.FromServer || res.Outcome != resolve.NoData {
		t.Errorf("%+v", res)
	}
	if res := r.Lookup(t.Context(), "other.b.test", dns.TypeA, 0); res.Source != resolve.FromServer || res.Outcome != resolve.NXDomain {
		t.Errorf("%+v", res)
	}
	// A server that is named is asked.
	r = &resolve.Resolver{Servers: []resolve.Upstream{{Scheme: resolve.UDP, Host: "192.0.2.3", Port: 53}}, Options: n.options()}
	if res := r.Lookup(t.Context(), "localhost", dns.TypeA, 0); res.Source != resolve.FromServer {
		t.Errorf("%+v", res)
	}
}

func TestSystemTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{answer: func(string, resolve.Query, []byte) []byte { return nil }}
		r := &resolve.Resolver{Config: systemConfig(), Options: n.options(), HostsFile: "-"}
		start := time.Now()
		res := r.Lookup(t.Context(), "x.test.", dns.TypeA, 0)
		// Two servers, two attempts, five seconds each.
		if took := time.Since(start); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
		want := []string{"192.0.2.1 x.test. A", "192.0.2.2 x.test. A", "192.0.2.1 x.test. A", "192.0.2.2 x.test. A"}
		if log := n.log(); !slices.Equal(log, want) || res.Outcome != resolve.Failed {
			t.Errorf("%q, %v", log, res.Err)
		}
		r.Options.Timeout = time.Second
		start = time.Now()
		r.Lookup(t.Context(), "x.test.", dns.TypeA, 0)
		if took := time.Since(start); took != time.Second {
			t.Errorf("with a timeout of 1 s it took %v", took)
		}
	})
}

func TestCacheAndStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone := zoneAnswer("x.test. 60 IN A 192.0.2.1")
		down := false
		n := &fakeNet{answer: func(s string, q resolve.Query, w []byte) []byte {
			if down {
				return nil
			}
			return zone(s, q, w)
		}}
		r := &resolve.Resolver{Config: systemConfig(), Options: n.options(), HostsFile: "-", Cache: new(cache.Cache)}
		look := func(name string, src resolve.Source, out resolve.Outcome, asked int) *resolve.Result {
			t.Helper()
			res := r.Lookup(t.Context(), name, dns.TypeA, 0)
			if res.Source != src || res.Outcome != out || len(n.log()) != asked {
				t.Errorf("%s: from %s, %s, %v", name, res.Source, res.Outcome, res.Err)
			}
			return res
		}
		look("x.test.", resolve.FromServer, resolve.Found, 1)
		time.Sleep(20 * time.Second)
		res := look("X.TEST.", resolve.FromCache, resolve.Found, 0)
		if ttl := res.Records()[0].Header().Ttl; ttl != 40 || res.Age.Round(time.Second) != 20*time.Second {
			t.Errorf("TTL %d, age %v", ttl, res.Age)
		}
		look("no.test.", resolve.FromServer, resolve.NXDomain, 1)
		time.Sleep(59 * time.Second) // the SOA record's minimum is 60
		look("no.test.", resolve.FromCache, resolve.NXDomain, 0)
		time.Sleep(2 * time.Second)
		look("no.test.", resolve.FromServer, resolve.NXDomain, 1)

		down = true
		res = look("x.test.", resolve.FromStale, resolve.Found, 4)
		if ttl := res.Records()[0].Header().Ttl; ttl != cache.StaleTTL {
			t.Errorf("stale TTL %d", ttl)
		}
		noRawControls(t, res)
		time.Sleep(48 * time.Hour)
		look("x.test.", resolve.FromServer, resolve.Failed, 4)
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		age := func() time.Duration { return time.Since(start) }
		n := &fakeNet{answer: func(_ string, q resolve.Query, w []byte) []byte {
			switch {
			case age() < 10*time.Second:
				return nil // silence does not end the wait
			case age() < 100*time.Second:
				return answerTo(w, false)
			case age() < 300*time.Second:
				return answerTo(w, true, "x.test. 20 IN TXT \"old\"")
			}
			return answerTo(w, true, "x.test. 20 IN TXT \"new\"")
		}}
		o := n.options()
		o.Timeout = 2 * time.Second
		r := &resolve.Resolver{Servers: []resolve.Upstream{{Scheme: resolve.UDP, Host: "192.0.2.1", Port: 53}}, Options: o}
		asked := 0
		wo := resolve.WaitOptions{Each: func(_ *resolve.Result, pause time.Duration) {
			asked++
			if pause != 0 && pause < time.Second || pause > time.Minute {
				t.Errorf("pause %v", pause)
			}
		}}
		res, err := r.Wait(t.Context(), "x.test.", dns.TypeTXT, 0, wo)
		if err != nil || res.Outcome != resolve.Found || age() < 100*time.Second || age() > 180*time.Second {
			t.Errorf("appearing: %v, %s after %v", err, res.Outcome, age())
		}
		res, err = r.Wait(t.Context(), "x.test.", dns.TypeTXT, 0, wo)
		if err != nil || resolve.Data(res.Records()[0]) != `"new"` || age() < 300*time.Second || age() > 330*time.Second {
			t.Errorf("changing: %v, %v after %v", err, res.Records(), age())
		}
		wo.Until = "NEW"
		if _, err = r.Wait(t.Context(), "x.test.", dns.TypeTXT, 0, wo); err != nil {
			t.Error(err)
		}
		if asked > 60 {
			t.Errorf("%d queries in %v is not polite", asked, age())
		}
		wo.Until = "never"
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err = r.Wait(ctx, "x.test.", dns.TypeTXT, 0, wo); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if _, err = r.Wait(t.Context(), "x..test", dns.TypeTXT, 0, wo); err == nil {
			t.Error("waits for a name that cannot be")
		}
	})
}

func TestCompare(t *testing.T) {
	n := &fakeNet{answer: func(s string, q resolve.Query, w []byte) []byte {
		switch s {
		case "192.0.2.1":
			return answerTo(w, true, "x.test. 60 IN MX 10 A.test.", "x.test. 60 IN MX 20 b.test.")
		case "192.0.2.2":
			return answerTo(w, true, "x.test. 30 IN MX 20 b.test.", "X.test. 30 IN MX 10 a.test.")
		case "192.0.2.3":
			return answerTo(w, true, "x.test. 60 IN MX 10 a.test.")
		}
		return nil
	}}
	ask := func(t *testing.T, hosts ...string) *resolve.Comparison {
		q := resolve.Query{Name: "x.test.", Type: dns.TypeMX}
		var rs []*resolve.Result
		for _, h := range hosts {
			o := n.options()
			o.Timeout, o.Tries = 20*time.Millisecond, 1
			r := &resolve.Resolver{Servers: []resolve.Upstream{{Scheme: resolve.UDP, Host: h, Port: 53}}, Options: o}
			rs = append(rs, r.Resolve(t.Context(), q))
		}
		return resolve.Compare(q, rs)
	}
	for _, tt := range []struct {
		hosts   []string
		verdict resolve.Verdict
		groups  string
		rows    int
	}{
		{[]string{"192.0.2.1", "192.0.2.2"}, resolve.Agree, "[[0 1]]", 2},
		{[]string{"192.0.2.3", "192.0.2.1", "192.0.2.2"}, resolve.Differ, "[[1 2] [0]]", 2},
		{[]string{"192.0.2.1", "192.0.2.2", "192.0.2.9"}, resolve.SomeDown, "[[0 1]]", 2},
		{[]string{"192.0.2.1", "192.0.2.9"}, resolve.Unknown, "[[0]]", 2},
		{[]string{"192.0.2.9"}, resolve.Unknown, "[]", 0},
	} {
		var c *resolve.Comparison
		synctest.Test(t, func(t *testing.T) { c = ask(t, tt.hosts...) })
		if c.Verdict() != tt.verdict || fmt.Sprint(c.Groups) != tt.groups || len(c.Rows) != tt.rows {
			t.Errorf("%v: %s, groups %v, %d rows", tt.hosts, c.Verdict(), c.Groups, len(c.Rows))
		}
	}
}

func TestLookupAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{answer: zoneAnswer("3.2.0.192.in-addr.arpa. 60 IN PTR three.test.")}
		r := &resolve.Resolver{Config: systemConfig(), Options: n.options(), HostsFile: "-"}
		names, err := resolve.ReverseNames("192.0.2.0/28")
		if err != nil {
			t.Fatal(err)
		}
		var qs []resolve.Question
		for _, name := range names {
			qs = append(qs, resolve.Question{Name: name, Type: dns.TypePTR})
		}
		var order []int
		found := 0
		r.LookupAll(t.Context(), qs, 4, func(i int, res *resolve.Result) bool {
			order = append(order, i)
			if res.Outcome == resolve.Found {
				found++
			}
			return true
		})
		if !slices.IsSorted(order) || len(order) != 16 || found != 1 {
			t.Errorf("order %v, %d found", order, found)
		}
		stopped := 0
		r.LookupAll(t.Context(), qs, 4, func(int, *resolve.Result) bool { stopped++; return stopped < 3 })
		if stopped != 3 {
			t.Errorf("stopped after %d", stopped)
		}
	})
}

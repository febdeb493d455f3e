package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var t0 = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

func msg(rcode int, answer []string, authority ...string) []byte {
	m := new(dns.Msg)
	m.Response, m.Rcode = true, rcode
	m.Question = []dns.Question{{Name: "x.test.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}
	for i, sec := range [][]string{answer, authority} {
		for _, s := range sec {
			rr, err := dns.NewRR(s)
			if err != nil {
				panic(err)
			}
			if i == 0 {
				m.Answer = append(m.Answer, rr)
			} else {
				m.Ns = append(m.Ns, rr)
			}
		}
	}
	m.SetEdns0(1232, true)
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func key(name string) Key { return KeyOf(name, dns.TypeA, dns.ClassINET, "") }

// TestTTL: what is kept, and for how long.
func TestTTL(t *testing.T) {
	const soa = "test. 900 IN SOA a. b. 1 2 3 4 300"
	for _, tt := range []struct {
		name string
		wire []byte
		want time.Duration // 0: not kept
	}{
		{"the smallest counts", msg(0, []string{"x.test. 60 IN CNAME y.test.", "y.test. 600 IN A 192.0.2.1"}), time.Minute},
		{"zero", msg(0, []string{"x.test. 0 IN A 192.0.2.1"}), 0},
		{"top bit", msg(0, []string{"x.test. 2147483648 IN A 192.0.2.1"}), 0},
		{"very long", msg(0, []string{"x.test. 2147483647 IN A 192.0.2.1"}), 24 * time.Hour},
		{"NXDOMAIN", msg(dns.RcodeNameError, nil, soa), 5 * time.Minute},
		{"NXDOMAIN, SOA's own TTL smaller", msg(dns.RcodeNameError, nil, "test. 20 IN SOA a. b. 1 2 3 4 300"), 20 * time.Second},
		{"NXDOMAIN without SOA", msg(dns.RcodeNameError, nil), 0},
		{"NODATA", msg(0, nil, soa), 5 * time.Minute},
		{"NODATA through an alias", msg(0, []string{"x.test. 60 IN CNAME y.test."}, soa), time.Minute},
		{"NODATA, huge", msg(0, nil, "test. 90000 IN SOA a. b. 1 2 3 4 90000"), 3 * time.Hour},
		{"referral", msg(0, nil, "test. 900 IN NS ns.test."), 0},
		{"SERVFAIL", msg(dns.RcodeServerFailure, nil, soa), 0},
		{"truncated", func() []byte { b := msg(0, []string{"x.test. 60 IN A 192.0.2.1"}); b[2] |= 2; return b }(), 0},
		{"a query", func() []byte { b := msg(0, []string{"x.test. 60 IN A 192.0.2.1"}); b[2] &= 0x7f; return b }(), 0},
		{"garbage", []byte("garbage"), 0},
	} {
		c := new(Cache)
		kept := c.Put(t0, key("X.test"), tt.wire, "192.0.2.1", "udp")
		e, state := c.Get(t0, key("x.test."))
		switch {
		case kept != (tt.want > 0), kept != (state == Fresh):
			t.Errorf("%s: kept %v, state %d", tt.name, kept, state)
		case kept && e.TTL != tt.want:
			t.Errorf("%s: %v", tt.name, e.TTL)
		}
	}
}

func TestCountdown(t *testing.T) {
	c := new(Cache)
	c.Put(t0, key("x.test."), msg(0, []string{"x.test. 60 IN CNAME y.test.", "y.test. 600 IN A 192.0.2.1"}), "", "")
	for _, tt := range []struct {
		at    time.Duration
		state State
		ttls  []uint32
	}{
		{0, Fresh, []uint32{60, 60}}, {25*time.Second + 900*time.Millisecond, Fresh, []uint32{35, 35}}, {59 * time.Second, Fresh, []uint32{1, 1}},
		{60 * time.Second, Stale, []uint32{30, 30}}, {DefaultMaxStale, Stale, []uint32{30, 30}}, {DefaultMaxStale + time.Minute, Miss, nil},
	} {
		e, state := c.Get(t0.Add(tt.at), key("x.test."))
		if state != tt.state {
			t.Fatalf("%v: state %d", tt.at, state)
		}
		if e == nil {
			continue
		}
		m, err := e.Msg(t0.Add(tt.at))
		if err != nil {
			t.Fatal(err)
		}
		var ttls []uint32
		for _, rr := range m.Answer {
			ttls = append(ttls, rr.Header().Ttl)
		}
		if !slices.Equal(ttls, tt.ttls) {
			t.Errorf("%v: TTLs %v", tt.at, ttls)
		}
		if !m.IsEdns0().Do() {
			t.Errorf("%v: the OPT record's flags were counted down", tt.at)
		}
	}
	if c.Len() != 0 {
		t.Error("an entry that is too old stays")
	}
}

func TestBounds(t *testing.T) {
	c := &Cache{MaxEntries: 10}
	put := func(i int) {
		c.Put(t0, key(fmt.Sprintf("n%d.test.", i)), msg(0, []string{"x.test. 60 IN A 192.0.2.1"}), "", "")
	}
	for i := range 10 {
		put(i)
	}
	c.Get(t0, key("n0.test.")) // used, so n1 goes first
	put(10)
	if _, s := c.Get(t0, key("n0.test.")); c.Len() != 10 || s != Fresh {
		t.Errorf("%d entries, n0 is %d", c.Len(), s)
	}
	if _, s := c.Get(t0, key("n1.test.")); s != Miss {
		t.Error("n1 stays")
	}
	c = &Cache{MaxBytes: 2000}
	for i := range 100 {
		put(i)
	}
	if c.bytes > 2000 || c.Len() == 0 || c.Len() > 9 {
		t.Errorf("%d entries, %d octets", c.Len(), c.bytes)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	c := new(Cache)
	if err := c.Load(path); err != nil || c.Len() != 0 {
		t.Fatalf("no file: %v", err)
	}
	k := KeyOf("x.test.", dns.TypeA, dns.ClassINET, "tls://192.0.2.1")
	k.DO = true
	c.Put(t0, k, msg(0, []string{"x.test. 60 IN A 192.0.2.1"}), "192.0.2.1", "tls")
	c.Put(t0, key("no.test."), msg(dns.RcodeNameError, nil, "test. 900 IN SOA a. b. 1 2 3 4 300"), "192.0.2.1", "udp")
	if err := c.Save(path); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	// Another process writes meanwhile.
	other := new(Cache)
	other.Put(t0, key("other.test."), msg(0, []string{"x.test. 60 IN A 192.0.2.1"}), "", "")
	if err := other.Save(path); err != nil {
		t.Fatal(err)
	}
	back := new(Cache)
	if err := back.Load(path); err != nil {
		t.Fatal(err)
	}
	es := back.Entries(t0)
	if len(es) != 3 || es[0].Name != "no.test." || es[1].Name != "other.test." || es[2].Key != k {
		t.Fatalf("%+v", es)
	}
	if e := es[2]; !e.Stored.Equal(t0) || e.TTL != time.Minute || e.Transport != "tls" {
		t.Errorf("%+v", e)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	// What is not ours is neither read nor overwritten.
	if err := os.WriteFile(path, []byte("my diary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := new(Cache).Load(path); !errors.Is(err, ErrFormat) {
		t.Errorf("foreign file: %v", err)
	}
	back.dirty = true
	if err := back.Save(path); !errors.Is(err, ErrFormat) {
		t.Errorf("over a foreign file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "my diary\n" {
		t.Errorf("the diary is now %q", b)
	}
}

func FuzzReadFrom(f *testing.F) {
	c := new(Cache)
	c.Put(t0, key("x.test."), msg(0, []string{"x.test. 60 IN A 192.0.2.1"}), "192.0.2.1", "udp")
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add(magic + "\n{}\n{\"name\":\"a.\",\"ttl\":99999999999,\"message\":\"AAAA\"}\n")
	f.Add(strings.Replace(b.String(), `"ttl":60`, `"ttl":9999`, 1))
	f.Add(strings.Replace(b.String(), `2026`, `9999`, 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		c := &Cache{MaxEntries: 50, MaxBytes: 100 << 10}
		if _, err := c.ReadFrom(strings.NewReader(text)); err != nil {
			return
		}
		for _, e := range c.Entries(t0) {
			if e.TTL <= 0 || e.TTL > DefaultMaxTTL {
				t.Fatalf("TTL %v", e.TTL)
			}
			m, err := e.Msg(t0)
			if err != nil {
				t.Fatal(err)
			}
			for _, rr := range m.Answer {
				if rr.Header().Ttl > uint32(DefaultMaxTTL/time.Second) {
					t.Fatalf("TTL %d", rr.Header().Ttl)
				}
			}
		}
		// What is written is what is read.
		var b1, b2 bytes.Buffer
		if _, err := c.WriteTo(&b1); err != nil {
			t.Fatal(err)
		}
		again := &Cache{MaxEntries: 50, MaxBytes: 100 << 10}
		if _, err := again.ReadFrom(bytes.NewReader(b1.Bytes())); err != nil {
			t.Fatal(err)
		}
		if _, err := again.WriteTo(&b2); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b1.Bytes(), b2.Bytes()) {
			t.Fatalf("changes on the way:\n%s\n%s", b1.Bytes(), b2.Bytes())
		}
	})
}

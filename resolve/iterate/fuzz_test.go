package iterate_test

import (
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/iterate"
)

// FuzzLookup lets servers reply with arbitrary messages, one after the other:
// a lookup must end within its limits, whatever they say, and print cleanly.
func FuzzLookup(f *testing.F) {
	seed := func(msgs ...*dns.Msg) {
		var b []byte
		for _, m := range msgs {
			m.Response = true
			w, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			b = append(append(b, byte(len(w)>>8), byte(len(w))), w...)
		}
		f.Add(b)
	}
	q := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
	answer := q.Copy()
	answer.Answer = []dns.RR{rr("www.example. 60 IN A 192.0.2.1")}
	alias := q.Copy()
	alias.Answer = []dns.RR{rr("example. 60 IN DNAME other.example."), rr("www.example. 60 IN CNAME x.test.")}
	seed(referral(q, "example.", "ns.example.=192.0.2.1"), answer)
	seed(referral(q, "example.", "ns.test."), referral(q, "test.", "ns.example."), alias, answer)
	f.Fuzz(func(t *testing.T, b []byte) {
		var replies []*dns.Msg
		for len(b) > 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			m := new(dns.Msg)
			if m.Unpack(b[2:2+n]) == nil {
				replies = append(replies, m)
			}
			b = b[2+n:]
		}
		asked := 0
		ex := hostile(func(_ netip.Addr, q *dns.Msg) *dns.Msg {
			if asked++; len(replies) == 0 {
				return nil
			}
			m := replies[asked%len(replies)].Copy()
			m.Id, m.Response, m.Question = q.Id, true, q.Question
			return m
		})
		r := iterate.New(iterate.Options{Exchanger: ex, Now: func() time.Time { return now }, Seed: 1, NoIPv6: true,
			Hints: []iterate.Hint{{Name: "root.", Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}}}})
		res, _ := r.Lookup(context.Background(), "www.example.", dns.TypeA, iterate.LookupOptions{})
		if asked > 200 || res.Verdict.State == dnssec.Secure {
			t.Errorf("%d queries, %s", asked, res.Verdict)
		}
		var text strings.Builder
		if err := res.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(text.String(), func(c rune) bool { return c < 0x20 && c != '\n' || c > 0x7e }) {
			t.Errorf("raw: %q", text.String())
		}
		if err := res.WriteSVG(io.Discard); err != nil {
			t.Error(err)
		}
		if _, err := json.Marshal(res); err != nil {
			t.Error(err)
		}
	})
}

func FuzzParseHints(f *testing.F) {
	f.Add(". 3600000 IN NS a.root.\na.root. 3600000 IN A 192.0.2.1\n")
	f.Add(";port=5300\n. NS a.\na. AAAA ::1\n")
	f.Fuzz(func(t *testing.T, text string) {
		hints, _, err := iterate.ParseHints(strings.NewReader(text), "f")
		if err == nil && (len(hints) == 0 || len(hints[0].Addrs) == 0) {
			t.Error("no hints, and no error")
		}
	})
}

// TestConcurrent has many lookups share one resolver; it is for the race
// detector.
func TestConcurrent(t *testing.T) {
	_, o := hierarchy(t)
	r := iterate.New(o)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 8 {
				name := []string{"www", "alias", "x.wild", "nothing", "www.bogus", "www.unsigned", "far", "_tcp"}[(i+j)%8] + ".example.com."
				if _, err := r.Lookup(context.Background(), name, dns.TypeA, iterate.LookupOptions{}); err != nil {
					t.Error(name, err)
				}
			}
		})
	}
	wg.Wait()
}

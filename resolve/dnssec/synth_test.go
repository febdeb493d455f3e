package dnssec

import (
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestSynthesiseFull fills a zone's memory to the brim and checks that an answer
// made from it is small, right, and not dear.
func TestSynthesiseFull(t *testing.T) {
	s := newSigner(t, "example.", dns.ECDSAP256SHA256, 256)
	fetched := 0
	v := one(t, s.key.ToDS(dns.SHA256), []dns.RR{s.key, s.sign(t, s.key)}, &fetched)
	soa := rr(t, "example. 60 IN SOA a. b. 1 2 3 4 60")
	apex := rr(t, "example. 60 IN NSEC a000.example. SOA NS RRSIG NSEC")
	for i := range maxSpans - 1 {
		n := rr(t, fmt.Sprintf("a%03d.example. 60 IN NSEC a%03d.example. A RRSIG NSEC", i, i+1))
		r := &Response{Name: fmt.Sprintf("a%03dx.example.", i), Type: dns.TypeA, Kind: NXDomain,
			Authority: []dns.RR{soa, s.sign(t, soa), apex, s.sign(t, apex), n, s.sign(t, n)}}
		if vd := v.Validate(t.Context(), now, r); vd.State != Secure {
			t.Fatal(vd)
		}
	}
	var r *Response
	var vd Verdict
	var ok bool
	work := allocations(func() { r, vd, ok = v.Synthesise(now, "a100zz.example.", dns.TypeA) })
	if !ok || r.Kind != NXDomain || vd.State != Secure {
		t.Fatalf("%v %v", ok, vd)
	}
	if work > 50_000 { // 14,000 to 21,000; one record after the other takes 120,000
		t.Errorf("%d allocations", work)
	}
	if n := len(r.Authority); n != 6 { // SOA, two NSEC, a signature each
		t.Errorf("%d records prove it: %v", n, r.Authority)
	}
	if vd := v.Validate(t.Context(), now, r); vd.State != Secure {
		t.Errorf("what was made does not validate: %s", vd)
	}
	for _, q := range []question{{"a100.example.", dns.TypeA}, {"a100.example.", dns.TypeANY}, {"zz.example.", dns.TypeA}, {"other.", dns.TypeA}} {
		if r, _, ok := v.Synthesise(now, q.name, q.typ); ok {
			t.Errorf("%s: %v", q.name, r)
		}
	}
	if _, _, ok := v.Synthesise(now.Add(61*time.Second), "a100zz.example.", dns.TypeA); ok {
		t.Error("it outlives the records")
	}
}

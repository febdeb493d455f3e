package dnssec

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// RFC 4034, section 6.1 lists these names in canonical order.
func TestCanonicalOrder(t *testing.T) {
	names := []string{"example.", "a.example.", "yljkjljk.a.example.", "Z.a.example.", "zABC.a.EXAMPLE.",
		"z.example.", `\001.z.example.`, "*.z.example.", `\200.z.example.`}
	for i, a := range names {
		for j, b := range names {
			c := compareNames(a, b)
			if (c < 0) != (i < j) || (c == 0) != (i == j) {
				t.Errorf("compare(%s, %s) = %d", a, b, c)
			}
		}
	}
}

// RFC 5155, appendix A: hashes with salt aabbccdd and 12 iterations.
func TestNSEC3Hash(t *testing.T) {
	s := &nsec3Set{zone: "example.", salt: []byte{0xaa, 0xbb, 0xcc, 0xdd}, iter: 12, hashes: map[string]string{}}
	for name, want := range map[string]string{
		"example.":       "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
		"a.example.":     "35mthgpgcu1qg68fab165klnsnk3dpvl",
		"ns1.example.":   "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
		"*.w.example.":   "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
		"x.y.w.example.": "2vptu5timamqttgl4luu9kg21e0aor3s",
	} {
		if got := strings.ToLower(s.hash(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// The NSEC records are those of RFC 4035, appendix B.
func TestNSECProofs(t *testing.T) {
	nsec := func(s string) *dns.NSEC { return rr(t, s).(*dns.NSEC) }
	for _, tt := range []struct {
		what string
		recs []*dns.NSEC
		do   func(nsecSet) proof
		want proof
	}{
		{"B.2 name error", []*dns.NSEC{nsec("b.example. 3600 IN NSEC ns1.example. NS RRSIG NSEC"), nsec("example. 3600 IN NSEC a.example. NS SOA MX RRSIG NSEC DNSKEY")},
			func(s nsecSet) proof { return s.nxdomain("ml.example.") }, proofSecure},
		{"B.2 without the wildcard's denial", []*dns.NSEC{nsec("b.example. 3600 IN NSEC ns1.example. NS RRSIG NSEC")},
			func(s nsecSet) proof { return s.nxdomain("ml.example.") }, proofNone},
		{"B.3 no data", []*dns.NSEC{nsec("ns1.example. 3600 IN NSEC ns2.example. A RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("ns1.example.", dns.TypeMX) }, proofSecure},
		{"no data for a type that is there", []*dns.NSEC{nsec("ns1.example. 3600 IN NSEC ns2.example. A RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("ns1.example.", dns.TypeA) }, proofNone},
		{"B.5 unsigned delegation", []*dns.NSEC{nsec("b.example. 3600 IN NSEC ns1.example. NS RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("b.example.", dns.TypeDS) }, proofSecure},
		{"the parent's NSEC does not deny what the child has", []*dns.NSEC{nsec("b.example. 3600 IN NSEC ns1.example. NS RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("b.example.", dns.TypeMX) }, proofNone},
		{"nor names below the cut", []*dns.NSEC{nsec("b.example. 3600 IN NSEC ns1.example. NS RRSIG NSEC"), nsec("example. 3600 IN NSEC a.example. NS SOA RRSIG NSEC")},
			func(s nsecSet) proof { return s.nxdomain("mc.b.example.") }, proofNone},
		{"the child's NSEC does not deny DS", []*dns.NSEC{nsec("example. 3600 IN NSEC a.example. NS SOA MX RRSIG NSEC DNSKEY")},
			func(s nsecSet) proof { return s.nodata("example.", dns.TypeDS) }, proofNone},
		{"B.6 wildcard", []*dns.NSEC{nsec("x.y.w.example. 3600 IN NSEC xx.example. MX RRSIG NSEC")},
			func(s nsecSet) proof { return s.wildcard("a.z.w.example.", "w.example.") }, proofSecure},
		{"a wildcard too far up", []*dns.NSEC{nsec("x.y.w.example. 3600 IN NSEC xx.example. MX RRSIG NSEC")},
			func(s nsecSet) proof { return s.wildcard("a.z.w.example.", "example.") }, proofNone},
		{"B.7 wildcard without data", []*dns.NSEC{nsec("x.y.w.example. 3600 IN NSEC xx.example. MX RRSIG NSEC"), nsec("*.w.example. 3600 IN NSEC x.w.example. MX RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("a.z.w.example.", dns.TypeA) }, proofSecure},
		{"empty non-terminal", []*dns.NSEC{nsec("ns2.example. 3600 IN NSEC x.y.w.example. A RRSIG NSEC")},
			func(s nsecSet) proof { return s.nodata("y.w.example.", dns.TypeA) }, proofSecure},
		{"an empty non-terminal exists", []*dns.NSEC{nsec("ns2.example. 3600 IN NSEC x.y.w.example. A RRSIG NSEC"), nsec("example. 3600 IN NSEC a.example. NS SOA RRSIG NSEC")},
			func(s nsecSet) proof { return s.nxdomain("y.w.example.") }, proofNone},
		{"the last record wraps around", []*dns.NSEC{nsec("xx.example. 3600 IN NSEC example. A RRSIG NSEC"), nsec("example. 3600 IN NSEC a.example. NS SOA RRSIG NSEC")},
			func(s nsecSet) proof { return s.nxdomain("zz.example.") }, proofSecure},
	} {
		if got := tt.do(nsecSet{zone: "example.", recs: tt.recs}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// signer is a zone with one key, for making answers.
type signer struct {
	key  *dns.DNSKEY
	priv crypto.Signer
}

func newSigner(t testing.TB, zone string, alg uint8, bits int) signer {
	t.Helper()
	k := &dns.DNSKEY{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600}, Flags: 257, Protocol: 3, Algorithm: alg}
	priv, err := k.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return signer{k, priv.(crypto.Signer)}
}

func (s signer) sign(t testing.TB, set ...dns.RR) *dns.RRSIG {
	t.Helper()
	sig := &dns.RRSIG{Hdr: dns.RR_Header{Name: set[0].Header().Name, Rrtype: dns.TypeRRSIG, Class: dns.ClassINET, Ttl: 3600},
		Algorithm: s.key.Algorithm, SignerName: s.key.Hdr.Name, KeyTag: s.key.KeyTag(),
		Inception: uint32(now.Add(-time.Hour).Unix()), Expiration: uint32(now.Add(time.Hour).Unix())}
	if err := sig.Sign(s.priv, set); err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestAlgorithms(t *testing.T) {
	for alg, bits := range map[uint8]int{
		dns.RSASHA1: 1024, dns.RSASHA1NSEC3SHA1: 2048, dns.RSASHA256: 1024, dns.RSASHA512: 2048,
		dns.ECDSAP256SHA256: 256, dns.ECDSAP384SHA384: 384, dns.ED25519: 256,
	} {
		t.Run(algorithmName(alg), func(t *testing.T) {
			s := newSigner(t, "example.", alg, bits)
			set := []dns.RR{rr(t, "WWW.example. 60 IN MX 10 Mail.Example."), rr(t, "www.Example. 60 IN MX 5 a.example.")}
			sig := s.sign(t, set...)
			check := func() *verifyError {
				_, bad := verifySet(now, &RRset{Name: "www.example.", Type: dns.TypeMX, RRs: set, Sigs: []*dns.RRSIG{sig}}, "example.", []*dns.DNSKEY{s.key})
				return bad
			}
			if bad := check(); bad != nil {
				t.Fatalf("a good signature fails: %v", bad.why)
			}
			set[0].(*dns.MX).Preference++
			if bad := check(); bad == nil || bad.why != failSignature {
				t.Fatalf("a changed record passes: %v", bad)
			}
			for d, digest := range []uint8{dns.SHA1, dns.SHA256, dns.SHA384} {
				ds := s.key.ToDS(digest)
				if !matchDS(ds, s.key) {
					t.Errorf("digest %d does not match", digest)
				}
				ds.Digest = strings.Repeat("ab", []int{20, 32, 48}[d])
				if matchDS(ds, s.key) {
					t.Errorf("a wrong digest %d matches", digest)
				}
			}
		})
	}
}

// one returns a validator for a zone "example." whose DNSKEY response is given.
func one(t testing.TB, anchor *dns.DS, dnskey []dns.RR, fetched *int) *Validator {
	return NewValidator(func(_ context.Context, name string, typ uint16, _ []netip.AddrPort) (*Response, error) {
		if *fetched++; *fetched > 200 {
			t.Fatal("more than 200 fetches")
		}
		if name == "example." && typ == dns.TypeDNSKEY {
			return &Response{Name: name, Type: typ, Kind: Answer, Answer: dnskey}, nil
		}
		return nil, errors.New("no such thing")
	}, Options{Anchors: []Anchor{{Zone: "example.", DS: []*dns.DS{anchor}}}})
}

// allocations is how many f makes: a measure of its work that no busy machine
// changes.
func allocations(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// TestKeyTrap builds what CVE-2023-50387 is about: many keys with one tag, and
// many signatures that name it, none of which verifies.
func TestKeyTrap(t *testing.T) {
	s := newSigner(t, "example.", dns.RSASHA256, 2048)
	real, err := base64.StdEncoding.DecodeString(s.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	keys := []dns.RR{s.key}
	for range 200 {
		// Swapping 16-bit words of the modulus changes the key, not its tag.
		b := slices.Clone(real)
		words := (len(b) - 6) / 2
		rng.Shuffle(words-1, func(i, j int) {
			i, j = 4+2*i, 4+2*j
			b[i], b[j], b[i+1], b[j+1] = b[j], b[i], b[j+1], b[i+1]
		})
		k := *s.key
		k.PublicKey = base64.StdEncoding.EncodeToString(b)
		if k.KeyTag() != s.key.KeyTag() {
			t.Fatal("the tags do not collide")
		}
		keys = append(keys, &k)
	}
	a := rr(t, "www.example. 60 IN A 192.0.2.1")
	good := s.sign(t, a)
	answer := []dns.RR{a}
	for i := range 200 {
		sig := *good
		raw, _ := base64.StdEncoding.DecodeString(good.Signature)
		raw[100], raw[101] = byte(i), raw[101]+1
		sig.Signature = base64.StdEncoding.EncodeToString(raw)
		answer = append(answer, &sig)
	}
	signedKeys := append(slices.Clone(keys), s.sign(t, keys...))
	fetched := 0
	v := one(t, s.key.ToDS(dns.SHA256), signedKeys, &fetched)
	var got Verdict
	work := allocations(func() {
		got = v.Validate(t.Context(), now, &Response{Name: "www.example.", Type: dns.TypeA, Kind: Answer, Answer: answer})
	})
	if work > 10_000 { // 1,200; without the limits 94,000
		t.Errorf("%d allocations", work)
	}
	if got.State != Bogus || !strings.Contains(got.Reason, "more signatures or colliding keys than are worth trying") &&
		!strings.Contains(got.Reason, "does not match its content") {
		t.Errorf("got %s", got)
	}

	// The limits themselves: a sound signature beyond them is not reached.
	set := &RRset{Name: "www.example.", Type: dns.TypeA, RRs: []dns.RR{a}}
	for range MaxSignatures {
		bad := *good
		bad.KeyTag++ // no such key: costs nothing, but counts as looked at
		set.Sigs = append(set.Sigs, &bad)
	}
	set.Sigs = append(set.Sigs, good)
	if _, bad := verifySet(now, set, "example.", []*dns.DNSKEY{s.key}); bad == nil || bad.why != failLimit {
		t.Errorf("more than %d signatures are looked at: %v", MaxSignatures, bad)
	}
	set.Sigs = []*dns.RRSIG{good}
	var decoys []*dns.DNSKEY
	for _, k := range keys[1 : 1+MaxKeys] {
		decoys = append(decoys, k.(*dns.DNSKEY))
	}
	if _, bad := verifySet(now, set, "example.", append(decoys, s.key)); bad == nil || bad.why < failLimit {
		t.Errorf("more than %d keys are tried: %v", MaxKeys, bad)
	}
	if _, bad := verifySet(now, set, "example.", append(decoys[:MaxKeys-1:MaxKeys-1], s.key)); bad != nil {
		t.Errorf("%d keys are not tried: %v", MaxKeys, bad.why)
	}
}

// TestNSEC3Flood: iterations beyond the limit make the answer insecure without
// a hash computed; deep names against many records stay within the budget
// (CVE-2023-50868).
func TestNSEC3Flood(t *testing.T) {
	s := newSigner(t, "example.", dns.ECDSAP256SHA256, 256)
	keys := []dns.RR{s.key, s.sign(t, s.key)}
	deep := strings.Repeat("a.", 120) + "example."
	for iter, want := range map[int]State{0: Bogus, MaxIterations: Bogus, MaxIterations + 1: Insecure, 2500: Insecure} {
		soa := rr(t, "example. 60 IN SOA a. b. 1 2 3 4 60")
		auth := []dns.RR{soa, s.sign(t, soa)}
		for i := range 20 {
			n := rr(t, fmt.Sprintf("%032d.example. 60 IN NSEC3 1 0 %d - %032d A", i, iter, i+1))
			auth = append(auth, n, s.sign(t, n))
		}
		fetched := 0
		v := one(t, s.key.ToDS(dns.SHA256), keys, &fetched)
		var got Verdict
		work := allocations(func() {
			got = v.Validate(t.Context(), now, &Response{Name: deep, Type: dns.TypeA, Kind: NXDomain, Authority: auth})
		})
		if got.State != want || work > 10_000 { // 2,400, of which the hashes are the least
			t.Errorf("%d iterations: %s with %d allocations, want %s", iter, got, work, want)
		}
		if want == Insecure && got.EDE != int(dns.ExtendedErrorCodeUnsupportedNSEC3IterValue) {
			t.Errorf("EDE %d", got.EDE)
		}
	}
	set := &nsec3Set{zone: "example.", salt: []byte{}, hashes: map[string]string{}}
	for i := range 2 * MaxHashes {
		set.hash(fmt.Sprintf("n%d.example.", i))
	}
	if len(set.hashes) > MaxHashes {
		t.Errorf("%d hashes computed", len(set.hashes))
	}
}

func TestRootKeys(t *testing.T) {
	// The DNSKEY of KSK-2024, as it stands in the root zone.
	ksk := rr(t, `. 172800 IN DNSKEY 257 3 8 AwEAAa96jeuknZlaeSrvyAJj6ZHv28hhOKkx3rLGXVaC6rXTsDc449/cidltpkyGwCJNnOAlFNKF2jBosZBU5eeHspaQWOmOElZsjICMQMC3aeHbGiShvZsx4wMYSjH8e7Vrhbu6irwCzVBApESjbUdpWWmEnhathWu1jo+siFUiRAAxm9qyJNg/wOZqqzL/dL/q8PkcRU5oUKEpUge71M3ej2/7CPqpdVwuMoTvoB+ZOT4YeGyxMvHmbrxlFzGOHOijtzN+u1TQNatX2XBuzZNQ1K+s2CXkPIZo7s6JgZyvaBevYtxPvYLw4z9mR7K2vaF18UYH9Z9GNUUeayffKC73PYc=`).(*dns.DNSKEY)
	keys := RootKeys()
	if keys[0].DS.KeyTag != 20326 || keys[1].DS.KeyTag != 38696 || !matchDS(keys[1].DS, ksk) {
		t.Error("the built-in keys are not the root's")
	}
}

func TestParseAnchors(t *testing.T) {
	for text, want := range map[string]string{
		". IN DS 20326 8 2 e06d44b80b8f1d39a95c0b0d7c65d08458e880409bbc683457104237c7f8ec8d\n": "",
		"":                          "no DS or DNSKEY record",
		"example. IN A 192.0.2.1\n": "neither DS nor DNSKEY",
		". IN DS x\n":               "trust anchors in f",
	} {
		_, err := ParseAnchors(strings.NewReader(text), "f")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzValidate feeds arbitrary messages to the validator: it may find anything
// but a secure answer, and must neither panic nor hang.
func FuzzValidate(f *testing.F) {
	s := newSigner(f, "example.", dns.ECDSAP256SHA256, 256)
	a := rr(f, "www.example. 60 IN A 192.0.2.1")
	seed := func(rrs ...dns.RR) {
		m := new(dns.Msg).SetQuestion("www.example.", dns.TypeA)
		m.Answer, m.Ns = rrs, rrs
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(0))
		f.Add(b, uint8(3))
		f.Add(b, uint8(4))
	}
	sig := s.sign(f, a)
	sig.Signature = base64.StdEncoding.EncodeToString(make([]byte, 64))
	seed(a, sig)
	seed(rr(f, "www.example. 60 IN NSEC example. A"), rr(f, "example. 60 IN SOA a. b. 1 2 3 4 5"))
	seed(rr(f, "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example. 60 IN NSEC3 1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX"))
	keys := []dns.RR{s.key, s.sign(f, s.key)}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) == 0 {
			return
		}
		fetched := 0
		q := m.Question[0]
		r := &Response{Name: dns.CanonicalName(q.Name), Type: q.Qtype, Kind: Kind(kind % 5), Answer: m.Answer, Authority: m.Ns}
		v := one(t, s.key.ToDS(dns.SHA256), keys, &fetched).Validate(context.Background(), now, r)
		if v.State == Secure {
			t.Errorf("secure without a signature of ours: %s", v)
		}
		for _, c := range []byte(v.String()) {
			if c < 0x20 && c != '\n' || c > 0x7e {
				t.Errorf("a raw %#x in %q", c, v.String())
			}
		}
	})
}

package resolve_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
)

// TestEncrypted asks Debian's servers over TLS and HTTPS: small and large
// answers, many at once over one connection, a certificate for another name,
// and one that nobody vouches for.
func TestEncrypted(t *testing.T) {
	zones := testZones(t)
	certs := dnstest.NewCerts(t)
	cfg := dnstest.Config{Zones: zones, Certs: certs}
	for _, start := range []struct {
		name string
		run  func(testing.TB) *dnstest.Peer
	}{
		{"nsd", func(t testing.TB) *dnstest.Peer { return dnstest.NSD(t, cfg) }},
		{"bind", func(t testing.TB) *dnstest.Peer { return dnstest.BIND(t, cfg) }},
		{"unbound", func(t testing.TB) *dnstest.Peer {
			auth := dnstest.NSD(t, dnstest.Config{Zones: zones})
			return dnstest.Unbound(t, dnstest.Config{Certs: certs, Stubs: map[string]netip.AddrPort{"example.test.": auth.Addr}})
		}},
	} {
		t.Run(start.name, func(t *testing.T) {
			t.Parallel()
			p := start.run(t)
			t.Run("tls", func(t *testing.T) { askEncrypted(t, certs, "tls", p.TLS, nil) })
			if p.HTTPS.IsValid() {
				t.Run("https", func(t *testing.T) { askEncrypted(t, certs, "https", p.HTTPS, nil) })
			}
		})
	}
}

func askEncrypted(t *testing.T, certs *dnstest.Certs, scheme string, a netip.AddrPort, tr map[resolve.Scheme]resolve.NewExchanger) {
	u := upstream(t, scheme, a)
	r := &resolve.Resolver{Servers: []resolve.Upstream{u},
		Options: patient(resolve.Options{TLS: &tls.Config{RootCAs: certs.Pool}, Transports: tr})}
	defer r.Close()
	for i, q := range []string{"example.test.", "long.example.test."} {
		res := r.Resolve(context.Background(), resolve.Query{Name: q, Type: dns.TypeTXT})
		if res.Outcome != resolve.Found {
			t.Fatalf("%s: %s, %v", q, res.Outcome, res.Err)
		}
		if res.Reused != (i > 0) || (res.Setup > 0) != (i == 0) {
			t.Errorf("%s: reused %v, set up in %v", q, res.Reused, res.Setup)
		}
		if string(res.Transport) != scheme || res.Remote != a.String() {
			t.Errorf("%s: over %s from %s", q, res.Transport, res.Remote)
		}
		if q == "long.example.test." && len(res.Wire) < 4096 {
			t.Errorf("%s: %d octets only", q, len(res.Wire))
		}
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res := r.Resolve(context.Background(), resolve.Query{Name: "many.example.test."})
			if res.Outcome != resolve.Found || len(res.Records()) != 99 || !res.Reused {
				t.Errorf("one of many: %s, %v, reused %v", res.Outcome, res.Err, res.Reused)
			}
		})
	}
	wg.Wait()

	// A certificate that nobody vouches for.
	o := r.Options
	o.TLS = nil
	_, err := resolve.NewClient(u, &o).Query(context.Background(), resolve.Query{Name: "example.test."})
	var verify *tls.CertificateVerificationError
	if !errors.As(err, &verify) {
		t.Errorf("unknown authority: %v", err)
	}
	// One for another name.
	other := u
	other.AuthName = "other.test"
	_, err = resolve.NewClient(other, &r.Options).Query(context.Background(), resolve.Query{Name: "example.test."})
	var host x509.HostnameError
	if !errors.As(err, &host) {
		t.Errorf("wrong name: %v", err)
	}
	// And the right one for the name that was given.
	named := u
	named.AuthName = "dns.test"
	c := resolve.NewClient(named, &r.Options)
	defer c.Close()
	if _, err := c.Query(context.Background(), resolve.Query{Name: "example.test."}); err != nil {
		t.Errorf("right name: %v", err)
	}
}

func transfer(t *testing.T, z *resolve.ZoneTransfer) ([]dns.RR, resolve.TransferStats, error) {
	t.Helper()
	var st resolve.TransferStats
	var rrs []dns.RR
	for rr, err := range z.Run(context.Background(), &st) {
		if err != nil {
			return rrs, st, err
		}
		rrs = append(rrs, rr)
	}
	return rrs, st, nil
}

const tsigName, tsigSecret = "test-key", "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3I="

// bigZone needs many messages to transfer: NSD signs only some of them.
func bigZone() string {
	var b strings.Builder
	b.WriteString("$ORIGIN big.test.\n$TTL 300\n@ IN SOA ns hostmaster 7 7200 3600 1209600 300\n IN NS ns\nns IN A 192.0.2.1\n")
	for i := range 9000 {
		fmt.Fprintf(&b, "n%d IN TXT \"%s\"\n", i, strings.Repeat("z", 230))
	}
	return b.String()
}

func TestTransfer(t *testing.T) {
	zones := testZones(t)
	zones["big.test."] = bigZone()
	cfg := dnstest.Config{Zones: zones, TSIG: tsigName + ":" + tsigSecret}
	for _, start := range []struct {
		name string
		run  func(testing.TB, dnstest.Config) *dnstest.Peer
	}{{"nsd", dnstest.NSD}, {"knot", dnstest.Knot}, {"bind", dnstest.BIND}} {
		t.Run(start.name, func(t *testing.T) {
			t.Parallel()
			p := start.run(t, cfg)
			key, err := resolve.ParseTSIGKey(strings.NewReader("hmac-sha256:" + tsigName + ":" + tsigSecret))
			if err != nil {
				t.Fatal(err)
			}
			for _, zone := range []string{"example.test", "big.test"} {
				z := &resolve.ZoneTransfer{Zone: zone, Server: upstream(t, "tcp", p.Addr), Key: key}
				rrs, st, err := transfer(t, z)
				if err != nil {
					t.Fatalf("%s after %d messages: %v", zone, st.Messages, err)
				}
				if !st.Verified || st.Records != len(rrs) {
					t.Errorf("%s: %+v for %d records", zone, st, len(rrs))
				}
				want := zoneRecords(t, zone+".", zones[zone+"."])
				if got := canonical(t, rrs[:len(rrs)-1]); !slices.Equal(got, want) {
					t.Errorf("%s: got %d records, want %d", zone, len(got), len(want))
				}
				t.Logf("%s: %d records, %d messages, %d signed", zone, st.Records, st.Messages, st.Signed)
			}
			// Up to date.
			serial := uint32(7)
			_, st, err := transfer(t, &resolve.ZoneTransfer{Zone: "big.test", Server: upstream(t, "tcp", p.Addr), Key: key, Serial: &serial})
			if err != nil || !st.UpToDate || st.Serial != 7 {
				t.Errorf("IXFR with the current serial: %+v, %v", st, err)
			}
			// Without the key, and with a wrong one.
			_, _, err = transfer(t, &resolve.ZoneTransfer{Zone: "example.test", Server: upstream(t, "tcp", p.Addr)})
			var refused *resolve.TransferError
			if !errors.As(err, &refused) {
				t.Errorf("without key: %v", err)
			}
			wrong := *key
			wrong.Secret = []byte("wrong")
			if _, _, err = transfer(t, &resolve.ZoneTransfer{Zone: "example.test", Server: upstream(t, "tcp", p.Addr), Key: &wrong}); err == nil {
				t.Error("a wrong key was good enough")
			} else {
				t.Log(err)
			}
		})
	}
}

func zoneRecords(t *testing.T, origin, text string) []string {
	t.Helper()
	zp := dns.NewZoneParser(strings.NewReader(text), origin, "")
	var rrs []dns.RR
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		rrs = append(rrs, rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	return slices.Compact(canonical(t, rrs))
}

// TestIncrementalTransfer replays RFC 1995's own example.
func TestIncrementalTransfer(t *testing.T) {
	soa := func(serial string) string {
		return "jain.ad.jp. 300 IN SOA ns.jain.ad.jp. mohta.jain.ad.jp. " + serial + " 600 600 3600000 604800"
	}
	diff := []string{soa("3"), soa("1"), "nezu.jain.ad.jp. 300 IN A 133.69.136.5", soa("2"),
		"jain-bb.jain.ad.jp. 300 IN A 133.69.136.4", "jain-bb.jain.ad.jp. 300 IN A 192.41.197.2",
		soa("2"), "jain-bb.jain.ad.jp. 300 IN A 133.69.136.4", soa("3"), "jain-bb.jain.ad.jp. 300 IN A 133.69.136.3", soa("3")}
	full := []string{soa("3"), "jain.ad.jp. 300 IN NS ns.jain.ad.jp.", "ns.jain.ad.jp. 300 IN A 133.69.136.1", soa("3")}
	for _, tt := range []struct {
		name        string
		messages    [][]string
		n           int
		incremental bool
		fails       bool
	}{
		{"one message", [][]string{diff}, 11, true, false},
		{"cut anywhere", [][]string{diff[:1], diff[1:4], diff[4:7], diff[7:]}, 11, true, false},
		{"whole zone", [][]string{full}, 4, false, false},
		{"whole zone, cut", [][]string{full[:1], full[1:]}, 4, false, false},
		{"cut short", [][]string{diff[:9]}, 0, true, true},
		{"too much", [][]string{append(slices.Clone(full), full[1])}, 0, false, true},
		{"no SOA", [][]string{full[1:]}, 0, false, true},
		{"another zone", [][]string{{soa("3"), "evil.test. 1 IN A 192.0.2.1"}}, 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := dnstest.NewFaultServer(t, nil, func(n int, q []byte, send func([]byte)) {
				for _, m := range tt.messages {
					send(dnstest.Answer(q, nil, m...))
				}
				send(nil)
			})
			serial := uint32(1)
			rrs, st, err := transfer(t, &resolve.ZoneTransfer{Zone: "jain.ad.jp", Server: upstream(t, "tcp", s.Addr), Serial: &serial})
			if tt.fails != (err != nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil && (len(rrs) != tt.n || st.Incremental != tt.incremental || st.Serial != 3) {
				t.Errorf("%d records, %+v", len(rrs), st)
			}
		})
	}
}

func TestParseTSIGKey(t *testing.T) {
	for _, in := range []string{
		"hmac-sha512:k.example:c2VjcmV0",
		"key \"k.example\" {\n\talgorithm hmac-sha512; // a comment\n\tsecret \"c2VjcmV0\";\n};\n",
		"# generated\nkey k.example. { algorithm \"HMAC-SHA512\"; secret c2VjcmV0; };",
	} {
		k, err := resolve.ParseTSIGKey(strings.NewReader(in))
		if err != nil || k.Name != "k.example." || k.Algorithm != "hmac-sha512." || string(k.Secret) != "secret" {
			t.Errorf("%q: %+v, %v", in, k, err)
		}
	}
	for _, in := range []string{"", "key", "a:b:c:d", "k:not base64!", "hmac-md5:k:c2VjcmV0", "key k { secret \"\"; };"} {
		k, err := resolve.ParseTSIGKey(strings.NewReader(in))
		if err == nil {
			t.Errorf("%q: %+v", in, k)
		} else if strings.Contains(err.Error(), "c2VjcmV0") || strings.Contains(err.Error(), "not base64!") {
			t.Errorf("%q: the error tells the secret: %v", in, err)
		}
	}
}

// TestIncrementalFromKnot changes a zone that Knot serves and fetches the
// change: what was deleted, what was added, signed.
func TestIncrementalFromKnot(t *testing.T) {
	knotc := dnstest.Tool(t, "knotc")
	p := dnstest.Knot(t, dnstest.Config{Zones: testZones(t), TSIG: tsigName + ":" + tsigSecret})
	key, err := resolve.ParseTSIGKey(strings.NewReader(tsigName + ":" + tsigSecret))
	if err != nil {
		t.Fatal(err)
	}
	z := &resolve.ZoneTransfer{Zone: "example.test", Server: upstream(t, "tcp", p.Addr), Key: key}
	_, before, err := transfer(t, z)
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"zone-begin", "example.test"},
		{"zone-set", "example.test", "added", "60", "A", "192.0.2.200"},
		{"zone-unset", "example.test", "v4only", "A"},
		{"zone-commit", "example.test"},
	} {
		if out, err := exec.Command(knotc, append([]string{"-c", p.Dir + "/knot.conf"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("knotc %q: %v\n%s", args, err, out)
		}
	}
	z.Serial = &before.Serial
	rrs, st, err := transfer(t, z)
	if err != nil || !st.Incremental || !st.Verified || st.Serial <= before.Serial {
		t.Fatalf("%+v, %v", st, err)
	}
	var got []string
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeSOA {
			got = append(got, rr.Header().Name+" "+resolve.Data(rr))
		}
	}
	if want := []string{"v4only.example.test. 192.0.2.4", "added.example.test. 192.0.2.200"}; !slices.Equal(got, want) {
		t.Errorf("changes %q, want %q", got, want)
	}
}

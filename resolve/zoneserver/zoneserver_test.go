package zoneserver_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/dnstest"
	"github.com/wherry-net/wherry/resolve/iterate"
	"github.com/wherry-net/wherry/resolve/zoneserver"
	"github.com/wherry-net/wherry/socket/sockettest"
)

// TestServe runs the example hierarchy on real sockets and looks names up from
// its root: on a port that it finds, and on one that is nobody else's.
func TestServe(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8")
	}
	t.Run("any port", func(t *testing.T) { serve(t, 0) })
	t.Run("given port", func(t *testing.T) { serve(t, sockettest.FreePort(t)) })
}

func serve(t *testing.T, port uint16) {
	h, err := zoneserver.Load("../../testdata/zones")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sign(time.Now()); err != nil {
		t.Fatal(err)
	}
	h.Port = port
	if err := h.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if port == 0 {
			return // which another test may listen on by now
		}
		if c, err := net.Dial("tcp", net.JoinHostPort("127.53.0.1", strconv.Itoa(int(port)))); err == nil {
			c.Close()
			t.Error("it still listens")
		}
	}()
	var hints, anchors bytes.Buffer
	if err := h.WriteHints(&hints); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteAnchors(&anchors); err != nil {
		t.Fatal(err)
	}
	o := iterate.Options{Exchanger: new(dnstest.Unhurried)}
	if o.Hints, o.Port, err = iterate.ParseHints(&hints, "hints"); err != nil {
		t.Fatal(err)
	}
	if o.Port != 0 && o.Port != h.Port || o.Port == 0 && h.Port != 53 {
		t.Errorf("hints say port %d, the servers listen on %d", o.Port, h.Port)
	}
	if o.Anchors, err = dnssec.ParseAnchors(&anchors, "anchors"); err != nil {
		t.Fatal(err)
	}
	for _, tcp := range []bool{false, true} {
		o.TCPOnly = tcp
		r := iterate.New(o)
		for name, want := range map[string]dnssec.State{
			"www.example.com.": dnssec.Secure, "www.unsigned.example.com.": dnssec.Insecure, "bogus.example.com.": dnssec.Bogus,
		} {
			res, err := r.Lookup(t.Context(), name, dns.TypeA, iterate.LookupOptions{})
			if err != nil || res.Verdict.State != want || len(res.Answer) == 0 {
				t.Errorf("tcp %v: %s: %v %v; want %s", tcp, name, err, res.Verdict, want)
			}
		}
	}
	a, err := iterate.New(o).Check(t.Context(), "example.com.", dns.TypeA)
	if err != nil || !a.Agree || len(a.Servers) != 2 {
		t.Errorf("check: %v %+v", err, a)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestComplete loads zones that do not know of each other, with addresses from
// elsewhere and without a root, and expects a hierarchy.
func TestComplete(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "example.org.zone", "@ 60 SOA ns.other.net. h. 1 2 3 4 5\n@ 60 NS ns.other.net.\n@ 60 NS in\nin 60 A 198.51.100.1\nin 60 AAAA 2001:db8::1\nwww 60 A 192.0.2.1\n")
	write(t, dir, "deep.sub.example.org.zone", "@ 60 SOA ns h. 1 2 3 4 5\n@ 60 NS ns\nns 60 A 198.51.100.2\n@ 60 A 192.0.2.2\n")
	h, err := zoneserver.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Sign(time.Now()); err != nil {
		t.Fatal(err)
	}
	root := h.Zones[0].Addrs()[0]
	ask := func(at netip.Addr, name string, typ uint16) *dns.Msg {
		q := new(dns.Msg).SetQuestion(name, typ)
		q.SetEdns0(1232, true)
		return h.Reply(at, q)
	}
	m := ask(root, "www.example.org.", dns.TypeA)
	if len(m.Ns) == 0 || m.Ns[0].Header().Name != "example.org." || m.Authoritative {
		t.Fatalf("no referral:\n%v", m)
	}
	var glue netip.Addr
	for _, rr := range m.Extra {
		if a, ok := rr.(*dns.A); ok {
			glue, _ = netip.AddrFromSlice(a.A.To4())
			if !glue.IsLoopback() {
				t.Errorf("glue %v is not on loopback", glue)
			}
		}
		if rr.Header().Rrtype == dns.TypeAAAA {
			t.Errorf("%v", rr)
		}
	}
	if m := ask(glue, "www.example.org.", dns.TypeA); !m.Authoritative || len(m.Answer) != 2 {
		t.Errorf("%v", m)
	}
	if m := ask(glue, "deep.sub.example.org.", dns.TypeA); len(m.Answer) != 0 || m.Ns[0].Header().Name != "deep.sub.example.org." {
		t.Errorf("%v", m)
	}
	if m := ask(glue, "elsewhere.net.", dns.TypeA); m.Rcode != dns.RcodeRefused {
		t.Errorf("%v", m)
	}
}

func TestBadZones(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, want string }{
		"no SOA":    {"a.zone", "@ 60 NS ns\n", "needs one SOA"},
		"no NS":     {"a.zone", "@ 60 SOA ns h 1 2 3 4 5\n", "no NS record"},
		"syntax":    {"a.zone", "@ 60 SOA ns h 1 2 3 4 5\n@ 60 A nowhere\n", "zone a.:"},
		"outside":   {"a.zone", "@ 60 SOA ns h 1 2 3 4 5\nb. 60 A 192.0.2.1\n", "outside the zone"},
		"directive": {"a.zone", ";wherry: explode\n@ 60 SOA ns h 1 2 3 4 5\n", "is no directive"},
		"empty":     {"a.txt", "", "no *.zone files"},
		"include":   {"a.zone", "$INCLUDE /etc/passwd\n", "zone a.:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, tt.file, tt.text)
			_, err := zoneserver.Load(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := zoneserver.Load(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("a missing directory is no error")
	}
}

// FuzzReply: any query gets a reply that packs, or none.
func FuzzReply(f *testing.F) {
	h, err := zoneserver.Load("../../testdata/zones")
	if err != nil {
		f.Fatal(err)
	}
	if err := h.Sign(time.Now()); err != nil {
		f.Fatal(err)
	}
	for _, n := range []string{"www.example.com.", "x.wild.example.com.", "a.old.example.com.", "nx.example.com.", "."} {
		q := new(dns.Msg).SetQuestion(n, dns.TypeA)
		q.SetEdns0(1232, true)
		b, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	addr := netip.MustParseAddr("127.53.0.3")
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil {
			return
		}
		m := h.Reply(addr, q)
		if m == nil {
			return
		}
		if m.Id != q.Id || !m.Response {
			t.Errorf("not a reply: %v", m)
		}
		if _, err := m.Pack(); err != nil {
			t.Errorf("the reply does not pack: %v\n%v", err, m)
		}
	})
}

package format

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/cache"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var when = time.Date(2026, 11, 21, 5, 0, 0, 0, time.UTC)

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// result is an answer as a server at 192.0.2.53 gives it.
func result(t testing.TB, name string, typ uint16, rcode int, answer ...string) *resolve.Result {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), typ)
	m.Id, m.Response, m.RecursionAvailable, m.Rcode = 4711, true, true, rcode
	for _, s := range answer {
		m.Answer = append(m.Answer, rr(t, s))
	}
	if len(answer) == 0 {
		m.Ns = append(m.Ns, rr(t, "example. 900 IN SOA ns.example. host.example. 1 2 3 4 300"))
	}
	m.SetEdns0(1232, true)
	r := &resolve.Result{Asked: name, Query: resolve.Query{Name: dns.Fqdn(name), Type: typ, Class: dns.ClassINET}}
	setMsg(t, r, m)
	r.Server, _ = resolve.ParseUpstream("192.0.2.53")
	r.Remote, r.Transport, r.Started, r.RTT = "192.0.2.53:53", resolve.UDP, when, 12345*time.Microsecond
	r.Attempts = []resolve.Attempt{{Server: r.Server, Started: when, Took: r.RTT}}
	return r
}

func setMsg(t testing.TB, r *resolve.Result, m *dns.Msg) {
	t.Helper()
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	r.Msg, r.Wire = m, wire
	r.Outcome = resolve.OutcomeOf(r.Query, m)
}

func failed(err error) *resolve.Result {
	r := &resolve.Result{Asked: "x.example", Query: resolve.Query{Name: "x.example.", Type: 1, Class: 1}, Outcome: resolve.Failed, Err: err}
	r.Server, _ = resolve.ParseUpstream("192.0.2.53")
	return r
}

// cases are what the golden files in testdata hold, each in every format.
func cases(t testing.TB) map[string][]*resolve.Result {
	u, _ := resolve.ParseUpstream("192.0.2.53")
	rich := result(t, "bücher.example", dns.TypeMX, 0, "xn--bcher-kva.example. 300 IN MX 10 mail.example.", "xn--bcher-kva.example. 300 IN MX 20 mail2.example.")
	rich.Query.Name, rich.Msg.Question[0].Name = "xn--bcher-kva.example.", "xn--bcher-kva.example."
	rich.Msg.AuthenticatedData = true
	rich.Msg.IsEdns0().Option = []dns.EDNS0{
		&dns.EDNS0_NSID{Code: dns.EDNS0NSID, Nsid: "6e7331"},
		&dns.EDNS0_EDE{InfoCode: 3, ExtraText: "served \x1b[31mstale\x1b[0m \u202e"},
		&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, SourceScope: 16, Address: []byte{192, 0, 2, 0}},
		&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"},
		&dns.EDNS0_PADDING{Padding: make([]byte, 5)},
	}
	setMsg(t, rich, rich.Msg)
	rich.Strays = resolve.Strays{WrongID: 2, Late: 1}
	rich.Truncated, rich.Transport, rich.Setup = true, resolve.TCP, 1500*time.Microsecond

	types := result(t, "all.example", dns.TypeANY, 0, "all.example. 1 IN A 192.0.2.1", "all.example. 1 IN AAAA 2001:db8::1",
		`all.example. 1 IN TXT "a \"quote\", a comma" "\027[31m\200"`, "all.example. 1 IN CAA 0 issue \"ca.example\"",
		"all.example. 1 IN SRV 1 2 443 srv.example.", "all.example. 1 IN HTTPS 1 . alpn=\"h2\" port=8443", "all.example. 1 IN TLSA 3 1 1 "+strings.Repeat("ab", 32),
		`all.example. 1 IN NAPTR 1 2 "u" "sip" "!^.*$!sip:x!" .`, "all.example. 1 IN TYPE65280 \\# 2 abcd", `\027odd\.x.example. 1 IN LOC 52 22 23.5 S 4 53 32 W 10m`)

	hosts := result(t, "web", dns.TypeA, 0, "web. 0 IN A 192.0.2.9")
	hosts.Source, hosts.HostsFile, hosts.Server, hosts.Transport, hosts.Remote = resolve.FromHosts, "/etc/hosts", resolve.Upstream{}, "", ""
	cached := result(t, "x.example", dns.TypeA, 0, "x.example. 40 IN A 192.0.2.1")
	cached.Source, cached.Age = resolve.FromCache, 20*time.Second
	stale := result(t, "x.example", dns.TypeA, 0, "x.example. 30 IN A 192.0.2.1")
	stale.Source, stale.Age = resolve.FromStale, 2*time.Hour
	search := result(t, "www.b.example", dns.TypeA, 0, "www.b.example. 5 IN A 192.0.2.1")
	search.Asked, search.Searched = "www", []string{"www.a.example."}
	ref := result(t, "x.sub.example", dns.TypeA, 0)
	ref.Msg.Ns = []dns.RR{rr(t, "sub.example. 300 IN NS ns.sub.example.")}
	setMsg(t, ref, ref.Msg)
	return map[string][]*resolve.Result{
		"addresses": {result(t, "www.example", 1, 0, "www.example. 60 IN CNAME web.example.", "web.example. 300 IN A 192.0.2.1"),
			result(t, "www.example", 28, 0, "www.example. 60 IN CNAME web.example.", "web.example. 300 IN AAAA 2001:db8::1")},
		"negative": {result(t, "no.example", 1, dns.RcodeNameError), result(t, "no.example", 28, dns.RcodeNameError), result(t, "here.example", 28, 0),
			result(t, "al.example", 28, 0, "al.example. 60 IN CNAME here.example."), result(t, "x.example", 1, dns.RcodeServerFailure),
			result(t, "x.example", 1, dns.RcodeRefused), result(t, "x.example", 1, dns.RcodeNotImplemented), ref},
		"failed": {failed(&resolve.TimeoutError{Servers: []resolve.Upstream{u}, After: 10 * time.Second, Tries: 3, Strays: resolve.Strays{WrongID: 1}}),
			failed(&resolve.ServerError{Server: u, Op: "connect to", Err: errors.New("no \x1b[31mroute")}), failed(context.Canceled)},
		"rich":    {rich},
		"types":   {types},
		"sources": {hosts, cached, stale, search},
	}
}

func TestGolden(t *testing.T) {
	for name, rs := range cases(t) {
		var out bytes.Buffer
		for k := Nslookup; k <= CSV; k++ {
			fmt.Fprintf(&out, "-- %s --\n", k)
			p := New(k, &out, Options{})
			for _, r := range rs {
				if err := p.Print(r); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		clean(t, out.String())
		golden(t, name, out.Bytes())
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; -update rewrites it. Got:\n%s", path, got)
	}
}

func clean(t testing.TB, s string) {
	t.Helper()
	for i, r := range s {
		if r != '\n' && r != '\t' && resolve.Unprintable(r) || r == 0xfffd {
			t.Fatalf("%U printed raw: %q", r, s[max(0, i-40):min(len(s), i+40)])
		}
	}
}

// TestJSONIsRFC8427 reads the output back as a program would.
func TestJSONIsRFC8427(t *testing.T) {
	var b bytes.Buffer
	p := New(JSON, &b, Options{})
	if err := p.Print(cases(t)["types"][0]); err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID, QR, RCODE, ANCOUNT, QTYPE int
		QNAME, QTYPEname              string
		AnswerRRs                     []map[string]any `json:"answerRRs"`
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != 4711 || got.QR != 1 || got.ANCOUNT != 10 || len(got.AnswerRRs) != 10 || got.QNAME != "all.example." || got.QTYPEname != "ANY" {
		t.Errorf("%+v", got)
	}
	for i, want := range []map[string]any{
		{"NAME": "all.example.", "TYPE": 1.0, "TYPEname": "A", "CLASS": 1.0, "CLASSname": "IN", "TTL": 1.0, "RDLENGTH": 4.0, "RDATAHEX": "C0000201", "rdataA": "192.0.2.1"},
		{"rdataAAAA": "2001:db8::1"}, {"rdataTXT": `"a \"quote\", a comma" "\027[31m\200"`},
	} {
		for k, v := range want {
			if got.AnswerRRs[i][k] != v {
				t.Errorf("record %d: %s is %v, want %v", i, k, got.AnswerRRs[i][k], v)
			}
		}
	}
	if got.AnswerRRs[8]["rdataTYPE65280"] != `\# 2 ABCD` || got.AnswerRRs[8]["RDATAHEX"] != "ABCD" {
		t.Errorf("unknown type: %v", got.AnswerRRs[8])
	}
}

func TestCSVReadsBack(t *testing.T) {
	for name, rs := range cases(t) {
		var b bytes.Buffer
		p := New(CSV, &b, Options{})
		rows := 1
		for _, r := range rs {
			if err := p.Print(r); err != nil {
				t.Fatal(err)
			}
			n := 0
			if r.Msg != nil {
				n = len(r.Msg.Answer)
			}
			rows += max(1, n)
		}
		got, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(got) != rows {
			t.Errorf("%s: %d rows, want %d, %v", name, len(got), rows, err)
		}
	}
}

func TestCompareAndList(t *testing.T) {
	var rs []*resolve.Result
	for i, a := range []string{"x.example. 60 IN A 192.0.2.1", "x.example. 50 IN A 192.0.2.1", "x.example. 60 IN A 192.0.2.2"} {
		r := result(t, "x.example", 1, 0, a)
		r.Server.Host = fmt.Sprintf("192.0.2.%d", 51+i)
		rs = append(rs, r)
	}
	down := failed(&resolve.TimeoutError{Servers: []resolve.Upstream{{Scheme: resolve.UDP, Host: "192.0.2.54", Port: 53}}, After: time.Second})
	down.Server.Host = "192.0.2.54"
	c := new(cache.Cache)
	c.Put(when, cache.KeyOf("x.example.", 1, 1, ""), rs[0].Wire, "192.0.2.51", "udp")
	neg := result(t, "no.example", 1, dns.RcodeNameError)
	c.Put(when.Add(-400*time.Second), cache.KeyOf("no.example.", 1, 1, ""), neg.Wire, "192.0.2.51", "udp")
	now := when.Add(15 * time.Second)
	var out bytes.Buffer
	for _, k := range []Kind{Table, JSON, CSV} {
		for _, set := range [][]*resolve.Result{rs[:2], rs, append(rs[:2:2], down), {down, down}} {
			if err := Compare(&out, k, resolve.Compare(set[0].Query, set), Options{}); err != nil {
				t.Fatal(err)
			}
			out.WriteString("--\n")
		}
		if err := CacheList(&out, k, c.Entries(now), now, Options{}); err != nil {
			t.Fatal(err)
		}
		p := NewRecords(k, &out)
		if err := errors.Join(p.Record(rs[0].Msg.Answer[0]), p.Close()); err != nil {
			t.Fatal(err)
		}
		out.WriteString("--\n")
	}
	clean(t, out.String())
	golden(t, "compare", out.Bytes())
}

// FuzzFormats prints whatever parses, in every format, and looks for bytes
// that a terminal would obey, for JSON that is none, and for rows of CSV that
// do not fit.
func FuzzFormats(f *testing.F) {
	for _, rs := range cases(f) {
		for _, r := range rs {
			if r.Wire != nil {
				f.Add(r.Wire, "x\x1b", uint8(0))
			}
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, asked string, source uint8) {
		m := new(dns.Msg)
		if len(wire) < 12 || m.Unpack(wire) != nil {
			return
		}
		q := resolve.Query{Name: "x.", Type: 1, Class: 1}
		if len(m.Question) > 0 {
			q = resolve.Query{Name: m.Question[0].Name, Type: m.Question[0].Qtype, Class: m.Question[0].Qclass}
		}
		r := &resolve.Result{Asked: asked, Query: q, Source: resolve.Source(source & 3), Outcome: resolve.OutcomeOf(q, m), HostsFile: asked, Searched: []string{asked}}
		r.Msg, r.Wire, r.Remote, r.Transport = m, wire, asked, resolve.UDP
		for k := Nslookup; k <= CSV; k++ {
			var b bytes.Buffer
			p := New(k, &b, Options{})
			if err := errors.Join(p.Print(r), p.Print(r), p.Close()); err != nil {
				t.Fatal(err)
			}
			clean(t, b.String())
			switch k {
			case JSON:
				for line := range bytes.Lines(b.Bytes()) {
					if !json.Valid(line) {
						t.Fatalf("not JSON: %s", line)
					}
				}
			case CSV:
				if _, err := csv.NewReader(&b).ReadAll(); err != nil {
					t.Fatalf("not CSV: %v", err)
				}
			}
		}
		cmp := resolve.Compare(q, []*resolve.Result{r, r})
		if cmp.Verdict() != resolve.Agree {
			t.Fatalf("differs from itself: %s", cmp.Verdict())
		}
		for _, k := range []Kind{Table, JSON, CSV} {
			var b bytes.Buffer
			if err := Compare(&b, k, cmp, Options{}); err != nil {
				t.Fatal(err)
			}
			clean(t, b.String())
		}
	})
}

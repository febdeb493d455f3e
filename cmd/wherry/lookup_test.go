package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/term"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
	"github.com/wherry-net/wherry/resolve/format"
)

const lookupZone = `$ORIGIN example.test.
$TTL 3600
@      IN SOA ns1 hostmaster 7 7200 3600 1209600 300
       IN NS  ns1
       IN A   192.0.2.1
       IN AAAA 2001:db8::1
       IN MX  10 mail
       IN TXT "\027[31mred" "\155\226\128\174"
ns1    IN A   192.0.2.53
mail   IN A   192.0.2.25
www    IN CNAME @
`

const reverseZone = `$ORIGIN 2.0.192.in-addr.arpa.
$TTL 3600
@ IN SOA ns1.example.test. h.example.test. 1 7200 3600 1209600 300
  IN NS ns1.example.test.
1 IN PTR example.test.
`

// lookupServer starts NSD with the zones above and returns "@address".
func lookupServer(t testing.TB) string {
	t.Helper()
	p := dnstest.NSD(t, dnstest.Config{Zones: map[string]string{"example.test.": lookupZone, "2.0.192.in-addr.arpa.": reverseZone}})
	return "@" + p.Addr.String()
}

// TestLookup runs command lines against a real server: exit code, what must
// stand on standard output and what on standard error. No output may hold a
// control character.
func TestLookup(t *testing.T) {
	at := lookupServer(t)
	silent := "@" + dnstest.NewFaultServer(t, nil, nil).Addr.String()
	dead, deadTCP := "@"+deadUDPPort(t), "@"+deadPort(t)
	liar := "@" + dnstest.NewFaultServer(t, func(_ int, q []byte, send func([]byte)) {
		send(dnstest.Answer(q, nil, "example.test. 60 IN MX 10 elsewhere.example."))
	}, nil).Addr.String()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("wrong:c2VjcmV0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cacheFile := filepath.Join(dir, "cache")
	for _, tt := range []struct {
		args     string
		code     int
		out, err []string // substrings
	}{
		{"example.test " + at, 0, []string{"192.0.2.1", "2001:db8::1", "TTL 3600", "authoritative", at[1:], "min"}, nil},
		{"example.test A --short " + at, 0, []string{"192.0.2.1\n"}, nil},
		{"--short " + at + " A example.test", 0, []string{"192.0.2.1\n"}, nil},
		{"example.test MX TXT --short --server " + at[1:], 0, []string{"10 mail.example.test.\n", `"\027[31mred" "\155\226\128\174"` + "\n"}, nil},
		{"www.example.test A " + at, 0, []string{"Alias of:       example.test", "192.0.2.1"}, nil},
		{"example.test --type MX --format table " + at, 0, []string{"NAME", "10 mail.example.test."}, nil},
		{"example.test MX --format dig --nsid " + at, 0, []string{"status: NOERROR", ";; ANSWER SECTION:", "NSID"}, nil},
		{"example.test MX --format csv " + at, 0, []string{"query,qtype,", "example.test,MX,NOERROR,example.test.,3600,IN,MX,10 mail.example.test.,"}, nil},
		{"192.0.2.1 " + at, 0, []string{"example.test"}, nil},
		{"192.0.2.0/30 --format csv " + at, 0, []string{"PTR,example.test.", "0.2.0.192.in-addr.arpa.,PTR,NXDOMAIN"}, nil},
		{"--reverse 192.0.2.1 --short " + at, 0, []string{"example.test.\n"}, nil},
		{"example.test @tcp://" + at[1:] + " A --json", 0, []string{`"transport":"tcp"`, `"rdataA":"192.0.2.1"`, `"TTL":3600`}, nil},
		{"example.test TXT --json " + at, 0, []string{`\\027[31mred`}, nil},
		{"version.server CH TXT " + at, 0, []string{"NSD"}, nil},
		{"example.test AXFR " + at, 0, []string{"www.example.test.\t3600\tIN\tCNAME\texample.test.\n"}, []string{"the whole zone: 10 records"}},
		{"example.test IXFR=7 --json " + at, 0, []string{`"rdataSOA"`}, nil},

		{"mail.example.test MX " + at, 7, []string{"*** mail.example.test exists, but has no MX record", "300 s"}, []string{"hint: "}},
		{"mail.example.test " + at, 0, []string{"192.0.2.25", "no AAAA record"}, nil},
		{"mail.example.test A AAAA " + at, 7, []string{"192.0.2.25"}, nil},
		{"absent.example.test --short " + at, 8, nil, []string{"does not exist (NXDOMAIN)", "hint: "}},
		{"absent.example.test A --json " + at, 8, []string{`"status":"NXDOMAIN"`, `"RCODE":3`}, nil},
		{"other.example A " + at, 9, []string{"refuses", "REFUSED"}, []string{"hint: "}},
		{"x.test A --timeout 200ms " + silent, 6, []string{"no answer from " + silent[1:]}, []string{"--timeout"}},
		{"x.test A --timeout 200ms --json " + silent, 6, []string{`"status":"TIMEOUT"`, `"error":`}, nil},
		{"x.test A " + dead, 6, []string{"*** read from " + dead[1:] + ": connection refused\n"}, []string{"hint: "}},
		{"x.test A @https://" + deadTCP[1:], 6, []string{"*** connect to https://" + deadTCP[1:] + ": connection refused\n"}, []string{"hint: "}},
		{"example.test AXFR --tsig-file " + key + " " + at, 5, nil, []string{"TSIG", "BADKEY"}},
		{"absent.test AXFR " + at, 3, nil, []string{"will not transfer"}},

		{"--compare example.test MX " + at + " @tcp://" + at[1:], 0, []string{"All 2 servers agree."}, nil},
		{"--compare example.test MX " + at + " " + liar, 9, []string{"differ", "* 10 mail.example.test."}, nil},
		{"--compare example.test MX --timeout 200ms " + at + " " + silent, 6, []string{"no answer from " + silent[1:]}, nil},
		{"--wait example.test MX --until 10\u00a0x " + at + " --max-wait 50ms", 6, nil, []string{"--max-wait"}},
		{"--wait example.test A --until 192.0.2.1 --short " + at, 0, []string{"192.0.2.1\n"}, nil},

		{"example.test A --cache " + cacheFile + " " + at, 0, []string{"authoritative"}, nil},
		{"example.test A --cache " + cacheFile + " " + at, 0, []string{"from the cache"}, nil},
		{"--cache " + cacheFile + " --list", 0, []string{"example.test.", "192.0.2.1", at[1:]}, nil},
		{"--cache " + key + " --list", 2, nil, []string{"not a wherry cache file"}},
		{"--cache " + dir + "/no/such --list", 0, nil, nil},

		{"", 2, nil, []string{"No name was given"}},
		{"a..b", 2, nil, []string{"empty label"}},
		{"example.test NOTYPE", 2, nil, []string{"there is no record type \"NOTYPE\""}},
		{"example.test 192.0.2.1", 2, nil, []string{"@192.0.2.1"}},
		{"example.test @nowhere:x", 2, nil, []string{"port"}},
		{"example.test --format xml", 2, nil, []string{"known are nslookup"}},
		{"example.test --json --short", 2, []string{"give one of them"}, nil},
		{"example.test --ecs 192.0.2.1/24 " + at, 2, nil, []string{"did you mean 192.0.2.0/24"}},
		{"example.test --bufsize 99 " + at, 2, nil, []string{"--bufsize"}},
		{"example.test --bufsize 0 --nsid " + at, 2, nil, []string{"EDNS"}},
		{"10.0.0.0/8", 2, nil, []string{"too many addresses"}},
		{"192.0.2.0/33", 2, nil, []string{"is not a prefix"}},
		{"--reverse example.test", 2, nil, []string{"--reverse"}},
		{"example.test AXFR", 2, nil, []string{"AXFR @SERVER"}},
		{"example.test IXFR " + at, 2, nil, []string{"IXFR=SERIAL"}},
		{"--compare example.test " + at, 2, nil, []string{"two servers"}},
		{"--list", 2, nil, []string{"--cache"}},
		{"example.test --tsig-file " + dir + "/none " + at, 1, nil, []string{"no such file"}},
		{"example.test --ca " + key + " " + at, 2, nil, []string{"no certificate"}},
	} {
		code, out, errs := wherryRun(t.Context(), append([]string{"lookup"}, strings.Split(tt.args, " ")...)...)
		if tt.args == "" {
			code, out, errs = wherryRun(t.Context(), "lookup")
		}
		if code != tt.code {
			t.Errorf("lookup %s: exit code %d, want %d\n%s%s", tt.args, code, tt.code, out, errs)
		}
		for _, s := range tt.out {
			if !strings.Contains(out, s) {
				t.Errorf("lookup %s: no %q in\n%s%s", tt.args, s, out, errs)
			}
		}
		for _, s := range tt.err {
			if !strings.Contains(errs, s) {
				t.Errorf("lookup %s: no %q on standard error:\n%s", tt.args, s, errs)
			}
		}
		for _, r := range out + errs {
			if r != '\n' && r != '\t' && resolve.Unprintable(r) {
				t.Errorf("lookup %s prints %U raw", tt.args, r)
			}
		}
		if strings.Contains(tt.args, "--json") && code != 2 {
			for line := range strings.Lines(out) {
				if !json.Valid([]byte(line)) {
					t.Errorf("lookup %s: not JSON: %s", tt.args, line)
				}
			}
		}
	}
}

// TestLookupTLS: a certificate that is not to be trusted, and what makes it so.
func TestLookupTLS(t *testing.T) {
	certs := dnstest.NewCerts(t)
	p := dnstest.NSD(t, dnstest.Config{Zones: map[string]string{"example.test.": lookupZone}, Certs: certs})
	at := "@tls://" + p.TLS.String()
	code, out, errs := wherryRun(t.Context(), "lookup", "example.test", "A", at)
	if code != exitVerify || !strings.Contains(out, "certificate") || !strings.Contains(errs, "--ca FILE") {
		t.Errorf("unknown authority: %d\n%s%s", code, out, errs)
	}
	code, out, errs = wherryRun(t.Context(), "lookup", "example.test", "A", at+"#other.test", "--ca", certs.CAFile)
	if code != exitVerify || !strings.Contains(errs, "tls://ADDRESS#NAME") {
		t.Errorf("wrong name: %d\n%s%s", code, out, errs)
	}
	code, out, errs = wherryRun(t.Context(), "lookup", "example.test", "A", "--short", at+"#dns.test", "--ca", certs.CAFile)
	if code != 0 || out != "192.0.2.1\n" {
		t.Errorf("right name: %d\n%s%s", code, out, errs)
	}
}

// TestPrompt types into the interactive prompt by way of a terminal in memory.
func TestPrompt(t *testing.T) {
	at := lookupServer(t)
	var out bytes.Buffer
	sh := newShell(&lookup{io: stdio{In: strings.NewReader(""), Out: &out, Err: &out}, class: resolve.ClassIN}, &out)
	say := func(line string, want ...string) {
		t.Helper()
		out.Reset()
		sh.run(t.Context(), line)
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%q: no %q in\n%s", line, w, out.String())
			}
		}
	}
	say("server "+at, "asking "+at[1:])
	say("example.test", "192.0.2.1", "2001:db8::1")
	say("set type=MX")
	say("example.test", "mail.example.test")
	say("example.test", "from the cache")
	say("cache", "example.test.", "MX")
	say("set format=short timeout=3 retry=0 nosearch norecurse nsid do cd")
	if l := sh.l; l.kind != format.Short || !l.noSearch || !l.options.NoRecurse || !l.options.NSID || !l.options.DNSSEC || l.options.Tries != 1 || l.options.Timeout.Seconds() != 3 {
		t.Errorf("settings: %+v", l)
	}
	sh.run(t.Context(), "set timeout=60 retry=2") // what follows is answered
	say("set all", "type=MX", "norecurse", "format=short", at[1:])
	say("set type=default recurse nonsid nodo nocd")
	say("mail.example.test A @tcp://"+at[1:], "192.0.2.25\n")
	say("192.0.2.1", "example.test.\n")
	say("absent.example.test", "does not exist")
	say("example.test AXFR", "192.0.2.25")
	say("set type=NOTYPE", "there is no record type")
	say("set nonsense", "there is no setting")
	say("set nonsense=1", "there is no setting")
	say("a..b", "empty label")
	say("server x:y:z", "server \"x:y:z\"")
	say("help", "set type=")
	say("")
	if sh.pending {
		t.Error("ended")
	}
	say("exit")
	if !sh.pending {
		t.Error("does not end")
	}

	for _, tt := range []struct{ line, want string }{
		{"ser\t", "server "}, {"set ty\t", "set type="}, {"set type=NAP\t", "set type=NAPTR "}, {"set form\tj\t", "set format=json "},
		{"example.test htt\t", "example.test HTTPS "}, {"mail.e\t", "mail.example.test "}, {"server qu\t", "server quic://  "[:14]}, {"zzz\t", "zzz"},
	} {
		tm := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(tt.line + "\r"), io.Discard}, "> ")
		tm.AutoCompleteCallback = sh.complete
		got, err := tm.ReadLine()
		if err != nil || strings.TrimRight(got, " ") != strings.TrimRight(tt.want, " ") {
			t.Errorf("%q completes to %q, %v", tt.line, got, err)
		}
	}
	out.Reset()
	sh.complete("example.test T", 14, '\t')
	if got := strings.Fields(out.String()); !slices.Contains(got, "TXT") || !slices.Contains(got, "TLSA") || slices.Contains(got, "MX") {
		t.Errorf("candidates %q", got)
	}
}

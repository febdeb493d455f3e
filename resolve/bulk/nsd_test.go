package bulk

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// needTool skips the test if a program of Debian's is missing, but not in CI.
func needTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
			if p := filepath.Join(dir, name); isFile(p) {
				return p
			}
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", name)
		}
		t.Skipf("SKIPPED, NOT TESTED: %s is not installed", name)
	}
	return path
}

func isFile(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}

// startNSD serves a zone on a port of loopback.
func startNSD(t testing.TB, origin, zone string) netip.AddrPort {
	t.Helper()
	nsd := needTool(t, "nsd")
	dir := t.TempDir()
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	if err := os.WriteFile(filepath.Join(dir, "zone"), []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`server:
  server-count: 1
  ip-address: 127.0.0.1
  port: %d
  zonesdir: %q
  database: ""
  username: ""
  chroot: ""
  pidfile: ""
  xfrdfile: ""
  zonelistfile: %q
  xfrdir: %q
  rrl-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: %s
  zonefile: zone
`, addr.Port(), dir, filepath.Join(dir, "list"), dir, origin)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nsd, "-d", "-c", filepath.Join(dir, "conf"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
	})
	query := appendQuery(nil, 1, 0, mustName(origin), 6, 0, false)
	ex := &TCP{Addr: addr}
	defer ex.Close()
	answers := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		b, err := ex.Exchange(ctx, query)
		return err == nil && message(b).rcode() == 0
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if answers() {
			return addr
		}
		select {
		case <-exited:
			t.Fatalf("nsd ended:\n%s", log.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("nsd does not answer:\n%s", log.String())
		}
	}
}

func mustName(s string) []byte {
	name, _, err := appendText(nil, []byte(s))
	if err != nil {
		panic(err)
	}
	return name
}

// canonical makes the same of the same record, as quotes, and the case of
// hexadecimal, are a matter of taste.
func canonical(t *testing.T, s string) string {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil || rr == nil {
		t.Errorf("%q is not a record: %v", s, err)
		return s
	}
	if t, ok := rr.(*dns.TLSA); ok {
		t.Certificate = strings.ToLower(t.Certificate)
	}
	return rr.String()
}

// TestNSD asks a real server for names of all sorts, and compares the records
// with what dig prints.
func TestNSD(t *testing.T) {
	dig := needTool(t, "dig")
	big := strings.Repeat(` "`+strings.Repeat("x", 250)+`"`, 16)
	addr := startNSD(t, "example", `$ORIGIN example.
$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 300
@ NS ns
ns A 192.0.2.53
a A 192.0.2.1
a A 192.0.2.2
a AAAA 2001:db8::1
mx MX 10 a
mx MX 20 mail.elsewhere.test.
txt TXT "plain" "with \"quotes\", commas; and \\" "esc \027[31m"
big TXT`+big+`
caa CAA 0 issue "ca.example"
_s._tcp SRV 1 2 3 a
https HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1
svcb SVCB 2 a port=853
_443._tcp TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
naptr NAPTR 10 20 "u" "E2U+sip" "!^.*$!sip:a@example!" .
c1 CNAME c2
c2 CNAME a
dangling CNAME nowhere
*.wild A 192.0.2.9
under_score A 192.0.2.10
odd\.name A 192.0.2.11
`)
	queries := []string{
		"a.example A", "A.EXAMPLE AAAA", "mx.example MX", "txt.example TXT", "big.example TXT", "caa.example CAA", "_s._tcp.example SRV",
		"https.example HTTPS", "svcb.example SVCB", "_443._tcp.example TLSA", "naptr.example NAPTR", "c1.example A", "c1.example CNAME", "example SOA",
		"example NS", "any.thing.wild.example A", "under_score.example A", `odd\.name.example A`, "no.example A", "a.example MX", "dangling.example A",
		"elsewhere.test A", "a.example TYPE65280",
	}
	for _, server := range []Server{{Addr: addr}, {Addr: addr, Exchanger: &TCP{Addr: addr}}} {
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader(strings.Join(queries, "\n")), &out, Options{Servers: []Server{server}, NoRecurse: true, Retries: 40, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if server.Exchanger == nil && stats.TCP != 1 {
			t.Errorf("%d answers by TCP, want 1", stats.TCP)
		}
		by := rows(t, out.Bytes())
		for i, q := range queries {
			name, qtype, _ := strings.Cut(q, " ")
			text, err := exec.Command(dig, "+time=60", "+norec", "+noall", "+answer", "+comments", "+nosplit", "-p", fmt.Sprint(addr.Port()), "@127.0.0.1", "-q", name, "-t", qtype).Output()
			if err != nil {
				t.Fatal(err)
			}
			var want, got []string
			rcode := ""
			for line := range strings.Lines(string(text)) {
				if _, after, ok := strings.Cut(line, "status: "); ok {
					rcode, _, _ = strings.Cut(after, ",")
				}
				if f := strings.Fields(line); len(f) > 4 && line[0] != ';' {
					want = append(want, canonical(t, strings.Join(f, " ")))
				}
			}
			res := by[fmt.Sprint(i+1)]
			if len(res) == 0 {
				t.Errorf("%s: no result", q)
				continue
			}
			for _, r := range res {
				if r["type"] != "" {
					got = append(got, canonical(t, strings.Join([]string{r["name"], r["ttl"], r["class"], r["type"], r["data"]}, " ")))
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", q, got, want)
			}
			if s := res[0]["status"]; s != rcode && !(s == "NODATA" && rcode == "NOERROR") {
				t.Errorf("%s: status %s, by dig %s", q, s, rcode)
			}
		}
	}
}

// BenchmarkNSD asks a server for 300,000 names, unless -short.
func BenchmarkNSD(b *testing.B) {
	if testing.Short() {
		b.Skip("makes a zone of 300,000 names")
	}
	const names = 300000
	var zone strings.Builder
	zone.WriteString("$ORIGIN example.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.53\n")
	for i := range names {
		fmt.Fprintf(&zone, "h%d A %s\n", i, addressOf(i))
	}
	addr := startNSD(b, "example", zone.String())
	lines := list(names)
	for b.Loop() {
		var out bytes.Buffer
		stats, err := Run(b.Context(), strings.NewReader(lines), &out, Options{Servers: []Server{{Addr: addr}}, NoRecurse: true})
		if err != nil || stats.Answered != names {
			b.Fatalf("%v, %+v", err, stats)
		}
	}
	b.ReportMetric(names*float64(b.N)/b.Elapsed().Seconds(), "names/s")
}

// Package dnstest runs DNS servers for tests: the real ones of Debian's
// packages (NSD, Unbound, Knot, BIND) on loopback ports, and one in this
// process that misbehaves on demand.
//
// A test that needs a program that is not installed skips, loudly, unless the
// environment says CI=true: then it fails.
package dnstest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// A Peer is a server that runs until the test ends.
type Peer struct {
	Name string
	// Addr answers over UDP and TCP; TLS and HTTPS are zero where the server
	// does not speak them.
	Addr, TLS, HTTPS netip.AddrPort
	Dir              string // the server's files

	log *lockedBuffer
}

// Config says what a server serves.
type Config struct {
	// Zones maps names to zone files' contents.
	Zones map[string]string
	// Stubs maps zones to the servers that a recursive server asks for them.
	Stubs map[string]netip.AddrPort
	// Certs, if not nil, makes the server speak TLS and HTTPS where it can.
	Certs *Certs
	// TSIG, if set, is "name:base64" of a hmac-sha256 key that transfers need.
	TSIG string
	// Extra is appended to the server's section of the configuration.
	Extra string
}

// Tool returns the path of a program, or skips the test.
func Tool(t testing.TB, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			if q := filepath.Join(dir, name); isExecutable(q) {
				return q
			}
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed, and CI needs it", name)
		}
		t.Skipf("SKIPPED FOR WANT OF A PROGRAM: %s is not installed", name)
	}
	return p
}

func isExecutable(p string) bool {
	fi, err := os.Stat(p)
	return err == nil && fi.Mode()&0o111 != 0
}

func loopback(t testing.TB) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), sockettest.FreePort(t))
}

func (c Config) tsig() (name, secret string) {
	name, secret, _ = strings.Cut(c.TSIG, ":")
	return name, secret
}

func (c Config) writeZones(t testing.TB, dir string) {
	for name, text := range c.Zones {
		write(t, filepath.Join(dir, zoneFile(name)), text)
	}
}

func zoneFile(zone string) string { return strings.TrimSuffix(zone, ".") + ".zone" }

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// NSD starts NSD as authoritative server.
func NSD(t testing.TB, c Config) *Peer {
	t.Helper()
	bin := Tool(t, "nsd")
	p := newPeer(t, "nsd")
	p.Addr = loopback(t)
	c.writeZones(t, p.Dir)
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n  ip-address: 127.0.0.1@%d\n  username: \"\"\n  chroot: \"\"\n  zonesdir: %q\n", p.Addr.Port(), p.Dir)
	fmt.Fprintf(&b, "  database: \"\"\n  pidfile: %q\n  xfrdfile: %q\n  zonelistfile: %q\n  xfrdir: %q\n  cookie-secret: \"0123456789abcdef0123456789abcdef\"\n  answer-cookie: yes\n  nsid: \"ascii_nsd-test\"\n  server-count: 1\n  verbosity: 1\n",
		p.Dir+"/nsd.pid", p.Dir+"/xfrd.state", p.Dir+"/zone.list", p.Dir)
	if c.Certs != nil {
		p.TLS = loopback(t)
		fmt.Fprintf(&b, "  ip-address: 127.0.0.1@%d\n  tls-port: %d\n  tls-service-pem: %q\n  tls-service-key: %q\n", p.TLS.Port(), p.TLS.Port(), c.Certs.CertFile, c.Certs.KeyFile)
	}
	b.WriteString(c.Extra + "remote-control:\n  control-enable: no\n")
	key := "NOKEY"
	if name, secret := c.tsig(); name != "" {
		fmt.Fprintf(&b, "key:\n  name: %q\n  algorithm: hmac-sha256\n  secret: %q\n", name, secret)
		key = name
	}
	for z := range c.Zones {
		fmt.Fprintf(&b, "zone:\n  name: %q\n  zonefile: %q\n  provide-xfr: 127.0.0.1 %s\n", z, zoneFile(z), key)
	}
	write(t, p.Dir+"/nsd.conf", b.String())
	p.start(t, c, bin, "-d", "-c", p.Dir+"/nsd.conf")
	return p
}

// Knot starts Knot DNS as authoritative server.
func Knot(t testing.TB, c Config) *Peer {
	t.Helper()
	bin := Tool(t, "knotd")
	p := newPeer(t, "knot")
	p.Addr = loopback(t)
	c.writeZones(t, p.Dir)
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n  rundir: %q\n  listen: 127.0.0.1@%d\n  nsid: knot-test\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n%s", p.Dir, p.Addr.Port(), c.Extra)
	fmt.Fprintf(&b, "log:\n  - target: stderr\n    any: info\ndatabase:\n  storage: %q\n", p.Dir)
	acl := "  - id: xfr\n    address: 127.0.0.1\n    action: transfer\n"
	if name, secret := c.tsig(); name != "" {
		fmt.Fprintf(&b, "key:\n  - id: %s\n    algorithm: hmac-sha256\n    secret: %s\n", name, secret)
		acl = "  - id: xfr\n    key: " + name + "\n    action: transfer\n"
	}
	fmt.Fprintf(&b, "acl:\n%smod-cookies:\n  - id: default\ntemplate:\n  - id: default\n    storage: %q\n    acl: xfr\n    global-module: mod-cookies/default\n    zonefile-load: difference\n    journal-content: changes\nzone:\n", acl, p.Dir)
	for z := range c.Zones {
		fmt.Fprintf(&b, "  - domain: %s\n    file: %q\n", z, zoneFile(z))
	}
	write(t, p.Dir+"/knot.conf", b.String())
	p.start(t, c, bin, "-c", p.Dir+"/knot.conf")
	return p
}

// BIND starts named as authoritative server, with DNS over TLS and HTTPS if
// there are certificates.
func BIND(t testing.TB, c Config) *Peer {
	t.Helper()
	bin := Tool(t, "named")
	p := newPeer(t, "bind")
	p.Addr = loopback(t)
	c.writeZones(t, p.Dir)
	var b strings.Builder
	xfr := "127.0.0.1"
	if name, secret := c.tsig(); name != "" {
		fmt.Fprintf(&b, "key %q { algorithm hmac-sha256; secret %q; };\n", name, secret)
		xfr = fmt.Sprintf("key %q", name)
	}
	listen := fmt.Sprintf("listen-on port %d { 127.0.0.1; };\n", p.Addr.Port())
	if c.Certs != nil {
		p.TLS, p.HTTPS = loopback(t), loopback(t)
		fmt.Fprintf(&b, "tls local { cert-file %q; key-file %q; };\n", c.Certs.CertFile, c.Certs.KeyFile)
		listen += fmt.Sprintf("listen-on port %d tls local { 127.0.0.1; };\nlisten-on port %d tls local http default { 127.0.0.1; };\n", p.TLS.Port(), p.HTTPS.Port())
	}
	fmt.Fprintf(&b, "options {\n%slisten-on-v6 { none; };\ndirectory %q; pid-file none; session-keyfile none; lock-file none;\nrecursion no; dnssec-validation no; notify no; check-names primary ignore; server-id \"bind-test\"; version \"bind test\";\nallow-transfer { %s; }; managed-keys-directory %q;\n%s};\ncontrols {};\n", listen, p.Dir, xfr, p.Dir, c.Extra)
	for z := range c.Zones {
		fmt.Fprintf(&b, "zone %q { type primary; file %q; ixfr-from-differences yes; };\n", z, zoneFile(z))
	}
	write(t, p.Dir+"/named.conf", b.String())
	p.start(t, c, bin, "-g", "-n", "1", "-c", p.Dir+"/named.conf")
	return p
}

// Unbound starts Unbound as recursive server that knows the stubs only, with
// DNS over TLS and HTTPS if there are certificates.
func Unbound(t testing.TB, c Config) *Peer {
	t.Helper()
	bin := Tool(t, "unbound")
	p := newPeer(t, "unbound")
	p.Addr = loopback(t)
	var b strings.Builder
	fmt.Fprintf(&b, "server:\n  interface: 127.0.0.1@%d\n  username: \"\"\n  chroot: \"\"\n  directory: %q\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  do-not-query-localhost: no\n  module-config: \"iterator\"\n  access-control: 127.0.0.0/8 allow\n  num-threads: 1\n  nsid: ascii_unbound-test\n  ede: yes\n", p.Addr.Port(), p.Dir)
	if c.Certs != nil {
		p.TLS, p.HTTPS = loopback(t), loopback(t)
		fmt.Fprintf(&b, "  interface: 127.0.0.1@%d\n  interface: 127.0.0.1@%d\n  tls-port: %d\n  https-port: %d\n  tls-service-pem: %q\n  tls-service-key: %q\n",
			p.TLS.Port(), p.HTTPS.Port(), p.TLS.Port(), p.HTTPS.Port(), c.Certs.CertFile, c.Certs.KeyFile)
	}
	for z := range c.Stubs {
		fmt.Fprintf(&b, "  local-zone: %q nodefault\n", z)
	}
	// A test must never ask the real root.
	b.WriteString("  local-zone: \".\" refuse\n")
	for z := range c.Stubs {
		fmt.Fprintf(&b, "  local-zone: %q transparent\n", z)
	}
	b.WriteString(c.Extra + "remote-control:\n  control-enable: no\n")
	for z, a := range c.Stubs {
		fmt.Fprintf(&b, "stub-zone:\n  name: %q\n  stub-addr: %s@%d\n", z, a.Addr(), a.Port())
	}
	write(t, p.Dir+"/unbound.conf", b.String())
	p.start(t, c, bin, "-d", "-c", p.Dir+"/unbound.conf")
	return p
}

func newPeer(t testing.TB, name string) *Peer {
	return &Peer{Name: name, Dir: t.TempDir(), log: new(lockedBuffer)}
}

// start runs the server and waits until it answers for its zones.
func (p *Peer) start(t testing.TB, c Config, bin string, args ...string) {
	t.Helper()
	cmd := exec.Command(bin, args...)
	cmd.Dir = p.Dir
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.Name, err)
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(3 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", p.Name, p.log.String())
		}
	})
	var zones []string
	for z := range c.Zones {
		zones = append(zones, z)
	}
	for z := range c.Stubs {
		zones = append(zones, z)
	}
	// Two minutes, as the machine may be busy with everything else.
	deadline := time.Now().Add(2 * time.Minute)
	up := func(what string, ready func() bool) {
		t.Helper()
		for !ready() {
			select {
			case <-exited:
				t.Fatalf("%s ended at once:\n%s", p.Name, p.log.String())
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s does not answer %s:\n%s", p.Name, what, p.log.String())
			}
		}
	}
	for _, z := range zones {
		up("for "+z, func() bool { return answers(p.Addr, z) })
	}
	for _, a := range []netip.AddrPort{p.Addr, p.TLS, p.HTTPS} {
		if a.IsValid() {
			up("on TCP port "+a.String(), func() bool { return listens(a) })
		}
	}
}

func listens(a netip.AddrPort) bool {
	c, err := net.DialTimeout("tcp", a.String(), 10*time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func answers(a netip.AddrPort, zone string) bool {
	c := dns.Client{Timeout: 2 * time.Second}
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	r, _, err := c.Exchange(m, a.String())
	return err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) > 0
}

// Log returns what the server has said so far.
func (p *Peer) Log() string { return p.log.String() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > 1<<20 {
		return len(b), nil
	}
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

package discover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer/pairing"
)

// The tests of this file run the two ends as processes of their own: this binary
// again, told by helperEnv what to be.
const helperEnv = "WHERRY_DISCOVER_HELPER"

// patience is how long is waited for what should happen. Packets get lost and
// processes stand still on a busy machine; nothing is proved by how soon it comes.
const patience = 5 * time.Minute

func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv(helperEnv)); len(args) > 0 {
		if err := helper(args); err != nil {
			fmt.Fprintln(os.Stderr, args, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func onlyLoopback() ([]net.Interface, error) {
	all, err := allInterfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return []net.Interface{i}, nil
		}
	}
	return nil, errors.New("no loopback interface")
}

// helper is one end: "offer NUMBER WORDS TEXT [lo]" advertises, pairs with
// whoever comes and sends the text; "find NUMBER WORDS [lo]" finds, pairs and
// prints what it is sent; "list NUMBER WORDS" prints what it finds.
func helper(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }() // until the test ends, however it does
	var cfg Config
	host := ""
	if args[len(args)-1] == "lo" {
		cfg.Interfaces = onlyLoopback
		host = "127.0.0.1"
		args = args[:len(args)-1]
	}
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	code, err := pairing.ParseCode(args[2])
	if err != nil {
		return err
	}
	switch args[0] {
	case "offer":
		ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return err
		}
		l, err := pairing.NewListener(ln, code, pairing.Config{Role: pairing.Sender, Timeout: patience})
		if err != nil {
			return err
		}
		defer l.Close()
		ad, err := Advertise(ctx, Offer{Number: number, Port: uint16(ln.Addr().(*net.TCPAddr).Port)}, cfg)
		if err != nil {
			return err
		}
		defer ad.Close()
		fmt.Println("ready", ad.Number())
		c, err := l.AcceptContext(ctx)
		if err != nil {
			return err
		}
		if l.Guard().Wrong() != 0 {
			return fmt.Errorf("%d wrong guesses", l.Guard().Wrong())
		}
		if _, err := io.WriteString(c, args[3]); err != nil {
			return err
		}
		return c.Close()
	case "list":
		found, err := Browse(ctx, number, cfg)
		if err != nil {
			return err
		}
		for c := range found {
			fmt.Println("candidate", c.Instance, c.Number, c.Version, c.Transport, c.Addrs)
		}
		return nil
	case "find":
		found, err := Browse(ctx, number, cfg)
		if err != nil {
			return err
		}
		for c := range found {
			for _, a := range c.Addrs {
				conn, err := net.DialTimeout("tcp", a.String(), 30*time.Second)
				if err != nil {
					continue
				}
				p, err := pairing.Client(ctx, conn, code, pairing.Config{Role: pairing.Receiver, Timeout: patience})
				if err != nil {
					return err
				}
				text, err := io.ReadAll(p)
				if err != nil {
					return err
				}
				fmt.Println(string(text), a)
				return nil
			}
		}
		return ErrNotFound
	}
	return fmt.Errorf("no such helper: %s", args[0])
}

// start runs a helper, by way of prefix, and gives its output's lines.
func start(t *testing.T, prefix []string, args ...string) <-chan string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(prefix, self)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), helperEnv+"="+strings.Join(args, " "))
	return startCommand(t, cmd)
}

func startCommand(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // by its end it knows ours
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		cmd.Wait()
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return lines
}

func wantLine(t *testing.T, lines <-chan string, prefix string) string {
	t.Helper()
	select {
	case l := <-lines:
		if !strings.HasPrefix(l, prefix) {
			t.Fatalf("got %q, want %q", l, prefix)
		}
		return l
	case <-time.After(patience):
		t.Fatalf("no %q in %v", prefix, patience)
		return ""
	}
}

func needNamespaces(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		skipOrFail(t, "network namespaces need Linux and root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		skipOrFail(t, "ip (iproute2) is missing")
	}
}

// skipOrFail skips where something is missing that CI must have.
func skipOrFail(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED: "+format, args...)
}

// Four processes on one machine, over its loopback alone: each finds its own of
// two offers, and a third cannot take a number in use.
func TestProcessesOnLoopback(t *testing.T) {
	// Others may be testing on this machine, so the numbers are left open.
	o1 := start(t, nil, "offer", "0", "cedar-otter", "one", "lo")
	o2 := start(t, nil, "offer", "0", "maple-heron", "two", "lo")
	n1 := strings.TrimPrefix(wantLine(t, o1, "ready "), "ready ")
	n2 := strings.TrimPrefix(wantLine(t, o2, "ready "), "ready ")
	taken, err := strconv.Atoi(n1)
	if err != nil || n1 == n2 {
		t.Fatalf("the numbers are %q and %q: %v", n1, n2, err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Who has the number has less than a second to say so, and may not get to it on
	// a busy machine. It does not happen again and again.
	for tries := 1; ; tries++ {
		ad, err := Advertise(ctx, Offer{Number: taken, Port: 9}, Config{Interfaces: onlyLoopback})
		if errors.Is(err, ErrNumberTaken) {
			break
		}
		if err != nil || tries == 20 {
			t.Fatalf("taking a number in use, %d times: %v", tries, err)
		}
		ad.Close()
	}
	free, err := Advertise(ctx, Offer{Port: 9}, Config{Interfaces: onlyLoopback})
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	c, err := First(ctx, free.Number(), Config{Interfaces: onlyLoopback})
	if err != nil || c.Number != free.Number() || c.Addrs[0].Port() != 9 || !c.Addrs[0].Addr().IsLoopback() {
		t.Errorf("found %+v, %v", c, err)
	}

	f1 := start(t, nil, "find", n1, "cedar-otter", "lo")
	f2 := start(t, nil, "find", n2, "maple-heron", "lo")
	wantLine(t, f1, "one 127.0.0.1:")
	wantLine(t, f2, "two 127.0.0.1:")
}

func TestNotFound(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if c, err := First(ctx, 9998, Config{Interfaces: onlyLoopback}); !errors.Is(err, ErrNotFound) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("found %+v, %v", c, err)
	}
}

func TestInvalidOffers(t *testing.T) {
	for _, o := range []Offer{{}, {Number: -1, Port: 1}, {Number: 10000, Port: 1}, {Port: 1, Transport: "sctp"}} {
		if _, err := Advertise(t.Context(), o, Config{Interfaces: onlyLoopback}); err == nil {
			t.Errorf("%+v was advertised", o)
		}
	}
	if _, err := Browse(t.Context(), -1, Config{}); err == nil {
		t.Error("browsed for number -1")
	}
	none := func() ([]net.Interface, error) { return nil, nil }
	if _, err := Advertise(t.Context(), Offer{Port: 1}, Config{Interfaces: none}); err == nil {
		t.Error("advertised on no interface")
	}
}

func TestCancelledWhileClaiming(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The interfaces are asked for before the first probe, and it takes another half
	// a second at least: that it is cancelled in between is certain.
	asked := func() ([]net.Interface, error) {
		cancel()
		return onlyLoopback()
	}
	if _, err := Advertise(ctx, Offer{Port: 1}, Config{Interfaces: asked}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// And in the midst of it, where the machine is quick enough to see that.
	for after := 400 * time.Millisecond; ; after /= 2 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		ad, err := Advertise(ctx, Offer{Port: 1}, Config{Interfaces: onlyLoopback})
		cancel()
		if errors.Is(err, context.Canceled) {
			return
		}
		if err != nil || after == 0 {
			t.Fatalf("cancelled after %v: %v", after, err)
		}
		ad.Close()
	}
}

// Four hosts, each in a network namespace of its own, on one switch: two offer,
// two look, and each finds its own, by IPv4 and by IPv6 alone.
func TestHostsInNamespaces(t *testing.T) {
	needNamespaces(t)
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			hosts := switched(t, family, 4)
			o1 := start(t, hosts[0], "offer", "17", "cedar-otter", "one")
			o2 := start(t, hosts[1], "offer", "23", "maple-heron", "two")
			// These are there before the offers are: they will hear of them.
			f1 := start(t, hosts[2], "find", "17", "cedar-otter")
			f2 := start(t, hosts[3], "find", "23", "maple-heron")
			wantLine(t, o1, "ready 17")
			wantLine(t, o2, "ready 23")
			l1, l2 := wantLine(t, f1, "one "), wantLine(t, f2, "two ")
			for _, l := range []string{l1, l2} {
				if v6 := strings.Contains(l, "["); v6 != (family == "IPv6") {
					t.Errorf("%s: found at %q", family, l)
				}
			}
		})
	}
}

// An mDNS implementation that is not ours finds our offer and sees it go, and we
// find one of its.
func TestZeroconfPeer(t *testing.T) {
	needNamespaces(t)
	const python = "/usr/bin/python3" // Debian's, which has Debian's modules
	if err := exec.Command(python, "-c", "import zeroconf").Run(); err != nil {
		skipOrFail(t, "python3-zeroconf is missing: %v", err)
	}
	run := func(host []string, args ...string) <-chan string {
		return startCommand(t, exec.Command(host[0], append(host[1:], append([]string{python, "testdata/zeroconf_peer.py"}, args...)...)...))
	}
	hosts := switched(t, "IPv4", 2)

	finder := run(hosts[1], "find")
	offer := start(t, hosts[0], "offer", "17", "cedar-otter", "one")
	wantLine(t, offer, "ready 17")
	line := strings.Fields(wantLine(t, finder, "found "))
	if len(line) != 6 || line[4] != "192.0.2.1" || line[5] != "n=17,t=tcp,v=1" {
		t.Errorf("zeroconf finds %q", line)
	}
	found := start(t, hosts[1], "find", "17", "cedar-otter")
	wantLine(t, found, "one ")
	wantLine(t, finder, "removed "+line[1]) // the offer was taken up, and taken back

	lister := start(t, hosts[0], "list", "0", "x")
	run(hosts[1], "offer", "192.0.2.2")
	wantLine(t, lister, "candidate 0123456789abcdef 42 1 udp [192.0.2.2:4321]")
}

// switched makes n hosts on one switch, and gives for each the command that runs
// another there.
func switched(t *testing.T, family string, n int) [][]string {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			skipOrFail(t, "ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	name := func(s any) string { return fmt.Sprintf("wdisc%d-%v", os.Getpid(), s) }
	add := func(ns string) {
		ip("netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	}
	sw := name("sw")
	add(sw)
	ip("-n", sw, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	ip("-n", sw, "link", "set", "br0", "up")
	var hosts [][]string
	for i := 1; i <= n; i++ {
		ns := name(i)
		add(ns)
		ip("-n", sw, "link", "add", fmt.Sprint("p", i), "type", "veth", "peer", "name", "eth0", "netns", ns)
		ip("-n", sw, "link", "set", fmt.Sprint("p", i), "master", "br0", "up")
		if family == "IPv4" {
			exec.Command("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1").Run()
			ip("-n", ns, "link", "set", "eth0", "addrgenmode", "none")
			ip("-n", ns, "addr", "add", fmt.Sprintf("192.0.2.%d/24", i), "dev", "eth0")
		} else {
			ip("-n", ns, "addr", "add", fmt.Sprintf("2001:db8::%d/64", i), "dev", "eth0", "nodad")
		}
		ip("-n", ns, "link", "set", "lo", "up")
		ip("-n", ns, "link", "set", "eth0", "up")
		hosts = append(hosts, []string{"ip", "netns", "exec", ns})
	}
	return hosts
}

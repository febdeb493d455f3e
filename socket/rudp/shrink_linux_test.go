package rudp

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// namespaces makes hosts with a router between them:
//
//	10.201.1.1 a --- r --- b 10.201.2.1
//
// and returns their names.
func namespaces(t *testing.T) (a, r, b string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces of this kind need root")
	}
	missing := t.Skipf
	if os.Getenv("CI") == "true" {
		missing = t.Fatalf
	}
	if _, err := exec.LookPath("ip"); err != nil {
		missing("SKIPPED: ip(8) is not installed (iproute2)")
	}
	name := func(s string) string { return fmt.Sprintf("wherry-%s-%d", s, os.Getpid()) }
	a, r, b = name("a"), name("r"), name("b")
	t.Cleanup(func() {
		for _, n := range []string{a, r, b} {
			_ = exec.Command("ip", "netns", "del", n).Run()
		}
	})
	for _, line := range strings.Split(strings.TrimSpace(`
netns add A
netns add R
netns add B
link add ea netns A type veth peer name ra netns R
link add eb netns B type veth peer name rb netns R
-n A addr add 10.201.1.1/24 dev ea
-n R addr add 10.201.1.2/24 dev ra
-n R addr add 10.201.2.2/24 dev rb
-n B addr add 10.201.2.1/24 dev eb
-n A link set ea up
-n R link set ra up
-n R link set rb up
-n B link set eb up
-n A route add default via 10.201.1.2
-n B route add default via 10.201.2.2`), "\n") {
		args := strings.Fields(line)
		for i, w := range args {
			switch w {
			case "A":
				args[i] = a
			case "R":
				args[i] = r
			case "B":
				args[i] = b
			}
		}
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			missing("SKIPPED: ip %s: %v: %s", line, err, out)
		}
	}
	within(t, r, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) })
	return a, r, b
}

// within calls f on a thread of its own in a namespace. Sockets that f opens
// stay there.
func within(t *testing.T, name string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := os.Open("/run/netns/" + name)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in %s: %v", name, err)
	}
}

// TestRouterShrinks: a router's link gets a smaller MTU in the middle of a
// transfer. The datagrams are too long for it from then on, segmented trains
// too, and what ICMP says of that nobody may believe; the transfer goes on with
// shorter ones.
func TestRouterShrinks(t *testing.T) {
	nsA, nsR, nsB := namespaces(t)
	var l *Listener
	var c *Conn
	server := netip.MustParseAddrPort("10.201.2.1:7557")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	within(t, nsB, func() (err error) {
		l, err = Listen(ctx, "udp4", server.String(), Config{})
		return err
	})
	defer l.Close()
	// The pace only keeps the test from moving gigabytes.
	cfg := Config{Engine: arq.Config{MaxDatagram: 1472, Rate: 10e6}}
	within(t, nsA, func() (err error) {
		c, err = Dial(ctx, server, cfg)
		return err
	})
	defer c.Close()
	s, err := l.AcceptContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	s.SetDeadline(deadline)

	want := make([]byte, 1<<20)
	rand.Read(want)
	wrote := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				wrote <- c.CloseWrite()
				return
			default:
			}
			if _, err := c.Write(want); err != nil {
				wrote <- err
				return
			}
		}
	}()
	got := make([]byte, len(want))
	read := func() {
		t.Helper()
		if _, err := io.ReadFull(s, got); err != nil {
			t.Fatalf("with datagrams of %d bytes: %v", c.Stats().Datagram, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("something else arrived")
		}
	}
	for c.Stats().Datagram < 1472 {
		read()
	}
	before := c.Stats()
	if out, err := exec.Command("ip", "-n", nsR, "link", "set", "rb", "mtu", "1328").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	from := time.Now()
	for c.Stats().Datagram >= 1472 {
		read() // what was under way, and then what comes after the hole
	}
	for range 3 {
		read()
	}
	after := c.Stats()
	t.Logf("datagrams of %d bytes, then %d after %v; %d packets lost", before.Datagram, after.Datagram, time.Since(from).Round(time.Millisecond), after.PacketsLost-before.PacketsLost)
	if after.Datagram > 1300 {
		t.Errorf("datagrams of %d bytes for a path of 1300", after.Datagram)
	}
	close(stop)
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Error(err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// Package sockettest has what tests of several packages need of the network: ports
// where nobody is, and ports for other programs, for as long as the test lasts.
package sockettest

import (
	"net"
	"net/netip"
	"testing"
)

var loopback = net.IPv4(127, 0, 0, 1)

// DeadTCP returns a loopback address where nobody listens, and nobody will before
// the test is over. A port that was bound and given back is anybody's, and on a busy
// machine somebody takes it; this one is held by a connection to elsewhere.
func DeadTCP(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.DialTCP("tcp4", &net.TCPAddr{IP: loopback}, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.TCPAddr).AddrPort()
}

// DeadUDP is [DeadTCP] for datagrams: the socket that holds the port is connected to
// another, so that to all the rest of the world the system says that nobody is there.
func DeadUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	other, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	c, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopback}, other.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

package dnstest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

var ports atomic.Uint32 // that this process has looked at

// FreePort returns a port of 127.0.0.1 that is free for UDP and TCP and stays
// with the test until it ends: to start another program on, to close and to
// open again, or to find nobody on.
//
// A port that the system has just given out and taken back does not do for
// that: any socket of any program may be the next to be given it. So these lie
// outside of the range that the system gives out (where that is known), and a
// listener on another address of loopback keeps other tests from the same
// port, those of other processes too.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	low, high := portRange()
	guarded := canGuard()
	for range high - low {
		// Each its own and none again soon, for packets that are late.
		port := low + (os.Getpid()*61+int(ports.Add(1)))%(high-low)
		guard, err := net.Listen("tcp4", fmt.Sprintf("127.83.0.1:%d", port))
		if err != nil && guarded {
			continue // another test's
		}
		if !isFree(port) {
			if guard != nil {
				guard.Close()
			}
			continue
		}
		if guard != nil {
			t.Cleanup(func() { guard.Close() })
		}
		return uint16(port)
	}
	t.Fatal("no free port")
	return 0
}

// portRange returns where to look for ports: below those that the system gives
// out by itself, if there is room.
func portRange() (low, high int) {
	low, high = 15000, 32768
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return low, high
	}
	var first, last int
	if _, err := fmt.Sscan(string(b), &first, &last); err != nil {
		return low, high
	}
	switch {
	case first > low+1000:
		high = min(high, first)
	case last < 60000:
		low, high = last+1, 65536
	}
	return low, high
}

// canGuard reports whether there are more addresses of loopback than one, as
// only Linux has them by itself.
func canGuard() bool {
	l, err := net.Listen("tcp4", "127.83.0.1:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}

func isFree(port int) bool {
	a := fmt.Sprintf("127.0.0.1:%d", port)
	l, err := net.Listen("tcp4", a)
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp4", a)
	if err != nil {
		return false
	}
	u.Close()
	return true
}

package sockettest

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

var blocks atomic.Uint32 // of ports that this process has looked at

// FreePort returns a port of 127.0.0.1 that is free for UDP and TCP and stays
// with the test until it ends: to start another program on, to close and to
// open again, or to find nobody on.
//
// A port that the system has just given out and taken back does not do for
// that: any socket of any program may be the next to be given it. So these lie
// outside of the range that the system gives out (where that is known), and a
// listener on the port before them keeps other tests away, those of other
// processes too. A listener on the port itself, be it on another address, would
// be in the way of programs that listen on all addresses.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	return FreePorts(t)[0]
}

// FreePorts is [FreePort] for a program that needs three.
func FreePorts(t testing.TB) (ports [3]uint16) {
	t.Helper()
	low, high := portRange()
	const block = 1 + len(ports)
	n := (high - low) / block
	for range n {
		// Each its own and none again soon, for packets that are late.
		first := low + block*((os.Getpid()*61+int(blocks.Add(1)))%n)
		guard, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", first))
		if err != nil {
			continue // another test's
		}
		free := true
		for i := range ports {
			ports[i] = uint16(first + 1 + i)
			free = free && isFree(first+1+i)
		}
		if free {
			t.Cleanup(func() { guard.Close() })
			return ports
		}
		guard.Close()
	}
	t.Fatal("no free ports")
	return ports
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

package datagram

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// interfaces caches what the system tells about its interfaces, which takes a
// dozen system calls and rarely changes.
var interfaces struct {
	sync.Mutex
	at  time.Time
	mtu map[netip.Addr]int
}

// InterfacePayload returns the longest UDP payload that the interface with the
// address local can send to remote in one IP packet: its MTU less 28 bytes for
// IPv4, 48 for IPv6. Where that cannot be told it is Ethernet's.
func InterfacePayload(local, remote netip.Addr) int {
	headers := 48
	if remote.Unmap().Is4() {
		headers = 28
	}
	mtu := interfaceMTU(local.Unmap().WithZone(""))
	if mtu == 0 && local.IsLoopback() {
		// Only 127.0.0.1 is listed, but all of 127.0.0.0/8 is there.
		mtu = interfaceMTU(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	if mtu == 0 {
		mtu = 1500
	}
	return min(mtu-headers, 65507)
}

func interfaceMTU(a netip.Addr) int {
	c := &interfaces
	c.Lock()
	defer c.Unlock()
	if c.mtu == nil || time.Since(c.at) > 10*time.Second {
		c.at, c.mtu = time.Now(), make(map[netip.Addr]int)
		ifs, err := net.Interfaces()
		if err != nil {
			return 0
		}
		for _, i := range ifs {
			addrs, err := i.Addrs()
			if err != nil {
				continue
			}
			for _, ia := range addrs {
				if n, ok := ia.(*net.IPNet); ok {
					if ip, ok := netip.AddrFromSlice(n.IP); ok {
						c.mtu[ip.Unmap()] = i.MTU
					}
				}
			}
		}
	}
	return c.mtu[a]
}

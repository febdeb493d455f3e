package datagram

import (
	"errors"

	"golang.org/x/sys/windows"
)

// Socket options of ws2ipdef.h that x/sys does not have.
const (
	ipDontFragment = 14 // IP_DONTFRAGMENT
	ipv6DontFrag   = 14 // IPV6_DONTFRAG
)

// forbidFragments sets the DF bit, without which path MTU discovery would find
// that everything fits.
func (c *Conn) forbidFragments() error {
	raw, err := c.udp.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		// Each fails on a socket of the other family.
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, ipDontFragment, 1)
		_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, ipv6DontFrag, 1)
	})
}

func isTooLong(err error) bool { return errors.Is(err, windows.WSAEMSGSIZE) }

package datagram

import (
	"errors"

	"golang.org/x/sys/unix"
)

// forbidFragments sets the DF bit, without which path MTU discovery would find
// that everything fits.
func (c *Conn) forbidFragments() error {
	raw, err := c.udp.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		// Each fails on a socket of the other family, and before macOS 11.
		// Then large probes are fragmented, which costs speed and nothing else.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_DONTFRAG, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
	})
}

func isTooLong(err error) bool { return errors.Is(err, unix.EMSGSIZE) }

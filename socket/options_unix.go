//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package socket

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (o *Options) apply(network string, fd uintptr) error {
	s := int(fd)
	if o.SendBuffer > 0 {
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer); err != nil {
			return &OptionError{"send buffer", strconv.Itoa(o.SendBuffer), err}
		}
	}
	if o.ReceiveBuffer > 0 {
		if err := unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer); err != nil {
			return &OptionError{"receive buffer", strconv.Itoa(o.ReceiveBuffer), err}
		}
	}
	if o.DSCP > 0 {
		// The code point is the upper six bits of the old type of service
		// octet; the lower two are ECN's (RFC 3168).
		tos := int(o.DSCP) << 2
		if strings.HasSuffix(network, "6") {
			if err := unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, tos); err != nil {
				return &OptionError{"DSCP", strconv.Itoa(int(o.DSCP)), err}
			}
			// A socket for both families needs both options. On one that is
			// for IPv6 alone this fails or does nothing.
			_ = unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_TOS, tos)
		} else if err := unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_TOS, tos); err != nil {
			return &OptionError{"DSCP", strconv.Itoa(int(o.DSCP)), err}
		}
	}
	if strings.HasPrefix(network, "tcp") {
		return o.applyTCP(s)
	}
	return nil
}

func getBuffers(fd uintptr) (send, receive int, err error) {
	if send, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
		return 0, 0, err
	}
	receive, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	return send, receive, err
}

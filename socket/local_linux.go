package socket

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// localQueue is what LimitLocalQueue asks for, in bytes; Linux grants twice as
// much and counts its own structures.
const localQueue = 512 << 10

// LimitLocalQueue bounds the send buffer of a connection whose other end is on
// this machine, and reports whether it did. The kernel's autotuning lets megabytes
// wait there, which fill no path: by the time that they are read they have left
// the processors' caches. A buffer that was chosen ([Options].SendBuffer) stays.
func (c *Conn) LimitLocalQueue() bool {
	if !c.local() {
		return false
	}
	done := false
	_ = c.control(func(fd uintptr) {
		locked, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK)
		if err == nil && locked&unix.SOCK_SNDBUF_LOCK == 0 { // else it was chosen, or Linux is older than 5.14
			done = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, localQueue) == nil
		}
	})
	return done
}

// local reports whether both ends are on this machine.
func (c *Conn) local() bool {
	here, there := address(c.LocalAddr()), address(c.RemoteAddr())
	return there.IsValid() && (there.IsLoopback() || here == there)
}

func address(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

package datagram

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	canGather = true
	// maxParts is room for a train of maxSegments with a head, two parts of
	// content and an end each. The kernel takes UIO_MAXIOV, 1024.
	maxParts = 4 * maxSegments
)

// A gatherer is one sendmsg from many places in the making.
type gatherer struct {
	hdr     unix.Msghdr
	name    unix.RawSockaddrInet6
	control [controlSize]byte
	vec     [maxParts]unix.Iovec
	errno   syscall.Errno
	try     func(fd uintptr) bool // made once, so that calls do not allocate
}

var gatherers = sync.Pool{New: func() any {
	g := new(gatherer)
	g.try = func(fd uintptr) bool {
		for {
			// Raw as in [batch.init]: it never waits.
			_, _, g.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&g.hdr)), unix.MSG_DONTWAIT)
			switch g.errno {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false // the netpoller wakes us
			}
			return true
		}
	}
	return g
}}

// writeParts sends a train with one call. It reports false where that cannot be
// done or the system refused it.
func (c *Conn) writeParts(m *Message, parts [][]byte) (bool, error) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	train := m.Segment > 0 && n > m.Segment
	if len(parts) > maxParts || m.Single || train && (n > maxTrain || n > maxSegments*m.Segment) {
		return false, nil
	}
	g := gatherers.Get().(*gatherer)
	defer gatherers.Put(g)
	for i, p := range parts {
		g.vec[i].Base = unsafe.SliceData(p)
		g.vec[i].SetLen(len(p))
	}
	g.hdr = unix.Msghdr{Iov: &g.vec[0]}
	g.hdr.SetIovlen(len(parts))
	if !c.peer.IsValid() {
		g.hdr.Name = (*byte)(unsafe.Pointer(&g.name))
		g.hdr.Namelen = c.putAddr(&g.name, m.Addr)
	}
	k := 0
	if train {
		k = putSegment(g.control[:], k, m.Segment)
	}
	if k = c.putControl(g.control[:], k, m); k > 0 {
		g.hdr.Control = &g.control[0]
		g.hdr.SetControllen(k)
	}
	err := c.sys.raw.Write(g.try)
	c.count.sendCalls.Add(1)
	clear(g.vec[:len(parts)]) // what it points to is not ours
	if err != nil || g.errno != 0 {
		return false, err
	}
	sent := 1
	if train {
		sent = (n + m.Segment - 1) / m.Segment
	}
	c.count.sent.Add(uint64(sent))
	c.count.sentBytes.Add(uint64(n))
	return true, nil
}

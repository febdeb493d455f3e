package datagram

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxBatch bounds what one system call takes: as many messages as keep the
// arrays within a page or two.
const maxBatch = 64

// mmsghdr is struct mmsghdr of recvmmsg(2), which x/sys does not have. The
// compiler pads it as C does, since Msghdr ends on a word.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// controlSize has room for the control messages of either direction.
const controlSize = 128

// slot is everything but the header that one message needs. The arrays must not
// move while the kernel has their addresses, so they are fields.
type slot struct {
	iov     unix.Iovec
	name    unix.RawSockaddrInet6 // also holds a RawSockaddrInet4
	control [controlSize]byte
}

// system is the state of a Linux socket.
type system struct {
	raw  syscall.RawConn
	inet bool // the socket is AF_INET; otherwise AF_INET6, perhaps with IPv4 in it

	reader  batch     // ReadBatch is called by one goroutine at a time
	writers sync.Pool // of *batch

	dropsSeen uint32
	last      struct { // the sender of the last message, whose conversion is reused
		name unix.RawSockaddrInet6
		addr netip.AddrPort
	}
	recvBuffer, sendBuffer int
}

const (
	// maxTrain is the longest train that the kernel takes: the length of an
	// IP packet less the headers.
	maxTrain = 65535 - 48
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9, which has 128.
	// At 1400 bytes a train is full before either.
	maxSegments = 64
)

// A batch is one recvmmsg or sendmmsg in the making.
type batch struct {
	hdr   [maxBatch]mmsghdr
	slot  [maxBatch]slot
	call  uintptr // SYS_RECVMMSG or SYS_SENDMMSG
	from  int
	n     int // of hdr in use
	done  int
	errno syscall.Errno
	try   func(fd uintptr) bool // made once, so that calls do not allocate
}

func newBatch(call uintptr) *batch {
	b := new(batch)
	b.init(call)
	return b
}

func (b *batch) init(call uintptr) {
	b.call = call
	b.try = func(fd uintptr) bool {
		for {
			// One message is sent by sendmsg or recvmsg inside the kernel all
			// the same; the difference in cost is not measurable. None of
			// these calls ever waits, so the scheduler is not told of them:
			// it would take the processor away from every goroutine whose
			// call lasts 20 µs, as a train's does, only to give it back.
			n, _, errno := unix.RawSyscall6(b.call, fd, uintptr(unsafe.Pointer(&b.hdr[b.from])), uintptr(b.n-b.from), unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false // the netpoller wakes us
			}
			b.done, b.errno = int(n), errno
			if errno != 0 {
				b.done = 0
			}
			return true
		}
	}
	for i := range b.hdr {
		h, s := &b.hdr[i].Msghdr, &b.slot[i]
		h.Iov = &s.iov
		h.SetIovlen(1)
	}
}

func (c *Conn) setup(o Options) error {
	raw, err := c.udp.SyscallConn()
	if err != nil {
		return err
	}
	s := &c.sys
	s.raw = raw
	s.writers.New = func() any { return newBatch(unix.SYS_SENDMMSG) }
	s.reader.init(unix.SYS_RECVMMSG)
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = c.options(int(fd), o) })
	return errors.Join(err, optErr)
}

func (c *Conn) options(fd int, o Options) error {
	s := &c.sys
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt SO_DOMAIN", err)
	}
	s.inet = domain == unix.AF_INET
	for _, b := range []struct{ force, polite, size int }{
		{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.RecvBuffer},
		{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer},
	} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, b.size) != nil {
			// Without CAP_NET_ADMIN; the system's limit is what there is.
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.polite, b.size)
		}
	}
	// The kernel doubles what it is told, for its own overhead, and tells that.
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err == nil {
		s.recvBuffer = n / 2
	}
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil {
		s.sendBuffer = n / 2
	}
	// Each of these is something that we can do without on a kernel that does
	// not have it, and the IPv4 ones also count on an IPv6 socket that takes
	// IPv4, but fail on one that does not.
	set := func(level, opt, v int) bool { return unix.SetsockoptInt(fd, level, opt, v) == nil }
	set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	set(unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	// PROBE sets the DF bit and does not believe ICMP about the path's MTU,
	// which anybody can forge: path MTU discovery does its own (RFC 8899).
	set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if !s.inet {
		set(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
		set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
	}
	if !c.peer.IsValid() {
		set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		if !s.inet {
			set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		}
	}
	if c.mode == Segmented {
		// Reading the option tells whether the kernel knows it (4.18 on).
		if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
			c.mode = Batched
		} else {
			set(unix.IPPROTO_UDP, unix.UDP_GRO, 1) // 5.0 on
		}
	}
	return nil
}

// Buffers returns the sizes of the kernel's buffers in bytes, as granted.
func (c *Conn) Buffers() (recv, send int) { return c.sys.recvBuffer, c.sys.sendBuffer }

func (c *Conn) readBatch(ms []Message) (int, error) {
	if c.mode == Plain {
		return c.readPlain(ms)
	}
	b := &c.sys.reader
	b.n = min(len(ms), maxBatch)
	for i := range b.n {
		h, s, m := &b.hdr[i].Msghdr, &b.slot[i], &ms[i]
		s.iov.Base = unsafe.SliceData(m.Buf)
		s.iov.SetLen(len(m.Buf))
		h.Name = (*byte)(unsafe.Pointer(&s.name))
		h.Namelen = unix.SizeofSockaddrInet6
		h.Control = &s.control[0]
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	b.from, b.done, b.errno = 0, 0, 0
	err := c.sys.raw.Read(b.try)
	c.count.recvCalls.Add(1)
	for err == nil && b.errno == unix.EMSGSIZE {
		// ICMP says of something that was sent that it was too long for the
		// path. Anybody can forge that; path MTU discovery does its own.
		c.count.tooLong.Add(1)
		err = c.sys.raw.Read(b.try)
		c.count.recvCalls.Add(1)
	}
	if err == nil && b.errno != 0 {
		err = os.NewSyscallError("recvmmsg", b.errno)
	}
	if err != nil {
		return 0, err
	}
	for i := range b.done {
		h, s, m := &b.hdr[i], &b.slot[i], &ms[i]
		n := int(h.n)
		*m = Message{Buf: m.Buf, N: n, Segment: n, Addr: c.peer}
		if !c.peer.IsValid() {
			m.Addr = c.addrPort(&s.name)
		}
		if h.Flags&unix.MSG_TRUNC != 0 {
			c.count.truncated.Add(1)
		}
		c.readControl(s.control[:h.Controllen], m)
	}
	return b.done, nil
}

// writeBatch fills batches with what is left of ms until all is sent.
func (c *Conn) writeBatch(ms []Message) (int, error) {
	if c.mode == Plain {
		return c.writePlain(ms)
	}
	b := c.sys.writers.Get().(*batch)
	defer c.sys.writers.Put(b)
	w := writing{c: c, b: b, ms: ms}
	for w.msg < len(ms) {
		w.fill()
		if err := w.flush(); err != nil {
			return w.msg, err
		}
	}
	return len(ms), nil
}

// writing is where a WriteBatch has got to.
type writing struct {
	c   *Conn
	b   *batch
	ms  []Message
	msg int // the first message that is not all sent,
	off int // and how much of it is

	at [maxBatch]piece // what each header of the batch holds
}

// A piece is a part of a message that is one header.
type piece struct {
	msg, off, end int
	train         bool
}

func (w *writing) fill() {
	c, b := w.c, w.b
	b.n = 0
	msg, off := w.msg, w.off
	var asked netip.AddrPort
	seg, known := false, false
	for msg < len(w.ms) && b.n < maxBatch {
		m := &w.ms[msg]
		if !known || asked != m.Addr {
			asked, known, seg = m.Addr, true, c.Segmenting(m.Addr)
		}
		end := len(m.Buf)
		train := false
		if m.Segment > 0 && end-off > m.Segment {
			most := m.Segment
			if seg && !m.Single {
				most *= max(1, min(maxSegments, maxTrain/m.Segment))
			}
			end = min(end, off+most)
			train = end-off > m.Segment
		}
		h, s := &b.hdr[b.n].Msghdr, &b.slot[b.n]
		s.iov.Base = unsafe.SliceData(m.Buf[off:end])
		s.iov.SetLen(end - off)
		h.Name, h.Namelen = nil, 0
		if !c.peer.IsValid() {
			h.Name = (*byte)(unsafe.Pointer(&s.name))
			h.Namelen = c.putAddr(&s.name, m.Addr)
		}
		n := 0
		if train {
			n = putSegment(s.control[:], n, m.Segment)
		}
		n = c.putControl(s.control[:], n, m)
		h.Control = &s.control[0]
		h.SetControllen(n)
		if n == 0 {
			h.Control = nil
		}
		w.at[b.n] = piece{msg, off, end, train}
		b.n++
		if off = end; off >= len(m.Buf) {
			msg, off = msg+1, 0
		}
	}
}

// flush sends the batch, deals with what cannot be sent, and moves on behind
// what was dealt with. It returns early when segmentation is given up on the
// way, for fill to make single datagrams of the rest.
func (w *writing) flush() error {
	c, b := w.c, w.b
	tried := false
	for b.from = 0; b.from < b.n; {
		b.done, b.errno = 0, 0
		err := c.sys.raw.Write(b.try)
		c.count.sendCalls.Add(1)
		if err != nil {
			return err
		}
		if b.errno == 0 {
			for i := b.from; i < b.from+b.done; i++ {
				p := &w.at[i]
				m := &w.ms[p.msg]
				n := 1
				if p.train {
					n = (p.end - p.off + m.Segment - 1) / m.Segment
				}
				c.count.sent.Add(uint64(n))
				c.count.sentBytes.Add(uint64(p.end - p.off))
			}
			b.from += b.done
			tried = false
			w.advance(b.from)
			continue
		}
		p := &w.at[b.from]
		m := &w.ms[p.msg]
		switch {
		case !tried && (b.errno == unix.EMSGSIZE || b.errno == unix.EPERM):
			// EMSGSIZE: perhaps not about this one, but what ICMP says of an
			// earlier one. EPERM: connection tracking. Once more.
			tried = true
		case p.train && (b.errno == unix.EIO || b.errno == unix.EINVAL || b.errno == unix.EMSGSIZE):
			// EIO: the device cannot make the checksums. EINVAL and EMSGSIZE:
			// no segmentation, or a segment longer than the MTU; only single
			// datagrams tell which.
			if err := w.single(p, m); err != nil {
				return err
			}
			b.from++
			w.advance(b.from)
			tried = false
			if !c.Segmenting(m.Addr) {
				return nil
			}
		default:
			err := os.NewSyscallError("sendmmsg", b.errno)
			if !c.dropped(err) {
				return err
			}
			b.from++
			w.advance(b.from)
			tried = false
		}
	}
	return nil
}

// advance notes that everything before header i is dealt with.
func (w *writing) advance(i int) {
	if i < w.b.n {
		w.msg, w.off = w.at[i].msg, w.at[i].off
		return
	}
	p := &w.at[i-1]
	if w.msg, w.off = p.msg, p.end; w.off >= len(w.ms[p.msg].Buf) {
		w.msg, w.off = p.msg+1, 0
	}
}

// single sends a train that was refused datagram by datagram. If one of full
// size passes, trains to this peer are over.
func (w *writing) single(p *piece, m *Message) error {
	c := w.c
	c.count.unseg.Add(1)
	one := c.sys.writers.Get().(*batch)
	defer c.sys.writers.Put(one)
	passed := false
	for off := p.off; off < p.end; off += m.Segment {
		sub := writing{c: c, b: one, ms: []Message{{Buf: m.Buf[off:min(off+m.Segment, p.end)], Addr: m.Addr, Local: m.Local, ECN: m.ECN}}}
		before := c.count.tooLong.Load()
		sub.fill()
		if err := sub.flush(); err != nil {
			return err
		}
		passed = passed || c.count.tooLong.Load() == before
	}
	if passed {
		c.DisableSegmentation(m.Addr)
	}
	return nil
}

func isTooLong(err error) bool { return errors.Is(err, unix.EMSGSIZE) }

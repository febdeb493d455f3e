package box

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packetPort is a packet socket at the far end of a host's veth pair. Frames come
// through a ring of memory that is shared with the kernel (packet(7),
// TPACKET_V2), since an unprivileged user may have megabytes there and only some
// hundred kilobytes in a socket's buffer; they go by sendmmsg.
type packetPort struct {
	file  int
	ring  []byte
	frame int // size of a slot
	slots int
	next  int // slot to read
	drops atomic.Uint64

	msgs []mmsghdr
	iovs []unix.Iovec
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// ringBytes is the size of the ring: at 1 Gbit/s it holds what comes in 50 ms.
const ringBytes = 8 << 20

const etherLen = 14

func newPacketPort(fd, mtu int) (*packetPort, error) {
	p := &packetPort{file: fd, frame: 2048, msgs: make([]mmsghdr, batch), iovs: make([]unix.Iovec, batch)}
	// The kernel's header, the Ethernet header and some alignment.
	for p.frame < mtu+128 {
		p.frame *= 2
	}
	block := max(p.frame, 64<<10)
	blocks := max(4, ringBytes/block)
	p.slots = blocks * (block / p.frame)
	err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2)
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
		err = unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq{
			Block_size: uint32(block), Block_nr: uint32(blocks), Frame_size: uint32(p.frame), Frame_nr: uint32(p.slots)})
	}
	if err == nil {
		p.ring, err = unix.Mmap(fd, 0, block*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("share a ring with a packet socket: %w", err)
	}
	return p, nil
}

func (p *packetPort) take(f func([]byte)) (int, error) {
	for k := range batch {
		slot := p.ring[p.next*p.frame : (p.next+1)*p.frame]
		h := (*unix.Tpacket2Hdr)(ptr(slot))
		if atomic.LoadUint32(&h.Status)&unix.TP_STATUS_USER == 0 {
			return k, nil
		}
		// What the host sends is an Ethernet frame; a link carries IP.
		from, to := int(h.Mac)+etherLen, int(h.Mac)+int(h.Snaplen)
		if from < to && to <= len(slot) {
			switch binary.BigEndian.Uint16(slot[from-2:]) {
			case unix.ETH_P_IP, unix.ETH_P_IPV6:
				f(slot[from:to])
			}
		}
		atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
		if p.next++; p.next == p.slots {
			p.next = 0
		}
	}
	return batch, nil
}

func (p *packetPort) give(fs []frame) (refused int, err error) {
	for i := range fs {
		f := &fs[i]
		eth := f.buf[headroom-etherLen:]
		copy(eth, mac[:])
		copy(eth[6:], mac[:])
		kind := uint16(unix.ETH_P_IP)
		if f.n > 0 && f.buf[headroom]>>4 == 6 {
			kind = unix.ETH_P_IPV6
		}
		binary.BigEndian.PutUint16(eth[12:], kind)
		p.iovs[i].Base = &eth[0]
		p.iovs[i].SetLen(etherLen + f.n)
		p.msgs[i].hdr.Iov = &p.iovs[i]
		p.msgs[i].hdr.SetIovlen(1)
	}
	for done := 0; done < len(fs); {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(p.file), uintptr(unsafe.Pointer(&p.msgs[done])), uintptr(len(fs)-done), 0, 0, 0)
		switch errno {
		case 0:
			done += int(n)
		case unix.EINTR:
		case unix.EBADF, unix.ENXIO, unix.ENODEV:
			return refused, os.NewSyscallError("send to the veth pair", errno)
		default: // ENETDOWN: the host has its link down
			refused++
			done++
		}
	}
	return refused, nil
}

func (p *packetPort) broken() error {
	// The veth pair goes when the host deletes its end of it.
	if no, err := unix.GetsockoptInt(p.file, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || no == 0 || no == int(unix.ENETDOWN) {
		return errRemoved
	} else {
		return os.NewSyscallError("packet socket", unix.Errno(no))
	}
}

func (p *packetPort) fd() int { return p.file }

func (p *packetPort) missed() uint64 {
	// Reading them sets them to zero.
	if s, err := unix.GetsockoptTpacketStats(p.file, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		p.drops.Add(uint64(s.Drops))
	}
	return p.drops.Load()
}

func (p *packetPort) close() {
	_ = unix.Munmap(p.ring)
	unix.Close(p.file)
}

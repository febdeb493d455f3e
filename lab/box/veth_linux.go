package box

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mac is the hardware address of both hosts: a frame of one is then for the
// other without ARP, which puts the sender's own address where it knows none.
var mac = [6]byte{0x02, 'w', 'h', 'e', 'r', 'y'}

// makeVeths makes a veth pair for each host, with one end on the host and the
// other in a third namespace, and returns packet sockets on these others.
func makeVeths(hosts [2]*nsThread, mtu int) ([]*os.File, error) {
	wire, err := newNSThread(true)
	if err != nil {
		return nil, err
	}
	// The sockets keep the namespace.
	defer wire.stop()
	var files []*os.File
	for i, h := range hosts {
		far := fmt.Sprintf("wire%d", i)
		wire.do(func() {
			if err = makeVeth(far, mtu, int(h.ns.Fd())); err == nil {
				err = raise(far)
			}
		})
		if err != nil {
			break
		}
		// The host cuts its segments and fills in the checksums by itself: what
		// crosses the link is what a real wire carries.
		h.do(func() { err = offloadsOff(device) })
		if err != nil {
			break
		}
		wire.do(func() {
			var f *os.File
			if f, err = packetSocket(far); err == nil {
				files = append(files, f)
			}
		})
		if err != nil {
			break
		}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

const vethInfoPeer = 1 // VETH_INFO_PEER of linux/veth.h

// makeVeth makes the device far in this thread's namespace and its peer in the
// namespace ns.
func makeVeth(far string, mtu, ns int) error {
	var peer nlmsg
	peer.raw(make([]byte, unix.SizeofIfInfomsg))
	peer.attr(unix.IFLA_IFNAME, append([]byte(device), 0))
	peer.attr(unix.IFLA_ADDRESS, mac[:])
	peer.attr(unix.IFLA_MTU, word(mtu))
	peer.attr(unix.IFLA_NET_NS_FD, word(ns))
	var data nlmsg
	data.attr(vethInfoPeer, peer)
	var info nlmsg
	info.attr(unix.IFLA_INFO_KIND, []byte("veth"))
	info.attr(unix.IFLA_INFO_DATA, data)
	var m nlmsg
	m.raw(make([]byte, unix.SizeofIfInfomsg))
	m.attr(unix.IFLA_IFNAME, append([]byte(far), 0))
	m.attr(unix.IFLA_MTU, word(mtu))
	m.attr(unix.IFLA_LINKINFO, info)
	if err := m.ask(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL); err != nil {
		return fmt.Errorf("make a veth pair: %w", err)
	}
	return nil
}

// raise brings a device up that is to have no address of its own.
func raise(name string) error {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_NOARP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("raise %s: %w", name, err)
	}
	return nil
}

// offloadsOff makes a device send packets as they would cross a wire: no longer
// than the MTU, with their checksums.
func offloadsOff(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	// Segmentation needs checksums, so it goes off with them; it is named
	// first for kernels that would not see it so.
	for _, cmd := range []uint32{unix.ETHTOOL_STSO, unix.ETHTOOL_STXCSUM} {
		value := struct{ cmd, data uint32 }{cmd, 0}
		var r struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(r.name[:unix.IFNAMSIZ-1], name)
		r.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
			return fmt.Errorf("turn the offloads of %s off: %w", name, errno)
		}
	}
	return nil
}

// packetSocket opens a socket that takes every frame that comes in on a device.
func packetSocket(name string) (*os.File, error) {
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("packet socket", err)
	}
	index, err := deviceIndex(s, name)
	if err == nil {
		err = os.NewSyscallError("bind a packet socket", unix.Bind(s, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}))
	}
	if err != nil {
		unix.Close(s)
		return nil, err
	}
	return os.NewFile(uintptr(s), name), nil
}

func htons(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

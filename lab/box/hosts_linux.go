package box

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// device is what the link is called on both hosts.
const device = "eth0"

// bits4 and bits6 are the lengths of the link's prefixes.
const bits4, bits6 = 24, 64

// queueLen is the length of a TUN device's queue in packets: what may wait for
// the emulator while that waits for a processor, 100 ms at 1 Gbit/s. The queue is
// empty otherwise; the link's own queue is the emulator's.
const queueLen = 10000

// makeTUNs makes a TUN device on each host and returns them.
func makeTUNs(hosts [2]*nsThread, mtu int) ([]*os.File, error) {
	var files []*os.File
	for _, h := range hosts {
		var err error
		h.do(func() {
			var f *os.File
			if f, err = makeTUN(); err == nil {
				files = append(files, f)
			}
		})
		if err != nil {
			closeAll(files)
			return nil, err
		}
	}
	return files, nil
}

func makeTUN() (*os.File, error) {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r, err := unix.NewIfreq(device)
	if err == nil {
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, r)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a TUN device: %w", err)
	}
	return f, nil
}

// configure brings up the loopback and the link of the host that this thread is
// in.
func configure(h Host, mtu int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	// The hosts are quiet: no router is asked for, and no address is tried out
	// before it is used.
	for _, o := range []struct{ name, value string }{
		{"accept_ra", "0"}, {"router_solicitations", "0"}, {"dad_transmits", "0"}, {"accept_dad", "0"}, {"addr_gen_mode", "1"},
	} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/"+o.name, []byte(o.value), 0)
	}
	ask := func(what string, req uint, name string, set func(*unix.Ifreq) error) {
		if err != nil {
			return
		}
		var r *unix.Ifreq
		if r, err = unix.NewIfreq(name); err == nil {
			if err = set(r); err == nil {
				err = unix.IoctlIfreq(s, req, r)
			}
		}
		if err != nil {
			err = fmt.Errorf("%s of %s on host %v: %w", what, name, h, err)
		}
	}
	up := func(flags uint16) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint16(flags); return nil }
	}
	number := func(n int) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { r.SetUint32(uint32(n)); return nil }
	}
	address := func(a netip.Addr) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(a.AsSlice()) }
	}
	mask, _ := addr4[h].Prefix(bits4)
	ask("raise the loopback", unix.SIOCSIFFLAGS, "lo", up(unix.IFF_UP))
	ask("set the MTU", unix.SIOCSIFMTU, device, number(mtu))
	ask("set the address", unix.SIOCSIFADDR, device, address(addr4[h]))
	ask("set the netmask", unix.SIOCSIFNETMASK, device, address(netmask(mask.Bits())))
	// Without ARP nothing but IP crosses the link, and no packet waits for an
	// address to be found out.
	ask("raise the link", unix.SIOCSIFFLAGS, device, up(unix.IFF_UP|unix.IFF_RUNNING|unix.IFF_NOARP))
	if err != nil {
		return err
	}
	if err := setQueue(device, queueLen); err != nil {
		return fmt.Errorf("set the queue of %s on host %v: %w", device, h, err)
	}
	if err := addAddr6(device, addr6[h], bits6); err != nil && !errors.Is(err, errNoIPv6) {
		return fmt.Errorf("set the IPv6 address of %s on host %v: %w", device, h, err)
	}
	return nil
}

func netmask(bits int) netip.Addr {
	m := ^uint32(0) << (32 - bits)
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
}

var errNoIPv6 = errors.New("no IPv6 here")

// addAddr6 adds an address to a device of this thread's namespace.
func addAddr6(name string, a netip.Addr, bits int) error {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return errNoIPv6
	}
	defer unix.Close(s)
	index, err := deviceIndex(s, name)
	if err != nil {
		return err
	}
	// struct in6_ifreq of linux/ipv6.h.
	r := struct {
		addr  [16]byte
		bits  uint32
		index int32
	}{a.As16(), uint32(bits), int32(index)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(&r)))
	switch errno {
	case 0:
		return nil
	case unix.EACCES, unix.ENODEV, unix.EOPNOTSUPP: // disable_ipv6 is set
		return errNoIPv6
	}
	return errno
}

func deviceIndex(s int, name string) (int, error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, r); err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return int(int32(r.Uint32())), nil
}

// deviceDrops is the number of packets that the device dropped on their way to
// the emulator, in this thread's namespace.
func deviceDrops() uint64 {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return 0
	}
	return txDrops(text, device)
}

// txDrops finds the count of dropped outgoing packets of a device in the text of
// /proc/net/dev.
func txDrops(text []byte, name string) uint64 {
	for line := range bytes.Lines(text) {
		dev, rest, ok := strings.Cut(string(line), ":")
		if !ok || strings.TrimSpace(dev) != name {
			continue
		}
		// Eight numbers received, eight sent: bytes, packets, errors, drops.
		if f := strings.Fields(rest); len(f) >= 12 {
			n, _ := strconv.ParseUint(f[11], 10, 64)
			return n
		}
	}
	return 0
}

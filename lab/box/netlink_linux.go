package box

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nlmsg is a netlink message under construction, or a nest of attributes.
type nlmsg []byte

func (m *nlmsg) raw(b []byte) {
	*m = append(*m, b...)
	for len(*m)%unix.NLMSG_ALIGNTO != 0 {
		*m = append(*m, 0)
	}
}

func (m *nlmsg) attr(kind int, b []byte) {
	var head [unix.SizeofRtAttr]byte
	binary.NativeEndian.PutUint16(head[0:], uint16(len(head)+len(b)))
	binary.NativeEndian.PutUint16(head[2:], uint16(kind))
	*m = append(*m, head[:]...)
	m.raw(b)
}

func word(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

// ask sends m as a message of this type, in this thread's namespace, and waits for
// the kernel's answer.
func (m nlmsg) ask(kind, flags int) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("netlink socket", err)
	}
	defer unix.Close(s)
	b := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(m))
	binary.NativeEndian.PutUint32(b[0:], uint32(cap(b)))
	binary.NativeEndian.PutUint16(b[4:], uint16(kind))
	binary.NativeEndian.PutUint16(b[6:], uint16(flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK))
	if err := unix.Sendto(s, append(b, m...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 8192)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink gave an answer that makes no sense")
	}
	if no := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:])); no != 0 {
		return unix.Errno(-no)
	}
	return nil
}

// setQueue sets the length of a device's queue, in packets. The ioctl for it wants
// rights outside of the box.
func setQueue(name string, n int) error {
	var m nlmsg
	m.raw(make([]byte, unix.SizeofIfInfomsg))
	m.attr(unix.IFLA_IFNAME, append([]byte(name), 0))
	m.attr(unix.IFLA_TXQLEN, word(n))
	return m.ask(unix.RTM_NEWLINK, 0)
}

package box

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A port is where the packets of one host come out and go in. One goroutine may
// take while another gives.
type port interface {
	// take calls f with packets that the host has sent, for as long as there
	// are some but for no more than a batch, and returns how many there were.
	// It does not wait. f must not keep the packet.
	take(f func(pkt []byte)) (int, error)
	// give hands packets to the host and returns how many it would not have.
	give(fs []frame) (refused int, err error)
	// fd becomes readable when there is something to take.
	fd() int
	// broken says why the file has an error condition; the port is of no more
	// use then.
	broken() error
	// missed counts packets that the host has sent and that were dropped
	// before they could be taken.
	missed() uint64
	close()
}

// batch is how many packets a wire takes or gives before it looks at the other
// side.
const batch = 64

// A frame is a packet with room before it for what a port puts in front.
type frame struct {
	buf []byte // the packet starts at headroom
	n   int    // length of the packet
}

const headroom = 16

func newFrames(size int) []frame {
	fs := make([]frame, batch)
	for i := range fs {
		fs[i].buf = make([]byte, headroom+size)
	}
	return fs
}

func (f *frame) packet() []byte { return f.buf[headroom : headroom+f.n] }

// newPort takes over fd.
func newPort(b Backend, fd, mtu int) (port, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	switch b {
	case TUN:
		return &tunPort{file: fd, buf: make([]byte, 1<<16)}, nil
	case Packet:
		return newPacketPort(fd, mtu)
	}
	unix.Close(fd)
	return nil, fmt.Errorf("there is no back end %v", b)
}

// read and write are system calls that never wait, so the scheduler need not know
// of them.
func read(fd int, b []byte) (int, unix.Errno) {
	n, _, err := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(ptr(b)), uintptr(len(b)))
	return int(n), err
}

func write(fd int, b []byte) unix.Errno {
	_, _, err := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(ptr(b)), uintptr(len(b)))
	return err
}

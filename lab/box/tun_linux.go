package box

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func ptr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// tunPort is a TUN device: a read is a packet, and so is a write.
type tunPort struct {
	file int
	buf  []byte
}

func (p *tunPort) take(f func([]byte)) (int, error) {
	for k := range batch {
		n, err := read(p.file, p.buf)
		switch err {
		case 0:
			f(p.buf[:n])
		case unix.EAGAIN:
			return k, nil
		case unix.EINTR:
		default:
			return k, os.NewSyscallError("read from the TUN device", err)
		}
	}
	return batch, nil
}

func (p *tunPort) give(fs []frame) (refused int, err error) {
	for i := range fs {
		switch err := write(p.file, fs[i].packet()); err {
		case 0:
		case unix.EBADFD, unix.EBADF:
			return refused, os.NewSyscallError("write to the TUN device", err)
		default:
			// It takes no packet whose version is neither 4 nor 6, which
			// corruption can make; nor any while the host has the link down.
			refused++
		}
	}
	return refused, nil
}

func (p *tunPort) broken() error { return errRemoved }

func (p *tunPort) fd() int        { return p.file }
func (p *tunPort) missed() uint64 { return 0 } // the device counts them
func (p *tunPort) close()         { unix.Close(p.file) }

//go:build unix

package transfer

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openNonblock keeps the open of a file that has become a FIFO since the walk
// from waiting for a writer.
const openNonblock = syscall.O_NONBLOCK

// open opens the file name in d for reading, and not what a link there points to.
func (d *sourceDir) open(name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(d.at.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "openat", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

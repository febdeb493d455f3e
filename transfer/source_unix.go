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
	fd, err := d.openFD(name)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (d *sourceDir) openFD(name string) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(int(d.at.Fd()), name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "openat", Path: name, Err: err}
	}
	return fd, nil
}

// again calls f until no signal interrupts it.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// read puts the file name's content into p, as far as there is room, and tells
// whether it was written to meanwhile. It is for many small files, for each of which
// package os would make three objects and ask the system three times more.
func (d *sourceDir) read(name string, p []byte) (n int, changed bool, err error) {
	fd, err := d.openFD(name)
	if err != nil {
		return 0, false, err
	}
	var before, after unix.Stat_t
	err = again(func() error { return unix.Fstat(fd, &before) })
	if err != nil || before.Mode&unix.S_IFMT != unix.S_IFREG {
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		info, err := f.Stat()
		if err == nil {
			err = errBecame(info.Mode())
		}
		return 0, false, err
	}
	defer unix.Close(fd)
	for n < len(p) {
		var got int
		if err := again(func() (err error) { got, err = unix.Read(fd, p[n:]); return err }); err != nil {
			return n, false, err
		}
		if got == 0 {
			break
		}
		n += got
	}
	if err := again(func() error { return unix.Fstat(fd, &after) }); err != nil {
		return n, false, nil
	}
	return n, after.Size != before.Size || after.Mtim != before.Mtim, nil
}

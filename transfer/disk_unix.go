//go:build unix

package transfer

import (
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// freeSpace is how many bytes an ordinary user can still write below root.
func freeSpace(root *os.Root) (int64, bool) {
	f, err := root.Open(".")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return 0, false
	}
	avail, size := uint64(s.Bavail), uint64(s.Bsize) // their types differ between systems
	if size > 0 && avail > math.MaxInt64/size {
		return math.MaxInt64, true
	}
	return int64(avail * size), true
}

// lockFile takes the file for this process; false if another has it. It waits half a
// second at most: a child that this process is starting has what was open just
// before, lock and all, until it has become another program.
func lockFile(f *os.File) bool {
	for pause := time.Millisecond; ; pause *= 2 {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK || pause > 256*time.Millisecond {
			return err != unix.EWOULDBLOCK
		}
		time.Sleep(pause)
	}
}

// setTime sets the modification time of f, which is name in d.
func setTime(f *os.File, d *os.Root, name string, t time.Time) error {
	return d.Chtimes(name, t, t)
}

// create makes the file name in d, where nothing may be yet. Package os would ask
// the system five times more: for the mode of the descriptor, and whether it can
// be polled.
func (d *dirHandle) create(name string) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(d.at.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, partMode)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "openat", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// setTime sets the modification time of name in d, which is no symbolic link.
func (d *dirHandle) setTime(name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(d.at.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// rename gives the file from in d the name to.
func (d *dirHandle) rename(from, to string) error {
	fd := int(d.at.Fd())
	if err := unix.Renameat(fd, from, fd, to); err != nil {
		return &os.LinkError{Op: "renameat", Old: from, New: to, Err: err}
	}
	return nil
}

// setLinkTime sets the modification time of a symbolic link, as far as the
// system can.
func setLinkTime(d *os.Root, name string, t time.Time) {
	f, err := d.Open(".")
	if err != nil {
		return
	}
	defer f.Close()
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return
	}
	_ = unix.UtimesNanoAt(int(f.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func syncFile(f *os.File) error { return f.Sync() }

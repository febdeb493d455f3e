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

// lockFile takes the file for this process, without waiting; false if another
// has it.
func lockFile(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	return err != unix.EWOULDBLOCK
}

// setTime sets the modification time of f, which is name in d.
func setTime(f *os.File, d *os.Root, name string, t time.Time) error {
	return d.Chtimes(name, t, t)
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

//go:build linux || darwin || freebsd

package transfer

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// holesOf is how many bytes of a file the disk does not hold, as far as its size
// and its blocks tell; what is less than a hash group is not worth speaking of.
func holesOf(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return 0
	}
	held := int64(st.Blocks) * 512 // whatever the file system's blocks are
	if n := info.Size() - held; n >= minHoles {
		return n
	}
	return 0
}

// findHoles finds the holes of f, if it has any.
func findHoles(f *os.File, info fs.FileInfo) holes {
	return holes{absent: holesOf(info) == 0, seek: func(offset int64) (int64, bool) {
		data, err := f.Seek(offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return math.MaxInt64, true // none to the end
		}
		return data, err == nil
	}}
}

// looksForHoles: the system tells where holes are.
const looksForHoles = false

package transfer

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch makes a hole in f; false if the file system cannot.
func punch(f *os.File, offset, length int64) bool {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length) == nil
}

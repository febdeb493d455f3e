//go:build unix

package transfer

import "syscall"

// openNonblock keeps the open of a file that has become a FIFO since the walk
// from waiting for a writer.
const openNonblock = syscall.O_NONBLOCK

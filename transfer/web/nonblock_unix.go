//go:build unix

package web

import "golang.org/x/sys/unix"

// nonblock keeps the opening of a FIFO from waiting for its other end.
const nonblock = unix.O_NONBLOCK

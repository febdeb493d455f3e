//go:build !linux && !darwin && !windows

package datagram

import (
	"errors"
	"syscall"
)

// forbidFragments does nothing here: large probes of the path's MTU may be
// fragmented, which costs speed and nothing else.
func (c *Conn) forbidFragments() error { return nil }

func isTooLong(err error) bool { return errors.Is(err, syscall.EMSGSIZE) }

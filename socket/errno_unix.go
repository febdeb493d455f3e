//go:build !windows

package socket

import (
	"errors"
	"syscall"
)

func errnoKind(err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return nil
	}
	switch errno {
	case syscall.ECONNREFUSED:
		return ErrRefused
	case syscall.ETIMEDOUT:
		return ErrTimeout
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN:
		return ErrUnreachable
	case syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ENETRESET:
		return ErrLost
	case syscall.EADDRINUSE:
		return ErrAddressInUse
	case syscall.EADDRNOTAVAIL:
		return ErrNotOurs
	}
	return nil
}

// tooManyFiles reports whether accept failed for want of descriptors, which
// passes when some connection ends.
func tooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

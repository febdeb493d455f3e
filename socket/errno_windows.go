package socket

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// Winsock has numbers of its own; syscall.ECONNREFUSED and its like are
// inventions of package syscall that no call on Windows returns.
func errnoKind(err error) error {
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return nil
	}
	switch errno {
	case windows.WSAECONNREFUSED:
		return ErrRefused
	case windows.WSAETIMEDOUT, windows.ERROR_SEM_TIMEOUT:
		return ErrTimeout
	case windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN:
		return ErrUnreachable
	case windows.WSAECONNRESET, windows.WSAECONNABORTED, windows.WSAENETRESET, windows.ERROR_NETNAME_DELETED, windows.ERROR_BROKEN_PIPE:
		return ErrLost
	case windows.WSAEADDRINUSE:
		return ErrAddressInUse
	case windows.WSAEADDRNOTAVAIL:
		return ErrNotOurs
	}
	return nil
}

func tooManyFiles(err error) bool {
	return errors.Is(err, windows.WSAEMFILE) || errors.Is(err, windows.WSAENOBUFS)
}

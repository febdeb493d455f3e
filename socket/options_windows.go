package socket

import (
	"errors"
	"strconv"

	"golang.org/x/sys/windows"
)

// checkDSCP refuses: Windows takes IP_TOS without an error and then ignores it
// (it wants its qWAVE service to be asked), and an option that lies is worse
// than none.
func (o *Options) checkDSCP() error {
	if o.DSCP > 0 {
		return &OptionError{"DSCP", strconv.Itoa(int(o.DSCP)), errors.ErrUnsupported}
	}
	return nil
}

func (o *Options) apply(_ string, fd uintptr) error {
	if err := o.checkSystem(); err != nil {
		return err
	}
	s := windows.Handle(fd)
	if o.SendBuffer > 0 {
		if err := windows.SetsockoptInt(s, windows.SOL_SOCKET, windows.SO_SNDBUF, o.SendBuffer); err != nil {
			return &OptionError{"send buffer", strconv.Itoa(o.SendBuffer), err}
		}
	}
	if o.ReceiveBuffer > 0 {
		if err := windows.SetsockoptInt(s, windows.SOL_SOCKET, windows.SO_RCVBUF, o.ReceiveBuffer); err != nil {
			return &OptionError{"receive buffer", strconv.Itoa(o.ReceiveBuffer), err}
		}
	}
	return nil
}

func getBuffers(fd uintptr) (send, receive int, err error) {
	s := windows.Handle(fd)
	if send, err = windows.GetsockoptInt(s, windows.SOL_SOCKET, windows.SO_SNDBUF); err != nil {
		return 0, 0, err
	}
	receive, err = windows.GetsockoptInt(s, windows.SOL_SOCKET, windows.SO_RCVBUF)
	return send, receive, err
}

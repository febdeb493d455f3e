//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly && !windows

package socket

import (
	"errors"
	"strconv"
)

func (o *Options) checkDSCP() error {
	if o.DSCP > 0 {
		return &OptionError{"DSCP", strconv.Itoa(int(o.DSCP)), errors.ErrUnsupported}
	}
	return nil
}

func (o *Options) apply(string, uintptr) error {
	if o.SendBuffer > 0 {
		return &OptionError{"send buffer", strconv.Itoa(o.SendBuffer), errors.ErrUnsupported}
	}
	if o.ReceiveBuffer > 0 {
		return &OptionError{"receive buffer", strconv.Itoa(o.ReceiveBuffer), errors.ErrUnsupported}
	}
	return o.checkSystem()
}

func getBuffers(uintptr) (send, receive int, err error) { return 0, 0, errors.ErrUnsupported }

package socket

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// SetPacingRate changes the cap on the rate of sending of an open connection, in
// bytes per second; see [Options]. The error is an [*OptionError], which matches
// [errors.ErrUnsupported] where the system cannot do it.
func (c *Conn) SetPacingRate(bytesPerSecond int64) error {
	var err error
	cerr := c.control(func(fd uintptr) {
		err = unix.SetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, uint64(bytesPerSecond))
	})
	if cerr != nil {
		err = cerr
	}
	if err != nil {
		return &OptionError{"pacing rate", strconv.FormatInt(bytesPerSecond, 10), err}
	}
	return nil
}

//go:build !linux

package socket

import (
	"errors"
	"strconv"
)

// SetPacingRate changes the cap on the rate of sending of an open connection, in
// bytes per second; see [Options]. The error is an [*OptionError], which matches
// [errors.ErrUnsupported] where the system cannot do it.
func (c *Conn) SetPacingRate(bytesPerSecond int64) error {
	return &OptionError{"pacing rate", strconv.FormatInt(bytesPerSecond, 10), errors.ErrUnsupported}
}

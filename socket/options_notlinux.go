//go:build !linux

package socket

import (
	"errors"
	"strconv"
)

func (o *Options) checkSystem() error {
	if o.Congestion != "" {
		return &OptionError{"congestion control", o.Congestion, errors.ErrUnsupported}
	}
	if o.PacingRate > 0 {
		return &OptionError{"pacing rate", strconv.FormatInt(o.PacingRate, 10), errors.ErrUnsupported}
	}
	return o.checkDSCP()
}

// CongestionControls returns the congestion control algorithms that are loaded
// in this kernel, or nil where that cannot be told, as here.
func CongestionControls() []string { return nil }

func getCongestion(uintptr) (string, error) { return "", errors.ErrUnsupported }

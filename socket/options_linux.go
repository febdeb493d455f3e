package socket

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (o *Options) checkSystem() error { return nil }

func (o *Options) applyTCP(fd int) error {
	if o.Congestion != "" {
		// Before listen(2): what is accepted inherits it, and by then the
		// first window has been sent.
		err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.Congestion)
		switch {
		case errors.Is(err, unix.ENOENT):
			err = fmt.Errorf("this kernel has no such algorithm loaded (it has %s)", strings.Join(CongestionControls(), ", "))
		case errors.Is(err, unix.EPERM):
			err = fmt.Errorf("%w (an administrator may add it to net.ipv4.tcp_allowed_congestion_control)", err)
		}
		if err != nil {
			return &OptionError{"congestion control", o.Congestion, err}
		}
	}
	if o.PacingRate > 0 {
		if err := unix.SetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, uint64(o.PacingRate)); err != nil {
			return &OptionError{"pacing rate", strconv.FormatInt(o.PacingRate, 10), err}
		}
	}
	return nil
}

// CongestionControls returns the congestion control algorithms that are loaded
// in this kernel, or nil where that cannot be told. The kernel may load others
// when asked to by root.
func CongestionControls() []string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func getCongestion(fd uintptr) (string, error) {
	return unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
}

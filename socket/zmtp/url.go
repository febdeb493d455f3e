package zmtp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wherry-net/wherry/socket"
)

// Scheme begins the addresses that ParseURL reads.
const Scheme = "zmq+tcp://"

// ErrURL is matched by errors of an address that is none.
var ErrURL = errors.New("not an address of ZeroMQ")

// ParseURL reads zmq+tcp://HOST:PORT, where * as HOST is every address of this
// machine, to bind. It returns HOST:PORT as package socket has it, with no host for
// *.
func ParseURL(s string) (addr string, any bool, err error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return "", false, fmt.Errorf("%w: it must begin with %s", ErrURL, Scheme)
	}
	rest = strings.TrimSuffix(rest, "/")
	rest, any = strings.CutPrefix(rest, "*:")
	if any {
		rest = ":" + rest
	}
	hp, err := socket.ParseHostPort(rest, 0)
	if err != nil || strings.Contains(rest, "/") {
		return "", false, fmt.Errorf("%w: it names no HOST:PORT", ErrURL)
	}
	if hp.Host == "" && !any {
		return "", false, fmt.Errorf("%w: it names no host; * is every address of this machine", ErrURL)
	}
	if !strings.HasSuffix(rest, ":0") && hp.Port == 0 {
		return "", false, fmt.Errorf("%w: it names no port", ErrURL)
	}
	return rest, any, nil
}

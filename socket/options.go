package socket

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Family restricts which version of IP is used.
type Family int

const (
	AnyFamily Family = 0 // IPv6 and IPv4; a listener without a host takes both on one socket
	IPv4      Family = 4
	IPv6      Family = 6
)

// suffix returns what the family adds to "tcp", "udp" and "ip" in package net.
func (f Family) suffix() string {
	switch f {
	case IPv4:
		return "4"
	case IPv6:
		return "6"
	}
	return ""
}

// holds reports whether ip belongs to the family.
func (f Family) holds(ip netip.Addr) bool {
	switch f {
	case IPv4:
		return ip.Unmap().Is4()
	case IPv6:
		return !ip.Unmap().Is4()
	}
	return true
}

// Options says what a socket is to do differently from the system's defaults.
// The zero value changes nothing. Congestion, PacingRate, KeepAlive and Nagle
// concern TCP and are ignored by UDP sockets.
type Options struct {
	// Family restricts names and wildcards to one version of IP.
	Family Family

	// Source is the local address that connections are made from. It is for
	// dialing; a listener is told its address.
	Source netip.Addr

	// SendBuffer and ReceiveBuffer are sizes in bytes (SO_SNDBUF, SO_RCVBUF).
	// For TCP, zero is nearly always best: it leaves the kernel's autotuning
	// on, and a number turns it off. The system caps what one asks for;
	// [Conn.Buffers] tells what was granted.
	SendBuffer    int
	ReceiveBuffer int

	// KeepAlive is the idle time before keep-alive probes and the time
	// between them (RFC 9293 section 3.8.4). Zero means 15 s; negative turns
	// probes off.
	KeepAlive time.Duration

	// Nagle turns Nagle's algorithm (RFC 896) on. By default it is off
	// (TCP_NODELAY), since we write whole messages.
	Nagle bool

	// Congestion is the kernel's congestion control algorithm by name, as
	// "cubic" or "bbr". Empty means the system's default; see
	// [CongestionControls] for what there is.
	Congestion string

	// PacingRate caps the rate of sending in bytes per second
	// (SO_MAX_PACING_RATE). The kernel spaces the packets itself, which keeps
	// bursts out of the path's queues as no sleeping program could.
	PacingRate int64

	// DSCP is the differentiated services code point (RFC 2474), 0 to 63.
	DSCP uint8
}

// ErrInvalid is the cause in an [*OptionError] whose value makes no sense on
// any system.
var ErrInvalid = errors.New("invalid value")

// Check reports options that contradict themselves or that this system does
// not have, as an [*OptionError]. Dialing and listening check also; a command
// calls it to fail before it does anything else.
func (o *Options) Check() error {
	bad := func(option string, value any, why string) error {
		return &OptionError{option, fmt.Sprint(value), fmt.Errorf("%w: %s", ErrInvalid, why)}
	}
	switch {
	case o.Family != AnyFamily && o.Family != IPv4 && o.Family != IPv6:
		return bad("address family", int(o.Family), "there are 4 and 6")
	case o.Source.IsValid() && !o.Family.holds(o.Source):
		return bad("source address", o.Source, "is not an IPv"+o.Family.suffix()+" address")
	case o.SendBuffer < 0:
		return bad("send buffer", o.SendBuffer, "is negative")
	case o.ReceiveBuffer < 0:
		return bad("receive buffer", o.ReceiveBuffer, "is negative")
	case o.PacingRate < 0:
		return bad("pacing rate", o.PacingRate, "is negative")
	case o.DSCP > 63:
		return bad("DSCP", o.DSCP, "is more than 63")
	case len(o.Congestion) > 15 || strings.ContainsFunc(o.Congestion, func(r rune) bool { return r <= ' ' || r > '~' }):
		// The kernel's TCP_CA_NAME_MAX is 16 with the closing zero.
		return bad("congestion control", strconv.Quote(o.Congestion), "is no name of an algorithm")
	}
	return o.checkSystem()
}

// Control applies the options that have to be set before connect(2), bind(2) or
// listen(2). It has the signature of the Control fields of [net.Dialer] and
// [net.ListenConfig], for those who open sockets of their own.
func (o *Options) Control(network, address string, c syscall.RawConn) error {
	var opErr error
	err := c.Control(func(fd uintptr) { opErr = o.apply(network, fd) })
	if opErr != nil {
		return opErr
	}
	return err
}

// nothing reports whether there is nothing for Control to set.
func (o *Options) nothing() bool {
	return o.SendBuffer == 0 && o.ReceiveBuffer == 0 && o.Congestion == "" && o.PacingRate == 0 && o.DSCP == 0
}

// dscpNames are the code points of RFC 2474 (CS), RFC 2597 (AF), RFC 3246 (EF),
// RFC 5865 (VA) and RFC 8622 (LE).
var dscpNames = map[string]uint8{
	"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56,
	"af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22,
	"af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38,
	"ef": 46, "va": 44, "le": 1, "df": 0,
}

// ParseDSCP reads a code point as a number from 0 to 63 or by the name that
// its RFC gives it, as "ef", "AF41", "cs1" or "le". The error is an
// [*OptionError].
func ParseDSCP(s string) (uint8, error) {
	if v, ok := dscpNames[strings.ToLower(s)]; ok {
		return v, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 63 {
		return 0, &OptionError{"DSCP", strconv.Quote(s), fmt.Errorf("%w: want 0 to 63 or a name such as ef, af41, cs1, le", ErrInvalid)}
	}
	return uint8(n), nil
}

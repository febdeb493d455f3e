package socket

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// DefaultPort is wherry's port, for TCP and UDP, where an address names none.
const DefaultPort = 7557

// HostPort is an address as a person gives it: a host name or an IP address,
// not yet looked up, and a port.
type HostPort struct {
	Host string // name or IP literal without brackets; "" means every address of this host
	Port uint16 // 0 lets the system choose (listening only)
}

// String returns the form that [net.Dial] takes: brackets stand around an IPv6
// address.
func (hp HostPort) String() string {
	return net.JoinHostPort(hp.Host, strconv.Itoa(int(hp.Port)))
}

// IP returns the address if the host is an IP literal.
func (hp HostPort) IP() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(hp.Host)
	return ip, err == nil
}

// AddressError says why a text is no address. It is a usage error: nothing was
// looked up or dialed.
type AddressError struct {
	Text   string // as given
	Reason string
}

func (e *AddressError) Error() string {
	return fmt.Sprintf("address %q: %s", e.Text, e.Reason)
}

// ParseHostPort reads an address: "host", "host:port", ":port", an IPv4
// address with or without a port, an IPv6 address bare or in brackets, with or
// without a port and a zone. Where no port is given it is defaultPort.
//
// A bare IPv6 address never carries a port: "::1:7557" is the address
// 0:0:0:0:0:0:1:7557, as everywhere else; write "[::1]:7557".
//
// The error is an [*AddressError].
func ParseHostPort(s string, defaultPort uint16) (HostPort, error) {
	fail := func(format string, args ...any) (HostPort, error) {
		return HostPort{}, &AddressError{s, fmt.Sprintf(format, args...)}
	}
	if s == "" {
		return fail("is empty")
	}
	if _, _, found := strings.Cut(s, "://"); found {
		return fail("is a URL; give HOST or HOST:PORT")
	}

	host, port := s, ""
	switch {
	case s[0] == '[':
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return fail("has no closing bracket")
		}
		host = s[1:end]
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.Is6() {
			return fail("has no IPv6 address between its brackets")
		}
		switch rest := s[end+1:]; {
		case rest == "":
		case rest[0] != ':':
			return fail("has %q after the bracket where :PORT belongs", rest)
		default:
			if port = rest[1:]; port == "" {
				return fail("has no port after the colon")
			}
		}
	case strings.Count(s, ":") > 1:
		if _, err := netip.ParseAddr(s); err != nil {
			return fail("is no IPv6 address (with a port, write [ADDRESS]:PORT)")
		}
	default:
		h, p, found := strings.Cut(s, ":")
		if !found {
			break
		}
		host, port = h, p
		if port == "" {
			return fail("has no port after the colon")
		}
	}

	// Of IPv6 addresses too: a zone may hold anything.
	if why := checkHost(host); why != "" {
		return fail("%s", why)
	}
	if port == "" {
		return HostPort{host, defaultPort}, nil
	}
	// Not Atoi, which takes "+1" and "-1".
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fail("port %q is not a number from 0 to 65535", port)
	}
	return HostPort{host, uint16(n)}, nil
}

// checkHost returns what is wrong with a host, or "". It is deliberately
// lenient about letters (underscores and Unicode are the resolver's business)
// and strict about what cannot be a name and would mislead in a message.
func checkHost(host string) string {
	if strings.ContainsRune(host, '@') {
		return "has a user name; give HOST or HOST:PORT"
	}
	for _, r := range host {
		if unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`/\?#[]"'`, r) {
			return fmt.Sprintf("has %q, which no host name has", r)
		}
	}
	// RFC 1035 section 2.3.4; the limit is on octets, less the root's dot.
	if len(strings.TrimSuffix(host, ".")) > 253 {
		return "has a host name longer than 253 bytes"
	}
	if host == "" {
		return ""
	}
	if zone := strings.IndexByte(host, '%'); zone >= 0 {
		if _, err := netip.ParseAddr(host); err != nil {
			return "has a zone but no IPv6 address before it"
		}
		return ""
	}
	// "10.0.0.256" and "1.2.3" look like addresses and are no names: the last
	// label of a name is never all digits (RFC 3696 section 2).
	last := strings.TrimSuffix(host, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	if last == "" {
		return "has an empty label"
	}
	if strings.Trim(last, "0123456789") == "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "is no IPv4 address"
		}
	}
	return ""
}

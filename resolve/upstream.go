package resolve

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A Scheme is how an [Upstream] is talked to.
type Scheme string

// The transports. H3 and QUIC need a plug-in in [Options.Transports], which
// the package overquic provides.
const (
	UDP   Scheme = "udp"   // RFC 1035, with retry over TCP on truncation
	TCP   Scheme = "tcp"   // RFC 7766
	TLS   Scheme = "tls"   // DNS over TLS, RFC 7858
	HTTPS Scheme = "https" // DNS over HTTPS, RFC 8484, HTTP/2
	H3    Scheme = "h3"    // DNS over HTTPS, HTTP/3
	QUIC  Scheme = "quic"  // DNS over QUIC, RFC 9250
	MDNS  Scheme = "mdns"  // multicast DNS, one-shot, RFC 6762 section 5.1
)

func (s Scheme) defaultPort() uint16 {
	switch s {
	case TLS, QUIC:
		return 853
	case HTTPS, H3:
		return 443
	case MDNS:
		return 5353
	}
	return 53
}

// Encrypted reports whether the transport is authenticated and encrypted.
func (s Scheme) Encrypted() bool {
	switch s {
	case TLS, HTTPS, H3, QUIC:
		return true
	}
	return false
}

// An Upstream is a server to ask and how to reach it.
type Upstream struct {
	Scheme Scheme
	// Host is an IP address (with zone, where it needs one) or a host name.
	Host string
	Port uint16
	// Path is the URL path, with query, of HTTPS and H3.
	Path string
	// AuthName is the name that the server's certificate must carry where it
	// is not Host, as in tls://192.0.2.1#dns.example.
	AuthName string
}

// UpstreamError says that a server's address cannot be read.
type UpstreamError struct {
	Input  string
	Reason string
}

func (e *UpstreamError) Error() string {
	return fmt.Sprintf("server %q: %s", Escape(e.Input), e.Reason)
}

// ParseUpstream reads a server's address: an IP address or host name, with or
// without port, after an optional scheme:
//
//	192.0.2.1   192.0.2.1:5353   2001:db8::1   [2001:db8::1]:53   ns1.example.com
//	udp://192.0.2.1   tcp://192.0.2.1   tls://dns.example   quic://dns.example
//	https://dns.example/dns-query   h3://dns.example
//	tls://192.0.2.1#dns.example     the certificate must be for dns.example
//
// A leading '@' is allowed. Without a scheme it is UDP; without a port the
// scheme's own. Errors are of type [*UpstreamError].
func ParseUpstream(s string) (Upstream, error) {
	in := s
	fail := func(format string, args ...any) (Upstream, error) {
		return Upstream{}, &UpstreamError{in, fmt.Sprintf(format, args...)}
	}
	s = strings.TrimPrefix(s, "@")
	u := Upstream{Scheme: UDP}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		switch u.Scheme = Scheme(strings.ToLower(scheme)); u.Scheme {
		case UDP, TCP, TLS, HTTPS, H3, QUIC, MDNS:
		default:
			return fail("unknown scheme %q; known are udp, tcp, tls, https, h3 and quic", Escape(scheme))
		}
		s = rest
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || Unprintable(r) }); i >= 0 {
		return fail("holds a space or a control character")
	}
	if s, u.AuthName, _ = strings.Cut(s, "#"); u.AuthName != "" {
		if !u.Scheme.Encrypted() {
			return fail("a name to authenticate (#%s) needs tls, https, h3 or quic", Escape(u.AuthName))
		}
		a, err := hostName(u.AuthName)
		if err != nil {
			return fail("%v", err)
		}
		u.AuthName = a
	}
	if u.Scheme == HTTPS || u.Scheme == H3 {
		host, path, ok := strings.Cut(s, "/")
		if path, _, _ = strings.Cut(path, "{?dns}"); ok && path != "" {
			p, err := url.Parse("https://host/" + path) // by itself, //x would be a host
			if err != nil || !isASCII(path) {
				return fail("the path is not one of a URL")
			}
			u.Path = p.RequestURI()
		} else {
			u.Path = "/dns-query"
		}
		s = host
	} else {
		s = strings.TrimSuffix(s, "/")
	}

	host, port := s, ""
	switch {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return fail("'[' without ']'")
		}
		host = s[1:end]
		if a, err := netip.ParseAddr(host); err != nil || a.Is4() {
			return fail("%q is not an IPv6 address", Escape(host))
		}
		if rest := s[end+1:]; rest != "" {
			if port = strings.TrimPrefix(rest, ":"); port == rest || port == "" {
				return fail("%q after the address is not a port", Escape(rest))
			}
		}
	case strings.Count(s, ":") == 1:
		host, port, _ = strings.Cut(s, ":")
		if port == "" {
			return fail("the port is empty")
		}
	}
	u.Port = u.Scheme.defaultPort()
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fail("port %q is not a number from 1 to 65535", Escape(port))
		}
		u.Port = uint16(n)
	}
	h, err := hostName(host)
	if err != nil {
		return fail("%v", err)
	}
	u.Host = h
	return u, nil
}

// hostName checks that s can name a host: an address, or labels of letters,
// digits, hyphens and underscores; international names become A-labels.
func hostName(s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("the host is empty")
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if Escape(a.Zone()) != a.Zone() {
			return "", fmt.Errorf("%q is not the name of an interface", Escape(a.Zone()))
		}
		return a.String(), nil
	}
	if strings.Contains(s, ":") {
		return "", fmt.Errorf("%q is not an IPv6 address", Escape(s))
	}
	a, err := ParseName(s)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
			c == '-' || c == '_' || c == '.') {
			return "", fmt.Errorf("%q is not a host name", Escape(s))
		}
	}
	last := a[strings.LastIndexByte(strings.TrimSuffix(a, "."), '.')+1:]
	if strings.Trim(last, "0123456789.") == "" {
		return "", fmt.Errorf("%q is not an IP address", Escape(s)) // 1.2.3 or 1.2.3.456
	}
	return a, nil
}

// UpstreamOf returns the plain UDP upstream at an address.
func UpstreamOf(a netip.AddrPort) Upstream {
	return Upstream{Scheme: UDP, Host: a.Addr().String(), Port: a.Port()}
}

// Address returns "host:port", with brackets where IPv6 needs them.
func (u Upstream) Address() string {
	return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port)))
}

// ServerName returns the name that the server's certificate must carry.
func (u Upstream) ServerName() string {
	if u.AuthName != "" {
		return u.AuthName
	}
	if a, err := netip.ParseAddr(u.Host); err == nil {
		return a.WithZone("").String()
	}
	return strings.TrimSuffix(u.Host, ".")
}

// URL returns the address that HTTPS and H3 requests go to.
func (u Upstream) URL() string {
	host := u.ServerName()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port != 443 {
		host += ":" + strconv.Itoa(int(u.Port))
	}
	return "https://" + host + u.Path
}

// String returns the upstream in the form that [ParseUpstream] reads: the
// scheme is left out for UDP, the port where it is the scheme's own.
func (u Upstream) String() string {
	var b strings.Builder
	if u.Scheme != UDP && u.Scheme != "" {
		b.WriteString(string(u.Scheme) + "://")
	}
	v6 := strings.Contains(u.Host, ":")
	if withPort := u.Port != u.Scheme.defaultPort(); withPort || v6 && u.Scheme != UDP {
		if v6 {
			b.WriteString("[" + u.Host + "]")
		} else {
			b.WriteString(u.Host)
		}
		if withPort {
			b.WriteString(":" + strconv.Itoa(int(u.Port)))
		}
	} else {
		b.WriteString(u.Host)
	}
	if u.Path != "" && u.Path != "/dns-query" {
		b.WriteString(u.Path)
	}
	if u.AuthName != "" {
		b.WriteString("#" + u.AuthName)
	}
	return Escape(b.String())
}

package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// DefaultDialTimeout is how long a [Dialer] tries unless told otherwise: long
// enough for three lost SYNs (1 + 2 + 4 s, RFC 6298), short enough for a person
// who mistyped a port.
const DefaultDialTimeout = 10 * time.Second

// attemptDelay is RFC 8305's Connection Attempt Delay, at its recommended value.
const attemptDelay = 250 * time.Millisecond

// maxAttempts bounds how many of a name's addresses are tried, since whoever
// runs the zone chooses how many it has.
const maxAttempts = 16

// Dialer makes connections. Its zero value is ready for use. It may be used by
// several goroutines at once; it must not be changed meanwhile.
type Dialer struct {
	Options

	// Timeout bounds the whole of a dial, name lookup included. Zero means
	// [DefaultDialTimeout]; negative means that only the context bounds it.
	Timeout time.Duration

	// AttemptDelay is the time between the starts of attempts at two addresses
	// of one host (RFC 8305 section 5). Zero means 250 ms.
	AttemptDelay time.Duration

	// Lookup finds the addresses of a host, best first; network is "ip", "ip4"
	// or "ip6". Nil means the system's resolver, whose answers are ordered by
	// RFC 6724.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	// Trace, if not nil, is told how dials go.
	Trace *DialTrace
}

// DialTrace is told of the steps of a dial. Each func may be nil. They are
// called by the goroutine that called Dial, never two at once for one dial.
type DialTrace struct {
	LookupDone   func(host string, addrs []netip.Addr, err error) // addrs in the order they are tried
	AttemptStart func(addr netip.AddrPort)
	AttemptDone  func(a Attempt) // not called for attempts that were given up for a winner
}

// Dial connects to a TCP address of the form host:port.
func (d *Dialer) Dial(ctx context.Context, address string) (*Conn, error) {
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*Conn), nil
}

// DialContext connects to host:port on the network "tcp" or "udp", which may
// have a 4 or 6 after it, as with [net.Dialer.DialContext]; it fits where
// standard library packages take such a function. On TCP the connection is a
// [*Conn], on UDP a [*net.UDPConn] that is connected to the first address that
// has a route.
//
// The error is a [*DialError], or, before anything was tried, an
// [*AddressError] or [*OptionError].
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	proto, family, err := d.network(network)
	if err != nil {
		return nil, err
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	hp, err := ParseHostPort(address, 0)
	if err != nil {
		return nil, err
	}
	switch {
	case hp.Host == "":
		return nil, &AddressError{address, "has no host to connect to"}
	case hp.Port == 0:
		return nil, &AddressError{address, "has no port to connect to"}
	}

	caller := ctx
	timeout := d.Timeout
	if timeout == 0 {
		timeout = DefaultDialTimeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	fail := &DialError{Network: network, Address: address}

	addrs, err := d.lookup(ctx, family, hp)
	if err != nil {
		fail.Err, fail.Kind = err, Kind(err)
		if cause := caller.Err(); cause != nil {
			fail.Err, fail.Kind = cause, Kind(cause)
		}
		return nil, fail
	}
	delay := d.AttemptDelay
	if delay <= 0 {
		delay = attemptDelay
	}
	conn, attempts, err := race(ctx, addrs, delay, d.Trace,
		func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
			return d.attempt(ctx, proto, addr)
		})
	if err == nil {
		return conn, nil
	}
	if opt, ok := errors.AsType[*OptionError](err); ok {
		return nil, opt
	}
	fail.Attempts = attempts
	switch cause := caller.Err(); {
	case cause != nil:
		fail.Err, fail.Kind = cause, Kind(cause)
	default:
		fail.Kind = telling(attempts)
	}
	return nil, fail
}

// network splits "tcp4" and its like, and reconciles it with the options.
func (d *Dialer) network(network string) (proto string, f Family, err error) {
	f = d.Family
	proto = strings.TrimRight(network, "46")
	if proto != "tcp" && proto != "udp" {
		return "", 0, &OptionError{"network", network, errors.ErrUnsupported}
	}
	switch network[len(proto):] {
	case "":
	case "4":
		f = IPv4
	case "6":
		f = IPv6
	default:
		return "", 0, &OptionError{"network", network, errors.ErrUnsupported}
	}
	if d.Family != AnyFamily && d.Family != f {
		return "", 0, &OptionError{"network", network, fmt.Errorf("%w: the address family is set to IPv%s", ErrInvalid, d.Family.suffix())}
	}
	if f == AnyFamily && d.Source.IsValid() {
		f = IPv6
		if d.Source.Unmap().Is4() {
			f = IPv4
		}
	}
	return proto, f, nil
}

// lookup returns the addresses to try, in order.
func (d *Dialer) lookup(ctx context.Context, f Family, hp HostPort) ([]netip.AddrPort, error) {
	if ip, ok := hp.IP(); ok {
		if !f.holds(ip) {
			return nil, fmt.Errorf("%w: %s is not an IPv%s address", ErrUnknownHost, ip, f.suffix())
		}
		return []netip.AddrPort{netip.AddrPortFrom(ip, hp.Port)}, nil
	}
	find := d.Lookup
	if find == nil {
		find = net.DefaultResolver.LookupNetIP
	}
	ips, err := find(ctx, "ip"+f.suffix(), hp.Host)
	if err == nil {
		ips = interleave(ips, f)
		if len(ips) == 0 {
			err = fmt.Errorf("%w: no IPv%s address", ErrUnknownHost, f.suffix())
			if f == AnyFamily {
				err = fmt.Errorf("%w: no address", ErrUnknownHost)
			}
		}
	}
	if d.Trace != nil && d.Trace.LookupDone != nil {
		d.Trace.LookupDone(hp.Host, ips, err)
	}
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, len(ips))
	for i, ip := range ips {
		addrs[i] = netip.AddrPortFrom(ip, hp.Port)
	}
	return addrs, nil
}

// interleave orders addresses as RFC 8305 section 4 has it: the families take
// turns, beginning with that of the first address, each in the order given.
// Duplicates go, and what is more than maxAttempts.
func interleave(ips []netip.Addr, f Family) []netip.Addr {
	var queues [2][]netip.Addr
	seen := make(map[netip.Addr]bool)
	first := -1
	for _, ip := range ips {
		ip = ip.Unmap()
		if !f.holds(ip) || seen[ip] {
			continue
		}
		seen[ip] = true
		q := 0
		if ip.Is4() {
			q = 1
		}
		if first < 0 {
			first = q
		}
		queues[q] = append(queues[q], ip)
	}
	var out []netip.Addr
	for q := max(first, 0); len(out) < maxAttempts && len(queues[0])+len(queues[1]) > 0; q = 1 - q {
		if len(queues[q]) > 0 {
			out = append(out, queues[q][0])
			queues[q] = queues[q][1:]
		}
	}
	return out
}

// attempt makes one connection to one address.
func (d *Dialer) attempt(ctx context.Context, proto string, addr netip.AddrPort) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: d.KeepAlive}
	if !d.nothing() {
		nd.Control = d.Control
	}
	if d.Source.IsValid() {
		local := netip.AddrPortFrom(d.Source, 0)
		if proto == "udp" {
			nd.LocalAddr = net.UDPAddrFromAddrPort(local)
		} else {
			nd.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
	}
	c, err := nd.DialContext(ctx, proto, addr.String())
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		if d.Nagle {
			if err := tcp.SetNoDelay(false); err != nil {
				tcp.Close()
				return nil, &OptionError{"Nagle's algorithm", "on", err}
			}
		}
		return NewConn(tcp), nil
	}
	return c, nil
}

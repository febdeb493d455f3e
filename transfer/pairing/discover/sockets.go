package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// port is multicast DNS's.
const port = 5353

var (
	group4 = netip.MustParseAddr("224.0.0.251")
	group6 = netip.MustParseAddr("ff02::fb")
)

// rescan is how often the interfaces are looked at again: somebody may join a
// network while an offer waits.
const rescan = 3 * time.Second

// sockets is one UDP socket for each address family, on every link.
type sockets struct {
	v4 *ipv4.PacketConn
	v6 *ipv6.PacketConn

	pick    func() ([]net.Interface, error)
	ifaces  map[int]net.Interface
	joined4 map[int]bool
	joined6 map[int]bool

	in     chan received
	closed chan struct{}
	wg     sync.WaitGroup
}

type received struct {
	data []byte
	from netip.AddrPort
	link int
}

// allInterfaces are those that are up and do multicast, and the loopback, which
// does without saying so.
func allInterfaces() ([]net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing the network interfaces: %w", err)
	}
	return slices.DeleteFunc(all, func(i net.Interface) bool {
		return i.Flags&net.FlagUp == 0 || i.Flags&(net.FlagMulticast|net.FlagLoopback) == 0
	}), nil
}

// openSockets binds to the port of multicast DNS, beside whoever else is there.
func openSockets(pick func() ([]net.Interface, error)) (*sockets, []link, error) {
	if pick == nil {
		pick = allInterfaces
	}
	ifaces, err := pick()
	if err != nil {
		return nil, nil, err
	}
	s := &sockets{
		pick:    pick,
		ifaces:  map[int]net.Interface{},
		joined4: map[int]bool{},
		joined6: map[int]bool{},
		in:      make(chan received, 64),
		closed:  make(chan struct{}),
	}
	var errs []error
	for _, ifi := range ifaces {
		// The package net joins one group as it binds. Without an interface it
		// would need a default route.
		if s.v4 == nil {
			c, err := net.ListenMulticastUDP("udp4", &ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group4, port)))
			if err == nil {
				s.v4 = ipv4.NewPacketConn(c)
				s.joined4[ifi.Index] = true
			}
			errs = append(errs, err)
		}
		if s.v6 == nil {
			c, err := net.ListenMulticastUDP("udp6", &ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group6, port)))
			if err == nil {
				s.v6 = ipv6.NewPacketConn(c)
				s.joined6[ifi.Index] = true
			}
			errs = append(errs, err)
		}
	}
	if s.v4 == nil && s.v6 == nil {
		if err := errors.Join(errs...); err != nil {
			return nil, nil, fmt.Errorf("listening for multicast DNS: %w", err)
		}
		return nil, nil, errors.New("listening for multicast DNS: no network interface is up")
	}
	if s.v4 != nil {
		// Errors are of systems without the option. There, what it is for is the
		// default, or linkOf finds the link by its addresses.
		s.v4.SetMulticastLoopback(true) // other processes on this host
		s.v4.SetMulticastTTL(255)       // section 11
		s.v4.SetControlMessage(ipv4.FlagInterface, true)
		s.wg.Go(func() { s.readLoop(s.read4) })
	}
	if s.v6 != nil {
		s.v6.SetMulticastLoopback(true)
		s.v6.SetMulticastHopLimit(255)
		s.v6.SetControlMessage(ipv6.FlagInterface, true)
		s.wg.Go(func() { s.readLoop(s.read6) })
	}
	return s, s.update(ifaces), nil
}

// update joins the groups on new interfaces and gives all as links.
func (s *sockets) update(ifaces []net.Interface) []link {
	clear(s.ifaces)
	var links []link
	for _, ifi := range ifaces {
		l := link{index: ifi.Index, name: ifi.Name, loopback: ifi.Flags&net.FlagLoopback != 0}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				ip, ok := netip.AddrFromSlice(n.IP)
				ones, _ := n.Mask.Size()
				ip = ip.Unmap()
				if ok && ip.IsLoopback() == l.loopback {
					l.prefixes = append(l.prefixes, netip.PrefixFrom(ip, ones))
				}
			}
		}
		if len(l.prefixes) == 0 {
			continue
		}
		s.ifaces[ifi.Index] = ifi
		links = append(links, l)
		if s.v4 != nil && !s.joined4[ifi.Index] {
			s.joined4[ifi.Index] = s.v4.JoinGroup(&ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group4, 0))) == nil
		}
		if s.v6 != nil && !s.joined6[ifi.Index] {
			s.joined6[ifi.Index] = s.v6.JoinGroup(&ifi, net.UDPAddrFromAddrPort(netip.AddrPortFrom(group6, 0))) == nil
		}
	}
	for _, joined := range []map[int]bool{s.joined4, s.joined6} {
		for i := range joined {
			if _, ok := s.ifaces[i]; !ok {
				delete(joined, i) // should it come back, it must be joined again
			}
		}
	}
	return links
}

// rescan looks at the interfaces again.
func (s *sockets) rescan() ([]link, error) {
	ifaces, err := s.pick()
	if err != nil {
		return nil, err
	}
	return s.update(ifaces), nil
}

func (s *sockets) read4(buf []byte) (n, index int, from net.Addr, err error) {
	n, cm, from, err := s.v4.ReadFrom(buf)
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, from, err
}

func (s *sockets) read6(buf []byte) (n, index int, from net.Addr, err error) {
	n, cm, from, err := s.v6.ReadFrom(buf)
	if cm != nil {
		index = cm.IfIndex
	}
	return n, index, from, err
}

func (s *sockets) readLoop(read func([]byte) (n, index int, from net.Addr, err error)) {
	buf := make([]byte, maxMessage+1)
	for {
		n, index, from, err := read(buf)
		switch {
		case err == nil:
			s.push(buf[:n], from, index)
		case s.stopped(err):
			return
		}
	}
}

// stopped tells the end from an error that an earlier packet left behind (an
// ICMP message), and pauses after the latter.
func (s *sockets) stopped(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	select {
	case <-s.closed:
		return true
	case <-time.After(10 * time.Millisecond):
		return false
	}
}

func (s *sockets) push(b []byte, from net.Addr, index int) {
	u, ok := from.(*net.UDPAddr)
	if !ok {
		return
	}
	ap := u.AddrPort()
	r := received{
		data: append([]byte(nil), b...),
		from: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()),
		link: index,
	}
	select {
	case s.in <- r:
	case <-s.closed:
	}
}

// linkOf is the link that a packet came in on, where the system does not say.
func linkOf(r received, links []link) int {
	if r.link != 0 {
		return r.link
	}
	for _, l := range links {
		if l.sends(r.from.Addr()) {
			return l.index
		}
	}
	return 0
}

// send sends one packet, and says whether any family took it.
func (s *sockets) send(p packet) error {
	ifi, ok := s.ifaces[p.link]
	if !ok {
		return fmt.Errorf("sending multicast DNS: interface %d is gone", p.link)
	}
	var errs []error
	if s.v4 != nil && (!p.to.IsValid() || p.to.Addr().Is4()) {
		to := p.to
		if !to.IsValid() {
			to = netip.AddrPortFrom(group4, port)
		}
		// The option and not a control message, which not every system takes.
		err := s.v4.SetMulticastInterface(&ifi)
		if err == nil {
			_, err = s.v4.WriteTo(p.data, nil, net.UDPAddrFromAddrPort(to))
		}
		errs = append(errs, err)
	}
	if s.v6 != nil && (!p.to.IsValid() || p.to.Addr().Is6()) {
		to := p.to
		if !to.IsValid() {
			to = netip.AddrPortFrom(group6, port)
		}
		if to.Addr().IsLinkLocalUnicast() || to.Addr().IsMulticast() {
			to = netip.AddrPortFrom(to.Addr().WithZone(ifi.Name), to.Port())
		}
		err := s.v6.SetMulticastInterface(&ifi)
		if err == nil {
			_, err = s.v6.WriteTo(p.data, nil, net.UDPAddrFromAddrPort(to))
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 || slices.Contains(errs, nil) {
		return nil
	}
	return fmt.Errorf("sending multicast DNS on %s: %w", ifi.Name, errors.Join(errs...))
}

// close closes the sockets and waits for the readers.
func (s *sockets) close() {
	close(s.closed)
	if s.v4 != nil {
		s.v4.Close()
	}
	if s.v6 != nil {
		s.v6.Close()
	}
	s.wg.Wait()
}

// machine is what responder and browser have in common.
type machine interface {
	handle(now time.Time, b []byte, from netip.AddrPort, index int)
	setLinks(now time.Time, links []link)
	next() time.Time
	timeout(now time.Time)
}

// run drives a machine until ctx ends or step says to stop. step is called after
// every change, to send and tell what came of it.
func (s *sockets) run(ctx context.Context, m machine, links []link, step func() bool) {
	scan := time.NewTicker(rescan)
	defer scan.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if !step() {
			return
		}
		if next := m.next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case r := <-s.in:
			m.handle(time.Now(), r.data, r.from, linkOf(r, links))
		case <-timer.C:
			if ctx.Err() != nil {
				return
			}
			// What has come already counts before what is due now: on a machine
			// that stood still it may be the answer that was waited for.
			for range len(s.in) {
				r := <-s.in
				m.handle(time.Now(), r.data, r.from, linkOf(r, links))
			}
			m.timeout(time.Now())
		case <-scan.C:
			if l, err := s.rescan(); err == nil {
				links = l
				m.setLinks(time.Now(), l)
			}
		}
	}
}

package discover

import (
	"net/netip"
)

// A link is one network interface as the state machines see it.
type link struct {
	index    int
	name     string // the zone of link-local addresses
	loopback bool
	prefixes []netip.Prefix // its addresses with their prefixes
}

// maxAddrs bounds the addresses of one link that are told: a packet must stay
// small enough not to be fragmented.
const maxAddrs = 16

func (l link) addrs() []netip.Addr {
	var as []netip.Addr
	for _, p := range l.prefixes {
		if len(as) < maxAddrs {
			as = append(as, p.Addr())
		}
	}
	return as
}

// has says that a is an address that somebody on this link can have. What is
// elsewhere is not taken from a packet of this link, so a forged answer cannot
// send anybody to another network, or to their own machine.
func (l link) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() != l.loopback {
		return false
	}
	if a.Is6() && a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range l.prefixes {
		if p.Masked().Contains(a) {
			return true
		}
	}
	return false
}

// sends says that a packet from a that came in on this link is of this link
// (section 11). On the loopback that is any: the system may choose another of the
// host's addresses as the source of a multicast there.
func (l link) sends(a netip.Addr) bool { return l.loopback || l.has(a) }

// zoned gives a link-local IPv6 address the zone that it needs to be dialed.
func (l link) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(l.name)
	}
	return a
}

// A packet is a message on its way out: to the group, on one link, or to one
// host.
type packet struct {
	link int
	to   netip.AddrPort // the zero value: the group
	data []byte
}

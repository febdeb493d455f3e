package box

// chatter tells whether an IP packet is one that hosts send by themselves: group
// memberships (IGMP, MLD) and IPv6's neighbour and router discovery. The link is
// between two points and has no use for them, and when they come depends on the
// kernel's timers: they would take numbers away from the packets of the
// experiment, whose fate hangs on their number.
func chatter(pkt []byte) bool {
	const igmp, hopByHop, icmp6 = 2, 0, 58
	if len(pkt) < 20 {
		return true // no IP packet
	}
	switch pkt[0] >> 4 {
	case 4:
		return pkt[9] == igmp
	case 6:
		const fixed = 40
		if len(pkt) < fixed+1 {
			return false
		}
		next, body := pkt[6], pkt[fixed:]
		// MLD comes behind a router alert option.
		if next == hopByHop && len(body) >= 8 {
			skip := 8 * (int(body[1]) + 1)
			if next = body[0]; skip >= len(body) {
				return false
			}
			body = body[skip:]
		}
		if next != icmp6 {
			return false
		}
		kind := body[0]
		return kind >= 130 && kind <= 137 || kind == 143 // RFC 2710, 4861, 3810
	}
	return true // neither IPv4 nor IPv6
}

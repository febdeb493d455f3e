package lab

import "slices"

// Notes says what about the plan's runs is not what it is called, for reports: what
// is modelled, and what is imitated.
func (p *Plan) Notes() []string {
	var notes []string
	tcp := slices.ContainsFunc(p.Transports, Transport.IsTCP)
	switch p.Engine {
	case Sim:
		notes = append(notes,
			"Simulated: wherry's own UDP engines ran over simulated links under simulated time. The same plan, seed and version give the same results to the byte; columns named *_wall* tell how long the simulation took and differ.")
		if tcp {
			notes = append(notes, "tcp:cubic and tcp:bbr are models: wherry's engine with its own CUBIC (RFC 9438) and a controller close to BBR version 1 in place of a kernel's TCP. Only the congestion control is TCP's; acknowledgements, loss detection and header sizes are those of wherry's UDP, so that tcp:cubic goes as udp:cubic does. Engine link measures real TCP.")
		}
		notes = append(notes, "The simulator has no processors and no disks: it shows what the protocol and the link allow, and nothing a host may add.")
	case Loopback:
		notes = append(notes, "On loopback: both ends ran on this machine, and what the link does was imitated in front of the sockets by this process.")
	}
	return append(notes,
		"Impairments hold each way. Loss stands behind the bottleneck, as radio loss does behind a modem, and each packet's fate is drawn from the seed and its number, so that all transports of one repeat meet the same draws.",
		"Intervals are 95% confidence intervals of the mean over the repeats, by Student's t. They speak of the variation between seeds and of nothing else.")
}

package lab

import (
	"fmt"
	"slices"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

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
		notes = append(notes, "On loopback: both ends ran in one process on this machine, over real sockets. What the link does to UDP was imitated in front of them; all else on the machine took its share of processors and time.")
		if tcp {
			notes = append(notes, "TCP on loopback went through a relay that delays bytes and holds them to the rate above TCP: it is two connections of the kernel's, of which none saw the link. Engine link lets TCP itself feel it.")
		}
	case Wire:
		notes = append(notes, "Measured: wherry ran on two hosts made of namespaces, over this machine's kernel, with an emulated link between them that drew what becomes of each IP packet. Times are real, so they vary with the load of the machine; its losses do not.")
	}
	if slices.ContainsFunc(p.Links, func(l Link) bool { return l.Rate > 0 && l.Queue == 0 }) {
		notes = append(notes, fmt.Sprintf("A queue that the plan does not size holds %v of its link's rate, but at least %v.", netem.DefaultQueueTime, units.Size(netem.DefaultQueueMin)))
	}
	return append(notes,
		"The first repeat of each transport over each link was recorded for the plots.",
		"Impairments hold each way. Loss stands behind the bottleneck, as radio loss does behind a modem, and each packet's fate is drawn from the seed and its number, so that all transports of one repeat meet the same draws.",
		"Intervals are 95% confidence intervals of the mean over the repeats, by Student's t. They speak of the variation between seeds and of nothing else.")
}

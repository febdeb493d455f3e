package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/units"
)

// A Transport is what a plan calls "udp:go-back-n" and the like, as the
// simulator runs it.
type Transport struct {
	Name       string
	ARQ        arq.ARQ
	Congestion arq.Congestion
	// Note says in what the simulator's transport differs from the one that
	// the name promises; empty where it does not.
	Note string
}

const modelled = "modelled: our own packets and acknowledgements under our own %s controller, not the kernel's TCP"

var transports = []Transport{
	{Name: "udp", ARQ: arq.ModelARQ},
	{Name: "udp:cubic", ARQ: arq.ModelARQ, Congestion: arq.Cubic},
	{Name: "udp:stop-and-wait", ARQ: arq.StopAndWait},
	{Name: "udp:go-back-n", ARQ: arq.GoBackN},
	{Name: "udp:selective-repeat", ARQ: arq.SelectiveRepeat},
	{Name: "udp:none", ARQ: arq.NoARQ},
	{Name: "tcp:cubic", ARQ: arq.ModelARQ, Congestion: arq.Cubic, Note: fmt.Sprintf(modelled, "CUBIC (RFC 9438)")},
	{Name: "tcp:bbr", ARQ: arq.ModelARQ, Congestion: arq.BBR, Note: fmt.Sprintf(modelled, "BBR-like")},
}

// Transports lists the transports that [RunTransport] knows.
func Transports() []Transport { return slices.Clone(transports) }

// ParseTransport returns the transport of a name.
func ParseTransport(name string) (Transport, error) {
	var names []string
	for _, t := range transports {
		if t.Name == name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	return Transport{}, fmt.Errorf("the simulator has no transport %q; it has %s", name, strings.Join(names, ", "))
}

// TransportConfig is one transfer over one link.
type TransportConfig struct {
	Transport Transport
	Seed      uint64
	// Forward is the way of the data, Reverse that of the acknowledgements.
	// Their seeds and directions are set by RunTransport. Overhead should be
	// 28 or 48, as it is for real packets.
	Forward, Reverse netem.Config
	// Bytes is how much is sent; it must be above 0.
	Bytes int64
	// Window, RTO and Payload are those of [arq.Config]: 0 is its default.
	// Payload is MaxDatagram, which the textbook protocols and datagrams use
	// as it is (default 1200), and the others search up to (default 1472).
	Window  int
	RTO     time.Duration
	Payload int
	// Rate limits what is sent, in bits a second of UDP payload; for
	// udp:none it is the rate itself. 0 is no limit; for udp:none it is nine
	// tenths of the forward link's rate, if that has one, so that what is
	// lost is what the link loses and not the queue.
	Rate units.Rate
	// Trace is told what the sender does: PacketSent (with InFlight and
	// Retransmit), AckProcessed (Newly; what of it lies beyond UNA is a
	// SACK), SendWindow (UNA, NXT, WND in bytes), FrameWindow (in frames,
	// of the textbook protocols), PacketLost, RTT, Controller. Receiver is
	// told what the receiver does. Either may be nil. The trace package
	// makes one that keeps it all.
	Trace, Receiver *arq.Trace
	// Link is told what the forward link decided about each packet, by the
	// sender's packet number: fate, departure, arrival, bytes in the queue.
	Link func(number uint64, d netem.Decision)
	// Check verifies the connection's invariants at every step.
	Check bool
	// Stop and Limit are [Config.Stop] and [Config.Limit].
	Stop  func() bool
	Limit time.Duration
}

// RunTransport runs one transfer from its handshake to its end. Equal configs
// give equal results, to the bit. A transfer that fails by what the network
// did to it (a peer that timed out) is no error but is told in the flow's Err.
func RunTransport(c TransportConfig) (*Result, error) {
	if c.Bytes <= 0 {
		return nil, fmt.Errorf("simulate %s: %d bytes to send", c.Transport.Name, c.Bytes)
	}
	client := arq.Config{ARQ: c.Transport.ARQ, Congestion: c.Transport.Congestion, Window: c.Window, RTO: c.RTO,
		Rate: c.Rate.Bytes(), Trace: c.Trace, MaxDatagram: c.Payload, NoDiscovery: c.Payload != 0}
	server := arq.Config{ARQ: c.Transport.ARQ, Window: c.Window, RTO: c.RTO, Trace: c.Receiver,
		MaxDatagram: c.Payload, NoDiscovery: c.Payload != 0}
	if c.Transport.ARQ == arq.NoARQ {
		client.Rate, client.DatagramRate = 0, c.Rate.Bytes()
		if c.Rate == 0 {
			client.DatagramRate = .9 * c.Forward.Rate.Bytes()
		}
		// As on a real network: the fate of a datagram is its number's.
		c.Forward.Index = arq.DatagramNumber
	}
	res, err := Run(Config{Seed: c.Seed, Forward: c.Forward, Reverse: c.Reverse, Check: c.Check, Link: c.Link, Stop: c.Stop, Limit: c.Limit,
		Flows: []Flow{{Name: c.Transport.Name, Client: client, Server: server, Bytes: c.Bytes}}})
	if err != nil {
		return nil, fmt.Errorf("simulate %s: %w", c.Transport.Name, err)
	}
	return res, nil
}

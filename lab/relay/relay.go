package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// Defaults of the fields of Options that are zero.
const (
	DefaultMaxClients = 1024
	// DefaultIdle is the time that RFC 4787 recommends for a NAT's UDP mappings.
	DefaultIdle = 5 * time.Minute
)

// Options says what a Relay does. To is needed; the zero value of the rest is the
// default.
type Options struct {
	// Listen is the address to serve on, host:port; port 0 takes any that is
	// free. Empty means 127.0.0.1:0.
	Listen string
	// To is where everything goes.
	To netip.AddrPort
	// TCP and UDP choose what is relayed; neither means both.
	TCP, UDP bool
	// Link is what happens in each direction. Datagrams feel all of it. TCP,
	// which would repair what is lost below, feels Delay, Jitter (without
	// overtaking) and Rate. Direction is set by the relay: 0 towards To, 1 back.
	Link netem.Config
	// Reset is the share of TCP connections that are reset, and ResetAfter
	// how many bytes of both directions together they carry until then.
	Reset      units.Probability
	ResetAfter int64
	// MaxClients bounds the clients at once, of UDP and of TCP each. Datagrams
	// of further ones are dropped, further connections are reset.
	MaxClients int
	// Idle is how long a UDP client is remembered that neither sends nor gets
	// anything.
	Idle time.Duration
}

// Check tells what is wrong with o.
func (o *Options) Check() error {
	switch {
	case !o.To.IsValid() || o.To.Port() == 0:
		return errors.New("relay: there is nowhere to relay to")
	case o.Link.Header != 0:
		return errors.New("relay: Header is not the caller's to use")
	case !(o.Reset >= 0 && o.Reset <= 1):
		return fmt.Errorf("reset %v: %w: want 0%% to 100%%", o.Reset, netem.ErrConfig)
	case o.ResetAfter < 0 || o.MaxClients < 0 || o.Idle < 0:
		return fmt.Errorf("relay: %w: a negative bound", netem.ErrConfig)
	}
	return o.Link.Validate()
}

// Stats is what a relay has done so far.
type Stats struct {
	UDP UDPStats
	TCP TCPStats
}

// UDPStats counts datagrams; the two directions count bytes of payload.
type UDPStats struct {
	Clients int64 // now
	Seen    int64 // ever
	Refused int64 // datagrams of clients beyond MaxClients
	Expired int64 // clients that were silent for Idle
	Errors  int64 // datagrams that the system would not send, or had no room for
	To      netem.Stats
	Back    netem.Stats
}

// TCPStats counts connections.
type TCPStats struct {
	Open      int64 // now
	Accepted  int64 // ever
	Refused   int64 // beyond MaxClients
	Failed    int64 // the other side could not be reached
	Reset     int64 // by Options.Reset
	ToBytes   int64 // delivered
	BackBytes int64
}

// A Relay passes datagrams and connections on. [Listen] makes one.
type Relay struct {
	o     Options
	start time.Time

	udp   *datagram.Conn
	table table
	to    *pipe
	back  *pipe
	count udpCounters

	tcp      *socket.Listener
	tcpCount tcpCounters
	shapers  [2]*shaper
}

type udpCounters struct{ seen, refused, expired, errors atomic.Int64 }

type tcpCounters struct {
	open, accepted, refused, failed, reset, toBytes, backBytes atomic.Int64
}

// Listen binds the addresses. The relay works once Serve is called.
func Listen(ctx context.Context, o Options) (*Relay, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if !o.TCP && !o.UDP {
		o.TCP, o.UDP = true, true
	}
	if o.MaxClients == 0 {
		o.MaxClients = DefaultMaxClients
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	r := &Relay{o: o, start: time.Now()}
	r.table.byID, r.table.byAddr = map[uint64]*client{}, map[netip.AddrPort]*client{}
	r.shapers = [2]*shaper{newShaper(o.Link.Rate), newShaper(o.Link.Rate)}
	address := o.Listen
	if o.TCP {
		var err error
		if r.tcp, err = socket.Listen(ctx, address, socket.Options{}); err != nil {
			return nil, err
		}
		// With port 0 both get the one that TCP was given.
		if hp, err := socket.ParseHostPort(address, 0); err == nil && hp.Port == 0 {
			addr, err := netip.ParseAddrPort(r.tcp.Addr().String())
			if err == nil {
				hp.Port = addr.Port()
				address = hp.String()
			}
		}
	}
	if o.UDP {
		if err := r.openUDP(ctx, address); err != nil {
			if r.tcp != nil {
				r.tcp.Close()
			}
			return nil, err
		}
	}
	return r, nil
}

// Addr is the address that is bound: the same of UDP and TCP where both are
// relayed.
func (r *Relay) Addr() netip.AddrPort {
	if r.udp != nil {
		return r.udp.LocalAddr()
	}
	a, _ := netip.ParseAddrPort(r.tcp.Addr().String())
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Serve relays until ctx ends, which is no error, and closes the relay.
func (r *Relay) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var udpErr, tcpErr error
	if r.udp != nil {
		wg.Go(func() { defer cancel(); udpErr = r.serveUDP(ctx) })
	}
	if r.tcp != nil {
		wg.Go(func() { defer cancel(); tcpErr = r.serveTCP(ctx) })
	}
	wg.Wait()
	return errors.Join(udpErr, tcpErr)
}

// Stats tells what happened so far. It may be called at any time.
func (r *Relay) Stats() Stats {
	var s Stats
	if r.udp != nil {
		s.UDP = UDPStats{
			Clients: int64(r.table.len()), Seen: r.count.seen.Load(), Refused: r.count.refused.Load(),
			Expired: r.count.expired.Load(), Errors: r.count.errors.Load() + int64(r.udp.Stats().HostDrops),
			To: r.to.stats(), Back: r.back.stats(),
		}
	}
	c := &r.tcpCount
	s.TCP = TCPStats{
		Open: c.open.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(),
		Reset: c.reset.Load(), ToBytes: c.toBytes.Load(), BackBytes: c.backBytes.Load(),
	}
	return s
}

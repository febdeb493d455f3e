package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/wherry-net/wherry/lab/relay"
	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
)

// loopback runs both ends in this process. Each end's datagrams go through a
// netem link before they reach the socket; TCP goes through a relay, which can
// delay it and hold it to a rate, and is a second connection.
type loopback struct{ material }

// parallel is 1: runs at once would share processors, and be measured doing so.
func (*loopback) parallel() int { return 1 }

func (*loopback) check(p *Plan) error {
	for _, t := range p.Transports {
		if _, err := controlOf(t); t.IsTCP() {
			for _, l := range p.Links {
				rest := l
				rest.Rate, rest.Delay, rest.Jitter, rest.Queue = 0, 0, 0, 0
				if rest != (Link{}) {
					return p.cannot("on loopback a relay delays the kernel's TCP and no more, so %s cannot go over %s; engine link does it", t, l)
				}
			}
		} else if err != nil {
			return p.cannot("%v", err)
		}
	}
	return nil
}

// controlOf is the engine's configuration for a transport over UDP.
func controlOf(t Transport) (arq.Config, error) {
	var c arq.Config
	switch t {
	case UDP:
	case UDPCubic:
		c.Congestion = arq.Cubic
	case StopAndWait:
		c.ARQ = arq.StopAndWait
	case GoBackN:
		c.ARQ = arq.GoBackN
	case SelectiveRepeat:
		c.ARQ = arq.SelectiveRepeat
	default:
		return c, fmt.Errorf("loopback has no %s; engine sim does", t)
	}
	return c, nil
}

func (e *loopback) run(ctx context.Context, r Run, row *Row, rec *recorder) error {
	file, err := e.path(r.Plan)
	if err != nil {
		return err
	}
	inbox, done, err := e.inbox()
	if err != nil {
		return err
	}
	defer done()
	outer := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, r.Plan.timeout(), fmt.Errorf("not done within %v", r.Plan.timeout()))
	defer cancel()
	if r.Transport.IsTCP() {
		err = e.tcp(ctx, r, row, file, inbox)
	} else {
		err = e.udp(ctx, r, row, rec, file, inbox)
	}
	if outer.Err() != nil {
		return outer.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		row.Error = err.Error()
		row.timed(0, 0)
	}
	return nil
}

const loopbackAny = "127.0.0.1:0"

func (e *loopback) tcp(ctx context.Context, r Run, row *Row, file, inbox string) error {
	o := socket.Options{Congestion: r.Transport.Variant()}
	ln, err := socket.Listen(ctx, loopbackAny, o)
	if err != nil {
		return err
	}
	defer ln.Close()
	accept := func(ctx context.Context) (net.Conn, error) { return ln.Accept(ctx) }
	to := ln.Addr().(*net.TCPAddr).AddrPort()
	if link := r.Link.Config(); link.Impairs() {
		link.Seed = r.Seed
		between, err := relay.Listen(ctx, relay.Options{To: to, TCP: true, Link: link})
		if err != nil {
			return err
		}
		relaying, end := context.WithCancel(ctx)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = between.Serve(relaying) // what it fails at, the transfer fails at
		}()
		defer func() { end(); <-served }()
		to = between.Addr()
	}
	d := socket.Dialer{Options: o}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	sent, err := exchange(ctx, conn, accept, file, inbox)
	if err == nil {
		row.timed(sent.Bytes, sent.Elapsed)
	}
	return err
}

func (e *loopback) udp(ctx context.Context, r Run, row *Row, rec *recorder, file, inbox string) error {
	engine, err := controlOf(r.Transport)
	if err != nil {
		return err
	}
	p := r.Plan
	if p.Payload > 0 {
		engine.MaxDatagram, engine.NoDiscovery = p.Payload, true
	}
	engine.Window, engine.RTO = p.Window, p.RTO
	link := r.Link.Config()
	link.Seed, link.Overhead = r.Seed, headers
	var links [2]netem.Config
	var configs [2]rudp.Config
	var mu sync.Mutex
	var forward netem.Stats // what the sender's link did
	begin := time.Now()
	for i := range configs {
		links[i] = link
		links[i].Direction = uint64(i)
		configs[i] = rudp.Config{Engine: engine, Trace: &rudp.Trace{}}
		if link.Impairs() {
			configs[i].Socket = datagram.Options{Impair: &links[i]}
			var tell func(netem.Decision)
			if rec != nil {
				tell = rec.link(i, link.Rate > 0).Packet
			}
			configs[i].Trace.Datagram = func(d rudp.Datagram) {
				if d.Fate == nil {
					return
				}
				if d.Fate.Direction == 0 {
					mu.Lock()
					count(&forward, d.Fate)
					mu.Unlock()
				}
				if tell != nil {
					fate := *d.Fate
					late := d.At.Sub(begin) - fate.At // to this run's clock
					fate.At, fate.Departs, fate.Arrives = fate.At+late, fate.Departs+late, fate.Arrives+late
					tell(fate)
				}
			}
		}
		if rec != nil {
			hooks := []func(time.Duration) *arq.Trace{rec.sender, rec.receiver}[i]
			configs[i].Trace.Conn = func(epoch time.Time, _, _ netip.AddrPort) *arq.Trace { return hooks(epoch.Sub(begin)) }
		}
	}
	ln, err := rudp.Listen(ctx, "udp", loopbackAny, configs[1])
	if err != nil {
		return err
	}
	defer ln.Close()
	accept := func(ctx context.Context) (net.Conn, error) { return ln.AcceptContext(ctx) }
	conn, err := rudp.Dial(ctx, ln.Addr().(*net.UDPAddr).AddrPort(), configs[0])
	if err != nil {
		return err
	}
	sent, err := exchange(ctx, conn, accept, file, inbox)
	row.fromEngine(conn.Stats())
	if link.Impairs() {
		mu.Lock()
		row.fromLink(&forward, link.Rate > 0)
		mu.Unlock()
	}
	if err == nil {
		row.timed(sent.Bytes, sent.Elapsed)
	}
	return err
}

// count adds a decision to what a link did.
func count(s *netem.Stats, d *netem.Decision) {
	s.Packets++
	s.MaxQueue = max(s.MaxQueue, d.Queued)
	switch d.Fate {
	case netem.Lost:
		s.Lost++
	case netem.TailDrop:
		s.TailDrops++
	}
}

// exchange sends file over conn, and receives it into inbox at the other end.
func exchange(ctx context.Context, conn net.Conn, accept func(context.Context) (net.Conn, error), file, inbox string) (transfer.Result, error) {
	defer conn.Close()
	root, err := os.OpenRoot(inbox)
	if err != nil {
		return transfer.Result{}, err
	}
	defer root.Close()
	got := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		c, err := accept(ctx)
		if err == nil {
			_, err = transfer.Receive(ctx, c, transfer.ReceiveOptions{Dir: root, NoSync: true})
			c.Close()
		}
		got <- err
	}()
	src, err := transfer.NewSource([]string{file}, transfer.SourceOptions{})
	if err != nil {
		cancel()
		<-got
		return transfer.Result{}, err
	}
	defer src.Close()
	sent, err := transfer.Send(ctx, conn, src, transfer.SendOptions{})
	if err != nil {
		cancel()
	}
	if other := <-got; err == nil {
		err = other
	} else if other != nil && !errors.Is(other, context.Canceled) {
		err = fmt.Errorf("%w; the receiver says: %w", err, other)
	}
	return sent, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/units"
)

// udpFlags choose reliable UDP and what it does; the impairments are of what
// this end sends.
func udpFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "udp", Usage: "go over UDP with our own sequence numbers, windows and retransmission; both ends must say it"},
		&cli.StringFlag{Name: "arq", Usage: "the UDP protocol by `NAME`: model, stop-and-wait, go-back-n, selective-repeat, or none, which sends each datagram once and which both ends must say", DefaultText: "model; an end that listens follows the other"},
		&cli.IntFlag{Name: "window", Usage: "UDP: `N` packets under way with go-back-n and selective-repeat", DefaultText: strconv.Itoa(arq.DefaultWindow)},
		&cli.DurationFlag{Name: "rto", Usage: "UDP: send again after `DUR` with stop-and-wait, go-back-n and selective-repeat", DefaultText: "measured, by RFC 6298"},
		&cli.BoolFlag{Name: "allow-missing", Usage: "UDP: with --arq none, files with bytes missing are delivered, zeros in their place, and no failure"},
		&cli.IntFlag{Name: "payload", Usage: "UDP: datagrams of at most `BYTES`", DefaultText: "found by probing the path; 1200 with an --arq other than model"},
		&cli.StringFlag{Name: "loss", Usage: "UDP: lose this share of what this end sends, as `P` 1%"},
		&cli.StringFlag{Name: "delay", Usage: "UDP: deliver `D` later, as 25ms"},
		&cli.StringFlag{Name: "jitter", Usage: "UDP: vary the delay by `D`"},
		&cli.StringFlag{Name: "reorder", Usage: "UDP: deliver this share `P` out of turn"},
		&cli.StringFlag{Name: "duplicate", Usage: "UDP: deliver this share `P` twice"},
		&cli.StringFlag{Name: "corrupt", Usage: "UDP: flip a bit in this share `P`"},
		&cli.StringFlag{Name: "bandwidth", Usage: "UDP: put a bottleneck of `RATE` in the way, as 10Mbit"},
		&cli.StringFlag{Name: "queue", Usage: "UDP: the bottleneck's queue in `BYTES`, as 64KiB"},
		&cli.Uint64Flag{Name: "seed", Usage: "UDP: draw impairments from seed `N`; the same seed loses the same packets"},
	}
}

// udpConfig reads the flags above; nil without --udp.
func udpConfig(c *cli.Context, o socket.Options) (*rudp.Config, error) {
	link, err := impairments(c)
	if err != nil {
		return nil, err
	}
	if !c.Bool("udp") {
		for _, name := range []string{"arq", "window", "rto", "allow-missing", "payload", "loss", "delay", "jitter", "reorder", "duplicate", "corrupt", "bandwidth", "queue", "seed"} {
			if c.IsSet(name) {
				return nil, usagef("--%s is for UDP", name).hint("add --udp on both ends")
			}
		}
		return nil, nil
	}
	cfg := &rudp.Config{Local: o.Source}
	if err := arqFlags(c, &cfg.Engine); err != nil {
		return nil, err
	}
	if n := c.Int("payload"); n != 0 {
		if n < arq.MinDatagram || n > arq.MaxDatagram {
			return nil, usagef("--payload must be %d to %d bytes, not %d", arq.MinDatagram, arq.MaxDatagram, n)
		}
		cfg.Engine.MaxDatagram, cfg.Engine.NoDiscovery = n, true
	}
	cfg.Engine.IdleTimeout = c.Duration("timeout")
	cfg.Engine.HandshakeTimeout = min(c.Duration("timeout"), dialTimeout)
	cfg.Socket.RecvBuffer, cfg.Socket.SendBuffer = o.ReceiveBuffer, o.SendBuffer
	if link.Impairs() {
		cfg.Socket.Impair = link
		if cfg.Engine.ARQ == arq.NoARQ {
			// What becomes of a datagram follows from its number, whatever
			// else had to be sent.
			link.Index = arq.DatagramNumber
		}
	}
	o.Congestion = "" // named a controller of ours, not the kernel's
	cfg.Socket.Control = o.Control
	return cfg, nil
}

// impairments reads what is to happen to what this end sends.
func impairments(c *cli.Context) (*netem.Config, error) {
	link := &netem.Config{Seed: c.Uint64("seed"), Overhead: 28}
	err := readImpairments(c, link, impairment{"bandwidth", func(s string) (err error) { link.Rate, err = units.ParseRate(s); return err }})
	if err != nil {
		return nil, err
	}
	if err := link.Validate(); err != nil {
		return nil, usagef("--%w", err)
	}
	return link, nil
}

// dialUDP connects to address over reliable UDP.
func dialUDP(ctx context.Context, address string, o socket.Options, cfg rudp.Config) (net.Conn, error) {
	// The kernel chooses among a host's addresses by its routes: connecting a
	// UDP socket sends nothing.
	o.Congestion = ""
	d := socket.Dialer{Options: o}
	probe, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	peer := probe.RemoteAddr().(*net.UDPAddr).AddrPort()
	probe.Close()
	conn, err := rudp.Dial(ctx, peer, cfg)
	if errors.Is(err, arq.ErrVersion) {
		return nil, fmt.Errorf("connect to %s over UDP: %w: this end speaks %d", peer, arq.ErrVersion, arq.Version)
	}
	if err != nil {
		if kind := socket.Kind(err); kind != nil {
			err = fmt.Errorf("connect to %s over UDP: %w", peer, kind)
			if kind == socket.ErrRefused {
				err = withHint(err, "is the other end listening there, with --udp as well?")
			}
		}
		return nil, err
	}
	return conn, nil
}

// udpWaiter is a reliable UDP listener. Somebody who runs another protocol ends
// it, like every mistake of the other end, unless many are served.
type udpWaiter struct {
	*rudp.Listener
	many bool
	p    *printer
}

func (w udpWaiter) AcceptContext(ctx context.Context) (net.Conn, error) {
	for {
		c, err := w.Listener.AcceptContext(ctx)
		if err == nil {
			return c, nil
		}
		differ, ok := errors.AsType[*arq.ARQError](err)
		if !ok {
			return nil, err
		}
		if !w.many {
			return nil, differ
		}
		w.p.Say("turned away: %v", differ)
	}
}

// Accept is for pairing, which waits after other errors and tries again.
func (w udpWaiter) Accept() (net.Conn, error) {
	c, err := w.AcceptContext(context.Background())
	if differ, ok := errors.AsType[*arq.ARQError](err); ok {
		return nil, endOfListening{differ}
	}
	return c, err
}

// endOfListening makes an error one after which nobody listens any more.
type endOfListening struct{ error }

func (e endOfListening) Unwrap() []error { return []error{e.error, net.ErrClosed} }

// udpConn finds the reliable UDP connection below encryption.
func udpConn(conn net.Conn) *rudp.Conn {
	for {
		switch c := conn.(type) {
		case *rudp.Conn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// udpLimiter is what held the sender back the longest, with its share.
func udpLimiter(s arq.Stats) string {
	names := map[arq.Limiter]string{
		arq.LimitApp: "source", arq.LimitRwnd: "receive window", arq.LimitCwnd: "congestion window",
		arq.LimitPacing: "pacing", arq.LimitHost: "cpu",
	}
	var total, most time.Duration
	which := arq.LimitApp
	for i, d := range s.Limited {
		if arq.Limiter(i) == arq.LimitApp && s.StreamWaiting > 0 {
			// Before a small file is on its way all of it is written: a source
			// that is ahead is not what all waits for.
			continue
		}
		total += d
		if d > most {
			most, which = d, arq.Limiter(i)
		}
	}
	if total == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%s %d%%", names[which], 100*most/total)
}

// transportOf is the word for a connection's transport in events.
func transportOf(conn net.Conn) string {
	if strings.HasPrefix(conn.LocalAddr().Network(), "udp") {
		return "udp"
	}
	return "tcp"
}

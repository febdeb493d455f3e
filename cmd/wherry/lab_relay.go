package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/lab/relay"
	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

func labRelayCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:  "relay",
		Usage: "pass UDP and TCP on over a bad link, on any system",
		Description: "Whatever comes to --listen goes on to --to over a link that is as bad as the flags say, in\n" +
			"each direction, and answers go back. Datagrams feel everything; TCP feels delay, jitter and\n" +
			"rate (for loss that TCP feels see 'lab link'), and resets. It prints 'ready' with its address,\n" +
			"what it did when it is stopped, and in between on SIGUSR1 (or with --json, every --interval).\n\n" +
			"   wherry receive --listen 127.0.0.1:7557 --udp --yes\n" +
			"   wherry lab relay --listen 127.0.0.1:7000 --to 127.0.0.1:7557 --loss 2% --delay 20ms\n" +
			"   wherry send --to 127.0.0.1:7000 --udp FILE",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "serve on `ADDR`, [HOST]:PORT"},
			&cli.StringFlag{Name: "to", Usage: "pass everything on to `ADDR`, HOST[:PORT]"},
			&cli.BoolFlag{Name: "tcp", Usage: "TCP only"},
			&cli.BoolFlag{Name: "udp", Usage: "UDP only"},
			&cli.StringFlag{Name: "reset", Usage: "reset this share `P` of the TCP connections"},
			&cli.StringFlag{Name: "reset-after", Usage: "reset them when they have carried `SIZE`"},
			&cli.IntFlag{Name: "max-clients", Value: relay.DefaultMaxClients, Usage: "serve `N` clients at once"},
			&cli.DurationFlag{Name: "idle", Value: relay.DefaultIdle, Usage: "forget a UDP client that is silent for `DUR`"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "with --json, tell the counters every `DUR` while they change"},
			jsonFlag(), quietFlag(),
		}, linkFlags()...),
		Action: func(c *cli.Context) error { return labRelay(c, io) },
	}
}

func labRelay(c *cli.Context, io stdio) error {
	p := printerFor(c, io)
	o, err := relayOptions(c)
	if err != nil {
		return p.fail(err)
	}
	// A UDP socket that is connected sends nothing, and knows the address.
	conn, err := (&socket.Dialer{}).DialContext(c.Context, "udp", c.String("to"))
	if err != nil {
		return p.fail(err)
	}
	o.To = conn.RemoteAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	o.To = netip.AddrPortFrom(o.To.Addr().Unmap(), o.To.Port())
	if o.Link.Overhead = 28; o.To.Addr().Is6() {
		o.Link.Overhead = 48
	}
	r, err := relay.Listen(c.Context, o)
	if err != nil {
		return p.fail(err)
	}
	start := time.Now()
	if p.o.JSON {
		p.Event(relayReady{"ready", r.Addr().String(), o.To.String()})
	} else if !p.o.Quiet {
		fmt.Fprintf(io.Out, "ready %v\n", r.Addr())
	}
	asked, stop := relayAsked()
	defer stop()
	ended := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		tellRelay(p, r, start, c.Duration("interval"), asked, ended)
	}()
	err = r.Serve(c.Context)
	close(ended)
	<-told
	s := r.Stats()
	p.Event(relayEventOf("done", s, start))
	sayRelay(p, s)
	if err != nil {
		return p.fail(fmt.Errorf("relay: %w", err))
	}
	return nil
}

func relayOptions(c *cli.Context) (o relay.Options, err error) {
	if c.NArg() > 0 {
		return o, usagef("lab relay takes no argument, and got %s", quoteArg(c.Args().First()))
	}
	if c.String("listen") == "" || c.String("to") == "" {
		return o, usagef("lab relay needs --listen and --to")
	}
	o = relay.Options{TCP: c.Bool("tcp"), UDP: c.Bool("udp"), MaxClients: c.Int("max-clients"), Idle: c.Duration("idle")}
	if o.MaxClients < 1 {
		return o, usagef("--max-clients %d is less than 1", o.MaxClients)
	}
	if o.Idle <= 0 {
		return o, usagef("--idle %v is not above zero", o.Idle)
	}
	if c.Duration("interval") <= 0 {
		return o, usagef("--interval %v is not above zero", c.Duration("interval"))
	}
	hp, err := socket.ParseHostPort(c.String("listen"), socket.DefaultPort)
	if err != nil {
		return o, usagef("--listen: %w", err)
	}
	o.Listen = hp.String()
	if _, err := socket.ParseHostPort(c.String("to"), socket.DefaultPort); err != nil {
		return o, usagef("--to: %w", err)
	}
	if s := c.String("reset"); s != "" {
		if o.Reset, err = units.ParseProbability(s); err != nil {
			return o, usagef("--reset: %w", err)
		}
	}
	if s := c.String("reset-after"); s != "" {
		size, err := units.ParseSize(s)
		if err != nil {
			return o, usagef("--reset-after: %w", err)
		}
		if o.Reset == 0 {
			return o, usagef("--reset-after has no connections to reset").hint("--reset 100% resets all of them")
		}
		o.ResetAfter = int64(size)
	}
	o.Link, err = linkConfig(c)
	return o, err
}

// tellRelay tells the counters when asked, and as JSON in between, until the end.
func tellRelay(p *printer, r *relay.Relay, start time.Time, every time.Duration, asked <-chan os.Signal, ended <-chan struct{}) {
	var tick <-chan time.Time
	if p.o.JSON {
		t := time.NewTicker(every)
		defer t.Stop()
		tick = t.C
	}
	var last relay.Stats
	for {
		select {
		case <-ended:
			return
		case <-asked:
			s := r.Stats()
			p.Event(relayEventOf("stats", s, start))
			sayRelay(p, s)
		case <-tick:
			if s := r.Stats(); s != last {
				last = s
				p.Event(relayEventOf("stats", s, start))
			}
		}
	}
}

type relayReady struct {
	Event   string `json:"event"`
	Address string `json:"address"`
	To      string `json:"to"`
}

type relayEvent struct {
	Event   string   `json:"event"`
	Role    string   `json:"role"`
	Seconds float64  `json:"seconds"`
	UDP     relayUDP `json:"udp"`
	TCP     relayTCP `json:"tcp"`
}

type relayUDP struct {
	Clients int64     `json:"clients"`
	Seen    int64     `json:"clients_seen"`
	Refused int64     `json:"refused"`
	Expired int64     `json:"expired"`
	Errors  int64     `json:"errors"`
	To      linkEvent `json:"to"`
	Back    linkEvent `json:"back"`
}

type relayTCP struct {
	Open     int64 `json:"open"`
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Failed   int64 `json:"failed"`
	Reset    int64 `json:"reset"`
	To       int64 `json:"to_bytes"`
	Back     int64 `json:"back_bytes"`
}

func relayEventOf(event string, s relay.Stats, start time.Time) relayEvent {
	u, t := s.UDP, s.TCP
	return relayEvent{
		Event: event, Role: "relay", Seconds: time.Since(start).Seconds(),
		UDP: relayUDP{u.Clients, u.Seen, u.Refused, u.Expired, u.Errors, linkEventOf(u.To), linkEventOf(u.Back)},
		TCP: relayTCP{t.Open, t.Accepted, t.Refused, t.Failed, t.Reset, t.ToBytes, t.BackBytes},
	}
}

func sayRelay(p *printer, s relay.Stats) {
	if u := s.UDP; u.Seen > 0 {
		p.Say("UDP: %s, %d refused, %d errors", count(int(u.Seen), "client"), u.Refused, u.Errors)
		for _, way := range []struct {
			name string
			s    netem.Stats
		}{{"there", u.To}, {"back", u.Back}} {
			p.Say("  %-5s %s", way.name, linkText(way.s))
		}
	}
	if t := s.TCP; t.Accepted > 0 || t.Refused > 0 {
		p.Say("TCP: %s, %d refused, %d failed, %d reset; %d bytes there, %d back",
			count(int(t.Accepted), "connection"), t.Refused, t.Failed, t.Reset, t.ToBytes, t.BackBytes)
	}
	if s.UDP.Seen == 0 && s.TCP.Accepted+s.TCP.Refused == 0 {
		p.Say("nothing came")
	}
}

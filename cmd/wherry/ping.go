package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/echo"
)

func pingCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "measure the round trip to 'wherry echo' over TCP or UDP",
		ArgsUsage: "HOST[:PORT]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "udp", Usage: "over UDP, which can lose, double and reorder; the default is TCP"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Value: 10, Usage: "send `N` probes; 0 goes on until Ctrl-C"},
			&cli.DurationFlag{Name: "interval", Aliases: []string{"i"}, Value: echo.DefaultInterval, Usage: "`DUR` between probes"},
			&cli.IntFlag{Name: "size", Aliases: []string{"s"}, Value: echo.DefaultSize, Usage: fmt.Sprintf("`BYTES` in a probe, %d to %d", echo.MinSize, echo.MaxSize)},
			&cli.DurationFlag{Name: "timeout", Value: echo.DefaultReplyTimeout, Usage: "count a probe as lost after `DUR`"},
			&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
			&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
			&cli.StringFlag{Name: "source", Usage: "ping from the local address `IP`"},
			&cli.StringFlag{Name: "dscp", Usage: "mark packets with the DiffServ class `CLASS`, as af21, cs1, ef or 0 to 63"},
			jsonFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("ping takes one address, and got %d", c.NArg()).hint("wherry ping HOST[:PORT]")
			}
			hp, err := socket.ParseHostPort(c.Args().First(), socket.DefaultPort)
			if err != nil {
				return &usageError{err: err}
			}
			ping := pingJob{
				// What ping prints is its result: text goes to standard output also.
				out: printerFor(c, stdio{In: io.In, Out: io.Out, Err: io.Out}),
				pinger: echo.Pinger{
					TCP:      !c.Bool("udp"),
					Count:    c.Int("count"),
					Interval: c.Duration("interval"),
					Size:     c.Int("size"),
					Timeout:  c.Duration("timeout"),
				},
			}
			if ping.pinger.Dialer.Options, err = socketOptions(c); err != nil {
				return err
			}
			for _, f := range []struct {
				name string
				zero bool
			}{{"interval", ping.pinger.Interval == 0}, {"size", ping.pinger.Size == 0}, {"timeout", ping.pinger.Timeout == 0}} {
				if f.zero { // which the library takes for its default
					return usagef("--%s is zero", f.name)
				}
			}
			if err := ping.pinger.Check(); err != nil {
				return &usageError{err: err}
			}
			return ping.run(c.Context, hp.String())
		},
	}
}

// fastPing is the interval below which a line for each answer could not be read:
// on a terminal one line stands for all.
const fastPing = 100 * time.Millisecond

// pingJob is a ping and what it prints.
type pingJob struct {
	pinger echo.Pinger
	out    *printer

	sent, good, lost int64
	drawn            time.Time // when the live line was
	width            int       // of the live line
}

type pingStart struct {
	Event      string  `json:"event"`
	Peer       string  `json:"peer"`
	Transport  string  `json:"transport"`
	Size       int     `json:"size"`
	Count      int     `json:"count"`
	IntervalMS float64 `json:"interval_ms"`
	LookupMS   float64 `json:"lookup_ms"`
	ConnectMS  float64 `json:"connect_ms"`
}

type pingReply struct {
	Event     string  `json:"event"` // reply, duplicate, late, corrupt, foreign
	Seq       uint64  `json:"seq"`
	RTTMS     float64 `json:"rtt_ms"`
	Reordered bool    `json:"reordered,omitempty"`
}

type pingLost struct {
	Event string `json:"event"`
	Seq   uint64 `json:"seq"`
}

type rttMS struct {
	Min    float64 `json:"min"`
	Mean   float64 `json:"mean"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	StdDev float64 `json:"stddev"`
}

type pingDone struct {
	Event      string  `json:"event"`
	Role       string  `json:"role"`
	Peer       string  `json:"peer"`
	Transport  string  `json:"transport"`
	Size       int     `json:"size"`
	Seconds    float64 `json:"seconds"`
	Sent       int64   `json:"packets_sent"`
	Received   int64   `json:"packets_received"`
	Lost       int64   `json:"packets_lost"`
	Pending    int64   `json:"packets_pending"`
	Loss       float64 `json:"loss"` // 0 to 1
	Late       int64   `json:"late"`
	Duplicates int64   `json:"duplicates"`
	Reordered  int64   `json:"reordered"`
	MaxExtent  int     `json:"reordering_extent"`
	Corrupt    int64   `json:"corrupt"`
	Foreign    int64   `json:"foreign"`
	LookupMS   float64 `json:"lookup_ms"`
	ConnectMS  float64 `json:"connect_ms"`
	RTT        *rttMS  `json:"rtt_ms,omitempty"`
	JitterMS   float64 `json:"jitter_ms"`
}

// inMS is d in milliseconds, to the nanosecond.
func inMS(d time.Duration) float64 { return math.Round(float64(d)) / 1e6 }

func (j *pingJob) run(ctx context.Context, address string) error {
	j.pinger.Trace = j.trace(address)
	res, err := j.pinger.Run(ctx, address)
	if res != nil {
		j.summary(address, res)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled) && j.pinger.Count == 0 && res != nil && res.Received > 0:
		return nil // the way it is meant to end
	case errors.Is(err, socket.ErrUnknownHost):
		return withHint(err, "check the name, or give an address")
	case errors.Is(err, socket.ErrRefused):
		return withHint(err, "nobody listens on that port; start 'wherry echo' there")
	case errors.Is(err, socket.ErrTimeout):
		return withHint(err, "is 'wherry echo' running there, and does a firewall let "+j.transport()+" through?")
	}
	return err
}

func (j *pingJob) transport() string {
	if j.pinger.TCP {
		return "tcp"
	}
	return "udp"
}

func (j *pingJob) trace(address string) *echo.PingTrace {
	t := &echo.PingTrace{
		Connected: func(peer net.Addr, lookup, connect time.Duration) {
			how := ""
			if lookup > 0 {
				how += fmt.Sprintf(", looked up in %.3f ms", inMS(lookup))
			}
			if j.pinger.TCP {
				how += fmt.Sprintf(", connected in %.3f ms", inMS(connect))
			}
			j.print(pingStart{"start", peer.String(), j.transport(), j.pinger.Size, j.pinger.Count, inMS(j.pinger.Interval), inMS(lookup), inMS(connect)},
				"ping %s over %s: %d bytes%s", peer, j.transport(), j.pinger.Size, how)
		},
		Sent: func(uint64) { j.sent++ },
		Lost: func(seq uint64) {
			j.lost++
			j.print(pingLost{"lost", seq}, "seq=%d lost", seq)
		},
		Reply: j.reply,
	}
	return t
}

func (j *pingJob) reply(r echo.Reply) {
	ms := inMS(r.RTT)
	e := pingReply{Seq: r.Seq, RTTMS: ms, Reordered: r.Reordered}
	switch r.Kind {
	case echo.ReplyGood:
		j.good++
		e.Event = "reply"
		note := ""
		if r.Reordered {
			note = " (reordered)"
		}
		j.print(e, "seq=%d time=%.3f ms%s", r.Seq, ms, note)
	case echo.ReplyDuplicate:
		e.Event = "duplicate"
		j.print(e, "seq=%d time=%.3f ms (duplicate)", r.Seq, ms)
	case echo.ReplyLate:
		e.Event = "late"
		j.print(e, "seq=%d time=%.3f ms (late: it counts as lost)", r.Seq, ms)
	case echo.ReplyCorrupt:
		e.Event = "corrupt"
		j.print(e, "a changed answer")
	default:
		e.Event = "foreign"
		j.print(e, "an answer to nothing that was asked")
	}
}

// print prints an event, or in a fast ping on a terminal brings the live line up
// to date.
func (j *pingJob) print(v any, format string, args ...any) {
	if !j.out.live || j.pinger.Interval >= fastPing {
		j.out.Event(v)
		j.out.Say(format, args...)
		return
	}
	if now := time.Now(); now.Sub(j.drawn) >= fastPing {
		j.drawn = now
		s := fmt.Sprintf("%d sent, %d answered, %d lost", j.sent, j.good, j.lost)
		fmt.Fprintf(j.out.io.Err, "\r%-*s", j.width, s)
		j.width = len(s)
	}
}

func (j *pingJob) summary(address string, r *echo.Result) {
	e := pingDone{
		Event: "done", Role: "ping", Peer: r.Peer, Transport: r.Network, Size: r.Size, Seconds: r.Elapsed.Seconds(),
		Sent: r.Sent, Received: r.Received, Lost: r.Lost, Pending: r.Pending, Loss: r.LossRatio(), Late: r.Late,
		Duplicates: r.Duplicates, Reordered: r.Reordered, MaxExtent: r.MaxExtent, Corrupt: r.Corrupt, Foreign: r.Foreign,
		LookupMS: inMS(r.Lookup), ConnectMS: inMS(r.Connect), JitterMS: inMS(r.Jitter),
	}
	text := fmt.Sprintf("--- %s (%s)\n%d sent, %d received, %d lost (%.3g%%)", address, r.Network, r.Sent, r.Received, r.Lost, 100*r.LossRatio())
	for _, c := range []struct {
		n    int64
		what string
	}{{r.Pending, "pending"}, {r.Late, "late"}, {r.Duplicates, "duplicate"}, {r.Corrupt, "corrupt"}, {r.Foreign, "foreign"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	if r.Reordered > 0 {
		text += fmt.Sprintf(", %d reordered (by %d at most)", r.Reordered, r.MaxExtent)
	}
	if r.Received > 0 {
		d := r.RTT
		e.RTT = &rttMS{inMS(d.Min), inMS(d.Mean), inMS(d.Median), inMS(d.P99), inMS(d.Max), inMS(d.StdDev)}
		text += fmt.Sprintf("\nround trip min/median/p99/max %.3f/%.3f/%.3f/%.3f ms, jitter %.3f ms", e.RTT.Min, e.RTT.Median, e.RTT.P99, e.RTT.Max, e.JitterMS)
	}
	if r.Network == "tcp" {
		text += fmt.Sprintf("\nconnect %.3f ms", e.ConnectMS)
	}
	if j.width > 0 {
		fmt.Fprintf(j.out.io.Err, "\r%*s\r", j.width, "")
	}
	j.out.Event(e)
	j.out.Say("%s", text)
}

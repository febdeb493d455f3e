package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/units"
)

// arqFlags reads what is about the protocol over UDP and its pace.
func arqFlags(c *cli.Context, e *arq.Config) error {
	if c.IsSet("arq") {
		var err error
		if e.ARQ, err = arq.ParseARQ(c.String("arq")); err != nil {
			return usagef("--arq is model, stop-and-wait, go-back-n, selective-repeat or none, not %s", quoteArg(c.String("arq")))
		}
	}
	if c.IsSet("window") {
		n := c.Int("window")
		switch {
		case e.ARQ == arq.StopAndWait && n != 1:
			return usagef("--arq stop-and-wait has one packet under way, so --window cannot be %d", n).hint("--arq go-back-n and --arq selective-repeat have windows")
		case !e.ARQ.Textbook():
			return usagef("--window is for the textbook protocols").hint("add --arq go-back-n or --arq selective-repeat; --arq model finds its own")
		case n < 1 || n > arq.MaxWindow:
			return usagef("--window must be 1 to %d packets, not %d", arq.MaxWindow, n)
		}
		e.Window = n
	}
	if c.IsSet("rto") {
		d := c.Duration("rto")
		switch {
		case !e.ARQ.Textbook():
			return usagef("--rto is for the textbook protocols").hint("add --arq stop-and-wait, go-back-n or selective-repeat; --arq model finds its own")
		case d < time.Millisecond || d > c.Duration("timeout")/2:
			return usagef("--rto must be 1ms to %v, half of --timeout, not %v", c.Duration("timeout")/2, d)
		}
		e.RTO = d
	}
	if c.Bool("allow-missing") && e.ARQ != arq.NoARQ {
		return usagef("--allow-missing is for --arq none: the other protocols miss nothing")
	}
	var rate float64
	if s := c.String("rate"); s != "" {
		r, err := units.ParseRate(s)
		if err != nil {
			return usagef("--rate: %w", err)
		}
		rate = r.Bytes()
	}
	if e.ARQ == arq.NoARQ {
		e.DatagramRate = rate
	}
	name := c.String("congestion")
	if name != "" && e.ARQ != arq.ARQDefault && e.ARQ != arq.ModelARQ {
		return usagef("--arq %v has no congestion control", e.ARQ).hint("--congestion is for --arq model; --rate holds the others back")
	}
	switch name {
	case "", "model":
	case "cubic":
		e.Congestion = arq.Cubic
	case "fixed":
		if rate == 0 {
			return usagef("--congestion fixed sends at --rate, and that is not given").hint("add --rate, as 10Mbit")
		}
		e.Congestion, e.Rate = arq.Fixed, rate
	default:
		return usagef("--congestion is model, cubic or fixed with --udp, not %s", quoteArg(name))
	}
	return nil
}

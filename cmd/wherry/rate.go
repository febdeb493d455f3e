package main

import (
	"context"
	"net"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/pace"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer/pairing"
)

func rateFlag() cli.Flag {
	return &cli.StringFlag{Name: "rate", Usage: "move no more than `RATE` over all connections together, as 10Mbit or 5MB/s" + rateSignals}
}

// rateLimit is what --rate says; nil for as fast as can be.
func rateLimit(c *cli.Context) (*pace.Limiter, error) {
	s := c.String("rate")
	if s == "" {
		return nil, nil
	}
	r, err := units.ParseRate(s)
	if err == nil && r < minRate {
		return nil, usagef("--rate %s is too slow to be alive: at least %v", quoteArg(s), minRate)
	}
	if err != nil {
		return nil, usagef("--rate: %w", err)
	}
	return pace.New(int64(r.Bytes())), nil
}

// minRate leaves time for a piece of content within the timeouts.
const minRate = 32 * units.Kbit

// paced holds what conn moves to --rate: what a sender writes, and what a
// receiver reads.
func (m *meeting) paced(conn net.Conn, err error) (net.Conn, error) {
	if m.rate == nil || err != nil {
		return conn, err
	}
	read, write := m.limits()
	return pace.NewConn(conn, read, write), nil
}

func (m *meeting) limits() (read, write *pace.Limiter) {
	if m.role == pairing.Sender {
		return nil, m.rate
	}
	return m.rate, nil
}

// pacedWaiter does the same for all that w accepts.
func (m *meeting) pacedWaiter(w binding) binding {
	if m.rate == nil {
		return w
	}
	return &rateWaiter{w, m}
}

type rateWaiter struct {
	binding
	m *meeting
}

func (w *rateWaiter) AcceptContext(ctx context.Context) (net.Conn, error) {
	return w.m.paced(w.binding.AcceptContext(ctx))
}

func (w *rateWaiter) NetListener() net.Listener {
	read, write := w.m.limits()
	return pace.NewListener(w.binding.NetListener(), read, write)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/pairing/discover"
)

// dialTimeout bounds connecting: a host that answers at all does so in seconds.
const dialTimeout = 10 * time.Second

// A route is how an end that dials reaches its peer, the first time and again.
type route struct {
	m       *meeting
	connect func(ctx context.Context) (net.Conn, error)
}

// encounter is the meeting on conn, which came about by r and is private.
func (r *route) encounter(conn net.Conn) *encounter {
	return &encounter{conn: conn, redial: r.redial, stream: r.stream, close: func() {}}
}

// redial is for a lost connection. Errors that time does not heal are marked.
func (r *route) redial(ctx context.Context) (net.Conn, error) {
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, err = r.m.pair(ctx, conn)
	for _, hopeless := range []error{pairing.ErrWrongCode, pairing.ErrBurnt, pairing.ErrPeerPlain, pairing.ErrPeerTransport, pairing.ErrVersion, pairing.ErrSameRole} {
		if errors.Is(err, hopeless) {
			return nil, fmt.Errorf("%w: %w", transfer.ErrGone, err)
		}
	}
	return conn, err
}

// stream makes a connection beside first, which vouches for it if it is private: the
// code is not proved again, and no guess at it is made.
func (r *route) stream(ctx context.Context, first net.Conn) (net.Conn, error) {
	conn, err := r.connect(ctx)
	if err != nil || r.m.plain {
		return conn, err
	}
	paired, err := first.(*pairing.Conn).Join(ctx, conn, r.m.pairingConfig())
	if err != nil {
		return nil, err
	}
	return paired, nil
}

// dialPeer connects to the address that was given.
func (m *meeting) dialPeer(ctx context.Context) (*encounter, error) {
	if !m.plain && m.code.IsZero() {
		var err error
		if m.code, err = askCode(ctx, m.std, false); err != nil {
			return nil, err
		}
	}
	r := &route{m, func(ctx context.Context) (net.Conn, error) { return m.connect(ctx, m.dial) }}
	conn, err := r.connect(ctx)
	if err != nil {
		return nil, m.crossed(ctx, m.dial, err)
	}
	if conn, err = m.pair(ctx, conn); err != nil {
		return nil, err
	}
	return r.encounter(conn), nil
}

// connect dials over the transport that was chosen.
func (m *meeting) connect(ctx context.Context, address string) (net.Conn, error) {
	if m.udp != nil {
		return m.paced(dialUDP(ctx, address, m.options, *m.udp))
	}
	d := socket.Dialer{Options: m.options, Timeout: min(m.timeout, dialTimeout)}
	return m.paced(d.DialContext(ctx, "tcp", address))
}

// pair makes a dialed connection private, unless this end is plain. It never
// returns a nil *pairing.Conn inside a net.Conn.
func (m *meeting) pair(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if m.plain {
		return conn, nil
	}
	paired, err := pairing.Client(ctx, conn, m.code, m.pairingConfig())
	if err != nil {
		return nil, err
	}
	return paired, nil
}

// searchTime is how long receive looks for the offer.
const searchTime = 30 * time.Second

// otherOffers is how long it goes on after the offer was one that this end cannot
// meet.
const otherOffers = 3 * time.Second

// maxCandidates is how many offers of one number are tried: each may test a
// guess at the code, and three are what a code can bear.
const maxCandidates = 3

// find looks for the offer on the local network by the code's number.
func (m *meeting) find(ctx context.Context) (*encounter, error) {
	if m.code.IsZero() {
		var err error
		if m.code, err = askCode(ctx, m.std, true); err != nil {
			return nil, err
		}
	}
	if m.code.Number() == 0 {
		return nil, usagef("the code has no number to find the offer by").hint("give it as the other end shows it, or name the other end with --from")
	}
	search, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	offers, err := discover.Browse(search, m.code.Number(), discover.Config{})
	if err != nil {
		return nil, err
	}
	m.p.Say("looking for offer %d on the local network", m.code.Number())
	tried := map[string]bool{}
	var last error
	for offer := range offers {
		if tried[offer.Instance] {
			continue
		}
		if len(tried) == maxCandidates {
			break
		}
		r := &route{m, func(ctx context.Context) (net.Conn, error) { return m.dialOffer(ctx, offer) }}
		conn, err := r.connect(ctx)
		if errors.Is(err, errTold) {
			// It listens no longer; but anybody can offer, so a true one is given
			// the time to be heard.
			tried[offer.Instance] = true
			defer time.AfterFunc(otherOffers, cancel).Stop()
		}
		if err != nil {
			last = err
			continue // its other addresses may come yet
		}
		tried[offer.Instance] = true
		if conn, err = m.pair(ctx, conn); err == nil {
			return r.encounter(conn), nil
		}
		last = err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if last != nil {
		return nil, last
	}
	return nil, fmt.Errorf("offer %d: %w", m.code.Number(), discover.ErrNotFound)
}

// dialOffer connects to the first of an offer's addresses that answers.
func (m *meeting) dialOffer(ctx context.Context, offer discover.Candidate) (net.Conn, error) {
	var last error
	for _, addr := range offer.Addrs {
		if offer.Transport != m.transport() {
			last = m.otherTransport(ctx, offer.Transport, addr.String())
			if errors.Is(last, errTold) {
				return nil, last
			}
			continue
		}
		conn, err := m.connect(ctx, addr.String())
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

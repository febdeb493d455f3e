package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
)

// transport is what this end was told to go over.
func (m *meeting) transport() string {
	if m.udp != nil {
		return "udp"
	}
	return "tcp"
}

// crossingTime bounds the look over the other transport, so that with the time that
// dialing took an end still gives up within fifteen seconds.
const crossingTime = 2 * time.Second

// crossed is why address could not be dialed: err, or that an end listens there over
// the other transport, which then knows too. Only the first dialing asks; a peer that
// was met once has the right one.
func (m *meeting) crossed(ctx context.Context, address string, err error) error {
	switch socket.Kind(err) {
	case socket.ErrRefused, socket.ErrTimeout:
		if why := m.tellOther(ctx, address); why != nil {
			return why
		}
	}
	return err
}

// tellOther dials over the transport that this end was not told, and tells who
// listens there; nil if nobody of ours does.
func (m *meeting) tellOther(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, min(m.timeout, crossingTime))
	defer cancel()
	var conn net.Conn
	var err error
	if m.udp != nil {
		o := m.options
		o.Congestion = "" // named a controller of ours, not the kernel's
		d := socket.Dialer{Options: o}
		conn, err = d.DialContext(ctx, "tcp", address)
	} else {
		conn, err = dialUDP(ctx, address, m.options, rudp.Config{Local: m.options.Source, Linger: -1, Engine: arq.Config{IdleTimeout: crossingTime}})
	}
	if err != nil {
		return nil
	}
	return transfer.TellTransport(ctx, conn, m.udp != nil)
}

// errTold marks that the end which made an offer knows of the mistake, too.
var errTold = errors.New("the other end knows")

// otherTransport is the error of an offer that is not over what this end was told,
// which it tells the end that made it.
func (m *meeting) otherTransport(ctx context.Context, offered, address string) error {
	words := map[string]string{"tcp": "TCP", "udp": "UDP"}
	err := fmt.Errorf("%w: the offer is over %s, this end over %s", transfer.ErrTransportMismatch, words[offered], words[m.transport()])
	if told := m.tellOther(ctx, address); told != nil {
		return &toldError{told}
	}
	return err
}

// A toldError is errTold as well as what it wraps, and reads as that.
type toldError struct{ error }

func (e *toldError) Unwrap() []error { return []error{e.error, errTold} }

// tellingVersions is c for a listener that tells its user of dialers which speak
// another version. Nothing proves who sent such a datagram, so it ends nothing, and
// is told once for a source, seldom, and not without end.
func (m *meeting) tellingVersions(c rudp.Config) rudp.Config {
	var t rudp.Trace
	if c.Trace != nil {
		t = *c.Trace
	}
	var told tellOnce
	t.Version = func(peer netip.AddrPort, wanted uint8) {
		if told.first(peer.Addr(), time.Now()) {
			m.p.Warn(peer.String(), fmt.Sprintf("speaks version %d of the protocol over UDP, this end %d: the older of the two needs an update; waiting on", wanted, arq.Version))
		}
	}
	c.Trace = &t
	return c
}

// A tellOnce is asked whether to tell of somebody who may be anybody.
type tellOnce struct {
	mu   sync.Mutex
	told map[netip.Addr]bool
	last time.Time
}

const (
	tellEvery = time.Second
	tellMost  = 64 // sources, after which nobody listens any more
)

func (t *tellOnce) first(a netip.Addr, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told[a] || len(t.told) == tellMost || !t.last.IsZero() && now.Sub(t.last) < tellEvery {
		return false
	}
	if t.told == nil {
		t.told = map[netip.Addr]bool{}
	}
	t.told[a], t.last = true, now
	return true
}

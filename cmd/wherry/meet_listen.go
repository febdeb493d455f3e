package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/pairing/discover"
)

// wait listens until somebody comes, and goes on listening for him: he may lose his
// connection and come again, or open more.
func (m *meeting) wait(ctx context.Context) (*encounter, error) {
	ln, err := m.open(ctx)
	if err != nil {
		return nil, err
	}
	if m.plain { // a code keeps strangers out by itself
		side := transfer.Sending
		if m.role == pairing.Receiver {
			side = transfer.Receiving
		}
		ln = newGreeter(ctx, ln, side, func(peer net.Addr, err error) { m.p.Warn(peer.String(), strayWarning(err)) })
	}
	conn, err := ln.AcceptContext(ctx)
	if err != nil {
		ln.Close()
		return nil, err
	}
	// The peer may lose its connection and come again.
	e := &encounter{conn: conn, sessions: &transfer.Sessions{}}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.AcceptContext(ctx)
			if errors.Is(err, transfer.ErrPeerSilent) {
				continue // the transfer goes on without whoever that was
			}
			if err != nil {
				return
			}
			wg.Go(func() { _ = e.sessions.Join(ctx, conn) }) // who is refused is told so
		}
	})
	e.close = func() {
		cancel()
		ln.Close()
		wg.Wait()
	}
	return e, nil
}

// A waiter is a listener whose Accept ends with a context.
type waiter interface {
	AcceptContext(ctx context.Context) (net.Conn, error)
	Addr() net.Addr
	Close() error
	// withdraw ends the offer on the local network, if there is one, and lets those
	// come who know where.
	withdraw()
}

// A binding is a waiter that pairing can take over.
type binding interface {
	waiter
	NetListener() net.Listener
}

// bind opens the listening socket.
func (m *meeting) bind(ctx context.Context, address string) (binding, error) {
	if m.udp != nil {
		ln, err := rudp.Listen(ctx, "udp"+familySuffix(m.options.Family), address, m.tellingVersions(*m.udp))
		if err != nil {
			return nil, fmt.Errorf("listen on %s over UDP: %w", address, err)
		}
		return m.pacedWaiter(udpWaiter{ln, m.keep, m.p}), nil
	}
	ln, err := socket.Listen(ctx, address, m.options)
	if err != nil {
		return nil, err
	}
	return m.pacedWaiter(plainWaiter{ln}), nil
}

func familySuffix(f socket.Family) string {
	if f == socket.AnyFamily {
		return ""
	}
	return fmt.Sprint(int(f))
}

func (w udpWaiter) NetListener() net.Listener { return w }

func (w udpWaiter) withdraw() {}

type plainWaiter struct{ *socket.Listener }

func (w plainWaiter) withdraw() {}

func (w plainWaiter) AcceptContext(ctx context.Context) (net.Conn, error) { return w.Accept(ctx) }

// open listens, at --listen or for the local network, and tells how to be met.
func (m *meeting) open(ctx context.Context) (waiter, error) {
	address := m.listen
	if address == "" {
		address = ":0"
	}
	ln, err := m.bind(ctx, address)
	if err != nil {
		return nil, err
	}
	if m.plain {
		m.p.listening(ln.Addr().String())
		return ln, nil
	}
	w, err := m.guard(ctx, ln)
	if err != nil {
		ln.Close()
		return nil, err
	}
	return w, nil
}

// guard lets only those through ln who prove the code, and offers that on the local
// network if no address was given.
func (m *meeting) guard(ctx context.Context, ln binding) (_ waiter, err error) {
	number, withdraw := m.code.Number(), func() {}
	if m.listen == "" {
		ad, err := discover.Advertise(ctx, discover.Offer{Number: number, Port: portOf(ln.Addr()), Transport: ln.Addr().Network()}, discover.Config{})
		if err != nil {
			return nil, fmt.Errorf("offer on the local network: %w", err)
		}
		withdraw = sync.OnceFunc(func() { _ = ad.Close() })
		number = ad.Number()
	}
	defer func() {
		if err != nil {
			withdraw()
		}
	}()
	ours := m.code.IsZero()
	if !ours {
		m.code = m.code.WithNumber(number)
	} else if m.code, err = newCode(number); err != nil {
		return nil, err
	}
	cfg := m.pairingConfig()
	if m.keep {
		cfg.Guard = pairing.NewGuard(pairing.GuardConfig{Keep: true})
	}
	cfg.Trace = &pairing.Trace{Refused: func(peer net.Addr, err error) {
		switch {
		case errors.Is(err, pairing.ErrBusy): // there may be thousands
		case !m.keep && fatal(err): // Accept returns it
		default:
			m.p.Warn(peer.String(), "did not pair: "+oneLine(err))
		}
	}}
	pl, err := pairing.NewListener(ln.NetListener(), m.code, cfg)
	if err != nil {
		return nil, err
	}
	m.p.listening(ln.Addr().String())
	if ours || m.listen == "" {
		// The one thing that --quiet cannot silence: without it nobody can come.
		fmt.Fprintf(m.std.Err, "code: %s\n", m.code.Reveal())
	}
	return &pairedWaiter{pl, withdraw}, nil
}

// fatal reports whether one such dialer ends a listener that does not --keep: a
// mistake of the two people who want to meet, which waiting does not mend.
func fatal(err error) bool {
	return errors.Is(err, pairing.ErrPeerPlain) || errors.Is(err, pairing.ErrPeerTransport) || errors.Is(err, pairing.ErrSameRole)
}

type pairedWaiter struct {
	*pairing.Listener
	offer func() // ends it
}

func (w *pairedWaiter) withdraw() { w.offer() }

func (w *pairedWaiter) Close() error {
	w.offer()
	return w.Listener.Close()
}

func portOf(a net.Addr) uint16 {
	switch a := a.(type) {
	case *net.TCPAddr:
		return uint16(a.Port)
	case *net.UDPAddr:
		return uint16(a.Port)
	}
	return 0
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/pace"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/pairing/discover"
)

// A meeting is how the two ends find each other and prove who they are:
//
//	given an address   dial it
//	--listen           wait there
//	neither            send offers on the local network, receive looks for the offer
//
// and unless both are --plain, the connection is paired by a code and encrypted.
type meeting struct {
	role    pairing.Role
	listen  string // address, or empty
	dial    string // address, or empty
	plain   bool
	keep    bool
	timeout time.Duration
	options socket.Options
	udp     *rudp.Config // nil: TCP
	code    pairing.Code // zero: none was given
	keyLog  io.Writer
	rate    *pace.Limiter // nil: as fast as can be
	streams int           // connections at once; 0 leaves it to the path
	std     stdio
	p       *printer
	rec     recorder

	again func(ctx context.Context) (net.Conn, error) // dials the same peer once more
}

// An encounter is a meeting with one peer: a connection, and how there can be
// another when it is lost.
type encounter struct {
	conn     net.Conn
	redial   func(ctx context.Context) (net.Conn, error) // at the end that dialed
	sessions *transfer.Sessions                          // at the end that listened
	close    func()
}

// meetingFrom reads the flags that both ends share; dialFlag is "to" or "from".
func meetingFrom(c *cli.Context, std stdio, p *printer, role pairing.Role, dialFlag string) (*meeting, error) {
	m := &meeting{role: role, listen: c.String("listen"), dial: c.String(dialFlag), plain: c.Bool("plain"), keep: c.Bool("keep"),
		timeout: c.Duration("timeout"), std: std, p: p}
	other := map[string]string{"to": "from", "from": "to"}[dialFlag]
	switch {
	case m.timeout <= 0:
		return nil, usagef("--timeout must be longer than 0, not %v", m.timeout)
	case m.listen != "" && m.dial != "":
		return nil, usagef("--listen waits and --%s dials: give one of them", dialFlag)
	case m.plain && m.listen == "" && m.dial == "":
		return nil, usagef("--plain needs an address: the local network is searched by code only").hint(fmt.Sprintf("give --listen ADDR on one end and --%s or --%s HOST:PORT on the other", dialFlag, other))
	}
	name, address := "--listen", &m.listen
	if m.dial != "" {
		name, address = "--"+dialFlag, &m.dial
	}
	if *address != "" {
		hp, err := socket.ParseHostPort(*address, socket.DefaultPort)
		if err != nil {
			return nil, usagef("%s: %w", name, err)
		}
		if m.dial != "" && hp.Host == "" {
			return nil, usagef("%s needs a host, not only a port", name)
		}
		*address = hp.String()
	}
	var err error
	if m.options, err = socketOptions(c); err != nil {
		return nil, err
	}
	if m.udp, err = udpConfig(c, m.options); err != nil {
		return nil, err
	}
	if err = checkRecording(c); err != nil {
		return nil, err
	}
	if m.streams, err = streamsFlag(c); err != nil {
		return nil, err
	}
	if m.code, err = givenCode(c, std); err != nil {
		return nil, err
	}
	if m.rate, err = rateLimit(c); err != nil {
		return nil, err
	}
	if m.udp != nil && (m.udp.Engine.Congestion == arq.Fixed || m.udp.Engine.ARQ == arq.NoARQ) {
		m.rate = nil // the engine's: every datagram leaves at it
	}
	adjustRate(c.Context, m.rate, p)
	if m.plain && c.String("code-file") != "" {
		return nil, usagef("--plain and --code-file exclude each other")
	}
	return m, nil
}

// dialTimeout bounds connecting: a host that answers at all does so in seconds.
const dialTimeout = 10 * time.Second

func (m *meeting) pairingConfig() pairing.Config {
	return pairing.Config{Role: m.role, Timeout: m.timeout, KeyLogWriter: m.keyLog}
}

// one meets one peer.
func (m *meeting) one(ctx context.Context) (*encounter, error) {
	if m.dial != "" || m.listen == "" && m.role == pairing.Receiver {
		meet := m.find
		if m.dial != "" {
			meet = m.dialPeer
		}
		conn, err := meet(ctx)
		if err != nil {
			return nil, err
		}
		return &encounter{conn: conn, redial: m.redial, close: func() {}}, nil
	}
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

// redial is again, with the errors that time does not heal marked.
func (m *meeting) redial(ctx context.Context) (net.Conn, error) {
	conn, err := m.again(ctx)
	for _, hopeless := range []error{pairing.ErrWrongCode, pairing.ErrBurnt, pairing.ErrPeerPlain, pairing.ErrPeerTransport, pairing.ErrVersion, pairing.ErrSameRole} {
		if errors.Is(err, hopeless) {
			return nil, fmt.Errorf("%w: %w", transfer.ErrGone, err)
		}
	}
	return conn, err
}

// A waiter is a listener whose Accept ends with a context.
type waiter interface {
	AcceptContext(ctx context.Context) (net.Conn, error)
	Addr() net.Addr
	Close() error
}

// waiterListener is a waiter that pairing can take over.
type waiterListener interface{ NetListener() net.Listener }

// bind opens the listening socket.
func (m *meeting) bind(ctx context.Context, address string) (waiter, error) {
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

type plainWaiter struct{ *socket.Listener }

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
	closers := []func() error{}
	fail := func(err error) (waiter, error) {
		for _, f := range closers {
			_ = f()
		}
		ln.Close()
		return nil, err
	}
	ours := m.code.IsZero()
	number := m.code.Number()
	if m.listen == "" {
		ad, err := discover.Advertise(ctx, discover.Offer{Number: number, Port: portOf(ln.Addr()), Transport: ln.Addr().Network()}, discover.Config{})
		if err != nil {
			return fail(fmt.Errorf("offer on the local network: %w", err))
		}
		closers = append(closers, ad.Close)
		number = ad.Number()
	}
	if ours {
		if m.code, err = newCode(number); err != nil {
			return fail(err)
		}
	} else {
		m.code = m.code.WithNumber(number)
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
	pl, err := pairing.NewListener(ln.(waiterListener).NetListener(), m.code, cfg)
	if err != nil {
		return fail(err)
	}
	m.p.listening(ln.Addr().String())
	if ours || m.listen == "" {
		// The one thing that --quiet cannot silence: without it nobody can come.
		fmt.Fprintf(m.std.Err, "code: %s\n", m.code.Reveal())
	}
	return &pairedWaiter{pl, closers}, nil
}

// fatal reports whether one such dialer ends a listener that does not --keep: a
// mistake of the two people who want to meet, which waiting does not mend.
func fatal(err error) bool {
	return errors.Is(err, pairing.ErrPeerPlain) || errors.Is(err, pairing.ErrPeerTransport) || errors.Is(err, pairing.ErrSameRole)
}

type pairedWaiter struct {
	*pairing.Listener
	closers []func() error
}

func (w *pairedWaiter) Close() error {
	for _, f := range w.closers {
		_ = f()
	}
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

// dialPeer connects to the address that was given.
func (m *meeting) dialPeer(ctx context.Context) (net.Conn, error) {
	if !m.plain && m.code.IsZero() {
		var err error
		if m.code, err = askCode(ctx, m.std, false); err != nil {
			return nil, err
		}
	}
	m.again = func(ctx context.Context) (net.Conn, error) {
		conn, err := m.connect(ctx, m.dial)
		if err != nil {
			return nil, err
		}
		return m.pair(ctx, conn)
	}
	conn, err := m.connect(ctx, m.dial)
	if err != nil {
		return nil, m.crossed(ctx, m.dial, err)
	}
	return m.pair(ctx, conn)
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

// maxCandidates is how many offers of one number are tried: each may test a
// guess at the code, and three are what a code can bear.
const maxCandidates = 3

// find looks for the offer on the local network by the code's number.
func (m *meeting) find(ctx context.Context) (net.Conn, error) {
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
		conn, err := m.dialOffer(ctx, offer)
		if errors.Is(err, transfer.ErrTransportMismatch) {
			return nil, err // it knows, and listens no longer
		}
		if err != nil {
			last = err
			continue // its other addresses may come yet
		}
		tried[offer.Instance] = true
		paired, err := m.pair(ctx, conn)
		if err == nil {
			m.again = func(ctx context.Context) (net.Conn, error) {
				conn, err := m.dialOffer(ctx, offer)
				if err != nil {
					return nil, err
				}
				return m.pair(ctx, conn)
			}
			return paired, nil
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

func (m *meeting) dialOffer(ctx context.Context, offer discover.Candidate) (net.Conn, error) {
	var last error
	for _, addr := range offer.Addrs {
		if offer.Transport != m.transport() {
			if err := m.tellOther(ctx, addr.String()); err != nil {
				return nil, err
			}
			last = m.otherTransport(offer.Transport)
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

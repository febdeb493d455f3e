package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/pace"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
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
}

// An encounter is a meeting with one peer: a connection, and how there can be
// others.
type encounter struct {
	conn net.Conn
	// At the end that dialed: another connection in place of one that is lost, and
	// another beside one that is open.
	redial func(ctx context.Context) (net.Conn, error)
	stream func(ctx context.Context, first net.Conn) (net.Conn, error)
	// At the end that listened: where further connections come.
	sessions *transfer.Sessions

	close func()
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
	if m.udp == nil {
		sparePlaces()
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
	if !m.plain {
		m.code.Prepare() // while files are looked for and the peer is dialed
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

// one meets one peer.
func (m *meeting) one(ctx context.Context) (*encounter, error) {
	meet := m.wait
	switch {
	case m.dial != "":
		meet = m.dialPeer
	case m.listen == "" && m.role == pairing.Receiver:
		meet = m.find
	}
	return meet(ctx)
}

func (m *meeting) pairingConfig() pairing.Config {
	return pairing.Config{Role: m.role, Timeout: m.timeout, KeyLogWriter: m.keyLog}
}

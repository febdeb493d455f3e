package rudp

import (
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Config tunes connections and the socket that they share. The zero value is a
// good default.
type Config struct {
	// Engine tunes the protocol of each connection. Its Seed, when zero, is
	// replaced by randomness from the system, and its MaxDatagram by what the
	// interface can send. Its Trace hears of all connections of a Listener;
	// Trace.Conn below tells them apart.
	Engine arq.Config

	// Socket tunes the UDP socket.
	Socket datagram.Options

	// Local is the address that Dial sends from; the zero Addr leaves it to
	// the system.
	Local netip.Addr

	// Linger is how long Close waits for the peer to acknowledge what was
	// written, so that a program may exit after it. Zero means DefaultLinger;
	// negative means not at all: delivery then goes on in the background.
	Linger time.Duration

	// MaxConns bounds the connections of a Listener that are open at once,
	// and with them its memory. Zero means DefaultMaxConns.
	MaxConns int

	// Backlog bounds the connections that wait for Accept. Zero means
	// DefaultBacklog. A client that finds it full tries again by itself.
	Backlog int

	// Trace, if not nil, is told what happens.
	Trace *Trace
}

// Defaults of Config.
const (
	DefaultLinger   = 5 * time.Second
	DefaultMaxConns = 4096
	DefaultBacklog  = 128
)

// Trace is told what a socket does. Every func may be nil. They are called by
// several goroutines and must be quick.
type Trace struct {
	// Conn is called for each connection as it begins and returns the trace
	// for its engine; nil means that of Config.Engine. epoch is the moment from
	// which the engine counts its times.
	Conn func(epoch time.Time, local, remote netip.AddrPort) *arq.Trace
	// Datagram is called for each datagram that is sent or received.
	Datagram func(Datagram)
	// Version is called by a Listener for each client that wants a version of the
	// protocol which is not [arq.Version]; it is told. Anybody may have sent that
	// in the client's name, as often as he likes.
	Version func(remote netip.AddrPort, wanted uint8)
	// Dropped is called for datagrams that belong to no connection.
	Dropped func(remote netip.AddrPort, size int, reason arq.DropReason)
}

// Datagram is one datagram as this end sent or received it.
type Datagram struct {
	At            time.Time
	Sent          bool
	Local, Remote netip.AddrPort
	ECN           datagram.ECN
	// Payload is that of UDP. It must not be kept.
	Payload []byte
	// Fate is what an impaired link ([datagram.Options.Impair]) decided on a
	// datagram that is sent; otherwise nil. It must not be kept.
	Fate *netem.Decision
}

// socket is the configuration of the socket, tapped if somebody listens.
func (c *Config) socket() datagram.Options {
	o := c.Socket
	if c.Trace == nil || c.Trace.Datagram == nil {
		return o
	}
	tell, sent := c.Trace.Datagram, o.Sent
	o.Sent = func(s *datagram.Conn, m *datagram.Message, payload []byte, fate *netem.Decision) {
		if sent != nil {
			sent(s, m, payload, fate)
		}
		local, remote := s.LocalAddr(), s.Peer()
		if m.Local.IsValid() {
			local = netip.AddrPortFrom(m.Local, local.Port())
		}
		if !remote.IsValid() {
			remote = m.Addr
		}
		tell(Datagram{At: time.Now(), Sent: true, Local: local, Remote: remote, ECN: m.ECN, Payload: payload, Fate: fate})
	}
	return o
}

func (c Config) withDefaults() Config {
	if c.Linger == 0 {
		c.Linger = DefaultLinger
	}
	if c.MaxConns <= 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.Backlog <= 0 {
		c.Backlog = DefaultBacklog
	}
	return c
}

package arq

import (
	"fmt"
	"time"
)

// Congestion names a congestion controller.
type Congestion int

const (
	// Model paces at the bandwidth it measures, corrected for the share of
	// packets the path loses by itself, and keeps the queue short. It is
	// the default.
	Model Congestion = iota
	// Cubic is RFC 9438, paced: every loss is a sign of congestion.
	Cubic
	// Fixed sends at Config.Rate whatever happens. It is for experiments
	// and for links that belong to the sender alone.
	Fixed
	// BBR is the model without its loss floor and its delay governor,
	// close to BBR version 1. It is what other people's flows look like in
	// simulations.
	BBR
)

var congestionNames = [...]string{"model", "cubic", "fixed", "bbr"}

func (c Congestion) String() string {
	if c < 0 || int(c) >= len(congestionNames) {
		return fmt.Sprintf("Congestion(%d)", int(c))
	}
	return congestionNames[c]
}

// ParseCongestion is the reverse of [Congestion.String].
func ParseCongestion(s string) (Congestion, error) {
	for i, n := range congestionNames {
		if n == s {
			return Congestion(i), nil
		}
	}
	return 0, fmt.Errorf("unknown congestion controller %q", s)
}

// Config tunes one end of a connection. The zero value is a good default.
type Config struct {
	// Congestion is the controller of what this end sends.
	Congestion Congestion

	// Rate limits what this end sends, in bytes of UDP payload a second;
	// with [Fixed] it is the rate itself. 0 means no limit, which Fixed
	// refuses.
	Rate float64

	// ARQ is the protocol. If the other end runs another, both fail with an
	// [*ARQError].
	ARQ ARQ

	// Window is how many frames the textbook protocols have under way, at
	// most [MaxWindow]. 0 means [DefaultWindow]; stop-and-wait has one.
	Window int

	// RTO is the retransmission timeout of the textbook protocols. 0 means
	// that of RFC 6298, measured, of at least 10 ms because no
	// acknowledgement is delayed, and doubled each time, up to a second more.
	RTO time.Duration

	// DatagramRate is at how many bytes of UDP payload a second [NoARQ] sends
	// its datagrams, whatever becomes of them. 0 means [DefaultDatagramRate].
	// Rate does not apply to them.
	DatagramRate float64

	// Epoch is what the engine's time zero is in Unix time, for the time
	// stamps of datagrams.
	Epoch time.Duration

	// MaxDatagram is the largest UDP payload that the local interface can
	// send, where path MTU discovery stops searching: the interface's MTU
	// less 28 (IPv4) or 48 (IPv6). 0 means 1472. Values are brought into
	// [MinDatagram, MaxDatagram]. The socket must not let datagrams be
	// fragmented (IP_MTU_DISCOVER, IPV6_DONTFRAG).
	MaxDatagram int

	// NoDiscovery keeps datagrams at MinDatagram, or at MaxDatagram if that
	// is given: the path is known. All protocols but the model imply it.
	NoDiscovery bool

	// RecvBuffer and SendBuffer bound the memory for the stream each way,
	// in bytes. 0 means 24 MiB. They take what they hold, and the window
	// that the peer is granted starts at 512 KiB and grows as data are read.
	RecvBuffer, SendBuffer int

	// HandshakeTimeout ends an attempt to connect. 0 means 10 s.
	HandshakeTimeout time.Duration

	// IdleTimeout ends a connection on which nothing arrives, although
	// something should (unacknowledged data or keep-alives). The smaller of
	// both ends' values counts. 0 means 12 s.
	IdleTimeout time.Duration

	// KeepAlive is how long a connection may be silent before a PING is
	// sent. 0 means a third of the idle timeout; negative means never, and
	// then silence is no failure.
	KeepAlive time.Duration

	// NoECN sends without ECN code points.
	NoECN bool

	// Seed is mixed into everything that must not repeat between
	// connections or be guessed: it makes connection IDs, path challenges
	// and the controller's jitter. It must come from a good source of
	// randomness outside simulations; the engine has none of its own.
	Seed [32]byte

	// Trace, if not nil, is told what happens.
	Trace *Trace
}

const defaultBuffer = 24 << 20

func (c Config) withDefaults() Config {
	c.settleARQ()
	if c.MaxDatagram == 0 {
		c.MaxDatagram = 1472
		if c.NoDiscovery {
			c.MaxDatagram = MinDatagram
		}
	}
	c.MaxDatagram = min(max(c.MaxDatagram, MinDatagram), MaxDatagram)
	if c.RecvBuffer <= 0 {
		c.RecvBuffer = defaultBuffer
	}
	if c.SendBuffer <= 0 {
		c.SendBuffer = defaultBuffer
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 10 * time.Second
	}
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = 12 * time.Second
	}
	return c
}

package arq

import "fmt"

// ARQ names how a connection makes its stream reliable (automatic repeat
// request). Both ends of a connection run the same; the INIT and the ACCEPT
// say which.
type ARQ int

const (
	// ARQDefault is ModelARQ at an end that dials. An end that listens does
	// as the dialer does, except for NoARQ, which would take away what its
	// owner counts on: that both ends must say.
	ARQDefault ARQ = iota
	// ModelARQ is this package's own protocol: selective acknowledgement
	// of packet numbers, loss found by later packets and by time, and a
	// congestion controller ([Config.Congestion]).
	ModelARQ
	// StopAndWait sends a frame and waits for its acknowledgement.
	StopAndWait
	// GoBackN has Config.Window frames under way; the receiver takes them
	// in order only, and when the oldest times out all are sent again.
	GoBackN
	// SelectiveRepeat has Config.Window frames under way, each with a timer
	// of its own; the receiver keeps what is out of order.
	SelectiveRepeat
	// NoARQ repeats nothing: it adds to ModelARQ, which goes on to carry
	// the stream, datagrams that are sent once ([Conn.SendDatagram]).
	NoARQ

	arqs
)

var arqNames = [arqs]string{"default", "model", "stop-and-wait", "go-back-n", "selective-repeat", "none"}

func (a ARQ) String() string {
	if a < 0 || a >= arqs {
		return fmt.Sprintf("ARQ(%d)", int(a))
	}
	return arqNames[a]
}

// ParseARQ is the reverse of [ARQ.String], for the names of protocols.
func ParseARQ(s string) (ARQ, error) {
	for i, n := range arqNames {
		if n == s && ARQ(i) != ARQDefault {
			return ARQ(i), nil
		}
	}
	return 0, fmt.Errorf("unknown ARQ %q", s)
}

// Textbook reports whether a is one of the three classic protocols, to which
// [Config.Window] and [Config.RTO] apply.
func (a ARQ) Textbook() bool { return a >= StopAndWait && a <= SelectiveRepeat }

// known reports whether a is something that a peer may say.
func (a ARQ) known() bool { return a > ARQDefault && a < arqs }

// MaxWindow is the largest [Config.Window]: half of the packet numbers that a
// receiver tells apart, as selective repeat needs it.
const MaxWindow = recvWindow / 2

// DefaultWindow is the [Config.Window] of go-back-N and selective repeat that
// is used when none is given, in frames.
const DefaultWindow = 64

// ARQError says that the two ends of a connection run different protocols.
// Both ends get it.
type ARQError struct{ Ours, Theirs ARQ }

func (e *ARQError) Error() string {
	return fmt.Sprintf("the peer runs the ARQ %v, this end %v", e.Theirs, e.Ours)
}

// settleARQ fixes what a configuration leaves open about the protocol.
func (c *Config) settleARQ() {
	if !c.ARQ.known() {
		c.ARQ = ModelARQ
	}
	switch {
	case c.ARQ == StopAndWait:
		c.Window = 1
	case c.Window <= 0:
		c.Window = DefaultWindow
	}
	c.Window = min(c.Window, MaxWindow)
	// The textbooks' frames are of one size, and a datagram that is sent
	// once must not be of a size that is only tried out.
	if c.ARQ != ModelARQ && !c.NoDiscovery {
		c.NoDiscovery, c.MaxDatagram = true, MinDatagram
	}
}

// follow is what a server runs whose client asked for theirs.
func (a ARQ) follow(theirs ARQ) ARQ {
	switch {
	case a != ARQDefault:
		return a
	case theirs.Textbook():
		return theirs
	}
	return ModelARQ
}

// ARQ is the protocol that the connection runs.
func (c *Conn) ARQ() ARQ { return c.cfg.ARQ }

// Disagreement tells whether the peer, as far as it has said what it runs, runs
// another protocol. Then the connection is about to end.
func (c *Conn) Disagreement() *ARQError {
	if c.peer.arq == ARQDefault || c.peer.arq == c.cfg.ARQ {
		return nil
	}
	return &ARQError{Ours: c.cfg.ARQ, Theirs: c.peer.arq}
}

// disagree ends a connection whose other end runs another protocol.
func (c *Conn) disagree() {
	err := c.Disagreement()
	c.closeWith(c.now, &CloseError{Code: CodeARQ, Reason: err.Error()})
	c.err = err
}

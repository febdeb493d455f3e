package zmtp

import (
	"net"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// Options says how a socket behaves. The zero value of each field is the default.
type Options struct {
	// Identity is what ROUTERs at libzmq call a DEALER; none if empty.
	Identity []byte
	// MaxMessage is the most bytes that a message may have; 0 is 1 MiB.
	MaxMessage int
	// MaxFrames is the most frames that a message may have; 0 is 16.
	MaxFrames int
	// Stranger is what MaxMessage is for peers that [Socket.Trust] was not told of;
	// 0 is MaxMessage.
	Stranger int
	// HWM is how many messages wait for a peer; 0 is 64. ZMQ_SNDHWM.
	HWM int
	// MaxPeers is how many peers the socket has; 0 is 1000. Where Stranger is set
	// a new peer takes the place of the oldest that is not trusted.
	MaxPeers int
	// Handshake is how long a connection may take to become a peer, and, where
	// Stranger is set, a peer to become trusted; 0 is 10 s. ZMQ_HANDSHAKE_IVL.
	Handshake time.Duration
	// Heartbeat is how often a peer is asked whether it is there; 0 is 5 s.
	// ZMQ_HEARTBEAT_IVL.
	Heartbeat time.Duration
	// Silence is after what time without a byte from a peer, or without one taken
	// by it, it is gone; 0 is 20 s. ZMQ_HEARTBEAT_TIMEOUT.
	Silence time.Duration
	// Retry is how long after a lost connection [Socket.Connect] makes the next; it
	// doubles with each that fails, to 3 s; 0 is 100 ms, negative is never.
	// ZMQ_RECONNECT_IVL.
	Retry time.Duration
	// Dialer makes connections; nil is a zero Dialer.
	Dialer *socket.Dialer
	// Trace is told what happens, if not nil.
	Trace *Trace
}

// Trace tells of a socket's peers. Its functions may be called by several
// goroutines at once, but for one peer one after the other: Up, what it receives,
// Down. They must not wait for the socket.
type Trace struct {
	// Up is called when there is a new peer, before anything is received from it.
	Up func(Peer)
	// Down is called when a peer is gone, after everything from it was received.
	Down func(PeerID, error)
	// Dropped is called when a PUB's peer missed a message.
	Dropped func(PeerID)
	// Refused is called when a connection became no peer. addr may be nil.
	Refused func(addr net.Addr, err error)
	// Redial is called when a connection that was lost could not be made again.
	Redial func(addr string, err error)
}

// A PeerID names a peer as long as the program runs. It is never 0.
type PeerID uint64

// A Peer is the other end of a connection.
type Peer struct {
	ID       PeerID
	Addr     net.Addr
	Type     string // its socket's
	Identity []byte // what it calls itself; nothing checks it
}

func (o Options) withDefaults() Options {
	def := func(p *int, n int) {
		if *p <= 0 {
			*p = n
		}
	}
	wait := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&o.MaxMessage, 1<<20)
	def(&o.MaxFrames, 16)
	def(&o.HWM, 64)
	def(&o.MaxPeers, 1000)
	wait(&o.Handshake, 10*time.Second)
	wait(&o.Heartbeat, 5*time.Second)
	wait(&o.Silence, 20*time.Second)
	wait(&o.Retry, 100*time.Millisecond)
	if o.Dialer == nil {
		o.Dialer = &socket.Dialer{}
	}
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	return o
}

// Package zmtp speaks ZMTP 3.1, the transport protocol of ZeroMQ (RFC 37 of
// rfc.zeromq.org), with the NULL mechanism over TCP, to libzmq and to itself.
//
// A [Socket] is one of ZeroMQ's, and does what RFCs 28 to 31 say of its type:
//
//	PUSH    each message to one of the peers in turn; waits while none has room
//	PULL    from all peers, fairly
//	PUB     each message to every peer that subscribed to how it begins; a peer
//	        whose queue is full misses it
//	SUB     what it subscribed to
//	PAIR    to and from one peer; others are refused
//	DEALER  sends as PUSH, receives as PULL
//	ROUTER  receives as PULL, and sends to the peer that it is told
//
// As in libzmq nothing is acknowledged: what a peer had in its queue or in the
// kernel's when its connection broke is lost. Who needs more says so in messages.
// [Options.HWM] messages wait for each peer at most, plus what TCP takes.
//
// Unlike libzmq's, a ROUTER names its peers itself, since two of them could claim
// one Identity; and several sockets can share a port ([Bind]): a peer's READY says
// what it is, and it gets the socket that fits. libzmq cannot tell the difference.
//
// # On the wire
//
// Both ends send a greeting of 64 bytes: the signature FF, eight bytes of padding,
// 7F; version 3, 1; the mechanism, "NULL" padded to 20 bytes; 0; 31 bytes of
// filler. Then each sends the command READY with its Socket-Type (the end that has
// bound sends its own when it has seen the other's). Then frames: a byte of flags
// (1 more of the message follows, 2 the length has 8 bytes instead of 1, 4
// command), the length, the body. SUBSCRIBE and CANCEL bring a SUB's wishes; a peer
// of version 3.0 sends them as messages that begin with 1 and 0. PING is answered
// with PONG. Older versions are refused.
//
// # Trust
//
// NULL neither authenticates nor encrypts: whoever reaches the port is a peer, and
// its messages are to be checked. What such a peer can cost is bounded. No memory
// is allocated because a length says so: a message has at most [Options.MaxMessage]
// bytes and [Options.MaxFrames] frames, from a peer that the program has not
// declared to be of its own ([Socket.Trust]) at most [Options.Stranger], and memory
// grows with what has arrived. Handshakes have a deadline and are bounded in
// number, and so are peers: when there are too many, the oldest that nobody trusts
// goes. Peers that are silent for [Options.Silence], pings included, or whose TCP
// window stays shut for so long, are dropped.
package zmtp

package arq

import (
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// Never is what [Conn.NextTimeout] returns when nothing is planned.
const Never = never

// ECN is the two ECN bits of an IP header (RFC 3168).
type ECN byte

// ECN code points.
const (
	NotECT ECN = 0
	ECT1   ECN = 1
	ECT0   ECN = 2
	CE     ECN = 3
)

// State is where a connection is in its life.
type State int

// States of a connection; package documentation has the diagram.
const (
	StateHandshake State = iota
	StateEstablished
	StateClosing // a CLOSE is on its way to the peer
	StateDone    // nothing will ever be sent again; forget it
)

func (s State) String() string {
	return [...]string{"handshake", "established", "closing", "done"}[s]
}

// Conn is one end of a connection: a state machine that neither reads a clock
// nor opens a socket. All its methods must be called by one goroutine at a
// time, with times that never go back.
//
// The owner's loop is: hand in what arrived ([Conn.HandleDatagram]), tell it
// when the time it asked for has come ([Conn.HandleTimeout]), then send all it
// has to send ([Conn.PollTransmit] until it returns nothing) and ask when to
// come again ([Conn.NextTimeout]). After Read, Write and the closing calls,
// poll too.
type Conn struct {
	cfg    Config
	client bool
	state  State
	err    error
	now    time.Duration
	rng    *rand.ChaCha8

	local, remote uint64 // connection IDs
	addr          netip.AddrPort
	peer          params
	hs            handshake

	send      sendBuffer
	peerLimit uint64 // of the stream, as the peer allows
	sent      sentRing
	loss      lossDetector
	rtt       rttEstimator
	rate      rateSampler
	cc        controller
	pacer     pacer
	hold      int // room that the next packet waits for; see train
	inFlight  int
	pmtu      pmtu
	ecn       ecnState
	lim       limitClock
	hint      senderHint
	tail      tailGuard
	book      *textbook     // nil unless one of the textbook protocols runs
	datagrams *datagramFlow // nil unless NoARQ runs

	recv      recvBuffer
	acks      ackState
	flow      flowControl
	readGone  bool   // the application will not read any more
	closeSent bool   // Close was called
	concluded bool   // Conclude was called
	turn      uint64 // end of the stream when EndTurn was called

	path path
	end  closing
	last int // copies of a concluding packet that are to be sent

	lastRecv  time.Duration // anything intact
	lastSent  time.Duration // anything eliciting
	owed      time.Duration // since when the peer has acknowledged nothing, or never
	needPing  bool
	idleLimit time.Duration

	stats  Stats
	gather gathering     // of PollGather
	spans  []span        // scratch for ACKs
	newly  []PacketRange // scratch for tracing ACKs

	elicitSent uint64 // packets sent that wanted an answer
}

func newConn(now time.Duration, cfg Config, client bool) *Conn {
	cfg = cfg.withDefaults()
	c := &Conn{cfg: cfg, client: client, now: now, rng: rand.NewChaCha8(cfg.Seed)}
	c.send.limit, c.send.ahead = cfg.SendBuffer, minAhead
	c.flow.init(cfg.RecvBuffer)
	c.recv.limit = c.flow.window
	c.acks.init()
	c.loss.init()
	c.cc = newController(&c.cfg, c.rng.Uint64)
	if c.book = newTextbook(&c.cfg); c.book != nil {
		c.acks.every = 1
		c.pacer.single = true // a line, on which one frame follows another
	}
	if c.cfg.ARQ == NoARQ {
		c.datagrams = newDatagramFlow(now, &c.cfg)
	}
	c.pacer.last = now
	c.pmtu.init(&c.cfg)
	c.ecn.off = cfg.NoECN
	c.lim.since = now
	c.lastRecv, c.lastSent, c.owed = now, now, never
	c.idleLimit = cfg.IdleTimeout
	c.updatePace()
	return c
}

// State returns where the connection is in its life.
func (c *Conn) State() State { return c.state }

// Established reports whether the handshake is done and data may flow.
func (c *Conn) Established() bool { return c.state == StateEstablished }

// Done reports whether the connection is over: it has nothing left to send
// and its ID may be forgotten. [Conn.Read] still hands out what arrived.
func (c *Conn) Done() bool { return c.state == StateDone }

// Err returns why the connection ended: nil while it lives and after an
// orderly end, otherwise a [*CloseError] or one of the Err values.
func (c *Conn) Err() error { return c.err }

// LocalID is the connection ID by which datagrams for this end are found.
func (c *Conn) LocalID() uint64 { return c.local }

// RemoteAddr is the peer's address, which changes when a client migrates.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.addr }

// Write copies as much of b as the send buffer has room for and returns how
// much that was, without error when it was not all. After the connection
// ended or CloseWrite it returns an error.
func (c *Conn) Write(b []byte) (n int, err error) {
	if c.state >= StateClosing {
		return 0, c.writeErr()
	}
	if c.send.fin {
		return 0, ErrClosed
	}
	return c.send.write(b), nil
}

func (c *Conn) writeErr() error {
	if c.err != nil {
		return c.err
	}
	return ErrClosed
}

// WriteSpace is how many bytes [Conn.Write] would take now.
func (c *Conn) WriteSpace() int {
	if c.state >= StateClosing || c.send.fin {
		return 0
	}
	return c.send.space()
}

// Unacked is how many written bytes the peer has not acknowledged.
func (c *Conn) Unacked() int { return int(c.send.end - c.send.una) }

// Unsent is how many written bytes were never sent.
func (c *Conn) Unsent() int { return int(c.send.end - c.send.nxt) }

// WindowDue reports whether so much was read that the peer should be told of its
// new window now, and not with the next ACK.
func (c *Conn) WindowDue() bool { return c.state == StateEstablished && c.flow.due(&c.recv) }

// Flushed reports whether the peer acknowledged everything written, and the
// end of the stream if CloseWrite was called.
func (c *Conn) Flushed() bool {
	return c.send.una == c.send.end && (!c.send.fin || c.send.finAcked)
}

// Read copies bytes that arrived in order. It returns 0, nil when there are
// none yet, [io.EOF] at the end of the stream, and the connection's error
// once what had arrived before it is read.
func (c *Conn) Read(b []byte) (n int, err error) {
	for n < len(b) && c.recv.readable() > 0 {
		k := copy(b[n:], c.recv.peek())
		c.recv.advance(k)
		n += k
	}
	if n > 0 {
		c.consumed()
		return n, nil
	}
	return 0, c.readErr()
}

// Peek returns bytes that arrived in order without copying them, as far as
// they lie in one piece. They are valid until the next call of a method.
// [Conn.Discard] takes them off.
func (c *Conn) Peek() ([]byte, error) {
	if n := c.recv.readable(); n > 0 {
		return c.recv.peek(), nil
	}
	return nil, c.readErr()
}

// Discard takes n bytes off that Peek returned.
func (c *Conn) Discard(n int) { c.consume(min(n, c.recv.readable())) }

func (c *Conn) consume(n int) {
	c.recv.advance(n)
	c.consumed()
}

func (c *Conn) consumed() {
	c.flow.consumed(&c.recv)
	c.traceRecvWindow()
}

func (c *Conn) readErr() error {
	switch {
	case c.recv.atEnd():
		return io.EOF
	case c.err != nil:
		return c.err
	case c.state >= StateClosing || c.readGone:
		return ErrClosed
	}
	return nil
}

// Readable reports whether Read would return something: data, the end, or an
// error.
func (c *Conn) Readable() bool { return c.recv.readable() > 0 || c.readErr() != nil }

// ReadAvailable is how many bytes Read could return now.
func (c *Conn) ReadAvailable() int { return c.recv.readable() }

// CloseWrite ends the stream this end sends, after what was written.
func (c *Conn) CloseWrite() { c.send.fin = true }

// Close ends the connection in good order: what was written is still
// delivered, what arrives from now on is dropped. The connection is done when
// the peer has everything, or has gone.
func (c *Conn) Close() {
	c.closeSent = true
	c.readGone = true
	c.send.fin = true
	c.dropUnread()
	if c.state == StateHandshake {
		c.finish(ErrClosed)
		return
	}
	c.maybeFinish(c.now)
}

// Conclude is Close for an end that knows from the application that its peer has
// all that matters: what is left to be delivered, if it is little, is sent together
// with the end of the connection, in as many copies as make it likely to arrive,
// and nobody waits for an answer. The peer ends in good order by any of them;
// should all be lost, it learns as from a peer that is gone.
func (c *Conn) Conclude() {
	c.concluded = true
	c.Close()
}

func (c *Conn) dropUnread() {
	if n := c.recv.readable(); n > 0 {
		c.consume(n)
	}
}

// Abort ends the connection at once. The peer is told code and reason (at
// most 256 bytes of it) and what is still under way is dropped.
func (c *Conn) Abort(now time.Duration, code uint32, reason string) {
	c.advance(now)
	c.closeWith(now, &CloseError{Application: true, Code: code, Reason: reason})
}

// NextTimeout is the time at which HandleTimeout and PollTransmit want to be
// called, or Never. It may lie in the past.
func (c *Conn) NextTimeout() time.Duration {
	switch c.state {
	case StateDone:
		return never
	case StateHandshake:
		if c.client {
			return min(c.hs.next, c.hs.deadline)
		}
		return c.hs.deadline
	case StateClosing:
		return min(c.end.next, c.end.deadline)
	}
	t := min(c.confirmAt(), c.loss.timer, c.idleDeadline(), c.keepAliveAt(), c.path.timer(), c.pmtu.timer)
	if c.acks.pending > 0 {
		if c.acks.now {
			return c.now
		}
		t = min(t, c.acks.deadline)
	}
	if c.lim.reason == LimitPacing {
		t = min(t, c.lim.release)
	}
	if c.datagrams != nil {
		t = min(t, c.datagrams.release)
	}
	return t
}

// HandleTimeout does what is due at now. It may be called at any time.
func (c *Conn) HandleTimeout(now time.Duration) {
	c.advance(now)
	switch c.state {
	case StateDone:
		return
	case StateHandshake:
		if now >= c.hs.deadline {
			c.finish(c.hs.timeoutErr())
		}
		return
	case StateClosing:
		// A CLOSE that waits to be sent, as the answer to the peer's does,
		// ends the connection itself as it leaves.
		if !c.end.send && now >= c.end.deadline {
			c.setState(StateDone)
		}
		return
	}
	if c.hs.open && now >= c.hs.deadline {
		c.finish(c.hs.timeoutErr())
		return
	}
	if c.hs.open && now >= c.hs.next {
		c.hs.next = now + c.hs.wait
		c.needPing = true
	}
	if now >= c.idleDeadline() {
		c.finish(ErrIdleTimeout)
		return
	}
	if now >= c.loss.timer {
		c.onLossTimer(now)
	}
	if now >= c.keepAliveAt() {
		c.needPing = true
	}
	c.path.onTimer(now)
	c.pmtu.onTimer(now)
}

func (c *Conn) advance(now time.Duration) {
	if now > c.now {
		c.now = now
	}
}

// idleDeadline is when silence means that the peer is gone: nothing arrives,
// or what arrives never acknowledges what was sent.
func (c *Conn) idleDeadline() time.Duration {
	from := never
	if c.send.una < c.send.nxt || c.send.finSent && !c.send.finAcked {
		from = c.owed
	}
	if c.cfg.KeepAlive >= 0 {
		from = min(from, c.lastRecv)
	}
	if from == never {
		return never
	}
	return from + max(c.idleLimit, 3*c.rtt.pto(0))
}

func (c *Conn) keepAliveAt() time.Duration {
	if c.cfg.KeepAlive < 0 || c.needPing || c.inFlight > 0 {
		return never
	}
	ka := c.cfg.KeepAlive
	if ka == 0 {
		ka = c.idleLimit / 3
	}
	return max(c.lastRecv, c.lastSent) + ka
}

func (c *Conn) setState(s State) {
	if s == c.state {
		return
	}
	closes := s >= StateClosing && c.state < StateClosing
	c.state = s
	if t := c.cfg.Trace; t != nil && t.State != nil {
		t.State(c.now, s)
	}
	if t := c.cfg.Trace; closes && t != nil && t.Closed != nil {
		t.Closed(c.now, c.err)
	}
	if s == StateDone {
		c.lim.set(c.now, LimitApp, &c.stats)
		// What was received stays readable; the rest is let go.
		c.send.blocks = blocks{}
		c.sent.buf = nil
	}
}

// finish ends the connection without telling the peer.
func (c *Conn) finish(err error) {
	if c.state == StateDone {
		return
	}
	if c.err == nil && c.state < StateClosing {
		c.err = err
	}
	c.setState(StateDone)
}

func (c *Conn) randomID() uint64 {
	for {
		if id := c.rng.Uint64(); id != 0 {
			return id
		}
	}
}

// Stats returns a copy of the counters.
func (c *Conn) Stats() Stats {
	s := c.stats
	s.StreamSent = c.send.una
	s.StreamReceived = c.recv.nxt
	s.StreamWaiting = c.send.end - c.send.nxt
	s.RTTLatest, s.RTTMin, s.RTTSmoothed, s.RTTVar = c.rtt.latest, c.rtt.min, c.rtt.smoothed, c.rtt.variance
	s.RTTMedian, s.RTTP99 = c.rtt.hist.quantile(.5), c.rtt.hist.quantile(.99)
	s.RTTSamples = c.rtt.samples
	s.Controller = c.controllerState()
	s.ARQ, s.Window = c.cfg.ARQ, c.book.state()
	s.Datagram = c.pmtu.size
	s.ECNCapable = c.ecn.valid
	s.CEReceived = uint64(c.acks.ce)
	if c.state == StateEstablished {
		s.Limited[c.lim.reason] += c.now - c.lim.since
	}
	return s
}

func (c *Conn) controllerState() ControllerState {
	s := ControllerState{Window: c.cc.window(), InFlight: c.inFlight, Pace: c.pacer.rate, MinRTT: c.rtt.min}
	c.cc.state(&s)
	return s
}

func (c *Conn) updatePace() {
	r := c.cc.pace()
	if c.cfg.Rate > 0 && (r == 0 || r > c.cfg.Rate) {
		r = c.cfg.Rate
		// What arrives says nothing about what could.
		c.rate.appLimited = max(c.rate.delivered+uint64(c.inFlight), 1)
	}
	c.pacer.rate = r
	c.send.ahead = max(minAhead, c.cc.window()/2)
}

// seedFor derives the seed of a connection from a listener's.
func seedFor(seed [32]byte, id uint64) [32]byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], id)
	return macSum(seed[:], n[:])
}

package arq

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// handshake is what an end needs until it is connected.
type handshake struct {
	cookie   []byte        // client: as the server gave it
	open     bool          // client: the server has said nothing since, so every packet is an OPEN
	next     time.Duration // client: of the next INIT, or the next PING in an OPEN
	wait     time.Duration
	deadline time.Duration
	began    time.Duration // client: the first INIT
	reset    [resetTokenLen]byte
}

const (
	// An INIT is sent again soon, at times that double. Nobody knows yet how long
	// the path is, and on one that loses a fifth of the packets each way every
	// third INIT gets no answer. The server keeps nothing of those that do.
	initRetry     = 20 * time.Millisecond
	initRetryMax  = 1500 * time.Millisecond
	resetTokenLen = 16
)

func (h *handshake) timeoutErr() error { return ErrHandshakeTimeout }

// Dial begins a connection to an address. The first INIT leaves with the next
// [Conn.PollTransmit].
func Dial(now time.Duration, cfg Config, to netip.AddrPort) *Conn {
	c := newConn(now, cfg, true)
	c.addr = to
	c.local = c.randomID()
	c.hs.next, c.hs.began = now, now
	c.hs.wait = initRetry
	c.hs.deadline = now + c.cfg.HandshakeTimeout
	return c
}

// params are what a connection of this configuration, which is complete, tells
// its peer.
func (c *Config) params() params {
	var f flowControl
	f.init(c.RecvBuffer)
	p := params{window: f.window, maxDatagram: MaxDatagram, idleTimeout: c.IdleTimeout, arq: c.ARQ}
	if c.ARQ.Textbook() {
		p.frames = uint16(c.Window)
	}
	return p
}

// establish applies the peer's parameters.
func (c *Conn) establish(now time.Duration, p params) {
	c.peer = p
	c.peerLimit = p.window
	c.pmtu.limit(int(p.maxDatagram))
	if c.book != nil {
		c.book.room = FramePayload(c.pmtu.size)
	}
	if p.idleTimeout > 0 {
		c.idleLimit = min(c.idleLimit, p.idleTimeout)
	}
	c.lastRecv, c.lastSent = now, now
	c.lim.since = now
	// The controller starts from the handshake's round trip.
	c.cc.onAck(&ackEvent{now: now, srtt: c.rtt.smoothed, minRTT: c.rtt.min, mtu: c.pmtu.size})
	c.updatePace()
	c.setState(StateEstablished)
	c.pmtu.start(now)
	c.traceSendWindow()
	c.traceRecvWindow()
}

func (c *Conn) pollHandshake(now time.Duration, buf []byte) Transmit {
	if !c.client || now < c.hs.next {
		return Transmit{}
	}
	c.hs.next = now + c.hs.wait
	c.hs.wait = min(2*c.hs.wait, initRetryMax)
	b := buf[:headerLen]
	putHeader(b, header{version: Version, typ: typeInit, number: c.local})
	b = appendParams(b, c.cfg.params())
	b = binary.BigEndian.AppendUint32(b, micros(now-c.hs.began))
	n := len(b)
	b = buf[:MinDatagram]
	clear(b[n:])
	seal(b)
	c.traceSent(PacketEvent{Now: now, Type: "init", Number: c.local, Size: len(b)})
	return Transmit{N: len(b), SegmentSize: len(b), To: c.addr}
}

// begin writes what a packet begins with: its header, and until the server is
// known to have the connection what it makes one from.
func (c *Conn) begin(b []byte, number uint64) []byte {
	h := header{version: Version, typ: typeData, dest: c.remote, number: number}
	if c.hs.open {
		h.typ = typeOpen
		putHeader(b, h)
		return appendOpening(b[:headerLen], opening{source: c.local, peer: c.cfg.params(), cookie: c.hs.cookie})
	}
	putHeader(b, h)
	return b[:headerLen]
}

// complete pads an OPEN that is too short.
func (c *Conn) complete(b []byte) []byte {
	if n := len(b); c.hs.open && n < minOpen {
		b = b[:minOpen]
		clear(b[n:])
	}
	return b
}

// confirmAt is when a client that has a cookie and no answer asks for one, or
// gives up.
func (c *Conn) confirmAt() time.Duration {
	if !c.hs.open {
		return never
	}
	return min(c.hs.next, c.hs.deadline)
}

// confirmed is told that the server has the connection.
func (c *Conn) confirmed() { c.hs.open = false }

// handleRetry takes in what a client needs in order to send data.
func (c *Conn) handleRetry(now time.Duration, h header, body []byte) error {
	g, err := parseGrant(body)
	if err != nil || h.number == 0 {
		return errFrame
	}
	c.remote = h.number
	c.hs.cookie = append(c.hs.cookie[:0], g.cookie...)
	c.hs.reset = g.reset
	if c.hs.open {
		return nil // a newer cookie
	}
	if d := now - c.hs.began - time.Duration(g.echo)*time.Microsecond; d > 0 && d <= now-c.hs.began {
		c.rtt.seed(min(d, time.Second))
	}
	c.hs.open = true
	c.establish(now, g.peer)
	c.hs.wait = max(3*c.rtt.smoothed/2, 50*time.Millisecond)
	c.hs.next = now + c.hs.wait
	c.needPing = true // tells the server, even if nothing is to be said
	if g.peer.arq != c.cfg.ARQ {
		c.disagree() // which tells the server, too
	}
	return nil
}

// handleHandshake takes in a datagram that carries no frames.
func (c *Conn) handleHandshake(now time.Duration, h header, b []byte, from netip.AddrPort) {
	body := b[headerLen:]
	ours := c.client && from == c.addr && h.dest == c.local
	waiting := c.state == StateHandshake
	switch {
	case h.typ == typeRetry && ours && (waiting || c.hs.open):
		if err := c.handleRetry(now, h, body); err != nil {
			c.drop(len(b), DropMalformed)
			return
		}
	case h.typ == typeVersion && ours && waiting:
		for _, v := range body {
			if v == Version { // it speaks ours: somebody plays tricks
				c.drop(len(b), DropVersion)
				return
			}
		}
		c.finish(ErrVersion)
	case h.typ == typeReset && c.client && from == c.addr && h.number == c.remote &&
		c.state == StateEstablished && len(body) == resetTokenLen && [resetTokenLen]byte(body) == c.hs.reset:
		c.finish(ErrReset)
	default:
		c.drop(len(b), DropUnknown)
		return
	}
	c.stats.PacketsReceived++
	c.stats.BytesReceived += uint64(len(b))
	if t := c.cfg.Trace; t != nil && t.PacketReceived != nil {
		t.PacketReceived(PacketEvent{Now: now, Type: h.typ.String(), Number: h.number, Size: len(b)})
	}
}

// seed starts the estimator with the handshake's round trip, before any
// packet gave a sample.
func (r *rttEstimator) seed(d time.Duration) {
	if r.samples == 0 && d > 0 {
		r.latest, r.min, r.smoothed, r.variance = d, d, d, d/2
		r.samples, r.seeded = 1, true
	}
}

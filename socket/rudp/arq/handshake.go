package arq

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// handshake is what an end needs until it is connected.
type handshake struct {
	cookie    []byte        // client: as the server gave it
	next      time.Duration // client: of the next INIT
	wait      time.Duration
	deadline  time.Duration
	began     time.Duration // client: the first INIT
	firstSent time.Duration // client: of the INIT with the cookie
	acceptDue bool          // server: an INIT is to be answered
	reset     [resetTokenLen]byte
}

const (
	initRetry     = 200 * time.Millisecond
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

func (c *Conn) localParams() params {
	p := params{window: c.recv.limit, maxDatagram: MaxDatagram, idleTimeout: c.cfg.IdleTimeout, arq: c.cfg.ARQ}
	if c.book != nil {
		p.frames = uint16(c.cfg.Window)
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
	c.hs.wait = min(c.hs.wait*3/2, initRetryMax)
	if c.hs.cookie != nil && c.hs.firstSent == 0 {
		c.hs.firstSent = now
	}
	b := buf[:headerLen]
	putHeader(b, header{version: Version, typ: typeInit, number: c.local})
	b = appendParams(b, c.localParams())
	b = binary.BigEndian.AppendUint16(b, uint16(len(c.hs.cookie)))
	b = append(b, c.hs.cookie...)
	n := len(b)
	b = buf[:MinDatagram]
	clear(b[n:])
	seal(b)
	c.traceSent(PacketEvent{Now: now, Type: "init", Number: c.local, Size: len(b)})
	return Transmit{N: len(b), SegmentSize: len(b), To: c.addr}
}

func (c *Conn) writeAccept(buf []byte) int {
	b := buf[:headerLen]
	putHeader(b, header{version: Version, typ: typeAccept, dest: c.remote, number: c.local})
	b = appendParams(b, c.localParams())
	b = append(b, c.hs.reset[:]...)
	seal(b)
	c.traceSent(PacketEvent{Now: c.now, Type: "accept", Number: c.local, Size: len(b)})
	return len(b)
}

// handleHandshake takes in a datagram that is not of type data.
func (c *Conn) handleHandshake(now time.Duration, h header, b []byte, from netip.AddrPort) {
	body := b[headerLen:]
	ours := from == c.addr && h.dest == c.local
	waiting := c.client && c.state == StateHandshake
	switch {
	case h.typ == typeRetry && ours && waiting && c.hs.cookie == nil:
		cookie, err := parseCookie(body)
		if err != nil || len(cookie) == 0 {
			c.drop(len(b), DropMalformed)
			return
		}
		c.hs.cookie = append([]byte(nil), cookie...)
		c.hs.next = now
		c.hs.wait = min(max(3*(now-c.hs.began)/2, 50*time.Millisecond), 2*initRetry)
	case h.typ == typeRetry && ours && waiting:
		// A second cookie, for an INIT that was sent again: take the
		// newer one, but do not hurry.
		if cookie, err := parseCookie(body); err == nil && len(cookie) > 0 {
			c.hs.cookie = append(c.hs.cookie[:0], cookie...)
		}
	case h.typ == typeAccept && ours && waiting && c.hs.cookie != nil:
		p, rest, err := parseParams(body)
		if err != nil || len(rest) != resetTokenLen || h.number == 0 {
			c.drop(len(b), DropMalformed)
			return
		}
		c.remote = h.number
		copy(c.hs.reset[:], rest)
		// If the INIT was sent again this is too long; the first sample
		// replaces it.
		c.rtt.seed(min(now-c.hs.firstSent, time.Second))
		c.establish(now, p)
		if p.arq != c.cfg.ARQ {
			c.disagree() // which tells the server, too
			break
		}
		c.needPing = true // tells the server, even if nothing is to be said
	case h.typ == typeVersion && ours && waiting && c.hs.cookie == nil:
		for _, v := range body {
			if v == Version { // it speaks ours: somebody plays tricks
				c.drop(len(b), DropVersion)
				return
			}
		}
		c.finish(ErrVersion)
	case h.typ == typeInit && !c.client && h.number == c.remote && from == c.addr:
		c.hs.acceptDue = c.state == StateEstablished
		c.lastRecv = now // the client is there, and waits for the ACCEPT
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

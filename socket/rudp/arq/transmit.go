package arq

import (
	"net/netip"
	"time"
)

// Transmit describes what [Conn.PollTransmit] wrote: one datagram, or several
// of SegmentSize bytes each of which only the last may be shorter, as
// UDP_SEGMENT wants them.
type Transmit struct {
	N           int // bytes written; 0: nothing to send now
	SegmentSize int
	To          netip.AddrPort
	ECN         ECN
}

// PollTransmit writes what may be sent now into buf, which must hold at least
// one datagram of the largest size ([Config.MaxDatagram]). Call it until it
// returns nothing. How much fits in buf bounds a batch.
func (c *Conn) PollTransmit(now time.Duration, buf []byte) Transmit {
	c.send.unlend()
	c.advance(now)
	now = c.now
	switch c.state {
	case StateDone:
		return Transmit{}
	case StateHandshake:
		return c.pollHandshake(now, buf)
	case StateClosing:
		if n := c.pollClose(now, buf); n > 0 {
			return Transmit{N: n, SegmentSize: n, To: c.addr}
		}
		return Transmit{}
	}
	if n, to := c.pollPath(now, buf); n > 0 {
		return Transmit{N: n, SegmentSize: n, To: to}
	}
	if size := c.pmtu.wantProbe(now, c.inFlight, c); size > 0 && len(buf) >= size && !c.hs.open {
		n := c.writeMTUProbe(now, buf[:size])
		return Transmit{N: n, SegmentSize: n, To: c.addr, ECN: NotECT}
	}
	if c.concluding() {
		n := c.conclude(now, buf)
		return Transmit{N: n, SegmentSize: n, To: c.addr}
	}
	t := c.pollData(now, buf)
	if t.N == 0 && c.datagrams != nil && !c.hs.open {
		t = c.pollDatagrams(now, buf)
	}
	return t
}

// pollData fills buf with packets of the current size.
func (c *Conn) pollData(now time.Duration, buf []byte) Transmit {
	size := c.pmtu.sizeAfter(c.loss.ptoCount)
	if c.lim.reason == LimitPacing {
		c.pacer.late = max(min(now-c.lim.release, maxCredit, max(c.rtt.smoothed/8, maxBurst)), 0)
	}
	c.pacer.refill(now, size)
	ackDue := c.acks.due(now)
	n := 0
	ecn := NotECT
	if !c.ecn.off {
		ecn = ECT0
	}
	var why Limiter
	c.hold = c.train(size)
	if ackDue && c.book != nil {
		// Frames are of one size: an ACK goes alone.
		n = c.writePacket(now, buf[:size], sendAck, true)
		return Transmit{N: n, SegmentSize: n, To: c.addr, ECN: NotECT}
	}
	for {
		if n+size > len(buf) {
			why = LimitHost
			break
		}
		kind, limit := c.nextKind(now)
		if kind == sendNothing {
			why = limit
			break
		}
		w := c.writePacket(now, buf[n:n+size], kind, ackDue)
		ackDue = false
		c.hold = size
		n += w
		if w < size {
			why = LimitHost
			break
		}
	}
	if why != LimitHost || n == 0 {
		c.lim.set(now, why, &c.stats)
		if why == LimitPacing {
			c.lim.release = c.pacer.release(now, size)
		}
	}
	if n == 0 && ackDue {
		n = c.writePacket(now, buf[:min(size, len(buf))], sendAck, true)
		return Transmit{N: n, SegmentSize: n, To: c.addr, ECN: NotECT}
	}
	if n == 0 {
		return Transmit{}
	}
	return Transmit{N: n, SegmentSize: min(size, n), To: c.addr, ECN: ecn}
}

// sendKind is what the next packet is for.
type sendKind int

const (
	sendNothing sendKind = iota
	sendData             // new or lost bytes, or the end
	sendTail             // a copy of bytes in flight
	sendControl          // WINDOW or PING
	sendAck              // nothing but an ACK
)

// nextKind decides what may be sent next, and if nothing, what forbids it.
func (c *Conn) nextKind(now time.Duration) (sendKind, Limiter) {
	if c.book != nil {
		if c.hs.open { // a frame would leave no room for the cookie
			if c.needPing {
				return sendControl, 0
			}
			return sendNothing, LimitApp
		}
		return c.book.next(c)
	}
	size := c.pmtu.size
	pending := c.send.pending(c.peerLimit)
	if c.loss.probes > 0 {
		if pending {
			return sendData, 0
		}
		if c.needPing || c.flow.due(&c.recv) {
			return sendControl, 0
		}
	}
	if c.sent.full() {
		return sendNothing, LimitCwnd
	}
	if pending {
		// One packet may always fly: a window that shrank while datagrams
		// were small can be less than one since path MTU discovery.
		if c.inFlight > 0 && c.inFlight+c.hold > c.cc.window() {
			return sendNothing, LimitCwnd
		}
		if !c.pacer.ready(c.hold) {
			return sendNothing, LimitPacing
		}
		return sendData, 0
	}
	if c.needPing || c.flow.due(&c.recv) {
		return sendControl, 0
	}
	if c.send.nxt < c.send.end {
		return sendNothing, LimitRwnd
	}
	// All is sent. What is limited now is limited by the application.
	if c.inFlight < c.cc.window() && c.rate.appLimited == 0 {
		c.rate.appLimited = max(c.rate.delivered+uint64(c.inFlight), 1)
	}
	if c.send.una < c.send.nxt && c.tailWanted() && c.inFlight+size <= c.cc.window() {
		if !c.pacer.ready(size) {
			return sendNothing, LimitPacing
		}
		return sendTail, 0
	}
	return sendNothing, LimitApp
}

// tailWanted reports whether a copy of something in flight is worth sending: at
// the end of the stream or of a turn, and of a flight so short that the peer can but
// wait for the rest of it, as it does in every handshake.
func (c *Conn) tailWanted() bool {
	p, known := c.lossEstimate()
	copies := tailCopies(p, (c.inFlight+c.pmtu.size-1)/c.pmtu.size)
	if !c.send.fin {
		short := c.send.end-c.send.una <= shortFlight
		if !short && c.send.end != c.turn {
			return false
		}
		if short && !known {
			copies = 1
		}
	}
	return c.tail.seek(&c.send, copies)
}

// lossEstimate is the share of packets lost so far, if enough were sent to tell.
func (c *Conn) lossEstimate() (p float64, known bool) {
	n := c.stats.PacketsAcked + c.stats.PacketsLost
	if n < 100 {
		return 0, false
	}
	return float64(c.stats.PacketsLost-c.stats.PacketsSpurious) / float64(n), true
}

// writePacket writes one packet of at most len(b) bytes.
func (c *Conn) writePacket(now time.Duration, b []byte, kind sendKind, ack bool) int {
	number := c.sent.next
	p := c.sent.push()
	p.time = now
	p.state = packetIgnored
	out := c.begin(b, number)
	tracing := c.cfg.Trace != nil && c.cfg.Trace.PacketSent != nil
	var ev PacketEvent
	var data span // where in b the stream's bytes are, or would be

	if ack && c.acks.any {
		room := len(b) - len(out) - windowFrameLen
		if kind != sendAck {
			room = min(room/2, 400)
		}
		out = c.acks.append(out, now, room)
		c.acks.sent()
		c.stats.AcksSent++
		ev.Ack, ev.AckLargest = true, c.acks.largest
		if c.recv.limit > c.flow.told && !c.flow.due(&c.recv) {
			out = appendWindow(out, c.recv.limit)
			c.flow.told = c.recv.limit
		}
	}
	if kind != sendAck {
		p.state = packetInFlight
		if c.flow.due(&c.recv) {
			out = appendWindow(out, c.recv.limit)
			c.flow.told, c.flow.sure = c.recv.limit, c.recv.limit
			p.flags |= hasWindow
		}
		if kind != sendControl && c.hintDue(now) {
			every, delay := c.ackWish()
			out = appendSender(out, c.sent.floor, every, delay)
			c.hint = senderHint{floor: c.sent.floor, at: now, sent: true}
			p.flags |= hasSender
		}
		if c.needPing || kind == sendControl {
			out = append(out, byte(framePing))
			c.needPing = false
		}
	}
	if kind == sendData || kind == sendTail {
		room := len(b) - len(out) - dataFrameLen
		var off uint64
		var n int
		var fin, again bool
		if kind == sendData {
			if c.book != nil {
				off, n, fin, again = c.book.take(c)
			} else {
				off, n, fin, again = c.send.take(room, c.peerLimit)
			}
			if again {
				c.stats.Retransmits++
				p.flags |= isRetransmit
			}
		} else {
			off, n = c.tail.take(&c.send, room)
			fin = c.send.fin && off+uint64(n) == c.send.end
			c.stats.TailCopies++
			p.flags |= isTail
		}
		k := len(out)
		out = b[:k+dataFrameLen+n]
		putDataFrame(out[k:], off, n, fin)
		data = span{uint64(k + dataFrameLen), uint64(len(out))}
		if n > 0 {
			if !c.gather.on {
				c.send.read(off, out[k+dataFrameLen:])
			}
			p.flags |= hasData
		}
		if fin {
			p.flags |= hasFin
		}
		p.off, p.n = off, uint16(n)
		if tracing {
			ev.Offset, ev.Length, ev.Fin = off, n, fin
			ev.Retransmit, ev.Probe = again, kind == sendTail || c.loss.probes > 0
		}
		// A few bytes short of the batch's size: fill up rather than end
		// the batch here.
		if short := len(b) - len(out); short > 0 && short <= 64 && (c.book.fills(n) || c.send.pending(c.peerLimit)) {
			k = len(out)
			out = b
			clear(out[k:])
		}
	}
	out = c.complete(out)
	p.size = uint16(len(out))
	if !c.gather.on {
		seal(out)
	} else {
		c.gather.packet(&c.send, out, data, p.off)
	}
	if p.state == packetInFlight {
		c.noteSent(now, p)
	}
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(out))
	if kind == sendAck {
		c.settle(now)
	}
	if tracing {
		ev.Now, ev.Type, ev.Number, ev.Size = now, "data", number, len(out)
		ev.Eliciting = kind != sendAck
		if p.state == packetInFlight && !c.ecn.off {
			ev.ECN = ECT0
		}
		c.traceSent(ev)
	}
	return len(out)
}

// noteSent accounts for a packet that wants an answer.
func (c *Conn) noteSent(now time.Duration, p *sentPacket) {
	c.rate.onSend(now, p, c.inFlight)
	p.epoch = c.cc.onSend(now, int(p.size), c.inFlight, c.rate.appLimited != 0)
	c.inFlight += int(p.size)
	c.elicitSent++
	c.pacer.spend(int(p.size))
	c.lastSent = now
	if c.owed == never {
		c.owed = now
	}
	if c.loss.probes > 0 {
		c.loss.probes--
		p.flags |= isProbe
	}
	if !c.ecn.off {
		c.ecn.marked++
	}
	c.armPTO(now)
}

func (c *Conn) traceSent(ev PacketEvent) {
	if t := c.cfg.Trace; t != nil && t.PacketSent != nil {
		ev.InFlight = c.inFlight
		t.PacketSent(ev)
	}
}

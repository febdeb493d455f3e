package arq

import (
	"errors"
	"net/netip"
	"time"
)

// HandleDatagram takes in one datagram that arrived from an address with an
// ECN code point. It never fails: what makes no sense is dropped and counted,
// or ends the connection with a reason that [Conn.Err] tells. b is not kept.
func (c *Conn) HandleDatagram(now time.Duration, b []byte, from netip.AddrPort, ecn ECN) {
	c.advance(now)
	h, err := parseHeader(b)
	if err == errVersion && h.typ == typeVersion {
		err = nil // a server of any version tells so which ones it speaks
	}
	if err != nil {
		reason := DropMalformed
		switch {
		case errors.Is(err, errChecksum):
			reason = DropChecksum
		case errors.Is(err, errVersion):
			reason = DropVersion
		}
		c.drop(len(b), reason)
		return
	}
	if c.state == StateDone {
		c.drop(len(b), DropClosed)
		return
	}
	if h.typ != typeData && h.typ != typeOpen {
		c.handleHandshake(now, h, b, from)
		return
	}
	if h.dest != c.local || c.state == StateHandshake && c.client || h.number > maxNumber {
		c.drop(len(b), DropUnknown)
		return
	}
	if c.client && from != c.addr {
		c.drop(len(b), DropUnknown) // servers do not move
		return
	}
	frames := b[headerLen:]
	if h.typ == typeOpen {
		var o opening
		if o, frames, err = parseOpening(frames); err != nil || c.client || o.source != c.remote {
			c.drop(len(b), DropUnknown)
			return
		}
	}
	c.confirmed()
	dup, old := c.acks.status(h.number)
	if dup || old {
		reason := DropDuplicate
		if old {
			reason = DropOld
		}
		c.drop(len(b), reason)
		if dup && c.state == StateEstablished {
			if _, ok := DatagramNumber(b); ok && c.datagrams != nil {
				c.datagrams.meter.duplicate()
				return
			}
			c.acks.duplicate(now)
		}
		return
	}
	c.handlePacket(now, h, b, frames, from, ecn)
}

// drop counts a datagram that is ignored.
func (c *Conn) drop(size int, r DropReason) {
	c.stats.Dropped[r]++
	if t := c.cfg.Trace; t != nil && t.PacketDropped != nil {
		t.PacketDropped(c.now, size, r)
	}
}

// handlePacket takes in a fresh packet. Its frames are checked one after the
// other as they are acted on: a frame that makes no sense ends the
// connection, so nothing is left half done for long.
func (c *Conn) handlePacket(now time.Duration, h header, b, frames []byte, from netip.AddrPort, ecn ECN) {
	var f frame
	number := h.number
	eliciting := false
	ev := PacketEvent{Now: now, Type: "data", Number: number, Size: len(b), ECN: ecn}
	for rest := frames; len(rest) > 0; {
		var err error
		if rest, err = nextFrame(rest, &f); err != nil {
			c.protocolError(now, CodeBadFrame, "malformed frame")
			return
		}
		if c.state == StateClosing && f.typ != frameClose {
			continue
		}
		switch f.typ {
		case framePad:
		case frameDatagram:
			if c.datagrams == nil {
				c.protocolError(now, CodeBadFrame, "a datagram that was not agreed on")
				return
			}
			ev.Datagram, ev.Length = f.number, len(f.data)
			c.datagrams.take(now, &f)
		case frameData:
			eliciting = true
			ev.Offset, ev.Length, ev.Fin = f.offset, len(f.data), f.fin
			if !c.handleData(now, &f) {
				return
			}
		case frameAck:
			ev.Ack, ev.AckLargest = true, f.ack.largest
			if err := c.handleAck(now, &f.ack); err != nil {
				c.protocolError(now, CodeBadAck, err.Error())
				return
			}
		case frameWindow:
			if f.offset > c.peerLimit { // a window never shrinks: old news
				c.peerLimit = f.offset
				c.traceSendWindow()
			}
		case framePing:
			eliciting = true
		case frameChallenge:
			eliciting = true
			c.path.answer(f.token, from)
		case frameResponse:
			eliciting = true
			if c.path.validated(f.token, from) {
				c.migrate(now, from)
			}
		case frameSender:
			c.acks.floor = max(c.acks.floor, min(f.floor, number))
			c.acks.every = min(f.ackEvery, 1024)
			c.acks.maxDelay = min(f.ackDelay, 100*time.Millisecond)
		case frameClose:
			ev.Close = true
			c.handleClose(now, &f)
			if c.state == StateDone {
				return
			}
		}
	}
	newest := !c.acks.any || number > c.acks.largest
	c.acks.record(now, number, ecn, eliciting)
	if (c.recv.complete() || h.typ == typeOpen) && eliciting {
		c.acks.now = true // the end is acknowledged at once, and so is the beginning
	}
	c.stats.PacketsReceived++
	c.stats.BytesReceived += uint64(len(b))
	c.lastRecv = now
	if t := c.cfg.Trace; t != nil && t.PacketReceived != nil {
		t.PacketReceived(ev)
	}
	if newest && from != c.addr && c.state == StateEstablished {
		c.path.probe(now, from, c.rng.Uint64)
	}
	c.maybeFinish(now)
}

// handleData puts a DATA frame into the stream and reports whether the packet
// may be acknowledged.
func (c *Conn) handleData(now time.Duration, f *frame) bool {
	if c.book.inOrder() && f.offset > c.recv.nxt {
		c.drop(len(f.data), DropOutOfOrder)
		c.acks.now = c.acks.any // tells again what was the last in order
		return false
	}
	fresh, err := c.recv.insert(f.offset, f.data, f.fin)
	switch {
	case err == nil:
	case errors.Is(err, errHoles):
		c.drop(len(f.data), DropNoRoom)
		return false
	case errors.Is(err, errFlow):
		c.protocolError(now, CodeFlowControl, err.Error())
		return false
	default:
		c.protocolError(now, CodeFinalSize, err.Error())
		return false
	}
	if fresh > 0 {
		if c.readGone {
			c.dropUnread()
		}
		c.traceRecvWindow()
	}
	return true
}

var errBadAck = errors.New("acknowledged a packet that was never sent")

// handleAck settles the packets that an ACK tells of. Spans that were told
// before are skipped as a whole, so the work is proportional to the news.
func (c *Conn) handleAck(now time.Duration, f *ackFrame) error {
	var err error
	if c.spans, err = ackSpans(c.spans, f); err != nil {
		return err
	}
	if f.largest >= c.sent.next {
		return errBadAck
	}
	c.stats.AcksReceived++
	c.newly = c.newly[:0]
	e := ackEvent{now: now, prior: c.inFlight, mtu: c.pmtu.size}
	unaBefore := c.send.una
	var newest, turn *sentPacket // latest sent, and latest that overtook nobody
	var newestNum uint64
	known := &c.loss.acked
	for _, s := range c.spans {
		lo, hi := max(s.lo, c.sent.floor), s.hi
		if lo >= hi {
			continue
		}
		cur := lo
		for _, k := range known.overlap(lo, hi) {
			if cur < k.lo {
				c.ackRun(now, cur, k.lo, &e, &newest, &newestNum, &turn)
			}
			cur = max(cur, k.hi)
		}
		if cur < hi {
			c.ackRun(now, cur, hi, &e, &newest, &newestNum, &turn)
		}
		known.add(lo, hi)
	}
	if newest == nil && e.spurious == 0 {
		return nil
	}
	sample, delay := newest, min(f.delay, c.ackDelay()+maxAckDelay)
	if newestNum != f.largest {
		sample = nil // RFC 9002, 5.1: only the largest gives a sample
	}
	if c.loss.reordering {
		// Where packets overtake each other the largest is the one that
		// did, and says nothing about the length of the path.
		if sample = turn; turn != newest || newestNum != f.largest {
			delay = 0
			// It may be told of late because earlier ACKs were lost.
			if sample != nil && now-sample.time > c.rtt.pto(c.ackDelay()) {
				sample = nil
			}
		}
	}
	if !c.loss.any || f.largest > c.loss.largest {
		c.loss.any, c.loss.largest = true, f.largest
	}
	if sample != nil {
		c.rtt.update(now-sample.time, delay)
		e.rtt = c.rtt.latest
		if t := c.cfg.Trace; t != nil && t.RTT != nil {
			t.RTT(now, c.rtt.latest, c.rtt.smoothed, c.rtt.variance, c.rtt.min)
		}
	}
	c.loss.ptoCount, c.loss.probes = 0, 0
	if c.owed = never; c.inFlight > 0 {
		c.owed = now
	}
	e.minRTT, e.srtt = c.rtt.min, c.rtt.smoothed
	e.rate, e.rateLimited, e.round = c.rate.finish(now, c.rtt.min)
	e.ce = c.ecn.report(f.ect, f.ce, e.ackedPackets)
	c.detectLoss(now, &e)
	if e.round {
		c.loss.onRound()
	}
	e.inFlight = c.inFlight
	e.delivered = c.rate.delivered
	e.appLimited = c.rate.appLimited != 0
	c.cc.onAck(&e)
	c.updatePace()
	c.settle(now)
	known.removeBelow(c.sent.floor)
	c.armPTO(now)
	if t := c.cfg.Trace; t != nil {
		if t.AckReceived != nil {
			t.AckReceived(now, f.largest, e.ackedPackets)
		}
		if t.AckProcessed != nil {
			t.AckProcessed(AckEvent{Now: now, Largest: f.largest, Delay: f.delay, Newly: c.newly, UNA: c.send.una, Controller: c.controllerState()})
		}
		if t.Controller != nil && (e.round || e.lost > 0) {
			t.Controller(now, c.controllerState())
		}
		if c.send.una != unaBefore {
			c.traceSendWindow()
		}
	}
	return nil
}

// ackRun settles the packets [lo, hi), none of which was acknowledged before.
func (c *Conn) ackRun(now time.Duration, lo, hi uint64, e *ackEvent, newest **sentPacket, newestNum *uint64, turn **sentPacket) {
	trace := c.cfg.Trace
	ranging := trace != nil && trace.AckProcessed != nil
	for n := lo; n < hi; n++ {
		p := c.sent.at(n)
		switch p.state {
		case packetInFlight:
			p.state = packetAcked
			c.inFlight -= int(p.size)
			e.acked += int(p.size)
			e.ackedPackets++
			c.stats.PacketsAcked++
			c.rate.onAcked(now, p)
			c.cc.onPacket(fateAcked, p)
			if *newest == nil || n > *newestNum {
				*newest, *newestNum = p, n
			}
			if trace != nil && trace.PacketAcked != nil {
				trace.PacketAcked(now, n, now-p.time)
			}
		case packetLost:
			p.state = packetAcked
			c.stats.PacketsSpurious++
			e.spurious += int(p.size)
			c.rate.delivered += uint64(p.size)
			if p.flags&isMTUProbe == 0 {
				c.cc.onPacket(fateSpurious, p)
			}
			if c.book == nil {
				c.loss.late(now-p.time-c.rtt.smoothed, &c.rtt)
			}
			if trace != nil && trace.PacketSpurious != nil {
				trace.PacketSpurious(now, n)
			}
		default:
			continue
		}
		if ranging {
			c.noteNewly(n)
		}
		if p.flags&hasData != 0 {
			c.send.ack(p.off, p.off+uint64(p.n))
		}
		if p.flags&hasFin != 0 {
			c.send.finAcked, c.send.finLost = true, false
		}
		c.pmtu.onAcked(now, int(p.size), p.flags&isMTUProbe != 0, c)
	}
	if p := c.sent.at(hi - 1); p.state == packetAcked && p == *newest || *turn == nil {
		if hi-lo > 1 && c.sent.at(hi-2).state == packetAcked || lo > c.sent.floor && c.sent.at(lo-1).state == packetAcked {
			*turn = p
		}
	}
}

// noteNewly adds n to what an ACK is traced to have acknowledged.
func (c *Conn) noteNewly(n uint64) {
	if k := len(c.newly); k > 0 && c.newly[k-1].Last+1 == n {
		c.newly[k-1].Last = n
		return
	}
	c.newly = append(c.newly, PacketRange{n, n})
}

func (c *Conn) traceSendWindow() {
	if t := c.cfg.Trace; t != nil && t.SendWindow != nil {
		t.SendWindow(c.now, c.send.una, c.send.nxt, c.book.edge(c))
	}
}

func (c *Conn) traceRecvWindow() {
	if t := c.cfg.Trace; t != nil && t.RecvWindow != nil {
		t.RecvWindow(c.now, c.recv.read, c.recv.nxt, c.recv.limit)
	}
}

package arq

import "time"

// closing is the state of a connection that told the peer CLOSE. It says so
// a few times, because nobody acknowledges it but with a CLOSE of its own.
type closing struct {
	err      *CloseError
	next     time.Duration
	deadline time.Duration
	wait     time.Duration
	send     bool
}

// closeWith ends the connection and tells the peer.
func (c *Conn) closeWith(now time.Duration, e *CloseError) {
	if c.state >= StateClosing {
		return
	}
	if e.Code != CodeNone || e.Application {
		c.err = e
	}
	if c.state == StateHandshake {
		c.setState(StateDone)
		return
	}
	c.startClose(now, e)
}

func (c *Conn) startClose(now time.Duration, e *CloseError) {
	pto := min(c.rtt.pto(0), time.Second)
	// Of five, on a path that loses a fifth, one in three thousand ends in silence
	// for the peer; nine are sent where that does not take long.
	c.end = closing{err: e, next: now, deadline: now + min(8*pto, 4*time.Second), wait: pto, send: true}
	c.setState(StateClosing)
}

func (c *Conn) protocolError(now time.Duration, code uint32, reason string) {
	c.closeWith(now, &CloseError{Code: code, Reason: reason})
}

// handleClose ends the connection because the peer did.
func (c *Conn) handleClose(now time.Duration, f *frame) {
	if c.state == StateClosing {
		c.setState(StateDone)
		return
	}
	switch {
	case f.code == CodeNone && !f.remote:
		// In good order: the peer has all it wanted. If our stream was
		// not delivered, or its was not, say so.
		if !c.recv.complete() || !(c.Flushed() || c.closeSent) {
			c.err = &CloseError{Remote: true, Code: CodeUnexpectedEnd}
		}
	case f.code == CodeARQ && !f.remote && c.cfg.ARQ != c.peer.arq:
		c.err = &ARQError{Ours: c.cfg.ARQ, Theirs: c.peer.arq}
	default:
		c.err = &CloseError{Remote: true, Application: f.remote, Code: f.code, Reason: string(f.reason)}
	}
	// Answer once, so that the peer need not repeat itself.
	c.end = closing{err: &CloseError{}, next: now, deadline: now, send: true}
	c.setState(StateClosing)
}

// maybeFinish closes a connection that has nothing left to do.
func (c *Conn) maybeFinish(now time.Duration) {
	if c.state != StateEstablished || !c.send.fin || !c.Flushed() {
		return
	}
	if c.closeSent || c.recv.complete() && c.recv.atEnd() {
		c.startClose(now, &CloseError{})
	}
}

const (
	// lastWords is how many bytes a concluding packet takes along.
	lastWords = 512
	// lastCopies is how often it is sent at most, and at least two times.
	lastCopies = 6
)

// concluding reports whether all that is left can go with the end.
func (c *Conn) concluding() bool {
	return c.concluded && c.state == StateEstablished && c.book == nil && c.send.end-c.send.una <= lastWords && c.send.end <= c.peerLimit
}

// conclude writes what is left of the stream and CLOSE, and with the last copy ends
// the connection.
func (c *Conn) conclude(now time.Duration, buf []byte) int {
	if c.last == 0 {
		p, _ := c.lossEstimate()
		c.last = 2
		for left := p * p; left > 1e-4 && c.last < lastCopies; left *= p {
			c.last++
		}
	}
	b := c.begin(buf, c.sent.next)
	c.sent.next++
	c.sent.floor, c.sent.scan = c.sent.next, c.sent.next
	b = c.acks.append(b, now, 200)
	k, n := len(b), int(c.send.end-c.send.una)
	b = buf[:k+dataFrameLen+n]
	putDataFrame(b[k:], c.send.una, n, true)
	if n > 0 {
		c.send.read(c.send.una, b[k+dataFrameLen:])
	}
	b = c.complete(appendClose(b, CodeNone, false, ""))
	seal(b)
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(b))
	c.traceSent(PacketEvent{Now: now, Type: "data", Number: c.sent.next - 1, Size: len(b), Offset: c.send.una, Length: n, Fin: true, Close: true})
	if c.last--; c.last == 0 {
		c.setState(StateDone)
	}
	return len(b)
}

// pollClose writes the CLOSE if it is time.
func (c *Conn) pollClose(now time.Duration, buf []byte) int {
	if !c.end.send && now < c.end.next {
		return 0
	}
	c.end.send = false
	c.end.next = now + c.end.wait
	if c.end.wait == 0 {
		c.end.next = never
	}
	b := c.begin(buf, c.sent.next)
	c.sent.next++
	c.sent.floor = c.sent.next
	b = c.acks.append(b, now, 200)
	b = appendClose(b, c.end.err.Code, c.end.err.Application, c.end.err.Reason)
	b = c.complete(b)
	seal(b)
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(b))
	c.traceSent(PacketEvent{Now: now, Type: "data", Number: c.sent.next - 1, Size: len(b), Close: true})
	if c.end.deadline <= now {
		c.setState(StateDone)
	}
	return len(b)
}

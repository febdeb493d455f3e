package arq

import (
	"fmt"
	"sort"
	"time"
)

// textbook is the sender of the three classic protocols. Where the model asks
// what the network is like, these only count frames:
//
//	      UNA                NXT              WND = UNA + N
//	       |  sent            |  may be sent   |
//	-------+------------------+----------------+--------->  frame numbers
//	 acked |    not acked     |                | not yet
//
// A frame is a piece of the stream, cut when it is first sent and the same
// whenever it is sent again, although each time in a packet with another
// number. UNA is the oldest frame that is not acknowledged, NXT the next that
// was never sent, N the window. What happens when a timer runs out is all that
// tells the protocols apart at this end:
//
//	stop-and-wait     N is 1: that frame is sent again
//	go-back-N         one timer, of the oldest frame: all from UNA up are
//	                  sent again
//	selective repeat  a timer a frame: that one is sent again
//
// At the receiver go-back-N drops what is out of order, so that what it
// acknowledges is all there is up to it; the others keep it.
type textbook struct {
	arq      ARQ
	window   uint64
	fixed    time.Duration // the timeout, or 0: RFC 6298
	room     int           // bytes of stream in a full frame
	una, nxt uint64
	frames   []bookFrame // [una, nxt)
}

// bookFrame is a frame between UNA and NXT.
type bookFrame struct {
	off   uint64 // in the stream
	n     uint16 // bytes; 0 for an end alone
	fin   bool
	tries uint8 // timeouts of this frame
}

const (
	// minRTO is the least timeout that is computed. RFC 6298 (2.4) wants a
	// second, which leaves room for delayed acknowledgements; here none is
	// delayed.
	minRTO = 10 * time.Millisecond
	// initialRTO holds before anything was measured (RFC 6298, 2.1).
	initialRTO = time.Second
	// maxBackoff ends the doubling of RFC 6298 (5.5), so that a path that
	// loses most packets is tried often enough before it is given up.
	maxBackoff = time.Second
	// bookReserve is the room in a frame for what rides along, so that all
	// frames carry the same: SENDER, WINDOW and PING.
	bookReserve = senderFrameLen + windowFrameLen + 1
)

func newTextbook(cfg *Config) *textbook {
	if !cfg.ARQ.Textbook() {
		return nil
	}
	return &textbook{arq: cfg.ARQ, window: uint64(cfg.Window), fixed: cfg.RTO, room: FramePayload(cfg.MaxDatagram)}
}

// FramePayload is how many bytes of the stream a full frame of the textbook
// protocols carries in a datagram of size bytes.
func FramePayload(size int) int { return size - headerLen - dataFrameLen - bookReserve }

// rto is the timeout of a frame that timed out tries times before (RFC 6298,
// section 2). A fixed one stays as it is.
func (t *textbook) rto(r *rttEstimator, tries uint8) time.Duration {
	if t.fixed > 0 {
		return t.fixed
	}
	d := initialRTO
	if r.samples > 0 {
		d = max(r.smoothed+max(4*r.variance, granularity), minRTO)
	}
	return min(d<<min(tries, 8), d+maxBackoff)
}

// find returns the frame that begins at off.
func (t *textbook) find(off uint64) *bookFrame {
	i := sort.Search(len(t.frames), func(i int) bool { return t.frames[i].off >= off })
	if i < len(t.frames) {
		return &t.frames[i]
	}
	return nil
}

// next is nextKind of these protocols: what is lost goes first, new frames go
// while the window is open, and what is not a frame needs no window.
func (t *textbook) next(c *Conn) (sendKind, Limiter) {
	if c.sent.full() {
		return sendNothing, LimitCwnd
	}
	s := &c.send
	blocked := LimitApp
	if s.pending(c.peerLimit) {
		again := !s.lost.empty() || s.finLost
		switch {
		case !again && t.nxt-t.una >= t.window:
			blocked = LimitCwnd
		case !c.pacer.ready(c.pmtu.size):
			blocked = LimitPacing
		default:
			return sendData, 0
		}
	} else if s.nxt < s.end {
		blocked = LimitRwnd
	}
	if c.needPing || c.flow.due(&c.recv) {
		return sendControl, 0
	}
	return sendNothing, blocked
}

// take picks the frame to send, as sendBuffer.take does for the model.
func (t *textbook) take(c *Conn) (off uint64, n int, fin, again bool) {
	s := &c.send
	if !s.lost.empty() || s.finLost {
		f := &t.frames[len(t.frames)-1] // the end is the last
		if !s.lost.empty() {
			f = t.find(s.lost.first().lo)
		}
		off, n = f.off, int(f.n)
		s.lost.remove(off, off+uint64(n))
		if f.fin {
			fin, s.finLost = true, false
		}
		return off, n, fin, true
	}
	off = s.nxt
	n = int(min(min(s.end, max(c.peerLimit, off))-off, uint64(t.room)))
	s.nxt += uint64(n)
	if s.fin && s.nxt == s.end {
		fin, s.finSent = true, true
	}
	t.frames = append(t.frames, bookFrame{off: off, n: uint16(n), fin: fin})
	t.nxt++
	t.trace(c)
	return off, n, fin, false
}

// fills reports whether a frame of n bytes is padded to the datagram's size:
// full ones are, whatever else is in them.
func (t *textbook) fills(n int) bool { return t != nil && n == t.room }

// update moves UNA over what was acknowledged and sets the timer. The timer is
// never later than the first timeout; where it is early, expire finds nothing
// and sets it again.
func (t *textbook) update(c *Conn, now time.Duration) {
	moved := false
	for len(t.frames) > 0 {
		f := &t.frames[0]
		if f.off+uint64(f.n) > c.send.una || f.fin && !c.send.finAcked {
			break
		}
		t.frames = t.frames[1:]
		t.una++
		moved = true
	}
	if moved {
		t.trace(c)
	}
	l := &c.loss
	if c.inFlight == 0 {
		l.timer = never
		return
	}
	for c.sent.scan < c.sent.next && c.sent.at(c.sent.scan).state != packetInFlight {
		c.sent.scan++
	}
	l.timer = min(l.timer, max(now, c.sent.at(c.sent.scan).time+t.rto(&c.rtt, 0)))
}

// expire gives up what has timed out.
func (t *textbook) expire(c *Conn, now time.Duration) {
	e := ackEvent{now: now}
	next := never
	back, oldest := false, true
	for n := c.sent.scan; n < c.sent.next; n++ {
		p := c.sent.at(n)
		if p.state != packetInFlight {
			continue
		}
		framed := p.flags&(hasData|hasFin) != 0
		if back && framed {
			c.lose(now, n, p, LossGoBack, &e)
			continue
		}
		var f *bookFrame
		tries := uint8(0)
		if framed {
			if t.arq == GoBackN && !oldest {
				continue // has no timer
			}
			oldest = false
			// Nil where another copy of the frame has arrived meanwhile.
			if f = t.find(p.off); f != nil && f.off == p.off {
				tries = f.tries
			} else {
				f = nil
			}
		}
		if at := p.time + t.rto(&c.rtt, tries); at > now {
			next = min(next, at)
			continue
		}
		c.lose(now, n, p, LossTimeout, &e)
		if !framed {
			continue
		}
		c.stats.Timeouts++
		if f != nil && f.tries < 255 {
			f.tries++
		}
		if t.arq == GoBackN {
			// Whoever goes back does so at once: of what is just leaving
			// nothing will be taken, so the pacer's line is free.
			back = true
			c.pacer.refill(now, c.pmtu.size)
			c.pacer.tokens = max(c.pacer.tokens, float64(c.pmtu.size))
		}
	}
	c.settle(now)
	c.loss.timer = next
	if c.inFlight == 0 {
		c.loss.timer = never
	}
}

// check verifies the window for Conn.Check.
func (t *textbook) check(s *sendBuffer) error {
	if t.nxt-t.una != uint64(len(t.frames)) || t.nxt-t.una > t.window {
		return fmt.Errorf("UNA %d NXT %d with %d frames between them, of %d", t.una, t.nxt, len(t.frames), t.window)
	}
	off := s.una
	for i := range t.frames {
		f := &t.frames[i]
		if f.off != off && i > 0 || f.off > off || f.off+uint64(f.n) > s.nxt {
			return fmt.Errorf("frame %d begins at %d, not %d", t.una+uint64(i), f.off, off)
		}
		off = f.off + uint64(f.n)
	}
	if len(t.frames) > 0 && off != s.nxt {
		return fmt.Errorf("frames end at %d, not at %d", off, s.nxt)
	}
	return nil
}

// inOrder reports whether the receiver takes data in order only.
func (t *textbook) inOrder() bool { return t != nil && t.arq == GoBackN }

// FrameWindow is the sliding window of a textbook protocol, in frames.
type FrameWindow struct {
	UNA uint64 // oldest frame not acknowledged
	NXT uint64 // next to be sent for the first time
	WND uint64 // first that may not be sent yet: UNA + N
}

func (t *textbook) state() FrameWindow {
	if t == nil {
		return FrameWindow{}
	}
	return FrameWindow{UNA: t.una, NXT: t.nxt, WND: t.una + t.window}
}

// edge is WND in bytes of the stream, which full frames would make it; the
// peer's own limit may be nearer.
func (t *textbook) edge(c *Conn) uint64 {
	if t == nil {
		return c.peerLimit
	}
	return min(c.peerLimit, max(c.send.nxt, c.send.una+t.window*uint64(t.room)))
}

func (t *textbook) trace(c *Conn) {
	tr := c.cfg.Trace
	if tr == nil {
		return
	}
	if tr.FrameWindow != nil {
		tr.FrameWindow(c.now, t.state())
	}
	if tr.SendWindow != nil {
		tr.SendWindow(c.now, c.send.una, c.send.nxt, t.edge(c))
	}
}

// windowed stands in the place of a congestion controller, of which the
// textbook protocols have none.
type windowed struct {
	arq    ARQ
	frames int
	size   int
}

func (*windowed) onSend(time.Duration, int, int, bool) uint32 { return 0 }
func (*windowed) onPacket(packetFate, *sentPacket)            {}
func (*windowed) onAck(*ackEvent)                             {}
func (*windowed) pace() float64                               { return 0 }
func (w *windowed) window() int                               { return w.frames * w.size }
func (w *windowed) state(s *ControllerState)                  { s.Phase = w.arq.String() }

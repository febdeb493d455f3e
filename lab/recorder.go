package lab

import (
	"fmt"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Bounds of a recording.
const (
	lineLen    = 600 // points of a line
	marksLen   = 600 // of marks
	closeUpLen = 320 // events
	ladderLen  = 26  // datagrams
	openLen    = 1 << 14
)

// A recorder listens to a connection's two ends and to the link, and makes a
// [Recording] of what it hears. Real ends tell it from several goroutines.
type recorder struct {
	mu                                   sync.Mutex
	noLadder                             bool
	una, nxt, wnd, sent, again, sacked   sampler
	inFlight, window, queue, outstanding sampler
	lost, drops, deemed, rtt             sampler
	open                                 map[uint64]span // of the packets under way
	acked                                []Event         // of this moment, before UNA is known
	edge                                 [2]int64        // UNA and WND as they were
	opening                              []Event         // the first events
	closeUp                              []Event         // the last ones, then those around the first loss
	closeUpEnd                           time.Duration   // 0 until a loss was seen
	closed                               bool
	datagrams                            int64 // bytes of them
	srtt                                 time.Duration
	ladder                               []Arrow
	waiting                              [2][]Arrow // handed over, not yet on the link
}

type span struct {
	from, to int64
	sent     time.Duration
}

func newRecorder() *recorder {
	r := &recorder{open: map[uint64]span{}}
	for _, s := range []*sampler{&r.una, &r.nxt, &r.wnd, &r.inFlight, &r.outstanding, &r.window, &r.queue, &r.sent} {
		s.most = lineLen
	}
	for _, s := range []*sampler{&r.again, &r.sacked, &r.lost, &r.drops, &r.deemed, &r.rtt} {
		s.most = marksLen
	}
	r.queue.peaks, r.inFlight.peaks, r.outstanding.peaks = true, true, true
	return r
}

// sender is what the sending end's engine is to tell, whose clock is shift
// behind the recording's.
func (r *recorder) sender(shift time.Duration) *arq.Trace {
	return &arq.Trace{
		PacketSent: func(e arq.PacketEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			e.Now += shift
			r.arrow(0, e)
			if e.Eliciting {
				r.inFlight.add(seconds(e.Now), float64(e.InFlight))
			}
			if e.Datagram > 0 { // they have no offsets; their sizes add up
				s := span{r.datagrams, r.datagrams + int64(e.Size), e.Now}
				r.datagrams = s.to
				r.sent.add(seconds(e.Now), float64(s.to))
				r.event(e.Now, EventSend, s.from, s.to)
				return
			}
			if e.Length == 0 {
				return
			}
			s := span{int64(e.Offset), int64(e.Offset) + int64(e.Length), e.Now}
			if len(r.open) < openLen {
				r.open[e.Number] = s
			}
			kind := EventSend
			if e.Retransmit {
				kind = EventAgain
				r.again.add(seconds(e.Now), float64(s.to))
			} else {
				r.sent.add(seconds(e.Now), float64(s.to))
			}
			r.event(e.Now, kind, s.from, s.to)
		},
		PacketAcked: func(now time.Duration, number uint64, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			now += shift
			if s, ok := r.open[number]; ok {
				delete(r.open, number)
				r.acked = append(r.acked, Event{T: seconds(now), Kind: EventSACK, From: s.from, To: s.to})
			}
		},
		PacketLost: func(now time.Duration, number uint64, _ arq.LossTrigger) {
			r.mu.Lock()
			defer r.mu.Unlock()
			now += shift
			r.deemed.add(seconds(now), float64(number))
			if s, ok := r.open[number]; ok {
				delete(r.open, number)
				if r.closeUpEnd == 0 {
					// From a round trip before it was sent to some after it was
					// missed, with what there is room for.
					rtt := max(r.srtt, time.Millisecond)
					r.closeUpEnd = now + 3*rtt
					begin := seconds(s.sent - rtt)
					r.closeUp = r.closeUp[max(0, len(r.closeUp)-closeUpLen/2):]
					for len(r.closeUp) > 0 && r.closeUp[0].T < begin {
						r.closeUp = r.closeUp[1:]
					}
				}
				r.event(now, EventLost, s.from, s.to)
			}
		},
		SendWindow: func(now time.Duration, una, nxt, wnd uint64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			now += shift
			t := seconds(now)
			r.una.add(t, float64(una))
			r.nxt.add(t, float64(nxt))
			r.wnd.add(t, float64(wnd))
			r.outstanding.add(t, float64(nxt-una))
			if int64(una) != r.edge[0] {
				r.edge[0] = int64(una)
				r.event(now, EventUNA, 0, int64(una))
			}
			if int64(wnd) != r.edge[1] {
				r.edge[1] = int64(wnd)
				r.event(now, EventWND, 0, int64(wnd))
			}
		},
		RTT: func(now time.Duration, latest, smoothed, _, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			now += shift
			r.srtt = smoothed
			r.rtt.add(seconds(now), float64(latest)/1e6)
		},
		AckProcessed: func(e arq.AckEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			e.Now += shift
			for _, a := range r.acked {
				if a.To > int64(e.UNA) {
					r.sacked.add(a.T, float64(a.To))
					r.event(e.Now, EventSACK, a.From, a.To)
				}
			}
			r.acked = r.acked[:0]
			r.inFlight.add(seconds(e.Now), float64(e.Controller.InFlight))
			if e.Controller.Window > 0 {
				r.window.add(seconds(e.Now), float64(e.Controller.Window))
			}
		},
	}
}

// receiver is what the receiving end's engine is to tell.
func (r *recorder) receiver(shift time.Duration) *arq.Trace {
	return &arq.Trace{PacketSent: func(e arq.PacketEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		e.Now += shift
		r.arrow(1, e)
	}}
}

// event keeps an event for the close-up: the last ones until a loss is seen, and
// then those of two round trips.
func (r *recorder) event(now time.Duration, kind EventKind, from, to int64) {
	switch {
	case r.closed:
		return
	case r.closeUpEnd > 0 && (now > r.closeUpEnd || len(r.closeUp) >= closeUpLen):
		r.closed = true
		return
	}
	e := Event{T: seconds(now), Kind: kind, From: from, To: to}
	if len(r.opening) < closeUpLen {
		r.opening = append(r.opening, e)
	}
	r.closeUp = append(r.closeUp, e)
	if r.closeUpEnd == 0 && len(r.closeUp) >= 4*closeUpLen {
		r.closeUp = append(r.closeUp[:0], r.closeUp[len(r.closeUp)-closeUpLen/2:]...)
	}
}

// arrow notes a datagram that is about to be put on the link.
func (r *recorder) arrow(direction int, e arq.PacketEvent) {
	if r.noLadder || len(r.ladder) >= ladderLen || len(r.waiting[direction]) >= ladderLen {
		return
	}
	a := Arrow{Back: direction == 1, Sent: seconds(e.Now), Again: e.Retransmit, Arrived: -1}
	switch {
	case e.Type != "data":
		a.Label = e.Type
	case e.Length > 0:
		a.Label = fmt.Sprintf("%d: bytes %d–%d", e.Number, e.Offset, e.Offset+uint64(e.Length)-1)
	case e.Datagram > 0:
		a.Label = fmt.Sprintf("datagram %d", e.Datagram)
	case e.MTUProbe:
		a.Label = fmt.Sprintf("%d: MTU probe %d", e.Number, e.Size)
	case e.Ack:
		a.Label = fmt.Sprintf("%d: ACK %d", e.Number, e.AckLargest)
	case e.Fin:
		a.Label = fmt.Sprintf("%d: FIN", e.Number)
	default:
		a.Label = fmt.Sprintf("%d", e.Number)
	}
	r.waiting[direction] = append(r.waiting[direction], a)
}

// link is what the link is to tell, for each direction. Datagrams come on it in
// the order in which the engine told of them; one that it did not tell of is the
// listener's answer to a stranger.
func (r *recorder) link(direction int, rate bool) *netem.Trace {
	return &netem.Trace{Packet: func(d netem.Decision) {
		r.mu.Lock()
		defer r.mu.Unlock()
		t := seconds(d.At)
		if direction == 0 {
			if rate {
				r.queue.add(t, float64(d.Queued))
			}
			switch d.Fate {
			case netem.Lost:
				r.lost.add(t, float64(d.Queued))
			case netem.TailDrop:
				r.drops.add(t, float64(d.Queued))
			}
		}
		if r.noLadder || len(r.ladder) >= ladderLen {
			return
		}
		a := Arrow{Back: direction == 1, Label: "retry", Sent: t}
		if w := r.waiting[direction]; len(w) > 0 {
			a, r.waiting[direction] = w[0], w[1:]
		}
		a.Arrived, a.Queue = -1, d.Fate == netem.TailDrop
		if d.Fate == netem.Delivered {
			a.Arrived = seconds(d.Arrives)
		}
		r.ladder = append(r.ladder, a)
	}}
}

// recording is what was heard.
func (r *recorder) recording(run Run) *Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	close := r.closeUp
	if r.closeUpEnd == 0 {
		close = r.opening
	}
	return &Recording{
		Key: run.Key(), Link: run.Link.String(), Transport: run.Transport, Repeat: run.Repeat,
		UNA: r.una.line(), NXT: r.nxt.line(), WND: r.wnd.line(),
		Sent: r.sent.line(), Again: r.again.line(), SACKed: r.sacked.line(),
		InFlight: r.inFlight.line(), Outstanding: r.outstanding.line(), Window: r.window.line(), Queue: r.queue.line(),
		Lost: r.lost.line(), TailDrops: r.drops.line(), Deemed: r.deemed.line(),
		RTT: r.rtt.y, CloseUp: close, Ladder: r.ladder,
	}
}

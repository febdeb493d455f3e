package bulk

import (
	"io"
	"sync"
	"sync/atomic"
)

const (
	stageMost  = 4 << 20   // printed but not written: beyond it no name is started
	stageFlush = 64 << 10  // written as soon as there is so much
	orderRing  = 16 << 10  // results that may wait for one before them
	orderMost  = 16 << 20  // and their bytes
	orderKeep  = 512       // a place's buffer is kept for its next result if it is no larger
	drainChunk = 256 << 10 // largest buffer kept between writes
)

// order puts results in the order of the list. It is a ring of places, one a
// name, from the first that has no result yet; a name for which there is no
// place must not be started, which bounds what waits.
type order struct {
	head  atomic.Uint64 // sequence number of the first place
	bytes atomic.Int64  // waiting in places
	ring  []place
}

type place struct {
	text []byte
	full bool
}

func newOrder() *order { return &order{ring: make([]place, orderRing)} }

// room reports whether there is a place for sequence number seq.
func (o *order) room(seq uint64) bool {
	// The head may go on whatever has been kept, or it could never be freed.
	head := o.head.Load()
	return seq-head < uint64(len(o.ring)) && (seq == head || o.bytes.Load() < orderMost)
}

// add puts in the result of seq and appends to dst all that is now in order.
func (o *order) add(dst []byte, seq uint64, text []byte) []byte {
	head := o.head.Load()
	if seq != head {
		p := &o.ring[seq%uint64(len(o.ring))]
		p.text, p.full = append(p.text[:0], text...), true
		o.bytes.Add(int64(len(text)))
		return dst
	}
	dst = append(dst, text...)
	for head++; ; head++ {
		p := &o.ring[head%uint64(len(o.ring))]
		if !p.full {
			break
		}
		dst = append(dst, p.text...)
		o.bytes.Add(-int64(len(p.text)))
		p.full = false
		if cap(p.text) > orderKeep {
			p.text = nil
		}
	}
	o.head.Store(head)
	return dst
}

// span is where one result stands in a buffer.
type span struct {
	seq        uint64
	start, end int
}

// stage is what stands between those who print results and the one who writes
// them, so that a slow reader of the output holds up new names but never the
// receiving of answers.
type stage struct {
	order   *order // nil unless results are wanted in order
	pending atomic.Int64
	wake    chan struct{}

	mu     sync.Mutex
	buf    []byte
	closed bool
	err    error
}

func newStage(header string, ord *order) *stage {
	s := &stage{order: ord, wake: make(chan struct{}, 1), buf: []byte(header)}
	s.pending.Store(int64(len(header)))
	return s
}

// full reports that enough has been printed for now.
func (s *stage) full() bool { return s.pending.Load() > stageMost }

// post hands over whole results.
func (s *stage) post(buf []byte, spans []span) {
	if len(buf) == 0 {
		return
	}
	s.mu.Lock()
	before := len(s.buf)
	if s.order == nil {
		s.buf = append(s.buf, buf...)
	} else {
		for _, sp := range spans {
			s.buf = s.order.add(s.buf, sp.seq, buf[sp.start:sp.end])
		}
	}
	s.pending.Add(int64(len(s.buf) - before))
	much := len(s.buf) >= stageFlush
	s.mu.Unlock()
	if much {
		s.flush()
	}
}

// flush has what was posted written soon.
func (s *stage) flush() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close has the rest written and ends run.
func (s *stage) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.flush()
}

// run writes what is posted until close. An error ends it and is given to
// fail once; what is posted afterwards is dropped.
func (s *stage) run(w io.Writer, fail func(error)) {
	var spare []byte
	for range s.wake {
		s.mu.Lock()
		buf, closed := s.buf, s.closed
		s.buf = spare[:0]
		s.mu.Unlock()
		if len(buf) > 0 && s.err == nil {
			if _, err := w.Write(buf); err != nil {
				s.err = err
				fail(err)
			}
		}
		s.pending.Add(-int64(len(buf)))
		if spare = buf; cap(spare) > drainChunk {
			spare = nil
		}
		if closed {
			return
		}
	}
}

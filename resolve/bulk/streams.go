package bulk

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// streams is the goroutines that ask one server by an Exchanger.
type streams struct {
	srv      *server
	ex       Exchanger
	own      *TCP // to be closed at the end
	most     int
	running  int
	sleeping int
	work     *sync.Cond // on e.mu
}

// wakeStreams sees to it that truncated answers are asked for again.
func (r *run) wakeStreams() {
	for _, st := range r.streams {
		if !st.srv.stream.empty() {
			r.wakeStream(st)
		}
	}
}

// wakeStream has one goroutine more look for work. The one that finds some
// wakes the next, so there come to be as many as are needed.
func (r *run) wakeStream(st *streams) {
	switch {
	case r.e.stopped:
	case st.sleeping > 0:
		st.work.Signal()
	case st.running < st.most:
		st.running++
		r.workers.Go(func() { r.exchangeLoop(st) })
	}
}

// exchangeLoop asks for one name after the other by an Exchanger.
func (r *run) exchangeLoop(st *streams) {
	h := r.hand()
	e := r.e
	query := make([]byte, 0, maxQueryLen)
	e.mu.Lock()
	for {
		h.out.blocked = r.stage.full()
		i, ok := e.takeStream(r.now(), st.srv, &h.out)
		if !ok {
			if len(h.out.results) > 0 { // lines that were no names
				idle := e.idle()
				e.mu.Unlock()
				h.print()
				r.settle(idle)
				e.mu.Lock()
				continue
			}
			if e.stopped {
				e.mu.Unlock()
				return
			}
			st.sleeping++
			st.work.Wait()
			st.sleeping--
			continue
		}
		r.wakeStream(st)
		s := &e.slots[i]
		bufsize := uint16(e.opt.BufSize)
		if s.plain {
			bufsize = 0
		}
		left := s.first + int64(e.opt.GiveUp) - s.sent
		query = appendQuery(query[:0], uint16(e.rng.Uint64()), e.flags, s.wire(), s.qtype, bufsize, e.opt.DNSSEC)
		e.mu.Unlock()

		limit := r.opt.Timeout
		if r.opt.GiveUp > 0 {
			limit = min(limit, time.Duration(left)+time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(r.ctx, limit)
		answer, err := st.ex.Exchange(ctx, query)
		timeout := err != nil && ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded)
		cancel()
		if err == nil && len(answer) > maxAnswer {
			answer = answer[:maxAnswer]
		}
		if err != nil {
			answer = nil
		}

		e.mu.Lock()
		if r.ctx.Err() != nil {
			e.mu.Unlock()
			return
		}
		if err != nil {
			r.sendErr = err
		}
		e.exchanged(r.now(), i, answer, timeout, isRefused(err), &h.out)
		idle := e.idle()
		if len(h.out.results) > 0 {
			e.mu.Unlock()
			h.print()
			r.settle(idle)
			e.mu.Lock()
		}
	}
}

// maxAnswer is the longest message that there can be.
const maxAnswer = 0xffff

package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wherry-net/wherry/resolve/bulk"
)

// WorkerOptions says how a worker works.
type WorkerOptions struct {
	// Name is what the coordinator calls the worker; plain ASCII.
	Name string
	// Ask is how names are asked for. Type, Format, Ordered and Resume come with
	// the batches.
	Ask bulk.Options
	// Trace is told what happens, if not nil.
	Trace *WorkerTrace
}

// WorkerTrace tells of a worker. Its functions are called by one goroutine.
type WorkerTrace struct {
	Answered func(names int, took time.Duration) // a batch's result is stored
	Strange  func(err error)                     // a message was no batch, and is dropped
}

// A kind of batches is asked by one run.
type kind struct {
	format bulk.Format
	qtype  uint16
}

// maxKinds bounds the runs that batches may cause.
const maxKinds = 16

// worker has one run of package bulk for each kind of batches, whose list never ends: the
// names of all batches pass through it, so that its window stays open between
// them.
type worker struct {
	o       WorkerOptions
	carrier Carrier
	ctx     context.Context
	fail    context.CancelCauseFunc
	wg      sync.WaitGroup
	runs    map[kind]*stream
	done    chan *task // answered, to be sent
}

// A task is a batch under way.
type task struct {
	batch *batch
	d     Delivery
	start time.Time

	mu    sync.Mutex
	texts [][]byte // by line
	left  int
}

// A stream is a run and the lines that it is asked.
type stream struct {
	w    *io.PipeWriter
	mu   sync.Mutex
	seen uint64             // lines written so far
	at   map[uint64]*inTask // by the run's own line number
}

type inTask struct {
	t *task
	i int
}

// Work takes batches from the carrier and answers them until ctx ends or
// something fails for good: the carrier, or, with [bulk.ErrSilent], the servers.
// What is not answered by then goes to another worker.
func Work(ctx context.Context, carrier Carrier, o WorkerOptions) error {
	if o.Name == "" || !plain(o.Name) {
		return errors.New("working for a fleet: the worker needs a plain name")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &worker{o: o, carrier: carrier, ctx: ctx, fail: cancel, runs: map[kind]*stream{}, done: make(chan *task, 16)}
	w.wg.Go(w.deliver)
	err := w.take()
	cancel(err)
	for _, s := range w.runs {
		s.w.CloseWithError(io.EOF)
	}
	w.wg.Wait()
	return context.Cause(ctx)
}

// take gives the names of batches to the run of their format.
func (w *worker) take() error {
	for {
		d, err := w.carrier.Receive(w.ctx)
		if err != nil {
			return err
		}
		b, err := parseBatch(d.Body)
		if err != nil {
			if w.o.Trace != nil && w.o.Trace.Strange != nil {
				w.o.Trace.Strange(err)
			}
			_ = d.Ack() // nobody else would understand it either
			continue
		}
		if err := w.ask(&task{batch: b, d: d, start: time.Now(), texts: make([][]byte, len(b.lines)), left: len(b.lines)}); err != nil {
			return err
		}
	}
}

func (w *worker) ask(t *task) error {
	k := kind{t.batch.format, t.batch.qtype}
	s := w.runs[k]
	if s == nil {
		if len(w.runs) >= maxKinds {
			return t.d.Return()
		}
		s = w.open(k)
		w.runs[k] = s
	}
	var text []byte
	s.mu.Lock()
	for i, l := range t.batch.lines {
		s.seen++
		s.at[s.seen] = &inTask{t, i}
		text = append(text, l.text...)
		text = append(text, '\n')
	}
	s.mu.Unlock()
	_, err := s.w.Write(text)
	return err
}

// open starts a run.
func (w *worker) open(k kind) *stream {
	r, pw := io.Pipe()
	s := &stream{w: pw, at: map[uint64]*inTask{}}
	o := w.o.Ask
	o.Format, o.Type, o.Ordered, o.Resume = k.format, k.qtype, false, nil
	o.Number = s.number
	o.Trace = w.watch(len(o.Servers))
	o.Each = func(line uint64, text []byte) { w.answer(s, line, text) }
	w.wg.Go(func() {
		_, err := bulk.Run(w.ctx, r, io.Discard, o)
		r.CloseWithError(io.ErrClosedPipe)
		if err == nil {
			err = io.ErrUnexpectedEOF // not reached: the list has no end
		}
		w.fail(fmt.Errorf("asking for names: %w", err))
	})
	return s
}

// watch fails the worker once none of its servers answers any more: what it would
// have to say of its names then is better left to others.
func (w *worker) watch(servers int) *bulk.Trace {
	t := bulk.Trace{}
	if w.o.Ask.Trace != nil {
		t = *w.o.Ask.Trace
	}
	tell := t.Silent
	var mu sync.Mutex
	dead := map[string]bool{}
	t.Silent = func(server string, silent bool) {
		if tell != nil {
			tell(server, silent)
		}
		mu.Lock()
		defer mu.Unlock()
		if dead[server] = silent; !silent {
			delete(dead, server)
		}
		if len(dead) == servers {
			w.fail(bulk.ErrSilent)
		}
	}
	return &t
}

// number is the number in the whole list of the run's own line.
func (s *stream) number(line uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.at[line]; x != nil {
		return x.t.batch.lines[x.i].number
	}
	return 0
}

// answer keeps one result. The batch is sent when it was the last.
func (w *worker) answer(s *stream, line uint64, text []byte) {
	s.mu.Lock()
	x := s.at[line]
	delete(s.at, line)
	s.mu.Unlock()
	if x == nil {
		return
	}
	x.t.mu.Lock()
	x.t.texts[x.i] = slices.Clone(text)
	x.t.left--
	last := x.t.left == 0
	x.t.mu.Unlock()
	if !last {
		return
	}
	select {
	case w.done <- x.t:
	case <-w.ctx.Done():
	}
}

// deliver sends what is answered. A batch is acknowledged when its result is safe.
func (w *worker) deliver() {
	for {
		var t *task
		select {
		case t = <-w.done:
		case <-w.ctx.Done():
		}
		if w.ctx.Err() != nil {
			return // what is in t may already be of servers that have gone silent
		}
		took := time.Since(t.start)
		r := &result{job: t.batch.job, number: t.batch.number, worker: w.o.Name, seconds: took.Seconds()}
		for i, l := range t.batch.lines {
			r.texts = append(r.texts, numbered{l.number, t.texts[i]})
		}
		// If nobody waits for it any more, the batch is done with all the same.
		if err := w.carrier.Send(w.ctx, t.batch.job, r.append(nil)); err != nil && !errors.Is(err, ErrJobGone) {
			w.fail(fmt.Errorf("sending the result of batch %d: %w", t.batch.number, err))
			return
		}
		_ = t.d.Ack() // if it is lost the batch is done twice and the result dropped
		if w.o.Trace != nil && w.o.Trace.Answered != nil {
			w.o.Trace.Answered(len(t.batch.lines), took)
		}
	}
}

func sortWorkers(w []WorkerStats) {
	slices.SortFunc(w, func(a, b WorkerStats) int { return cmp.Or(cmp.Compare(b.Names, a.Names), cmp.Compare(a.Name, b.Name)) })
}

// DefaultName names a worker by its host and process, as far as they are plain.
func DefaultName(host string, pid int) string {
	if host == "" || !plain(host) || len(host) > 60 {
		host = "worker"
	}
	return host + "-" + strconv.Itoa(pid)
}

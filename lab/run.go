package lab

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Options are how a plan is carried out; the zero value is the default but for
// Dir.
type Options struct {
	// Dir is where the results go. It is made if its parent exists. Rows of this
	// plan that it holds already are kept.
	Dir string
	// Fresh begins anew where Dir holds results.
	Fresh bool
	// Version is wherry's, for the rows.
	Version string
	// Program is the path of wherry's own executable, which [Wire] runs.
	Program string
	// Trace, if not nil, is told of progress.
	Trace *Trace
}

// Trace is told of what [Execute] does; every func may be nil. They are called
// one at a time.
type Trace struct {
	// Begun: runs are to be made, beside kept ones that are there already.
	Begun func(runs, kept int)
	// Finished: a run has ended.
	Finished func(Row, Progress)
}

// Progress is how far a plan is.
type Progress struct {
	Done, Total int           // runs, kept ones included
	Elapsed     time.Duration // on the wall
	Left        time.Duration // on the wall, guessed by the mean of the runs so far
}

// Results are what a plan came to.
type Results struct {
	Plan *Plan
	Dir  string
	Rows []Row // in the plan's order
	Kept int   // of them from before
}

// Whole tells whether every run of the plan has its row.
func (r *Results) Whole() bool {
	return len(r.Rows) == len(r.Plan.Links)*len(r.Plan.Transports)*r.Plan.Repeat
}

// Recording is what was recorded of a run; nil where nothing was.
func (r *Results) Recording(key string) (*Recording, error) { return readRecording(r.Dir, key) }

// MaxRecordings is how many links and transports are recorded, from the first.
const MaxRecordings = 64

// An engine makes transfers.
type engine interface {
	// check refuses plans that the engine cannot carry out, before it is begun.
	check(*Plan) error
	// parallel is how many runs may go on at once.
	parallel() int
	// run makes one transfer and fills in what came of it. It fails only where
	// no further run makes sense: a transfer that fails is a row that says so.
	run(ctx context.Context, r Run, row *Row, rec *recorder) error
}

func engineOf(p *Plan, o *Options) engine {
	switch p.Engine {
	case Loopback:
		return &loopback{}
	case Wire:
		return &wire{program: o.Program}
	}
	return simulator{}
}

// Check tells whether the plan's engine can carry it out.
func Check(p *Plan, o Options) error {
	return engineOf(p, &o).check(p)
}

// Execute makes the runs of a plan that have no row in o.Dir yet. When ctx ends
// it stops and returns its error with what there is so far, which stays in o.Dir
// for the next time. Its other errors have to do with o.Dir, which may hold
// another plan's results ([ChangedError]), or with the engine.
func Execute(ctx context.Context, p *Plan, o Options) (*Results, error) {
	e := engineOf(p, &o)
	if err := e.check(p); err != nil {
		return nil, err
	}
	if c, ok := e.(io.Closer); ok {
		defer c.Close()
	}
	runs := p.Runs()
	s, err := openStore(o.Dir, runs, o.Fresh)
	if err != nil {
		return nil, err
	}
	x := &execution{engine: e, options: o, store: s, total: len(runs), kept: len(s.rows), begin: time.Now()}
	if t := o.Trace; t != nil && t.Begun != nil {
		t.Begun(len(runs)-x.kept, x.kept)
	}
	err = x.all(ctx, runs)
	if closing := s.close(); err == nil {
		err = closing
	}
	return &Results{Plan: p, Dir: o.Dir, Rows: s.inOrder(), Kept: x.kept}, err
}

type execution struct {
	engine  engine
	options Options

	mu          sync.Mutex
	store       *store
	total, kept int
	done        int // now
	begin       time.Time
}

// all makes the runs that have no row, some of them at once.
func (x *execution) all(ctx context.Context, runs []Run) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var missing []Run
	for _, r := range runs {
		if _, ok := x.store.rows[r.Key()]; !ok {
			missing = append(missing, r)
		}
	}
	next := make(chan Run)
	var wg sync.WaitGroup
	for range min(x.engine.parallel(), len(missing)) {
		wg.Go(func() {
			for r := range next {
				if err := x.one(ctx, r); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, r := range missing {
		select {
		case next <- r:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// one makes a run and keeps what came of it.
func (x *execution) one(ctx context.Context, r Run) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var rec *recorder
	if r.Repeat == 1 && r.Cell < MaxRecordings {
		rec = newRecorder()
	}
	row := newRow(r, x.options.Version)
	start := time.Now()
	if err := x.engine.run(ctx, r, &row, rec); err != nil {
		return fmt.Errorf("run %d (%s over %s): %w", r.Number, r.Transport, r.Link, err)
	}
	row.SecondsWall = time.Since(start).Seconds()

	x.mu.Lock()
	defer x.mu.Unlock()
	if rec != nil {
		if err := writeRecording(x.options.Dir, rec.recording(r)); err != nil {
			return err
		}
	}
	if err := x.store.add(row); err != nil {
		return err
	}
	x.done++
	if t := x.options.Trace; t != nil && t.Finished != nil {
		p := Progress{Done: x.kept + x.done, Total: x.total, Elapsed: time.Since(x.begin)}
		p.Left = p.Elapsed / time.Duration(x.done) * time.Duration(x.total-p.Done)
		t.Finished(row, p)
	}
	return nil
}

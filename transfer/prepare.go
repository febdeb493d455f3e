package transfer

import (
	"context"
	"maps"
	"sync"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A preparer makes the targets of large files beside the planner: what an earlier
// run left of one is read and hashed, and of a file that is to be replaced what may
// be equal is copied, which takes as long as the disk takes. Meanwhile others are
// asked for.
type preparer struct {
	ready chan prepared
	wg    sync.WaitGroup
	place chan struct{} // for each that works on the disk
	n     int           // begun and not yet taken; the planner's
}

// prepared is a target that is ready for content, or why there is none.
type prepared struct {
	entry  int
	e      *Entry
	target target
	have   map[int64]treehash.CV
	err    error
}

// preparing is how many targets are made at once: a disk gains little from more.
const preparing = 2

func newPreparer() *preparer {
	return &preparer{ready: make(chan prepared), place: make(chan struct{}, preparing)}
}

// begin makes the target of an entry; it will come out of ready, unless ctx ends.
func (p *preparer) begin(ctx context.Context, l lander, i int, e *Entry, o Overwrite) {
	p.n++
	p.wg.Go(func() {
		select {
		case p.place <- struct{}{}:
		case <-ctx.Done():
			return
		}
		t, have, err := l.target(ctx, e, o)
		<-p.place
		select {
		case p.ready <- prepared{i, e, t, have, err}:
		case <-ctx.Done():
			if err == nil {
				t.abandon()
			}
		}
	})
}

// want asks for an entry's content, now or when its target is ready.
func (r *receiver) want(ctx context.Context, i int, e *Entry, o Overwrite, out *decisions) error {
	if e.Size >= journalFrom && r.lossy == nil {
		r.prepare.begin(ctx, r.landing, i, e, o)
		return nil
	}
	t, have, err := r.landing.target(ctx, e, o)
	return r.ask(prepared{i, e, t, have, err}, out)
}

// ask asks for the content of an entry whose target is ready.
func (r *receiver) ask(p prepared, out *decisions) error {
	if p.err != nil {
		return p.err
	}
	in := newIncoming(p.entry, p.e, p.target)
	in.lossy = r.lossy != nil
	if in.lossy && p.e.Size < 0 {
		return &RefusedError{Reason: "a file of unknown size cannot come as datagrams"}
	}
	in.had = maps.Clone(p.have)
	in.came.more = len(p.have)
	for g := range p.have {
		in.resumed += min(treehash.GroupSize, p.e.Size-g*treehash.GroupSize)
		if in.lossy {
			in.here.add(Range{g * treehash.GroupSize, min((g+1)*treehash.GroupSize, p.e.Size)})
		}
	}
	r.mu.Lock()
	r.files[p.entry] = in
	r.asked.Count(p.e)
	r.mu.Unlock()
	if err := out.have(p.entry, p.have); err != nil {
		return err
	}
	return out.add(decision{Verb: verbSend, First: p.entry, Count: 1})
}

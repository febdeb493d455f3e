package depot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// renew is how often a receiver that shares says that it is alive.
const renew = 3 * time.Second

// delivery is how long a carrier that is not away may take to bring back what it has
// confirmed.
const delivery = 2 * time.Minute

// ShareOptions says what else belongs to sharing. The zero value is the default.
type ShareOptions struct {
	// Taken is told that this receiver was taken a portion, because it was silent for
	// too long: so many of its files are here and will be elsewhere too. May be nil.
	Taken func(files int)
	// Others is told when nothing is left to take, and others hold so many portions.
	// May be nil.
	Others func(portions int)
}

// errTaken: another receiver has taken the portion that is being landed.
var errTaken = errors.New("another receiver has taken this part")

// ReceiveShared lands the portions of a shared offer that this receiver gets hold of,
// until all have landed somewhere. The result is of what was landed here. Steps is the
// log by which the receivers agree, used by two goroutines: one appends, one reads.
// Receiver is what [Key.NewReceiver] makes. The list is kept in memory.
//
// Of o, Accept is asked once, of the whole list.
func (f *Offer) ReceiveShared(ctx context.Context, k *Key, steps Log, receiver [16]byte, o transfer.ReceiveOptions, so ShareOptions) (sum transfer.Result, err error) {
	sum.Peer = f.addr.String()
	entries, skipped, err := f.Whole(ctx, &o)
	if err != nil {
		return sum, err
	}
	sum.Skipped = skipped
	portions := Portions(entries)
	ctx, stop := context.WithCancelCause(ctx)
	s := &sharer{
		key: k, log: steps,
		ledger: newLedger(f.header.Offer, receiver, random16(), len(portions)), changed: make(chan struct{}),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	if err := steps.Seek(ctx, 0); err != nil {
		return sum, fmt.Errorf("read what has become of its parts: %w", err)
	}
	wg.Go(func() { stop(s.hear(ctx)) })
	if err := s.join(ctx); err != nil {
		return sum, cause(ctx, err)
	}
	wg.Go(func() { stop(s.live(ctx)) })
	var failed *transfer.IncompleteError
	for last := -1; ; {
		p, ok, err := s.take(ctx, last, so.Others)
		if err != nil {
			return sum, cause(ctx, err)
		}
		if !ok {
			s.forget(o.Dir, entries, portions)
			if failed != nil {
				return sum, failed
			}
			return sum, nil
		}
		last = p
		portion := NewPart(f, entries, portions[p])
		result, root, err := s.land(ctx, f, portion, p, o)
		sum.Add(result)
		if errors.Is(err, errTaken) {
			if so.Taken != nil {
				so.Taken(result.Files)
			}
			continue
		}
		if part, ok := errors.AsType[*transfer.IncompleteError](err); ok && part.Failed == len(portion.failed) {
			// The sender could not read them, and nobody will have them.
			if failed == nil {
				failed = &transfer.IncompleteError{First: part.First}
			}
			failed.Failed += part.Failed
			err = nil
		}
		if err == nil {
			err = s.say(ctx, step{Kind: stepLanded, Portion: p, Files: result.Files, Bytes: result.Bytes, Root: root})
		} else {
			s.giveBack(ctx, p)
		}
		if err != nil {
			return sum, cause(ctx, err)
		}
		if o.MaxSize > 0 {
			o.MaxSize = max(o.MaxSize-result.Bytes, 1)
		}
	}
}

// cause is why ctx ended, where err may be but a consequence of it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}

// Whole reads the list of an offer that is to be received in portions. o.Accept is
// asked about it, and o.Trace told, once for all portions, and o is then for those.
func (f *Offer) Whole(ctx context.Context, o *transfer.ReceiveOptions) (entries []transfer.Entry, skipped int, err error) {
	t := transfer.Trace{}
	if o.Trace != nil {
		t = *o.Trace
	}
	var totals transfer.Totals
	skipped, err = f.List(ctx, func(e transfer.Entry) error {
		entries = append(entries, e)
		totals.Count(&e)
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	totals.Skipped = skipped
	if t.Connected != nil {
		t.Connected(f.addr.String())
	}
	if t.Listed != nil {
		t.Listed(totals)
	}
	if ask := o.Accept; ask != nil {
		offer := transfer.Offer{Peer: f.addr.String(), Totals: totals, Entries: func(yield func(*transfer.Entry) bool) {
			for i := range entries {
				if !yield(&entries[i]) {
					return
				}
			}
		}}
		if err := ask(ctx, offer); err != nil {
			return nil, 0, err
		}
	}
	if t.Accepted != nil {
		t.Accepted(totals)
	}
	// Told of the whole, and not of each portion.
	t.Connected, t.Listed, t.Accepted = nil, nil, nil
	o.Accept, o.Trace = nil, &t
	return entries, skipped, nil
}

// A sharer is one of the receivers that share.
type sharer struct {
	key *Key

	saying sync.Mutex // held while a step is appended
	seq    uint64
	log    Log

	mu      sync.Mutex
	ledger  *ledger
	changed chan struct{} // closed when the ledger has
}

// say appends a step, and returns when it is stored.
func (s *sharer) say(ctx context.Context, x step) error {
	s.saying.Lock()
	defer s.saying.Unlock()
	s.seq++
	x.Offer, x.Receiver, x.Run, x.Seq = s.ledger.offer, s.ledger.receiver, s.ledger.run, s.seq
	if err := s.log.Append(ctx, 0, x.seal(s.key)); err != nil {
		return err
	}
	return s.log.Flush(ctx)
}

// hear reads all steps until ctx ends.
func (s *sharer) hear(ctx context.Context) error {
	for {
		m, err := s.log.Next(ctx)
		if err != nil {
			return err
		}
		x, err := openStep(s.key, m.Body)
		if err != nil {
			continue // a receipt, or nobody's
		}
		s.mu.Lock()
		if s.ledger.apply(&x) {
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.mu.Unlock()
	}
}

// last is the number of the last step that was said.
func (s *sharer) last() uint64 {
	s.saying.Lock()
	defer s.saying.Unlock()
	return s.seq
}

// heard reports whether all that this run has said has come back.
func (s *sharer) heard(upTo uint64) bool {
	r := s.ledger.runs[s.ledger.run]
	return r != nil && r.seq >= upTo
}

// until waits until is, which is called with the lock, reports true.
func (s *sharer) until(ctx context.Context, is func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := is(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// said waits until the last step has come back: then all before it is known.
func (s *sharer) said(ctx context.Context) error {
	seq := s.last()
	ctx, cancel := context.WithTimeoutCause(ctx, delivery, fmt.Errorf("%w: it does not deliver what it has confirmed", ErrDamaged))
	defer cancel()
	return s.until(ctx, func() bool { return s.heard(seq) })
}

// join reads all that was said before.
func (s *sharer) join(ctx context.Context) error {
	if err := s.say(ctx, step{Kind: stepAlive}); err != nil {
		return err
	}
	return s.said(ctx)
}

// live says now and then that this receiver is alive, each time when what it has said
// has come back.
func (s *sharer) live(ctx context.Context) error {
	tick := time.NewTicker(renew)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		seq := s.last()
		if err := s.until(ctx, func() bool { return s.heard(seq) }); err != nil {
			return err
		}
		if err := s.say(ctx, step{Kind: stepAlive}); err != nil {
			return err
		}
	}
}

// take takes a portion; ok is false when all have landed.
func (s *sharer) take(ctx context.Context, last int, others func(int)) (p int, ok bool, err error) {
	for told := false; ; {
		var x step
		found, all, held := false, false, 0
		err := s.until(ctx, func() bool {
			all = s.ledger.all()
			x, found = s.ledger.choose(last, rand.IntN) //permit:rand.IntN receivers are to differ
			if held = len(s.ledger.holder); !told && !all && !found {
				return true
			}
			return all || found
		})
		switch {
		case err != nil:
			return 0, false, err
		case all:
			return 0, false, nil
		case !found:
			told = true
			if others != nil {
				others(held)
			}
			continue
		}
		if err := s.say(ctx, x); err != nil {
			return 0, false, err
		}
		if err := s.said(ctx); err != nil {
			return 0, false, err
		}
		if s.holds(x.Portion) {
			return x.Portion, true, nil
		}
		last = -1 // another was faster
	}
}

// forget removes what is half here and was landed by another receiver: after all has
// landed, what is left is of files that will not be continued here.
func (s *sharer) forget(dir *os.Root, entries []transfer.Entry, portions []Portion) {
	s.mu.Lock()
	begun := maps.Clone(s.ledger.begun)
	s.mu.Unlock()
	for p := range begun {
		for i := portions[p].From; i < portions[p].To; i++ {
			if entries[i].Kind == transfer.File {
				transfer.Forget(dir, &entries[i])
			}
		}
	}
}

func (s *sharer) holds(p int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ledger.holds(p)
}

// land lands a portion, unless another receiver takes it meanwhile.
func (s *sharer) land(ctx context.Context, f *Offer, part *Part, p int, o transfer.ReceiveOptions) (result transfer.Result, root treehash.Digest, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if s.until(ctx, func() bool { return !s.ledger.holds(p) }) == nil {
			cancel(errTaken)
		}
	}()
	defer func() { cancel(nil); <-watched }()
	part.stop = func() error {
		if !s.holds(p) {
			return errTaken
		}
		return nil
	}
	var sums roots
	t := *o.Trace
	told := t.Finished
	t.Finished = func(e *transfer.Entry, d treehash.Digest, had bool) {
		sums.add(e.Path, d)
		f.roots.add(e.Path, d)
		if told != nil {
			told(e, d, had)
		}
	}
	o.Trace = &t
	result, err = transfer.ReceiveStored(ctx, part, o)
	if err != nil && !s.holds(p) {
		err = errTaken
	}
	return result, sums.sum(), err
}

// giveBack lets others have a portion at once, also where the user has stopped this end.
func (s *sharer) giveBack(ctx context.Context, p int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = s.say(ctx, step{Kind: stepFree, Portion: p}) // else they find out
}

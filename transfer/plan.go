package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// Overwrite says what becomes of a file whose name is taken at the receiver by
// one with other content. Files that are equal are never sent, and an unfinished
// one of ours is continued, whatever Overwrite is.
type Overwrite int

const (
	OverwriteAsk    Overwrite = iota // ask Conflict; without it, refuse
	OverwriteNever                   // keep what is there
	OverwriteRename                  // give the new one another name: "a (1).txt"
	OverwriteAlways                  // replace what is there
	OverwriteResume                  // replace it, sending only what differs at the same offset
)

// A Conflict is a file that is there already, with other content.
type Conflict struct {
	Entry   Entry // the sender's
	Digest  treehash.Digest
	Size    int64 // ours
	ModTime time.Time
	Ours    treehash.Digest
	Hashed  bool // both digests are known; with other sizes nobody computes them
}

// An existing is what a lander found at an entry's place.
type existing struct {
	present bool
	size    int64
	modTime time.Time
	digest  func() (treehash.Digest, error)
}

// A lander is where files go: a directory, or a pipe.
type lander interface {
	caseRule() caseRule
	// room is an error if there is none for n more bytes.
	room(n int64) error
	// directory creates a directory that is not there.
	directory(e *Entry) error
	// look tells what is at an entry's place.
	look(e *Entry) (existing, error)
	// target is where the entry's content will be collected, with the groups
	// that an earlier run left there.
	target(ctx context.Context, e *Entry, o Overwrite) (target, map[int64]treehash.CV, error)
	// same brings the mode and time of an equal file up to date.
	same(e *Entry) error
	// commit gives finished files their names, durably; failures go into the
	// batch.
	commit(batch []finished)
	// finish creates links and sets what directories are to look like.
	finish(entries iter.Seq[*Entry], o Overwrite) error
	close()
}

// planEntries decides on entries as they come, or after the question.
func (r *receiver) planEntries(ctx context.Context) error {
	var (
		out         decisions
		next        int
		accepted    = r.o.Accept == nil
		complete    bool
		outstanding int
		ended       bool
	)
	out.link = r.link
	upTo := 0
	ctx, cancel := context.WithCancel(ctx)
	defer r.prepare.wg.Wait()
	defer cancel()
	for {
		select {
		case p, ok := <-r.plan:
			if !ok {
				return nil
			}
			if ctx.Err() != nil {
				continue
			}
			if p.compared != nil {
				outstanding--
				if err := r.idle.ours(func() error { return r.compared(ctx, *p.compared, &out) }); err != nil {
					return err
				}
				break
			}
			upTo, complete = p.upTo, complete || p.complete
			// Now, and not only at the list's end: what needs no question may be on
			// its way before that.
			if err := r.makeSureOfRoom(); err != nil {
				return err
			}
			if complete {
				if err := r.accept(ctx, p.list, &accepted); err != nil {
					return err
				}
			}
		case <-r.room:
			if ctx.Err() != nil {
				continue
			}
		case p := <-r.prepare.ready:
			r.prepare.n--
			r.idle.moved()
			if err := r.ask(p, &out); err != nil {
				return err
			}
		}
		for ; accepted && next < upTo && r.roomy(); next++ {
			comparing, err := r.planEntry(ctx, next, &out)
			if err != nil {
				return err
			}
			if comparing {
				outstanding++
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		r.open()
		if complete && next == upTo && outstanding+r.prepare.n == 0 && !ended {
			ended = true
			r.mu.Lock()
			if r.trace.Accepted != nil {
				r.trace.Accepted(r.asked)
			}
			r.mu.Unlock()
			r.agreed.Store(true)
			if err := r.link.frame(frameDecisionsEnd, nil); err != nil {
				return err
			}
		}
	}
}

// maxPlanned is how many files may be asked for and not finished: enough to keep
// the sender busy, and what bounds the memory that they need.
const maxPlanned = 8192

// roomy reports whether one more file may be asked for.
func (r *receiver) roomy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.files)+r.prepare.n < maxPlanned
}

// makeSureOfRoom refuses a list, as far as it is known, that does not fit.
func (r *receiver) makeSureOfRoom() error {
	r.mu.Lock()
	left := r.totals.Bytes - r.totals.Holes - r.result.Moved
	r.mu.Unlock()
	return r.landing.room(left)
}

// accept asks, once, when the manifest is complete.
func (r *receiver) accept(ctx context.Context, list [treehash.Size]byte, accepted *bool) error {
	r.mu.Lock()
	offer := Offer{Peer: r.result.Peer, Entries: r.entries.all(), Totals: r.totals}
	r.mu.Unlock()
	if *accepted {
		return nil
	}
	*accepted = true
	if list == r.memory.accepted {
		return nil // before the connection was lost
	}
	asked := time.Now()
	err := r.idle.ours(func() error { return r.o.Accept(ctx, offer) })
	r.mu.Lock()
	r.result.Waited.Peer += time.Since(asked)
	r.mu.Unlock()
	if err == nil {
		r.memory.accepted = list
	}
	return err
}

func (r *receiver) entry(i int) *Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries.at(i)
}

// planEntry decides on one entry, or asks for its digest to decide by.
func (r *receiver) planEntry(ctx context.Context, i int, out *decisions) (comparing bool, err error) {
	e := r.entry(i)
	switch e.Kind {
	case Dir:
		if err := r.landing.directory(e); err != nil {
			return false, err
		}
		return false, out.add(decision{Verb: verbSkip, First: i, Count: 1})
	case Symlink:
		return false, out.add(decision{Verb: verbSkip, First: i, Count: 1})
	}
	if d, ok := r.finishedBefore(e); ok && d.announced == e.Size {
		return true, r.compare(i, e, out)
	}
	found, err := r.landing.look(e)
	if err != nil {
		return false, err
	}
	switch {
	case !found.present:
		return false, r.want(ctx, i, e, OverwriteNever, out)
	case found.size == e.Size:
		return true, r.compare(i, e, out)
	}
	return false, r.conflict(ctx, i, Conflict{Entry: *e, Size: found.size, ModTime: found.modTime}, out)
}

// compare asks for an entry's digest.
func (r *receiver) compare(i int, e *Entry, out *decisions) error {
	in := newIncoming(i, e, nil)
	in.comparing = true
	r.mu.Lock()
	r.files[i] = in
	r.mu.Unlock()
	return out.add(decision{Verb: verbCompare, First: i, Count: 1})
}

// finishedBefore is what became of an entry on an earlier connection.
func (r *receiver) finishedBefore(e *Entry) (doneFile, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.memory.done[e.Path]
	return d, ok
}

// compared decides on a file that is here in the same size, now that the
// sender's digest is known.
func (r *receiver) compared(ctx context.Context, end fileEnd, out *decisions) error {
	in, err := r.incoming(end.Entry)
	if err != nil {
		return err
	}
	if d, ok := r.finishedBefore(in.e); ok {
		if d.digest == end.Digest {
			in.end = &end
			return r.report([]finished{{in: in, status: statusHad, digest: d.digest}})
		}
		r.mu.Lock()
		delete(r.memory.done, in.e.Path) // the source has changed
		r.mu.Unlock()
	}
	found, err := r.landing.look(in.e)
	if err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.files, end.Entry)
	r.mu.Unlock()
	if !found.present || found.size != end.Size {
		return r.want(ctx, end.Entry, in.e, OverwriteNever, out)
	}
	ours, err := found.digest()
	if err != nil {
		return err
	}
	if ours != end.Digest {
		return r.conflict(ctx, end.Entry, Conflict{Entry: *in.e, Digest: end.Digest, Size: found.size, ModTime: found.modTime, Ours: ours, Hashed: true}, out)
	}
	if err := r.landing.same(in.e); err != nil {
		return err
	}
	in.resumed = end.Size
	return r.report([]finished{{in: in, status: statusHad, digest: ours}})
}

// conflict decides on a file that is here with other content.
func (r *receiver) conflict(ctx context.Context, i int, c Conflict, out *decisions) error {
	o := r.o.Overwrite
	answer, answered := r.memory.answers[c.Entry.Path]
	switch {
	case answered:
		o = answer
	case o == OverwriteAsk && r.o.Conflict != nil:
		var err error
		if err = r.idle.ours(func() (err error) { o, err = r.o.Conflict(ctx, c); return err }); err != nil {
			return err
		}
	}
	if r.memory.keep {
		r.memory.answers[c.Entry.Path] = o
	}
	e := r.entry(i)
	switch o {
	case OverwriteRename, OverwriteAlways, OverwriteResume:
		return r.want(ctx, i, e, o, out)
	case OverwriteNever:
		r.mu.Lock()
		r.result.Kept++
		if r.trace.Warning != nil && !answered {
			r.trace.Warning(e.Path, errors.New("kept what was there"))
		}
		r.mu.Unlock()
		return out.add(decision{Verb: verbSkip, First: i, Count: 1})
	}
	return r.report([]finished{{in: newIncoming(i, e, nil), status: statusRefused, text: ErrExists.Error()}})
}

// decisions collects decisions into frames.
type decisions struct {
	link *link
	buf  []byte
	last decision
}

func (d *decisions) add(c decision) error {
	if d.last.Count > 0 && c.Verb == d.last.Verb && c.First == d.last.First+d.last.Count {
		d.last.Count++
		return nil
	}
	if d.last.Count > 0 {
		d.buf = d.last.append(d.buf)
	}
	d.last = c
	if len(d.buf) > maxControl/2 {
		return d.flush()
	}
	return nil
}

// have tells of groups that are here, in runs.
func (d *decisions) have(i int, have map[int64]treehash.CV) error {
	for g := int64(0); len(have) > 0; g++ {
		if _, ok := have[g]; !ok {
			continue
		}
		run := decision{Verb: verbHave, First: i, Group: g}
		for len(run.CVs) < maxHave {
			cv, ok := have[g]
			if !ok {
				break
			}
			run.CVs = append(run.CVs, cv)
			delete(have, g)
			g++
		}
		if err := d.flush(); err != nil {
			return err
		}
		if err := d.link.frame(frameDecisions, run.append(nil)); err != nil {
			return err
		}
		g--
	}
	return nil
}

func (d *decisions) flush() error {
	if d.last.Count > 0 {
		d.buf = d.last.append(d.buf)
		d.last = decision{}
	}
	if len(d.buf) == 0 {
		return nil
	}
	err := d.link.frame(frameDecisions, d.buf)
	d.buf = d.buf[:0]
	return err
}

// inTheWay refuses an entry whose place is taken by something else.
func inTheWay(e *Entry, what string) error {
	return &EntryError{e.Path, fmt.Sprintf("a %s is in the way", safetext.Clean(what))}
}

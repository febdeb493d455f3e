package depot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A Plan is what a sender is going to leave: the list of it, made once.
type Plan struct {
	src    *transfer.Source
	header header
	list   []byte // the blocks
	totals transfer.Totals
}

// PlanOptions says how. The zero value is the default.
type PlanOptions struct {
	// Shared: each file is for one of the receivers, and not for all of them.
	Shared bool
	// KeepFor is how long it is given out; 0 is without end.
	KeepFor time.Duration
	// Trace may be nil; Listed and Warning are called.
	Trace *transfer.Trace
}

// NewPlan walks src. It cannot hold streams: what is left is laid out by the sizes of
// the files, and read again by a sender that was interrupted.
func NewPlan(ctx context.Context, src *transfer.Source, o PlanOptions) (*Plan, error) {
	if src.Sequential() {
		return nil, errors.New("standard input cannot be left for later: its size is not known")
	}
	if o.Trace == nil {
		o.Trace = &transfer.Trace{}
	}
	p := &Plan{src: src, header: header{Version: version, Shared: o.Shared, Offer: random16(), Created: time.Unix(time.Now().Unix(), 0), KeepFor: o.KeepFor}}
	var block, one []byte
	h := &p.header
	flush := func() {
		p.list = binary.BigEndian.AppendUint32(p.list, uint32(len(block)))
		p.list = append(p.list, block...)
		block = block[:0]
	}
	err := src.Walk(func(e transfer.Entry) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		e.Holes = 0 // its zeros are stored
		one = transfer.AppendEntry(one[:0], &e)
		if len(block)+len(one) > maxBlock {
			flush()
		}
		block = append(block, one...)
		h.Entries++
		h.Content += span(&e)
		if h.Entries > maxEntries || len(p.list) > maxManifest-2*maxBlock || h.Content > maxContent {
			return errors.New("there is more than can be left under one code")
		}
		p.totals.Count(&e)
		return nil
	}, func(path string, why error) {
		h.Skipped++
		if o.Trace.Warning != nil {
			o.Trace.Warning(path, fmt.Errorf("skipped: %w", why))
		}
	})
	if err != nil {
		return nil, err
	}
	if len(block) > 0 {
		flush()
	}
	p.totals.Skipped = int(h.Skipped)
	h.Manifest, h.List = int64(len(p.list)), treehash.Sum(p.list)
	if o.Trace.Listed != nil {
		o.Trace.Listed(p.totals)
	}
	return p, nil
}

// Totals counts what the plan holds.
func (p *Plan) Totals() transfer.Totals { return p.totals }

// Stored is how many bytes the carrier is given.
func (p *Plan) Stored() int64 { return p.header.stored() }

// Offer is the number of the offer; after [Plan.Leave] has continued an earlier one,
// that one's.
func (p *Plan) Offer() [16]byte { return p.header.Offer }

// Until is until when it is given out; the zero time is without end.
func (p *Plan) Until() time.Time { return p.header.until() }

// LeaveOptions says what else belongs to it. The zero value is the default.
type LeaveOptions struct {
	// Continued is told how many bytes an earlier run has stored already.
	Continued func(stored, of int64)
	// Trace may be nil; Moved and Warning are called.
	Trace *transfer.Trace
}

// A Summary is what was left.
type Summary struct {
	Files   int
	Bytes   int64           // of them
	Failed  int             // files that could not be read; their receivers are told
	Resumed int64           // bytes of the log that an earlier run had stored
	Root    treehash.Digest // what a receipt for all of it has

	portions []share // of a shared offer
}

// ErrOther is matched by errors of a code under which something else was left.
var ErrOther = errors.New("something else was left under this code")

// Leave stores the plan in a log. If an earlier run of a sender has begun to, with the
// same list, it continues: it reads the files once more from the beginning, since it
// has to know their digests, and stores what is missing.
//
// Leave returns when the carrier has everything. An error matches [ErrOver] if what an
// earlier run has left is to be removed first, since its time is over.
func (p *Plan) Leave(ctx context.Context, k *Key, log Log, o LeaveOptions) (Summary, error) {
	if o.Trace == nil {
		o.Trace = &transfer.Trace{}
	}
	w := &writer{log: log, sealer: sealer{aead: newAEAD(&k.content), run: random16(), offer: p.header.Offer}}
	var sum Summary
	if err := p.resume(ctx, k, log, w); err != nil {
		return sum, err
	}
	sum.Resumed = min(w.from*ChunkSize, p.header.size())
	if w.from > 0 && o.Continued != nil {
		o.Continued(sum.Resumed, p.header.size())
	}
	w.buf = newBuffer()
	if err := w.write(ctx, p.header.append(nil)); err != nil {
		return sum, err
	}
	if err := w.write(ctx, p.list); err != nil {
		return sum, err
	}
	var root roots
	group := make([]byte, treehash.GroupSize)
	var part struct {
		files int
		root  roots
	}
	cut := newCutter(p.totals.Bytes, int(p.header.Entries))
	for e, err := range p.entries() {
		if err != nil {
			return sum, err
		}
		if e.Kind == transfer.File {
			d, ok, err := p.file(ctx, w, &e, group, o.Trace)
			if err != nil {
				return sum, err
			}
			if ok {
				root.add(e.Path, d)
				part.root.add(e.Path, d)
				part.files++
				sum.Files++
				sum.Bytes += e.Size
			} else {
				sum.Failed++
			}
		}
		if portion, ends := cut.add(&e); ends && p.header.Shared {
			sum.portions = append(sum.portions, share{portion.To - portion.From, part.files, part.root.sum()})
			part.files, part.root = 0, roots{}
		}
	}
	if err := w.last(ctx); err != nil {
		return sum, err
	}
	sum.Root = root.sum()
	return sum, log.Flush(ctx)
}

// entries are those of the list.
func (p *Plan) entries() iter.Seq2[transfer.Entry, error] {
	return func(yield func(transfer.Entry, error) bool) {
		stop := errors.New("stop")
		for b := p.list; len(b) > 0; {
			n := binary.BigEndian.Uint32(b)
			err := transfer.DecodeEntries(b[4:4+n], func(e transfer.Entry) error {
				if !yield(e, nil) {
					return stop
				}
				return nil
			})
			if err == stop {
				return
			}
			if err != nil {
				yield(transfer.Entry{}, err)
				return
			}
			b = b[4+n:]
		}
	}
}

// resume finds out what an earlier run has stored.
func (p *Plan) resume(ctx context.Context, k *Key, log Log, w *writer) error {
	// What is stored ends where this message is.
	begin := newBuffer()
	if err := log.Append(ctx, mark, w.sealer.seal(mark, begin)); err != nil {
		return err
	}
	if err := log.Flush(ctx); err != nil {
		return err
	}
	last, err := p.end(ctx, log, func(m Message) bool { return Number(m.Body) == mark && runID(m.Body[:16]) == w.sealer.run })
	if err != nil {
		return err
	}
	if last < 0 {
		return nil // marks alone
	}
	r := newReader(k, log, ReadOptions{})
	h, err := r.header(ctx)
	if err != nil {
		return fmt.Errorf("read what was left before: %w", err)
	}
	if h.over(time.Now()) {
		return errOver(&h)
	}
	if h.List != p.header.List || h.Manifest != p.header.Manifest || h.Shared != p.header.Shared {
		return fmt.Errorf("%w, on %s", ErrOther, h.Created.Format("2 January 2006 at 15:04"))
	}
	p.header = h
	w.sealer.offer, w.from = h.Offer, last+1
	return nil
}

// end finds our mark, and the number of the last message before it; less than 0 if there
// is none.
func (p *Plan) end(ctx context.Context, log Cursor, ours func(Message) bool) (last int64, err error) {
	// It is among the last messages, but not always at their very end: what a sender
	// that was killed had given to its connection may come late.
	found, at, last, err := scan(ctx, log, Last, ours)
	for back := int64(16); err == nil && (!found || last < 0); back *= 16 {
		from := max(0, at-back)
		if found, _, last, err = scan(ctx, log, from, ours); from == 0 {
			break
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("%w: it does not deliver what it has confirmed", ErrDamaged)
	}
	return last, err
}

// quiet is how long nothing comes from a log that is read to its end.
const quiet = 3 * time.Second

// scan reads from an offset to our mark, or to the end of the log. It returns the
// offset of the mark, or of the first message, and the highest number before it.
func scan(ctx context.Context, log Cursor, from int64, ours func(Message) bool) (found bool, at, last int64, err error) {
	at, last = -1, -1
	if err := log.Seek(ctx, from); err != nil {
		return false, 0, 0, err
	}
	for {
		patience, cancel := context.WithTimeout(ctx, quiet)
		m, err := log.Next(patience)
		over := patience.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
		cancel()
		switch {
		case over:
			return false, at, last, nil
		case err != nil:
			return false, at, last, err
		case ours(m):
			return true, m.Offset, last, nil
		}
		if at < 0 {
			at = m.Offset
		}
		if n := Number(m.Body); n != mark {
			last = max(last, n)
		}
	}
}

// file appends one file, as long as the list tells, and its trailer.
func (p *Plan) file(ctx context.Context, w *writer, e *transfer.Entry, group []byte, trace *transfer.Trace) (digest treehash.Digest, ok bool, err error) {
	groups := groupsOf(e.Size)
	trailer := make([]byte, trailerFixed, trailerSize(e.Size))
	f, before, failure := p.src.Open(e)
	if failure == nil {
		defer f.Close()
	}
	for g := range groups {
		part := group[:min(treehash.GroupSize, e.Size-g*treehash.GroupSize)]
		if failure == nil {
			_, failure = io.ReadFull(f, part)
		}
		switch {
		case failure != nil:
			clear(part)
		case groups == 1:
			digest = treehash.Sum(part)
		default:
			cv := treehash.Group(part, g)
			trailer = append(trailer, cv[:]...)
		}
		moved := w.pos >= w.from*ChunkSize
		if err := w.write(ctx, part); err != nil {
			return digest, false, err
		}
		if moved && trace.Moved != nil {
			trace.Moved(e, len(part))
		}
	}
	if failure != nil {
		if errors.Is(failure, io.EOF) || errors.Is(failure, io.ErrUnexpectedEOF) {
			failure = errors.New("it became shorter while it was read")
		}
		warn(trace, e, failure)
		trailer = trailer[:trailerSize(e.Size)]
		clear(trailer)
		trailer[0] = 1
		return treehash.Digest{}, false, w.write(ctx, trailer)
	}
	if after, err := f.Stat(); err == nil && changed(before, after) {
		warn(trace, e, errors.New("it changed while it was read"))
	}
	switch {
	case groups == 0:
		digest = treehash.Sum(nil)
	case groups > 1:
		cvs := make([]treehash.CV, groups)
		for i := range cvs {
			copy(cvs[i][:], trailer[trailerFixed+i*treehash.Size:])
		}
		digest = treehash.Root(cvs)
	}
	copy(trailer[1:], digest[:])
	return digest, true, w.write(ctx, trailer)
}

func changed(a, b os.FileInfo) bool { return a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) }

func warn(trace *transfer.Trace, e *transfer.Entry, why error) {
	if trace.Warning != nil {
		trace.Warning(e.Path, why)
	}
}

// A writer cuts what is written into chunks, and seals and appends them from the
// first one on that is not stored.
type writer struct {
	log    Appender
	sealer sealer
	from   int64 // chunks before it are stored
	pos    int64
	buf    []byte // nonce's place and the chunk so far, with room for all of it
}

func newBuffer() []byte {
	return make([]byte, Overhead-16, MaxMessage)
}

func (w *writer) write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		room := int(ChunkSize - w.pos%ChunkSize)
		n := min(room, len(p))
		if w.pos/ChunkSize >= w.from {
			w.buf = append(w.buf, p[:n]...)
		}
		w.pos += int64(n)
		p = p[n:]
		if n == room {
			if err := w.chunk(ctx, w.pos/ChunkSize-1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) chunk(ctx context.Context, n int64) error {
	if n < w.from {
		return ctx.Err()
	}
	buf := w.buf
	w.buf = newBuffer()
	return w.log.Append(ctx, n, w.sealer.seal(n, buf))
}

// last fills up and appends what is left.
func (w *writer) last(ctx context.Context) error {
	if left := w.pos % padding; left > 0 {
		if err := w.write(ctx, make([]byte, padding-left)); err != nil {
			return err
		}
	}
	if w.pos%ChunkSize == 0 {
		return nil
	}
	return w.chunk(ctx, w.pos/ChunkSize)
}

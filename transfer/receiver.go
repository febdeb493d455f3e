package transfer

import (
	"context"
	"errors"
	"hash"
	"io"
	"iter"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"lukechampine.com/blake3"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// ReceiveOptions say where files go and who decides. Either Dir or Output is
// needed.
type ReceiveOptions struct {
	// Dir is where entries are created. Everything goes through it; nothing
	// outside is read or changed.
	Dir *os.Root
	// Output takes the content of a single file instead.
	Output io.Writer
	// Accept is asked before anything is created; ErrDeclined says no. If it
	// is nil everything is accepted, and then walking, deciding and sending
	// overlap.
	Accept func(ctx context.Context, offer Offer) error
	// Overwrite says what to do where another file is already.
	Overwrite Overwrite
	// Conflict is asked where Overwrite is OverwriteAsk; if it is nil, such a
	// file is refused.
	Conflict func(ctx context.Context, c Conflict) (Overwrite, error)
	// MaxSize bounds the bytes of a transfer; 0 means no bound.
	MaxSize int64
	// NoSync leaves it to the system when bytes reach the disk: faster, and a
	// receipt then does not survive a power cut.
	NoSync bool
	// Timeout is how long the peer may be silent; DefaultTimeout if zero.
	Timeout time.Duration
	// Redial makes another connection to the same sender when one is lost; an
	// end that dialed sets it. Without Redial and Sessions a lost connection ends
	// the transfer.
	Redial func(ctx context.Context) (net.Conn, error)
	// Sessions is where an end that listens is given further connections:
	// through Join, or by a call of Receive with the same Sessions, which then
	// returns ErrContinued.
	Sessions *Sessions
	// Trace is told what happens; it may be nil.
	Trace *Trace

	wrap func(lander) lander // for tests: a disk that fails
}

// An Offer is a complete manifest, before anything was created.
type Offer struct {
	Peer    string
	Entries iter.Seq[*Entry] // which stay as they are
	Totals  Totals
}

// Receive takes a transfer from conn, which it closes. It returns without error
// when everything that was accepted is on disk under its final name, verified,
// and the sender knows.
func Receive(ctx context.Context, conn net.Conn, o ReceiveOptions) (Result, error) {
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	ours := hello{Min: minVersion, Max: maxVersion, Role: roleReceiver, Features: featureRanges | featurePacked}
	if o.Output != nil {
		ours.Features |= featureSequential
	} else {
		ours.Features |= featureHoles
	}
	a := newAttempts(ours, o.Timeout, o.Redial, o.Sessions)
	now, err := a.open(ctx, conn)
	if err != nil {
		return Result{}, err
	}
	if o.Sessions != nil {
		if o.Sessions.take(now.theirs.Session, a, now) {
			return Result{}, ErrContinued
		}
		defer o.Sessions.drop(a)
	}
	start := time.Now()
	if o.Trace.Connected != nil {
		o.Trace.Connected(now.link.conn.RemoteAddr().String())
	}
	memory := newReceiveMemory(a.possible())
	var earlier Result
	for {
		r := &receiver{o: o, link: now.link, trace: o.Trace, memory: memory, attempts: a, files: map[int]*incoming{}}
		r.resumed = a.hello().Session == now.theirs.Session
		a.setSession(now.theirs.Session)
		err := r.run(ctx)
		progress := r.result.Moved > 0 || r.result.Files > 0
		r.result.carry(earlier)
		if lost(err) && ctx.Err() == nil && a.possible() {
			if o.Trace.Lost != nil {
				o.Trace.Lost(err)
			}
			earlier = r.result
			if now, err = a.again(ctx, err, progress); err == nil {
				if now.theirs.Session != a.hello().Session { // a sender that was started anew
					memory = newReceiveMemory(true)
				}
				if o.Trace.Reconnected != nil {
					o.Trace.Reconnected(now.link.conn)
				}
				continue
			}
		}
		r.result.Elapsed = time.Since(start)
		r.result.Left = len(r.files)
		return r.result, err
	}
}

// A receiver is one transfer:
//
//	peer ──manifest──▶ planner ──decisions──▶ peer ──data, ends──▶ landers ──▶ committer ──receipts──▶ peer
//
// Landers take turns at reading the connection ([intake]), and hash and write
// what they have read; the committer makes batches of finished files durable,
// renames them and reports.
type receiver struct {
	o       ReceiveOptions
	link    *link
	trace   *Trace
	landing lander
	ctx     context.Context

	memory   *receiveMemory
	attempts *attempts
	resumed  bool      // the sender has listed its files before
	listing  hash.Hash // of the manifest

	commit chan finished // landers to committer
	agreed atomic.Bool   // every entry has been decided on, and the sender is being told
	plan   chan planned  // landers to planner
	room   chan struct{} // committer to planner: files were finished

	mu      sync.Mutex // guards what follows, and keeps calls of trace apart
	entries entryList
	totals  Totals
	files   map[int]*incoming // decided to be sent or compared, and not yet reported
	asked   Totals
	result  Result
	failure string
	damaged *VerifyError // the first file that arrived with another digest
	start   time.Time
}

// planned is what the planner works on: entries up to a number, and whether the
// manifest is complete; or a file whose digest at the sender is known now.
type planned struct {
	upTo     int
	complete bool
	list     [treehash.Size]byte // of a complete one: its hash
	compared *fileEnd
}

func (r *receiver) run(ctx context.Context) error {
	defer r.link.conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.ctx = ctx
	unblock := context.AfterFunc(ctx, func() { r.link.goodbye(reason(ctx)) })
	defer unblock()

	workers := min(4, runtime.GOMAXPROCS(0))
	if r.o.Output != nil {
		workers = 1
	}
	r.start = time.Now()
	r.listing = blake3.New(treehash.Size, nil)
	r.result.Peer = r.link.conn.RemoteAddr().String()
	r.commit = make(chan finished, maxCommit)
	r.plan = make(chan planned, 64)
	r.room = make(chan struct{}, 1)
	if r.o.Output != nil {
		r.landing = &pipeLander{w: r.o.Output, done: ctx.Done()}
	} else {
		r.landing = newDiskLander(r.o.Dir, !r.o.NoSync)
	}
	if r.o.wrap != nil {
		r.landing = r.o.wrap(r.landing)
	}
	defer r.landing.close()

	var wg, landers sync.WaitGroup
	task := func(wg *sync.WaitGroup, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				cancel(err)
			}
		})
	}
	wg.Go(func() { r.link.keepAlive(ctx) })
	wg.Go(func() { r.attempts.watch(ctx, cancel) })
	task(&wg, func() error { return r.planEntries(ctx) })
	in := &intake{link: r.link, manifest: newManifest(runtime.GOOS, r.landing.caseRule()), turn: make(chan time.Time, 1)}
	in.turn <- r.start
	for range workers {
		task(&landers, func() error { return r.take(ctx, in) })
	}
	committed := make(chan struct{})
	task(&wg, func() error { defer close(committed); return r.commitFiles(ctx) })

	landers.Wait()
	close(r.plan)
	close(r.commit)
	<-committed
	err := in.err
	said := false // that all is done: nothing that happens now makes it less true
	if err == nil && ctx.Err() == nil {
		err = r.finish()
		said = err == nil
	}
	if cause := reason(ctx); cause != nil && !said && (err == nil || lost(err) || errors.Is(err, context.Canceled)) {
		err = cause
	}
	if r.trace.Closing != nil {
		r.trace.Closing()
	}
	r.link.goodbye(err)
	cancel(err)
	wg.Wait()
	r.abandon()
	return err
}

// landItem hashes and writes a piece, or takes a file's end.
func (r *receiver) landItem(it item) error {
	in, err := r.incoming(it.entry)
	if err != nil {
		return err
	}
	var complete bool
	if it.end != nil {
		complete, err = in.ended(*it.end)
	} else {
		r.moved(in, it.piece)
		complete, err = in.piece(it.piece, it.content, r.o.MaxSize)
	}
	if err != nil || !complete {
		return err
	}
	status, digest, text := in.verdict()
	select {
	case r.commit <- finished{in: in, status: status, digest: digest, text: text}:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

func (r *receiver) moved(in *incoming, p piece) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !p.hole {
		r.result.Moved += int64(p.length)
	}
	if r.trace.Moved != nil {
		r.trace.Moved(in.e, p.length)
	}
}

// finished is a file whose bytes are all there, or never will be.
type finished struct {
	in     *incoming
	status byte
	digest treehash.Digest
	text   string
}

// maxCommit is how many finished files are made durable together: each holds a
// descriptor until then.
const maxCommit = 256

// commitFiles takes whatever has finished meanwhile as one batch: flush all,
// rename all, flush the directories, then tell the sender.
func (r *receiver) commitFiles(ctx context.Context) error {
	batch := make([]finished, 0, maxCommit)
	for f := range r.commit {
		batch = append(batch[:0], f)
	gather:
		for len(batch) < maxCommit {
			select {
			case f, ok := <-r.commit:
				if !ok {
					break gather
				}
				batch = append(batch, f)
			default:
				break gather
			}
		}
		if ctx.Err() != nil {
			continue // the rest is for abandon
		}
		r.landing.commit(batch)
		if err := r.report(batch); err != nil {
			return err
		}
	}
	return nil
}

// report sends the receipts of a batch.
func (r *receiver) report(batch []finished) error {
	var out []byte
	r.mu.Lock()
	for _, f := range batch {
		out = receipt{Entry: f.in.entry, Status: f.status, Digest: f.digest, Text: f.text}.append(out)
		delete(r.files, f.in.entry)
		r.count(f)
	}
	r.mu.Unlock()
	select {
	case r.room <- struct{}{}: // the planner may go on
	default:
	}
	if len(out) <= maxControl {
		return r.link.frame(frameReceipts, out)
	}
	// Long texts have made the batch too long for one frame.
	for _, f := range batch {
		b := receipt{Entry: f.in.entry, Status: f.status, Digest: f.digest, Text: f.text}.append(nil)
		if err := r.link.frame(frameReceipts, b); err != nil {
			return err
		}
	}
	return nil
}

// count books one file; r.mu is held.
func (r *receiver) count(f finished) {
	e := f.in.e
	switch f.status {
	case statusDone, statusHad:
		d, again := r.memory.done[e.Path]
		if !again {
			d = doneFile{digest: f.digest, announced: e.Size, resumed: f.in.resumed, had: f.status == statusHad}
		}
		r.result.Files++
		r.result.Bytes += f.in.size()
		r.result.Resumed += d.resumed
		if d.had {
			r.result.Had++
		}
		if again {
			return
		}
		if r.memory.keep {
			r.memory.done[e.Path] = d
		}
		if r.trace.Finished != nil {
			r.trace.Finished(e, f.digest, d.had)
		}
		return
	case statusMissing:
		if r.damaged == nil {
			r.damaged = &VerifyError{e.Path}
		}
		f.text = (&VerifyError{e.Path}).Error()
	case statusRefused:
		r.result.Refused++
	}
	r.result.Failed++
	if r.failure == "" {
		r.failure = describeFailure(e, f.text)
	}
	if r.trace.Warning != nil {
		why := errors.New(f.text)
		if f.status == statusRefused {
			why = ErrExists
		}
		r.trace.Warning(e.Path, why)
	}
}

// finish ends a transfer whose content has all come: links, then the modes and
// times of directories, which writing into them has changed.
func (r *receiver) finish() error {
	r.mu.Lock()
	left, entries := len(r.files), r.entries.all()
	r.mu.Unlock()
	if left > 0 {
		return protocolErrorf("it finished with %d files outstanding", left)
	}
	if err := r.landing.finish(entries, r.o.Overwrite); err != nil {
		return err
	}
	if err := r.link.frame(frameDone, nil); err != nil {
		return err
	}
	if r.damaged != nil {
		return r.damaged
	}
	if r.result.Refused > 0 {
		return &RefusedError{Reason: r.failure, Err: ErrExists}
	}
	if r.result.Failed > 0 {
		return &IncompleteError{Failed: r.result.Failed, First: r.failure}
	}
	return nil
}

// abandon closes what an interrupted transfer left open.
func (r *receiver) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.files {
		in.abandon()
	}
}

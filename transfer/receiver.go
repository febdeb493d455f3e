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
	// Streams is how many TCP connections may carry content at once; see
	// [SendOptions].Streams.
	Streams int
	// Timeout is how long the peer may be silent; DefaultTimeout if zero.
	Timeout time.Duration
	// Idle bounds how long a peer may live and do nothing, so that it does not
	// hold a place that others wait for; 50 times as long while it owes content,
	// which may take hashing, or come from a pipe. Zero means no bound.
	Idle time.Duration
	// Redial makes another connection to the same sender when one is lost; an
	// end that dialed sets it. Without Redial and Sessions a lost connection ends
	// the transfer.
	Redial func(ctx context.Context) (net.Conn, error)
	// DialStream makes another connection to the same sender beside first, which
	// is open; Redial if it is nil.
	DialStream func(ctx context.Context, first net.Conn) (net.Conn, error)
	// Sessions is where an end that listens is given further connections:
	// through Join, or by a call of Receive with the same Sessions, which then
	// returns ErrContinued.
	Sessions *Sessions
	// Processors is how many processors the transfer may keep busy; see
	// [SendOptions].Processors.
	Processors int
	// Datagrams, if not nil, are what the sender's content comes in, and the
	// connection ends the transfer when it is lost: Redial and Sessions are not
	// used.
	Datagrams Datagrams
	// AllowMissing delivers files under their final names even if datagrams of
	// them were lost, with zeros in the holes, and without error.
	AllowMissing bool
	// Limiter is asked when all has landed what limited the transfer; sender is
	// what the sender thinks, and may be empty. The sender is told the result.
	Limiter func(w Waited, sender string) string
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
	ours := hello{Min: minVersion, Max: maxVersion, Role: roleReceiver, Features: featureRanges | featurePacked | featureLimit}
	if o.Output != nil {
		ours.Features |= featureSequential
	} else {
		ours.Features |= featureHoles
	}
	ours.extended, ours.Streams = true, min(o.Streams, MaxStreams)
	if o.Datagrams != nil && o.Output != nil {
		conn.Close()
		return Result{}, errors.New("receive: content that comes as datagrams cannot go to a stream")
	}
	if o.Datagrams != nil {
		ours.Features = ours.Features&^(featurePacked|featureHoles) | featureDatagrams
		o.Redial, o.Sessions, ours.Streams = nil, nil, 1
	}
	a := newAttempts(ours, o.Timeout, o.Redial, o.Sessions)
	a.dialStream = o.DialStream
	now, err := a.open(ctx, conn)
	if err != nil {
		return Result{}, err
	}
	if now.theirs.Features&featureStream != 0 {
		if err := o.Sessions.adopt(now); err != nil {
			return Result{}, err
		}
		return Result{}, ErrContinued
	}
	if o.Sessions != nil {
		if o.Sessions.take(now.theirs.Session, a, now) {
			return Result{}, ErrContinued
		}
		defer o.Sessions.drop(a)
	}
	if o.Datagrams != nil && now.theirs.Features&featureDatagrams == 0 {
		err := protocolErrorf("it sends no datagrams")
		now.link.goodbye(err)
		return Result{}, err
	}
	start := time.Now()
	if o.Trace.Connected != nil {
		o.Trace.Connected(now.link.conn.RemoteAddr().String())
	}
	memory := newReceiveMemory(a.possible())
	var earlier Result
	for {
		r := &receiver{o: o, limits: now.theirs.Features&featureLimit != 0, link: now.link, trace: o.Trace, memory: memory, attempts: a, files: map[int]*incoming{}}
		r.resumed = a.hello().Session == now.theirs.Session
		a.setSession(now.theirs.Session)
		err := r.run(ctx, now)
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
	limits   bool      // the sender takes part in telling what limited the transfer
	theirs   string    // what it said
	resumed  bool      // the sender has listed its files before
	listing  hash.Hash // of the manifest

	commit chan finished // landers to committer
	agreed atomic.Bool   // every entry has been decided on, and the sender is being told
	plan   chan planned  // landers to planner
	room   chan struct{} // committer to planner: files were finished

	idle    idler
	prepare *preparer

	fleet    fleet         // connections besides link
	most     int           // how many there may be
	finished chan struct{} // one for each that was read to its end
	dial     func()        // opens them, once; nil if this end does not

	lossy *datagramReceiver // nil: content comes on the stream

	mu      sync.Mutex // guards what follows, and keeps calls of trace apart
	entries entryList
	totals  Totals
	files   map[int]*incoming // decided to be sent or compared, and not yet reported
	asked   Totals
	result  Result
	failure string
	hole    string       // the first file with holes
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

func (r *receiver) run(ctx context.Context, first opened) error {
	defer r.link.conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.ctx = ctx
	unblock := context.AfterFunc(ctx, func() { r.link.goodbye(reason(ctx)) })
	defer unblock()

	workers := workers(r.o.Processors)
	if r.o.Output != nil {
		workers = 1
	}
	r.start = time.Now()
	r.listing = blake3.New(treehash.Size, nil)
	r.result.Peer = r.link.conn.RemoteAddr().String()
	r.commit = make(chan finished, maxCommit)
	r.plan = make(chan planned, 64)
	r.room = make(chan struct{}, 1)
	r.prepare = newPreparer()
	if r.o.Output != nil {
		r.landing = &pipeLander{w: r.o.Output, done: ctx.Done()}
	} else {
		r.landing = newDiskLander(r.o.Dir, !r.o.NoSync)
	}
	if r.o.wrap != nil {
		r.landing = r.o.wrap(r.landing)
	}
	defer r.landing.close()
	if r.o.Datagrams != nil {
		r.lossy = newDatagramReceiver(r, r.o.Datagrams)
	}

	var wg, landers sync.WaitGroup
	heard := make(chan struct{}) // closed when nothing more is read
	fail := func(err error) {
		awaitLastWords(ctx, err, heard)
		cancel(err)
	}
	task := func(wg *sync.WaitGroup, fail func(error), f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				fail(err)
			}
		})
	}
	wg.Go(func() { r.link.keepAlive(ctx) })
	wg.Go(func() { r.attempts.watch(ctx, cancel) })
	r.idle.limit = r.o.Idle
	r.idle.moved()
	wg.Go(func() { r.idle.watch(ctx, r.owed, cancel) })
	task(&wg, fail, func() error { return r.planEntries(ctx) })
	in := newIntake(r.link)
	in.manifest = newManifest(runtime.GOOS, r.landing.caseRule())
	dial := 0
	dial, r.most = r.attempts.begin(first)
	defer r.attempts.end()
	r.finished = make(chan struct{}, MaxStreams)
	streaming, endStreams := context.WithCancel(ctx)
	defer endStreams()
	if dial > 0 {
		r.dial = sync.OnceFunc(func() { wg.Go(func() { r.attempts.dialStreams(streaming, first, dial) }) })
	}
	r.fleet.tell = func(conn net.Conn) func() { return r.trace.stream(&r.mu, conn) }
	wg.Go(func() { r.join(streaming, fail) })
	for range workers {
		task(&landers, cancel, func() error { return r.take(ctx, in) })
	}
	if r.lossy != nil {
		task(&wg, fail, func() error { return r.lossy.run(ctx) })
		task(&wg, fail, func() error { return r.lossy.settle(ctx) })
	}
	committed := make(chan struct{})
	wg.Go(func() {
		defer close(committed) // after the cause of an end is known: what is left over is no fault of the peer's
		if err := r.commitFiles(ctx); err != nil {
			fail(err)
		}
	})

	landers.Wait()
	close(heard)
	if r.lossy != nil {
		if in.err != nil {
			cancel(in.err)
		}
		r.lossy.drain(ctx)
	}
	err := in.err
	if err == nil {
		err = r.awaitStreams(ctx, in.streams)
	}
	said := false // that all is done: nothing that happens now makes it less true
	why := func(err error) error {
		// While the connection is being closed, what still comes is thrown away
		// beside those who read it: to them it may look like anything. A peer that
		// was told why may also send that back as its own reason; one that is lost
		// was told nothing.
		cause := reason(ctx)
		var garbled *ProtocolError
		late := r.link.closing.Load() && (!lost(cause) || errors.As(err, &garbled))
		if cause != nil && !said && (err == nil || lost(err) || late || errors.Is(err, context.Canceled)) {
			return cause
		}
		return err
	}
	closing := sync.OnceFunc(func() {
		if r.trace.Closing != nil {
			r.trace.Closing()
		}
	})
	if err = why(err); err != nil && r.fleet.count() > 0 {
		// The sender has to know before it finds the streams closed.
		closing()
		r.link.goodbye(err)
	}
	r.endStreams(endStreams)
	close(r.plan)
	close(r.commit)
	<-committed
	if err == nil && ctx.Err() == nil {
		err = r.idle.ours(r.finish)
		said = err == nil
	}
	err = why(err)
	closing()
	r.link.goodbye(err)
	cancel(err)
	wg.Wait()
	r.abandon()
	return err
}

// landItem hashes and writes a piece, or takes a file's end.
func (r *receiver) landItem(it *item) error {
	in, err := r.incoming(it.entry)
	if err != nil {
		return err
	}
	var complete bool
	if it.end != nil {
		complete, err = in.ended(*it.end)
		if err == nil && in.lossy {
			r.lossy.ended(in)
		}
	} else {
		r.moved(in, it.piece)
		complete, err = in.piece(it, r.o.MaxSize)
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

	holes   []Range // of a file that came as datagrams
	deliver bool    // with holes, under its final name
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
	case statusHoles:
		r.result.Holes++
		if r.hole == "" {
			r.hole = quoteMissing(e, f.text)
		}
		for _, h := range f.holes {
			r.result.Missing += h.End - h.Start
		}
		if r.trace.Warning != nil {
			r.trace.Warning(e.Path, errors.New(f.text))
		}
		return
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
	if r.lossy != nil {
		if err := r.link.frame(frameDatagrams, encodeCount(r.lossy.came)); err != nil {
			return err
		}
	}
	if r.o.Limiter != nil {
		r.result.Limiter = r.o.Limiter(r.result.Waited, r.theirs)
	}
	if err := r.link.frame(frameDone, limitPayload(r.limits, r.result.Limiter)); err != nil {
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
	if r.result.Holes > 0 && !r.o.AllowMissing {
		return &MissingError{Files: r.result.Holes, First: r.hole}
	}
	return nil
}

// owed reports whether files were asked for that have not come.
func (r *receiver) owed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.files) > 0
}

// abandon closes what an interrupted transfer left open.
func (r *receiver) abandon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.files {
		in.abandon()
	}
}

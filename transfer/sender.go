package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"
)

// SendOptions are what a transfer needs to know besides its source. The zero
// value is ready for use.
type SendOptions struct {
	// Timeout is how long the peer may be silent; DefaultTimeout if zero.
	Timeout time.Duration
	// Redial makes another connection to the same receiver when one is lost; an
	// end that dialed sets it. Without Redial and Sessions a lost connection ends
	// the transfer.
	Redial func(ctx context.Context) (net.Conn, error)
	// DialStream makes another connection to the same receiver beside first, which
	// is open; Redial if it is nil.
	DialStream func(ctx context.Context, first net.Conn) (net.Conn, error)
	// Sessions is where an end that listens is given further connections: through
	// Join, or by a call of Send with the same Sessions, which then returns
	// ErrContinued.
	Sessions *Sessions
	// Streams is how many TCP connections may carry content at once, 1 to
	// MaxStreams; the smaller number of the two ends' counts. With zero the other
	// end decides, and if neither says, the path: one, or four where a round trip
	// takes 20 ms or more. More than one needs Redial at the end that dialed, and
	// Sessions at the other.
	Streams int
	// Compress compresses content with zstd where a sample shows that it pays,
	// as long as that is faster than the link, if the receiver can take it.
	Compress bool
	// Processors is how many processors the transfer may keep busy with reading and
	// hashing, of which it takes four at most; runtime.GOMAXPROCS if zero.
	Processors int
	// Datagrams, if not nil, are what content is sent in, once; the receiver
	// must have them too. A lost connection then ends the transfer: Redial and
	// Sessions are not used, nor is Compress.
	Datagrams Datagrams
	// AllowMissing: files that arrived with holes are no error.
	AllowMissing bool
	// Limiter is asked when the last byte has been written what limited this end;
	// the receiver is told, and Result.Limiter has what both ends make of it.
	Limiter func(Waited) string
	// Trace is told what happens; it may be nil.
	Trace *Trace

	packAll bool // for tests: compress however fast the link is
}

// Send sends all of src over conn, which it closes. It returns without error
// only when the receiver has reported every file to be on its disk, under its
// final name, with the digest that was computed here while it was read.
//
// When ctx ends, the peer is told, and Send returns soon with ErrInterrupted and
// the Result so far.
func Send(ctx context.Context, conn net.Conn, src *Source, o SendOptions) (Result, error) {
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	ours := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Features: featureRanges | featureHoles | featureLimit}
	if src.sequential() {
		ours.Features |= featureSequential
	}
	if o.Compress && o.Datagrams == nil {
		ours.Features |= featurePacked
	}
	ours.extended, ours.Streams = true, min(o.Streams, MaxStreams)
	if o.Datagrams != nil {
		ours.Features = ours.Features&^featureHoles | featureDatagrams
		o.Redial, o.Sessions, ours.Streams = nil, nil, 1
	}
	_, _ = rand.Read(ours.Session[:])
	a := newAttempts(ours, o.Timeout, o.Redial, o.Sessions)
	a.dialStream = o.DialStream
	if o.Sessions != nil {
		var taken bool
		var err error
		if conn, taken, err = o.Sessions.claim(ctx, conn, Sending); err != nil {
			return Result{}, err
		}
		if taken {
			return Result{}, ErrContinued
		}
		o.Sessions.take(ours.Session, a, opened{})
		defer o.Sessions.drop(a)
	}
	var early *prelude
	if o.Redial != nil {
		if early = newPrelude(src); early != nil {
			a.prelude = early.frames
		}
	}
	now, err := a.open(ctx, conn)
	if err != nil {
		return Result{}, err
	}
	if now.theirs.Features&featureStream != 0 { // of a transfer that is no more
		now.link.goodbye(errNotOurs)
		return Result{}, errNotOurs
	}
	if o.Datagrams != nil && now.theirs.Features&featureDatagrams == 0 {
		err := protocolErrorf("it takes no datagrams")
		now.link.goodbye(err)
		return Result{}, err
	}
	start := time.Now()
	if o.Trace.Connected != nil {
		o.Trace.Connected(now.link.conn.RemoteAddr().String())
	}
	memory := &sendMemory{ends: map[int]sentFile{}, keep: a.possible(), early: early}
	var earlier Result
	for {
		s := &sender{src: src, compress: o.Compress, processors: o.Processors, packAll: o.packAll, limiter: o.Limiter, limits: now.theirs.Features&featureLimit != 0, link: now.link, trace: o.Trace, memory: memory, attempts: a, wanted: map[int]bool{}, settled: map[int]bool{}, sent: map[int]fileEnd{}}
		if o.Datagrams != nil {
			s.datagrams, s.allowMissing = &datagramSender{d: o.Datagrams}, o.AllowMissing
		}
		err := s.run(ctx, now)
		progress := s.result.Moved > 0 || s.result.Files > 0
		s.result.carry(earlier)
		if lost(err) && !errors.Is(err, errReplaced) && s.accounted() == accountedAll {
			err = s.finish() // only the farewell got lost
		}
		if lost(err) && ctx.Err() == nil && a.possible() {
			if o.Trace.Lost != nil {
				o.Trace.Lost(err)
			}
			earlier = s.result
			if now, err = a.again(ctx, err, progress); err == nil {
				if o.Trace.Reconnected != nil {
					o.Trace.Reconnected(now.link.conn)
				}
				continue
			}
		}
		if lost(err) && ctx.Err() == nil && s.accounted() == accountedFiles {
			s.warn("", errUnconfirmed)
			err = s.finish()
		}
		s.result.Elapsed = time.Since(start)
		s.result.Left = len(s.wanted)
		return s.result, err
	}
}

// A sender is one transfer:
//
//	walk ──manifest──▶ peer ──decisions──▶ feeder ──data, ends──▶ peer ──receipts──▶ result
//
// Walking, reading, sending and taking receipts overlap; the peer decides
// whether it waits for the whole manifest before its first decision.
type sender struct {
	src        *Source
	link       *link
	trace      *Trace
	feeder     *feeder
	compress   bool
	packAll    bool
	processors int
	limiter    func(Waited) string
	limits     bool // the peer takes part in telling what limited the transfer

	datagrams    *datagramSender // nil: content goes on the stream
	allowMissing bool

	memory   *sendMemory
	attempts *attempts

	turn  chan turn // connections that nobody is writing to
	fleet fleet     // those besides link
	dial  func()    // opens them, once; nil if this end does not

	mu      sync.Mutex // guards what follows, and keeps calls of trace apart
	entries entryList
	totals  Totals
	wanted  map[int]bool    // decided to send (false: only compared so far), receipt outstanding
	settled map[int]bool    // their receipts have come: nothing more can be asked of them
	sent    map[int]fileEnd // what was read of them, to hold the receipts to
	asked   Totals
	result  Result
	failure string
	hole    string // the first file with holes
	start   time.Time
	decided bool // the peer has decided on every entry
	said    bool // the peer was told that all has been sent
}

// What a connection that is lost leaves open.
const (
	accountedNot   = iota // receipts are missing
	accountedFiles        // all are here, and yet the peer may have had directories to finish
	accountedAll
)

var errUnconfirmed = errors.New("the receiver left before it said that the directories have their modes and times; every file is verified")

// accounted tells how much of the transfer is certain without the peer's last
// word. Links are made after all files, so with them it is needed.
func (s *sender) accounted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.decided || !s.said || s.totals.Links > 0 || s.owed() {
		return accountedNot
	}
	if s.totals.Dirs > 0 {
		return accountedFiles
	}
	return accountedAll
}

func (s *sender) run(ctx context.Context, first opened) error {
	theirs := first.theirs
	defer s.link.conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A blocked read or write must end when ctx does.
	unblock := context.AfterFunc(ctx, func() { s.link.goodbye(reason(ctx)) })
	defer unblock()
	s.start = time.Now()
	s.result.Peer = s.link.conn.RemoteAddr().String()
	producers := max(2, workers(s.processors)) // one that writes, and others that read meanwhile
	if theirs.Features&featureSequential != 0 || s.datagrams != nil {
		producers = 1 // the same datagrams in every run
	}
	s.feeder = newFeeder(s.src)
	s.feeder.emit = s.emit
	s.turn = make(chan turn, MaxStreams)
	s.turn <- turn{s.link, s.start}
	if s.compress && theirs.Features&featurePacked != 0 {
		pack, err := newPacker(producers)
		if err != nil {
			return fmt.Errorf("send: set up compression: %w", err)
		}
		s.feeder.pack = pack
	}
	s.feeder.holes = theirs.Features&featureHoles != 0
	s.feeder.sent = s.ended
	s.feeder.warn = func(e *Entry, text string) { s.warn(e.Path, errors.New(text)) }

	var wg sync.WaitGroup
	heard := make(chan struct{}) // closed when nothing more is read
	fail := func(err error) {
		awaitLastWords(ctx, err, heard)
		cancel(err)
	}
	task := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				fail(err)
			}
		})
	}
	wg.Go(func() { s.link.keepAlive(ctx) })
	wg.Go(func() { s.attempts.watch(ctx, cancel) })
	dial, most := s.attempts.begin(first)
	defer s.attempts.end()
	if dial > 0 {
		s.dial = sync.OnceFunc(func() { wg.Go(func() { s.attempts.dialStreams(ctx, first, dial) }) })
	}
	if dial > 0 || most > 0 && agreeStreams(s.attempts.hello().Streams, theirs.Streams) > 1 {
		s.feeder.largestFirst() // already, lest the order depend on when they come
	}
	s.fleet.tell = func(conn net.Conn) func() { return s.trace.stream(&s.mu, conn) }
	wg.Go(func() { s.join(ctx, fail) })
	if s.memory.early != nil { // decisions about it may be here already
		if err := s.sendManifest(ctx, s.feeder.holes); err != nil {
			cancel(err)
		}
	} else {
		task(func() error { return s.sendManifest(ctx, s.feeder.holes) })
	}
	task(func() error { return s.sendContent(ctx, producers) })
	err := s.receive()
	close(heard)
	if s.trace.Closing != nil {
		s.trace.Closing()
	}
	// What the peer says of a broken transfer tells more than the write that
	// failed because of it; so the reader's error stands, if it is not just a
	// lost connection.
	if err != nil && (!lost(err) || ctx.Err() == nil) {
		cancel(err)
	}
	s.link.goodbye(s.reason(ctx, err))
	s.feeder.stop()
	cancel(err)
	s.fleet.close()
	wg.Wait()
	s.fleet.wg.Wait()
	return s.reason(ctx, err)
}

// awaitLastWords waits, if err says that the connection is lost, until what has come
// over it is read: a peer that closes it says why before. Whoever writes may find out
// first that it is closed.
func awaitLastWords(ctx context.Context, err error, heard <-chan struct{}) {
	if !errors.Is(err, ErrLost) {
		return
	}
	late := time.NewTimer(parting)
	defer late.Stop()
	select {
	case <-heard:
	case <-late.C:
	case <-ctx.Done():
	}
}

// workers is how many goroutines read or write, and hash, given how many
// processors they may keep busy.
func workers(processors int) int {
	if processors <= 0 {
		processors = runtime.GOMAXPROCS(0)
	}
	return min(4, processors)
}

// reason is why ctx ended, in this package's words.
func reason(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return ErrInterrupted
	}
	return err
}

// reason is the error to return after err: the cause of the end, if that is why
// err came about.
func (s *sender) reason(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := reason(ctx); cause != nil {
		return cause
	}
	return err
}

func (s *sender) warn(path string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trace.Warning != nil {
		s.trace.Warning(path, why)
	}
}

// ended is told of every file that was read to its end, before the peer is.
func (s *sender) ended(end fileEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[end.Entry] = end
	if _, known := s.memory.ends[end.Entry]; s.memory.keep && end.Status != statusFailed && (!known || end.Status == statusDone) {
		s.memory.ends[end.Entry] = sentFile{digest: end.Digest, size: end.Size, sent: end.Sent, had: end.Status == statusHash}
	}
}

func (s *sender) sendManifest(ctx context.Context, holes bool) error {
	buf := make([]byte, frameHeader, maxControl)
	early := s.memory.early
	s.memory.early = nil
	flush := func() error {
		if len(buf) == frameHeader || early != nil {
			return nil
		}
		putFrameHeader(buf, frameManifest, len(buf)-frameHeader)
		err := s.link.write(buf)
		buf = buf[:frameHeader]
		return err
	}
	var scratch []byte
	list := s.src.walk
	if s.memory.entries != nil { // walked before the connection was lost
		s.totals, s.result.Skipped = Totals{Skipped: s.memory.totals.Skipped}, s.memory.totals.Skipped
		list = func(yield func(Entry) error, _ func(string, error)) error {
			for e := range s.memory.entries.all() {
				if err := yield(*e); err != nil {
					return err
				}
			}
			return nil
		}
	} else {
		s.memory.ends = map[int]sentFile{} // numbers of a list that may change
		if early != nil {
			list = early.walk
		}
	}
	err := list(func(e Entry) error {
		if ctx.Err() != nil {
			return reason(ctx)
		}
		s.mu.Lock()
		s.entries.add(e)
		s.totals.Count(&e)
		n := s.entries.n
		s.mu.Unlock()
		if n > maxEntries {
			return fmt.Errorf("send: more than %d entries in one transfer", maxEntries)
		}
		if !holes {
			e.Holes = 0
		}
		scratch = e.append(scratch[:0])
		if len(buf)+len(scratch) > maxControl {
			if err := flush(); err != nil {
				return err
			}
		}
		buf = append(buf, scratch...)
		return nil
	}, func(path string, why error) {
		s.mu.Lock()
		s.totals.Skipped++
		s.result.Skipped++
		s.mu.Unlock()
		s.warn(path, fmt.Errorf("skipped: %w", why))
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	s.mu.Lock()
	totals := s.totals
	if s.trace.Listed != nil && s.memory.entries == nil {
		s.trace.Listed(totals)
	}
	s.memory.totals, s.memory.entries = totals, &s.entries
	end := manifestEnd{uint64(s.entries.n), uint64(totals.Bytes), uint64(totals.Skipped)}
	s.mu.Unlock()
	if early != nil {
		return nil // it went with the hello
	}
	return s.link.frame(frameManifestEnd, end.encode())
}

// sendContent has the producers read and write what is decided on, until
// everything is.
func (s *sender) sendContent(ctx context.Context, producers int) error {
	if err := s.feeder.run(ctx, producers); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil
	}
	if s.datagrams != nil {
		s.mu.Lock()
		s.result.DatagramsSent = s.datagrams.sent
		s.mu.Unlock()
		if err := s.datagrams.finish(s.link); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.said = true
	waited := s.result.Waited
	s.mu.Unlock()
	text := ""
	if s.limiter != nil && s.limits {
		text = s.limiter(waited)
	}
	return s.finishStreams(text)
}

// emit writes a producer's buffer.
func (s *sender) emit(ctx context.Context, b batch) error {
	var t turn
	select {
	case t = <-s.turn:
	case <-ctx.Done():
		return nil
	}
	begun := time.Now()
	var w writing
	if s.feeder.pack != nil {
		w = s.feeder.pack.link.begin(begun)
	}
	var err error
	if s.datagrams != nil {
		err = s.datagrams.write(ctx, s.link, b.frames)
	} else {
		err = t.link.write(b.frames)
	}
	if err != nil {
		return err // and nobody else gets a turn
	}
	now := time.Now()
	s.turn <- turn{t.link, now}
	if s.feeder.pack != nil && !s.packAll {
		s.feeder.pack.link.end(now, w, len(b.frames))
	}
	links := time.Duration(1 + s.fleet.count())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Waited.Disk += begun.Sub(t.mark) / links // the mean over them
	s.result.Waited.Network += now.Sub(begun) / links
	for _, m := range b.moved {
		if !m.hole {
			s.result.Moved += int64(m.n)
		}
		if s.trace.Moved != nil {
			s.trace.Moved(s.entries.at(m.entry), m.n)
		}
	}
	return nil
}

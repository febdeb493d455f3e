package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A feeder turns decisions into frames: several producers, each with a buffer of
// its own, read and hash files side by side and then write the buffer to the
// connection themselves, one after the other. Content so stays in the cache of
// the processor that read it, and no goroutine has to be woken for it. A buffer
// holds either one group of a large file or many small files with their ends,
// so neither a round trip nor a system call is spent on a file.
//
//	decisions -> queue -> producers (read, hash, write) -> connection
type feeder struct {
	src  *Source
	sent func(fileEnd)                            // called before the end can reach the peer
	emit func(ctx context.Context, b batch) error // writes whole frames
	warn func(e *Entry, text string)

	pack  *packer // nil: nothing is compressed
	holes bool    // the receiver understands hole frames

	mu     sync.Mutex
	wake   *sync.Cond
	queue  jobQueue
	have   map[int]map[int64]treehash.CV // groups that the receiver has, by entry, until its job is queued
	big    *bigFile                      // the large file whose groups are being handed out
	spawn  func()                        // starts another producer; nil before run
	active int                           // producers
	extra  int                           // producers to start with, besides those that run is told of
	closed bool                          // no more jobs will come
	ended  bool                          // the transfer ended: producers stop
}

// A job is one file to send, or to hash only.
type job struct {
	entry   int
	e       *Entry
	compare bool
	known   *fileEnd // what to answer a comparison with, if that is known already
	have    map[int64]treehash.CV
}

// A batch is a buffer of whole frames, with the content bytes in it by entry.
type batch struct {
	frames []byte
	moved  []moved
	unsums []unsummed
}

// An unsummed is a small file in a batch whose digest is still to be put into its
// end: files are hashed together when the batch is full.
type unsummed struct {
	end      fileEnd
	from, at int // where in frames its content begins and its end does, behind it
}

type moved struct {
	entry, n int
	hole     bool
}

const (
	// smallFile is the size up to which a file shares a buffer with others.
	smallFile = 128 << 10
	// bufferSize holds one group with its header and the file's end.
	bufferSize = treehash.GroupSize + 512
	// packSize is the fill at which a buffer of small files is sent: large
	// enough that system calls do not matter, small enough that the peer has
	// something to do soon.
	packSize = 256 << 10
)

func newFeeder(src *Source) *feeder {
	f := &feeder{src: src, have: map[int]map[int64]treehash.CV{}}
	f.wake = sync.NewCond(&f.mu)
	return f
}

func (f *feeder) push(j job) {
	f.mu.Lock()
	j.have = f.have[j.entry]
	delete(f.have, j.entry)
	f.queue.push(j)
	f.mu.Unlock()
	f.wake.Signal()
}

// know keeps which groups of an entry the receiver has, until the entry's job
// is pushed.
func (f *feeder) know(entry int, group int64, cvs []treehash.CV) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.have[entry]
	if m == nil {
		m = map[int64]treehash.CV{}
		f.have[entry] = m
	}
	for i, cv := range cvs {
		m[group+int64(i)] = cv
	}
}

// close tells that no more jobs will come; stop, that producers must end.
func (f *feeder) close() { f.mu.Lock(); f.closed = true; f.mu.Unlock(); f.wake.Broadcast() }
func (f *feeder) stop()  { f.mu.Lock(); f.ended = true; f.mu.Unlock(); f.wake.Broadcast() }

// run starts n producers and returns when all is read and written, with the
// first error.
func (f *feeder) run(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, f.stop)
	defer stop()
	done := make(chan struct{})
	f.mu.Lock()
	f.spawn = func() {
		f.active++
		go func() {
			if err := f.produce(ctx); err != nil {
				cancel(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.active--; f.active == 0 {
				close(done)
			}
		}()
	}
	for range n + f.extra {
		f.spawn()
	}
	f.mu.Unlock()
	<-done
	return context.Cause(ctx)
}

// grow adds a producer, so that another connection has one that writes to it
// while others read.
func (f *feeder) grow() {
	f.largestFirst()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.spawn == nil:
		f.extra++
	case f.active > 0:
		f.spawn()
	}
}

// largestFirst begins with the largest files from now on.
func (f *feeder) largestFirst() { f.mu.Lock(); f.queue.largestFirst(); f.mu.Unlock() }

// A task is what a producer does next: a group of a large file, or a first small
// file of a buffer.
type task struct {
	group *bigFile
	index int64
	hole  int64 // how many groups from index on are a hole; 0: one group of data
	job   job
}

// next waits for a task. With only set, it does not wait, and gives small files
// alone: what else fits into a buffer that has some already.
func (f *feeder) next(only bool) (task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.ended {
			return task{}, false
		}
		if b := f.big; b != nil && !only {
			i, hole := b.next, b.holes.groups(b.next, b.size)
			b.next += max(1, hole)
			if b.next == b.groups {
				f.big = nil
				f.wake.Broadcast()
			}
			return task{group: b, index: i, hole: hole}, true
		}
		if j, some := f.queue.first(); some && f.big == nil {
			if small := j.e.Size >= 0 && j.e.Size <= smallFile; only && !small {
				return task{}, false
			}
			return task{job: f.queue.pop()}, true
		}
		if f.closed || only {
			return task{}, false
		}
		f.wake.Wait()
	}
}

func (f *feeder) produce(ctx context.Context) error {
	buf, free := newBuffer(bufferSize)
	defer free()
	b := batch{frames: buf}
	for {
		t, ok := f.next(false)
		if !ok {
			return nil
		}
		var err error
		if t.hole > 0 {
			f.hole(t.group, t.index, t.hole, &b)
		} else if t.group != nil {
			f.group(t.group, t.index, &b)
		} else {
			err = f.file(ctx, t.job, &b)
			for err == nil && len(b.frames) < packSize {
				more, ok := f.next(true)
				if !ok {
					break
				}
				err = f.file(ctx, more.job, &b)
			}
		}
		if err == nil {
			err = f.flush(ctx, &b)
		}
		if err != nil {
			return err
		}
	}
}

// flush writes what is in b and empties it.
func (f *feeder) flush(ctx context.Context, b *batch) error {
	if len(b.frames) == 0 {
		return nil
	}
	f.sum(b)
	out := *b
	if f.pack != nil {
		out.frames = f.pack.squeeze(out.frames)
	}
	err := f.emit(ctx, out)
	b.frames, b.moved = b.frames[:0], b.moved[:0]
	return err
}

// file starts a file: a small one is put into b whole, a large one becomes the
// source of groups for all producers, a pipe is read to its end here.
func (f *feeder) file(ctx context.Context, j job, b *batch) error {
	e := j.e
	if j.known != nil {
		f.end(*j.known, b)
		return nil
	}
	if e.Size == UnknownSize {
		return f.stream(ctx, j, e, b)
	}
	if e.Size > smallFile && !f.large(j, e, b) {
		return nil
	}
	start := len(b.frames)
	frames := append(b.frames, make([]byte, frameHeader+dataHeader+int(min(e.Size, smallFile)))...)
	// No more than the receiver accepted, should it have grown.
	content := frames[start+frameHeader+dataHeader:]
	n, changed, err := f.src.read(e, content)
	if err != nil {
		f.fail(j, 0, err, b)
		return nil
	}
	content = content[:n]
	if changed {
		f.warn(e, changedText)
	}
	end := fileEnd{Entry: j.entry, Size: int64(n)}
	if j.compare || n == 0 || len(j.have) > 0 {
		end.Digest = treehash.Sum(content)
	}
	switch {
	case j.compare:
		end.Status = statusHash
	case n > 0 && !has(j.have, 0, treehash.CV(end.Digest)):
		putDataHeader(frames[start:], j.entry, 0, n)
		b.frames = frames[:start+frameHeader+dataHeader+n]
		b.moved = append(b.moved, moved{entry: j.entry, n: n})
		end.Sent = int64(n)
		if len(j.have) == 0 {
			at := len(b.frames)
			b.frames = end.append(b.frames)
			b.unsums = append(b.unsums, unsummed{end, at - n, at})
			return nil
		}
	}
	f.end(end, b)
	return nil
}

// large makes a file the source of groups for all producers, unless it has become
// small.
func (f *feeder) large(j job, e *Entry, b *batch) (small bool) {
	file, info, err := f.src.open(e)
	if err != nil {
		f.fail(j, 0, err, b)
		return false
	}
	size := min(info.Size(), e.Size) // what the receiver accepted, should it have grown
	if size <= smallFile {
		file.Close()
		return true
	}
	f.mu.Lock()
	for f.big != nil && !f.ended { // another producer opened one at the same time
		f.wake.Wait()
	}
	big := &bigFile{job: j, e: e, file: file, size: size, groups: treehash.Groups(size), info: info, holes: holes{absent: true}}
	if f.holes || j.compare {
		big.holes = findHoles(file, info)
	}
	big.left.Store(big.groups)
	big.cvs = make([]treehash.CV, big.groups)
	f.big = big
	f.mu.Unlock()
	f.wake.Broadcast()
	return false
}

// sum puts the digests of b's small files where they belong.
func (f *feeder) sum(b *batch) {
	var files [64][]byte
	var digests [64]treehash.Digest
	for some := range slices.Chunk(b.unsums, len(files)) {
		for i, u := range some {
			files[i] = b.frames[u.from:u.at]
		}
		treehash.Sums(digests[:len(some)], files[:len(some)])
		for i, u := range some {
			u.end.Digest = digests[i]
			f.sent(u.end)
			u.end.append(b.frames[:u.at])
		}
	}
	b.unsums = b.unsums[:0]
}

func (f *feeder) end(end fileEnd, b *batch) {
	f.sent(end)
	b.frames = end.append(b.frames)
}

// has reports whether the receiver has group i with exactly this content. For a
// file of one group the digest stands in for the chaining value.
func has(have map[int64]treehash.CV, i int64, cv treehash.CV) bool {
	got, ok := have[i]
	return ok && got == cv
}

// fail tells the receiver that a file cannot be read; its receipt tells the user.
func (f *feeder) fail(j job, sent int64, err error, b *batch) {
	text := bare(err).Error()
	f.end(fileEnd{Entry: j.entry, Status: statusFailed, Sent: sent, Text: text}, b)
}

// changed warns of a file that was written while it was read: what the receiver
// gets is whole and verified, but may be of two minds.
func (f *feeder) changed(file *os.File, before os.FileInfo, e *Entry) {
	after, err := file.Stat()
	if err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())) {
		f.warn(e, changedText)
	}
}

const changedText = "it changed while it was sent"

// stream sends a pipe: one producer reads it in order to its end.
func (f *feeder) stream(ctx context.Context, j job, e *Entry, b *batch) error {
	in := f.src.pipe(e)
	// A read that nobody waits for any more may outlive the producer's own buffer.
	b.frames = append(make([]byte, 0, bufferSize), b.frames...)
	var cvs []treehash.CV
	var size int64
	var digest treehash.Digest
	for i := int64(0); ; i++ {
		start := len(b.frames)
		frames := append(b.frames, make([]byte, frameHeader+dataHeader+treehash.GroupSize)...)
		content := frames[start+frameHeader+dataHeader:]
		n, err := readPipe(ctx, in, content)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			f.fail(j, size, err, b)
			return nil
		}
		last := err != nil
		content = content[:n]
		switch {
		case i == 0 && last:
			digest = treehash.Sum(content)
		case i == 0: // a full group that may turn out to be the whole file
			digest = treehash.Sum(content)
			cvs = append(cvs, treehash.Group(content, i))
		case n > 0:
			cvs = append(cvs, treehash.Group(content, i))
		}
		if n > 0 {
			putDataHeader(frames[start:], j.entry, size, n)
			b.frames = frames[:start+frameHeader+dataHeader+n]
			b.moved = append(b.moved, moved{entry: j.entry, n: n})
			size += int64(n)
		}
		if last {
			if len(cvs) > 1 {
				digest = treehash.Root(cvs)
			}
			f.end(fileEnd{Entry: j.entry, Size: size, Sent: size, Digest: digest}, b)
			return nil
		}
		if err := f.flush(ctx, b); err != nil {
			return err
		}
	}
}

// readPipe fills p from a pipe, or gives up when ctx ends. A read of a pipe
// cannot be interrupted, so then it is left behind, and with it p, which nobody
// may use again.
func readPipe(ctx context.Context, in io.Reader, p []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	got := make(chan result, 1)
	go func() {
		n, err := io.ReadFull(in, p)
		got <- result{n, err}
	}()
	select {
	case r := <-got:
		return r.n, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

var errShorter = errors.New("it became shorter while it was sent")

// group reads and hashes one group of a large file into b.
func (f *feeder) group(g *bigFile, i int64, b *batch) {
	offset := i * treehash.GroupSize
	n := int(min(treehash.GroupSize, g.size-offset))
	frames := b.frames[:frameHeader+dataHeader+n]
	content := frames[frameHeader+dataHeader:]
	got, err := g.file.ReadAt(content, offset)
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = errShorter
		}
		g.failed.CompareAndSwap(nil, &err)
	} else if g.failed.Load() == nil {
		cv := treehash.CV{}
		if g.groups == 1 {
			cv = treehash.CV(treehash.Sum(content))
		} else {
			cv = treehash.Group(content, i)
		}
		g.cvs[i] = cv
		switch {
		case g.job.compare || has(g.job.have, i, cv):
		case looksForHoles && f.holes && bytes.Equal(content, treehash.Zeros(n)):
			f.tellHole(g, offset, int64(n), b)
		default:
			putDataHeader(frames, g.job.entry, offset, n)
			b.frames = frames
			b.moved = append(b.moved, moved{entry: g.job.entry, n: n})
			g.sent.Add(int64(n))
		}
	}
	f.read(g, 1, b)
}

// hole hashes n groups of a large file that are a hole, from group i on, and tells
// of them. Nothing is read.
func (f *feeder) hole(g *bigFile, i, n int64, b *batch) {
	for k := i; k < i+n; k++ {
		g.cvs[k] = zeroCV(k, int(min(treehash.GroupSize, g.size-k*treehash.GroupSize)), g.groups == 1)
	}
	from, to := i*treehash.GroupSize, min((i+n)*treehash.GroupSize, g.size)
	if !g.job.compare {
		f.tellHole(g, from, to-from, b)
	}
	f.read(g, n, b)
}

// tellHole puts a hole into b.
func (f *feeder) tellHole(g *bigFile, offset, length int64, b *batch) {
	b.frames = appendHole(b.frames, g.job.entry, offset, length)
	b.moved = append(b.moved, moved{entry: g.job.entry, n: int(length), hole: true})
	g.sent.Add(length)
}

// read is told of n more groups of g that were; after the last one, the file's end
// follows.
func (f *feeder) read(g *bigFile, n int64, b *batch) {
	if g.left.Add(-n) > 0 {
		return
	}
	// This was the last group to be read: the file's end follows.
	defer g.file.Close()
	if err := g.failed.Load(); err != nil {
		f.fail(g.job, g.sent.Load(), *err, b)
		return
	}
	if info, err := g.file.Stat(); err == nil && info.Size() < g.size { // a hole that is no more
		f.fail(g.job, g.sent.Load(), errShorter, b)
		return
	}
	f.changed(g.file, g.info, g.e)
	end := fileEnd{Entry: g.job.entry, Size: g.size, Sent: g.sent.Load(), Digest: treehash.Digest(g.cvs[0])}
	if g.job.compare {
		end.Status = statusHash
	}
	if g.groups > 1 {
		end.Digest = treehash.Root(g.cvs)
	}
	f.end(end, b)
}

package transfer

import (
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A Stored is a transfer whose sender has written it down somewhere and gone. Its
// methods are called from one goroutine, List once and first.
type Stored interface {
	// Addr is what is shown as the peer.
	Addr() net.Addr
	// List calls yield for each entry, directories before what is in them, and
	// returns how many the sender has left out. Sizes must be known.
	List(ctx context.Context, yield func(Entry) error) (skipped int, err error)
	// Digest is the end of entry i, a file, counted from 0 as listed.
	Digest(ctx context.Context, i int) (StoredEnd, error)
	// Content calls emit for each group of entry i (see package treehash) but for
	// those that have tells of, where its chaining values are right; in any order,
	// each with the whole of a group. What emit is given is its own until it
	// returns.
	Content(ctx context.Context, i int, have map[int64]treehash.CV, emit func(offset int64, content []byte) error) (StoredEnd, error)
}

// A StoredEnd closes a file of a [Stored].
type StoredEnd struct {
	Digest treehash.Digest
	Failed string // if not empty, why the sender could not store it; there is no Digest
}

// ReceiveStored is [Receive] from what a sender has left. An error of s ends it and
// is its error. Of o, Streams, Redial, Sessions and Datagrams are not used.
func ReceiveStored(ctx context.Context, s Stored, o ReceiveOptions) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o.Streams, o.Redial, o.Sessions, o.Datagrams = 1, nil, nil, nil
	// In this process there is one end that reads what is stored and speaks for the
	// sender, so that all that a receiver does is done by the same code.
	near, far := net.Pipe()
	r := &reteller{s: s, link: newLink(far, o.Timeout), cancel: cancel, more: make(chan struct{}, 1), owed: map[int]bool{}}
	told := make(chan struct{})
	go func() {
		defer close(told)
		defer far.Close()
		r.run(ctx)
	}()
	result, err := Receive(ctx, storedConn{near, s.Addr()}, o)
	cancel(err)
	<-told
	return result, err
}

// storedConn is a connection with the address of what stands behind it.
type storedConn struct {
	net.Conn
	addr net.Addr
}

func (c storedConn) RemoteAddr() net.Addr { return c.addr }

// A reteller tells a receiver, as the sender would, what is stored.
type reteller struct {
	s      Stored
	link   *link
	cancel context.CancelCauseFunc // ends the transfer
	sizes  []int64                 // of the entries; less than 0: not a file

	more chan struct{} // something below has changed

	mu      sync.Mutex   // guards what follows
	jobs    storedJobs   // as many as a receiver may have open
	decided []bool       // by entry
	low     int          // the first entry that is not decided on
	closed  bool         // all is decided on
	owed    map[int]bool // files that were sent, and whose receipts have not come
}

func (r *reteller) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, func() { r.link.conn.Close() })()
	go r.link.keepAlive(ctx)
	if err := r.greet(); err != nil {
		return // the receiver knows why
	}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer stop()
		if err := r.hear(); errors.As(err, new(*ProtocolError)) {
			r.cancel(err)
		}
	}()
	err := r.list(ctx)
	if err == nil {
		err = r.tell(ctx)
	}
	if err != nil && ctx.Err() == nil && !lost(err) {
		r.settle(ctx)
		r.cancel(err)
		stop()
	}
	<-heard
}

// settle waits until all that has been sent has landed: it is to stay, although no more
// will come.
func (r *reteller) settle(ctx context.Context) {
	late := time.NewTimer(r.link.timeout)
	defer late.Stop()
	for {
		r.mu.Lock()
		n := len(r.owed)
		r.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-r.more:
		case <-late.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// greet is open, but that the pipe holds nothing: who writes waits for who reads.
func (r *reteller) greet() error {
	ours := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Features: featureRanges, extended: true, Streams: 1}
	_, _ = rand.Read(ours.Session[:]) // a transfer of its own, and not one that is resumed
	wrote := make(chan error, 1)
	go func() {
		out := append([]byte(preface.Magic), preface.Hello)
		wrote <- r.link.write(appendFrame(out, frameHello, ours.encode()))
	}()
	if err := r.link.preface(); err != nil {
		return err
	}
	_, n, err := r.link.next()
	if err != nil {
		return err
	}
	if _, err := r.link.payload(n); err != nil { // it is this program's
		return err
	}
	return <-wrote
}

func (r *reteller) list(ctx context.Context) error {
	var buf, one []byte
	var n manifestEnd
	skipped, err := r.s.List(ctx, func(e Entry) error {
		size := e.Size
		if e.Kind != File {
			size = UnknownSize
		} else if size < 0 {
			return fmt.Errorf("read the list of what is stored: %w", &EntryError{e.Path, "its size is not known"})
		} else {
			n.Bytes += uint64(size)
		}
		r.sizes = append(r.sizes, size)
		n.Entries++
		e.Holes = 0
		one = e.append(one[:0])
		if len(buf)+len(one) > maxControl {
			if err := r.link.frame(frameManifest, buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		buf = append(buf, one...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(buf) > 0 {
		if err := r.link.frame(frameManifest, buf); err != nil {
			return err
		}
	}
	n.Skipped = uint64(skipped)
	return r.link.frame(frameManifestEnd, n.encode())
}

// hear takes what the receiver says until it is done.
func (r *reteller) hear() error {
	have := map[int]map[int64]treehash.CV{}
	for {
		t, n, err := r.link.next()
		if err != nil {
			return err
		}
		p, err := r.link.payload(n)
		if err != nil {
			return err
		}
		switch t {
		case frameDecisions:
			err = decodeDecisions(p, func(c decision) error {
				r.change(func() { r.decision(have, c) })
				return nil
			})
		case frameDecisionsEnd:
			r.change(func() { r.closed = true })
		case frameReceipts: // the receiver's result has them; one may be all that it decides
			err = decodeReceipts(p, func(c receipt) error {
				r.change(func() {
					r.decide(c.Entry)
					delete(r.owed, c.Entry)
				})
				return nil
			})
		case frameDone:
			return nil
		default:
			err = protocolErrorf("an unexpected %v frame", t)
		}
		if err != nil {
			return err
		}
	}
}

func (r *reteller) change(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// decide notes that an entry is decided on; r.mu is held.
func (r *reteller) decide(i int) {
	for len(r.decided) <= i {
		r.decided = append(r.decided, false)
	}
	r.decided[i] = true
	for r.low < len(r.decided) && r.decided[r.low] {
		r.low++
	}
}

func (r *reteller) decision(have map[int]map[int64]treehash.CV, c decision) {
	for i := c.First; i < c.First+c.Count; i++ {
		switch c.Verb {
		case verbHave:
			if have[i] == nil {
				have[i] = map[int64]treehash.CV{}
			}
			for k, cv := range c.CVs {
				have[i][c.Group+int64(k)] = cv
			}
			continue
		case verbSend, verbCompare:
			heap.Push(&r.jobs, job{entry: i, compare: c.Verb == verbCompare, have: have[i]})
			delete(have, i)
		}
		r.decide(i)
	}
}

// next waits for a job. They are done in the order in which they are stored, and none
// before it is known what becomes of the files before it: the end may not be there yet,
// and the beginning is.
func (r *reteller) next(ctx context.Context) (job, bool, error) {
	for {
		r.mu.Lock()
		if len(r.jobs) > 0 && (r.closed || r.jobs[0].entry <= r.low) {
			j := heap.Pop(&r.jobs).(job)
			r.mu.Unlock()
			return j, true, nil
		}
		over := r.closed && len(r.jobs) == 0
		r.mu.Unlock()
		if over {
			return job{}, false, nil
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			return job{}, false, context.Cause(ctx)
		}
	}
}

// A storedJobs has the job with the lowest entry first.
type storedJobs []job

func (h storedJobs) Len() int           { return len(h) }
func (h storedJobs) Less(i, k int) bool { return h[i].entry < h[k].entry }
func (h storedJobs) Swap(i, k int)      { h[i], h[k] = h[k], h[i] }
func (h *storedJobs) Push(j any)        { *h = append(*h, j.(job)) }
func (h *storedJobs) Pop() any {
	old := *h
	j := old[len(old)-1]
	old[len(old)-1] = job{}
	*h = old[:len(old)-1]
	return j
}

// tell sends what is asked for.
func (r *reteller) tell(ctx context.Context) error {
	var head [frameHeader + dataHeader]byte
	for {
		j, ok, err := r.next(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return r.link.frame(frameFinish, nil)
		}
		if j.entry >= len(r.sizes) || r.sizes[j.entry] < 0 {
			return protocolErrorf("it asks for what is no file")
		}
		end := fileEnd{Entry: j.entry, Size: r.sizes[j.entry]}
		var stored StoredEnd
		if j.compare {
			end.Status = statusHash
			stored, err = r.s.Digest(ctx, j.entry)
		} else {
			stored, err = r.s.Content(ctx, j.entry, j.have, func(offset int64, content []byte) error {
				putDataHeader(head[:], j.entry, offset, len(content))
				end.Sent += int64(len(content))
				return r.link.write(head[:], content)
			})
		}
		if err != nil {
			return err
		}
		// A comparison is answered by a digest, if need be one that nothing has.
		if end.Digest = stored.Digest; stored.Failed != "" && !j.compare {
			end.Status, end.Text = statusFailed, stored.Failed
		}
		if !j.compare {
			r.mu.Lock()
			r.owed[j.entry] = true
			r.mu.Unlock()
		}
		if err := r.link.write(end.append(nil)); err != nil {
			return err
		}
	}
}

// Walk calls yield for every entry, directories before what is in them, names in
// order; and skip for what is left out, with the reason. It is for who stores a
// transfer; [Send] walks by itself.
func (s *Source) Walk(yield func(Entry) error, skip func(path string, why error)) error {
	return s.walk(yield, skip)
}

// Open opens the content of a file that Walk has told of.
func (s *Source) Open(e *Entry) (*os.File, fs.FileInfo, error) { return s.open(e) }

// Sequential reports whether the source holds a stream, which can be read once and
// whose size is not known.
func (s *Source) Sequential() bool { return s.sequential() }

// AppendEntry appends e to b as manifest frames have it.
func AppendEntry(b []byte, e *Entry) []byte { return e.append(b) }

// DecodeEntries calls yield for every entry in p, in the form of AppendEntry. Each is
// checked by itself; what they are together, a receiver checks.
func DecodeEntries(p []byte, yield func(Entry) error) error { return decodeManifest(p, yield) }

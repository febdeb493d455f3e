package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

const (
	// settleQuiet is how long after a file's end, and after the last datagram
	// of it, what has not arrived counts as lost: by then only reordering of
	// that length can bring it.
	settleQuiet = 500 * time.Millisecond
	// settleLatest bounds the wait while datagrams go on to come.
	settleLatest = 5 * time.Second
	// settleTick is how often it is looked whether a file is due.
	settleTick = 20 * time.Millisecond
)

// A datagramReceiver writes the datagrams of content into their files, each at
// its offset, and settles what became of a file when its end has come.
//
//	datagrams ──▶ take ──▶ files          end frames ──▶ ended ──▶ settle ──▶ committer
type datagramReceiver struct {
	r *receiver
	d Datagrams

	mu       sync.Mutex
	pending  []*incoming // ended, and not yet settled
	draining bool
	came     uint64 // datagrams with content of ours

	settling chan *incoming
	done     chan struct{}
}

func newDatagramReceiver(r *receiver, d Datagrams) *datagramReceiver {
	return &datagramReceiver{r: r, d: d, settling: make(chan *incoming, maxPlanned), done: make(chan struct{})}
}

// run takes datagrams until all files are settled, or ctx ends.
func (x *datagramReceiver) run(ctx context.Context) error {
	defer close(x.settling)
	buf := make([]byte, maxDatagram)
	for {
		err := x.takeFor(ctx, settleTick, buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			if err := x.over(); err != nil {
				return x.r.link.explain("receiving from", err)
			}
			return nil
		}
		if x.due(ctx) {
			return nil
		}
	}
}

// takeFor takes datagrams for a while, and then until none waits: only then may
// a file be settled, or a slow receiver would take for lost what it has not
// looked at.
func (x *datagramReceiver) takeFor(ctx context.Context, d time.Duration, buf []byte) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		n, _, err := x.d.ReadDatagram(ctx, buf)
		if err != nil {
			return err
		}
		x.take(buf[:n])
	}
}

// over is what a connection that ended means for files that are not settled;
// the stream tells why.
func (x *datagramReceiver) over() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.draining && len(x.pending) == 0 {
		return nil
	}
	return errors.New("the connection ended")
}

// take writes one datagram. What makes no sense is passed over: it may be of a
// file that is settled.
func (x *datagramReceiver) take(b []byte) {
	if len(b) <= datagramHeader {
		return
	}
	entry, offset, content := binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:]), b[datagramHeader:]
	if entry >= maxEntries || offset > maxSize {
		return
	}
	in, err := x.r.incoming(int(entry))
	if err != nil {
		return
	}
	if fresh := in.fragment(int64(offset), content); fresh > 0 {
		x.r.moved(in, piece{entry: int(entry), length: int(fresh)})
	}
	x.mu.Lock()
	x.came++
	x.mu.Unlock()
}

// ended tells that a file's end has come.
func (x *datagramReceiver) ended(in *incoming) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pending = append(x.pending, in)
}

// due hands over the files whose time has come, and reports whether those were
// the last.
func (x *datagramReceiver) due(ctx context.Context) bool {
	now := time.Now()
	x.mu.Lock()
	defer x.mu.Unlock()
	left := x.pending[:0]
	for _, in := range x.pending {
		if !in.due(now) {
			left = append(left, in)
			continue
		}
		select {
		case x.settling <- in:
		case <-ctx.Done():
		}
	}
	clear(x.pending[len(left):])
	x.pending = left
	return x.draining && len(x.pending) == 0
}

// settle takes files that are due until there are no more, and tells the
// committer what became of them.
func (x *datagramReceiver) settle(ctx context.Context) error {
	defer close(x.done)
	for in := range x.settling {
		if ctx.Err() != nil {
			continue
		}
		f := in.settle(x.r.o.AllowMissing)
		if len(f.holes) > 0 {
			x.r.missing(f)
		}
		select {
		case x.r.commit <- f:
		case <-ctx.Done():
		}
	}
	return nil
}

// drain waits until all files are settled whose end has come; no more ends will.
func (x *datagramReceiver) drain(ctx context.Context) {
	x.mu.Lock()
	x.draining = true
	x.mu.Unlock()
	select {
	case <-x.done:
	case <-ctx.Done():
		<-x.done
	}
}

// missing tells of a file with holes.
func (r *receiver) missing(f finished) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trace.Missing != nil {
		r.trace.Missing(f.in.e, f.holes)
	}
}

// fragment writes a piece that may lie anywhere, and returns how much of it is
// new.
func (in *incoming) fragment(offset int64, content []byte) (fresh int64) {
	end := offset + int64(len(content))
	in.mu.Lock()
	refused := !in.lossy || in.comparing || in.settled || end > in.e.Size || in.failed != ""
	in.mu.Unlock()
	if refused {
		return 0
	}
	err := in.out.writeAt(content, offset)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err != nil {
		if in.failed == "" {
			in.failed = bare(err).Error()
		}
		return 0
	}
	fresh = in.here.add(Range{offset, end})
	in.received += fresh
	in.latest = time.Now()
	return fresh
}

// due reports whether nothing more is to be waited for; the end has come.
func (in *incoming) due(now time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	last := in.endedAt
	if in.latest.After(last) {
		last = in.latest
	}
	return in.failed != "" || in.end.Status == statusFailed || len(in.here.holes(in.end.Size)) == 0 ||
		now.Sub(last) >= settleQuiet || now.Sub(in.endedAt) >= settleLatest
}

// settle is the verdict on a file that came as datagrams.
func (in *incoming) settle(deliver bool) finished {
	in.mu.Lock()
	in.settled = true
	end, here, failed := *in.end, in.here, in.failed
	in.mu.Unlock()
	f := finished{in: in}
	switch {
	case end.Status == statusFailed:
		f.status, f.text = statusFailed, end.Text
		return f
	case failed != "":
		f.status, f.text = statusFailed, failed
		return f
	}
	f.holes = here.holes(end.Size)
	in.out.(collector).damaged()
	// The groups that are whole are noted, so that a later transfer need not
	// bring them again.
	digest, err := readBack(in.out.(digester), end.Size, here, func(g int64, cv treehash.CV) {
		if _, had := in.had[g]; !had && len(f.holes) > 0 {
			in.out.landed(g, cv)
		}
	})
	switch {
	case err != nil:
		f.status, f.text = statusFailed, bare(err).Error()
	case len(f.holes) > 0:
		f.status, f.deliver = statusHoles, deliver
		missing := int64(0)
		for _, h := range f.holes {
			missing += h.End - h.Start
		}
		f.text = missingText(missing, end.Size)
	case digest != end.Digest:
		f.status, f.digest = statusMissing, digest
	default:
		f.status, f.digest = statusDone, digest
	}
	return f
}

// A collector is a target whose file may have holes.
type collector interface {
	// damaged: it may be longer than what it is to be, or shorter.
	damaged()
	// keep leaves what is there under the name in which it was collected.
	keep()
}

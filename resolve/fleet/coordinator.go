package fleet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/wherry-net/wherry/resolve/bulk"
)

// Options says how a list is given out. The zero value of each field is the default.
type Options struct {
	Job         string        // names the run; plain ASCII; required
	Type        uint16        // asked for where a line does not name one; 0 is A
	Format      bulk.Format   // how results are written
	Ordered     bool          // write them in the order of the list
	Lines       int           // names in a batch; 0 is 1000
	Outstanding int           // batches that are out at once; 0 is 256
	Resume      *bulk.Done    // leaves out what has its result already
	Progress    func(Stats)   // called now and then, from one goroutine
	Every       time.Duration // between calls of Progress; 0 is 200 ms
}

// Stats is how far a list is.
type Stats struct {
	Elapsed    time.Duration
	InputBytes int64 // read of the list
	Names      int64 // whose results are written
	Given      int64 // names given out and not answered yet
	Skipped    int64 // blank lines and comments
	Resumed    int64 // lines left out because they had their result
	Twice      int64 // results that were dropped because they had come before
	Strange    int64 // messages that were not believed
	Workers    []WorkerStats
}

// WorkerStats is what one worker has done.
type WorkerStats struct {
	Name  string
	Names int64
	Last  time.Duration // since the start: when its latest result came
}

// coordinator is a run under way.
type coordinator struct {
	o       Options
	carrier Carrier
	out     *bufio.Writer
	start   time.Time
	slots   chan struct{} // one for each batch that is out

	mu      sync.Mutex
	given   map[uint64]*batch
	workers map[string]*WorkerStats
	stats   Stats
	all     bool          // the list has been read
	done    chan struct{} // closed when all has been read and answered

	// Of the goroutine that collects, if Ordered:
	next uint64            // the first batch that is not written
	held map[uint64][]byte // results that wait for it
}

// Coordinate gives out every name of list and writes one result for each to out.
// It ends when all are written, or with the error of ctx, the list, out or the
// carrier. A result is written, or waits in order, before the carrier is told that it has
// arrived.
func Coordinate(ctx context.Context, carrier Carrier, list io.Reader, out io.Writer, o Options) (Stats, error) {
	if o.Lines <= 0 || o.Lines > MaxLines {
		o.Lines = 1000
	}
	if o.Outstanding <= 0 {
		o.Outstanding = 256
	}
	if o.Every <= 0 {
		o.Every = 200 * time.Millisecond
	}
	if o.Type == 0 {
		o.Type = 1 // A
	}
	if o.Job == "" || !plain(o.Job) {
		return Stats{}, errors.New("giving out a list: the job needs a plain name")
	}
	c := &coordinator{
		o: o, carrier: carrier, out: bufio.NewWriterSize(out, 256<<10), start: time.Now(),
		slots: make(chan struct{}, o.Outstanding), given: map[uint64]*batch{}, workers: map[string]*WorkerStats{},
		held: map[uint64][]byte{}, done: make(chan struct{}),
	}
	if o.Resume == nil || o.Resume.Empty() {
		if _, err := c.out.WriteString(o.Format.Header()); err != nil {
			return Stats{}, fmt.Errorf("writing results: %w", err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.give(ctx, list); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() {
		if err := c.collect(ctx); err != nil {
			cancel(err)
		}
	})
	c.wait(ctx)
	err := context.Cause(ctx)
	cancel(nil)
	wg.Wait()
	if ferr := c.out.Flush(); err == nil && ferr != nil {
		err = fmt.Errorf("writing results: %w", ferr)
	}
	return c.now(), err
}

// wait tells the progress until everything is done or ctx ends.
func (c *coordinator) wait(ctx context.Context) {
	tick := time.NewTicker(c.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if c.o.Progress != nil {
				c.o.Progress(c.now())
			}
		}
	}
}

// now is the state of things.
func (c *coordinator) now() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Elapsed = time.Since(c.start)
	for _, w := range c.workers {
		s.Workers = append(s.Workers, *w)
	}
	sortWorkers(s.Workers)
	return s
}

// give reads the list and sends it batch by batch, as fast as results come back.
func (c *coordinator) give(ctx context.Context, list io.Reader) error {
	in := bufio.NewReaderSize(list, 64<<10)
	b := &batch{job: c.o.Job, qtype: c.o.Type, format: c.o.Format}
	var number uint64
	for ended := false; !ended; {
		text, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the list, line %d: %w", number+1, err)
		}
		ended = err != nil
		if !ended || len(text) > 0 {
			number++
			if err := c.take(b, number, text); err != nil {
				return err
			}
		}
		if len(b.lines) == c.o.Lines || ended && len(b.lines) > 0 {
			if err := c.send(ctx, b); err != nil {
				return err
			}
			b = &batch{job: b.job, number: b.number + 1, qtype: b.qtype, format: b.format}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = true
	c.finished()
	return nil
}

// readLine returns the next line; of one that is longer than any name the
// beginning, which is no name either.
func readLine(in *bufio.Reader) ([]byte, error) {
	text, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return text, err
	}
	text = bytes.Clone(text)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	return text, err
}

// take puts one line into b, if it is to be asked for.
func (c *coordinator) take(b *batch, number uint64, text []byte) error {
	c.mu.Lock()
	c.stats.InputBytes += int64(len(text))
	c.mu.Unlock()
	if number == 1 {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] == '#' || text[0] == ';' {
		c.mu.Lock()
		c.stats.Skipped++
		c.mu.Unlock()
		return nil
	}
	if c.o.Resume != nil {
		had, err := c.o.Resume.Taken(number, text, c.o.Type)
		if err != nil {
			return err
		}
		if had {
			c.mu.Lock()
			c.stats.Resumed++
			c.mu.Unlock()
			return nil
		}
	}
	b.lines = append(b.lines, line{number, string(text[:min(len(text), maxLine)])})
	return nil
}

func (c *coordinator) send(ctx context.Context, b *batch) error {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.mu.Lock()
	c.given[b.number] = b
	c.stats.Given += int64(len(b.lines))
	c.mu.Unlock()
	if err := c.carrier.Send(ctx, c.o.Job, b.append(nil)); err != nil {
		return fmt.Errorf("giving out batch %d: %w", b.number, err)
	}
	return nil
}

// collect takes results until all are there.
func (c *coordinator) collect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-c.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		d, err := c.carrier.Receive(ctx)
		if err != nil {
			select {
			case <-c.done:
				return nil
			default:
				return fmt.Errorf("collecting results: %w", err)
			}
		}
		if err := c.result(d.Body); err != nil {
			return err
		}
		// A result whose acknowledgement is lost comes again and is dropped then.
		_ = d.Ack()
	}
}

// result writes what a message brings. Only collect calls it, so the output needs
// no lock, and nobody waits for the disk to learn how far things are.
func (c *coordinator) result(body []byte) error {
	r, b := c.believe(body)
	if b == nil {
		return nil
	}
	var text []byte
	for _, t := range r.texts {
		text = append(text, t.text...)
	}
	if err := c.write(r.number, text); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.workers[r.worker]
	if w == nil {
		w = &WorkerStats{Name: r.worker}
		if len(c.workers) < maxWorkers {
			c.workers[r.worker] = w
		}
	}
	w.Names += int64(len(b.lines))
	w.Last = time.Since(c.start)
	c.stats.Names += int64(len(b.lines))
	c.stats.Given -= int64(len(b.lines))
	delete(c.given, r.number)
	<-c.slots
	c.finished()
	return nil
}

// believe reads a message and finds the batch that is out and that it answers, or
// counts it.
func (c *coordinator) believe(body []byte) (*result, *batch) {
	r, err := parseResult(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || r.job != c.o.Job {
		c.stats.Strange++
		return nil, nil
	}
	b := c.given[r.number]
	if b == nil {
		c.stats.Twice++
		return nil, nil
	}
	if !r.answers(b) {
		c.stats.Strange++
		return nil, nil
	}
	return r, b
}

// maxWorkers bounds whose names are remembered; a worker chooses its own.
const maxWorkers = 10_000

// write writes a batch's results, in order if that is wanted: at most as many
// wait as may be out.
func (c *coordinator) write(number uint64, text []byte) error {
	if !c.o.Ordered {
		_, err := c.out.Write(text)
		if err == nil {
			err = c.out.Flush()
		}
		return err
	}
	c.held[number] = text
	for {
		text, ok := c.held[c.next]
		if !ok {
			return c.out.Flush()
		}
		delete(c.held, c.next)
		c.next++
		if _, err := c.out.Write(text); err != nil {
			return err
		}
	}
}

// finished closes done once nothing is missing. c.mu is held.
func (c *coordinator) finished() {
	if c.all && len(c.given) == 0 {
		select {
		case <-c.done:
		default:
			close(c.done)
		}
	}
}

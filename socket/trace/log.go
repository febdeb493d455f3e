package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Format is how a trace is written.
type Format int

// Formats.
const (
	CSV Format = iota + 1
	Qlog
)

// ErrFormat is the cause in the error of [FormatOf].
var ErrFormat = errors.New("traces are .qlog or .csv")

// FormatOf tells the format by a file's name: .csv, or .qlog and .sqlog.
func FormatOf(name string) (Format, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return CSV, nil
	case ".qlog", ".sqlog":
		return Qlog, nil
	}
	return 0, fmt.Errorf("%w, not %q", ErrFormat, filepath.Base(name))
}

// Header says what a trace is of. CSV files do not hold it.
type Header struct {
	Title       string
	Description string
	// Start is the moment that times count from; the zero Time for simulations.
	Start time.Time
	// Client and Server say which end of the connections this is, if it is
	// known.
	Client, Server bool
	// Version of the program.
	Version string
}

// Options tune a [Log]. The zero value is the default.
type Options struct {
	// Buffer is how many events may wait to be written; 0 means 32768, some
	// 12 MB where so many wait.
	Buffer int
	// Wait makes a full buffer hold up who tells events, for simulations,
	// which have the time. Otherwise events that find it full are missing from
	// the trace, which says how many ([Missed]).
	Wait bool
	// Failed is called once, by another goroutine, when the trace could not be
	// written; nothing more is.
	Failed func(error)
}

const (
	chunkLen   = 512
	flushEvery = 500 * time.Millisecond
)

// chunk is a piece of the buffer. Ranges of its events lie in an arena, so that
// telling an event allocates nothing.
type chunk struct {
	events []Event
	arena  []Range
}

// Log writes a trace. Its methods may be called by several goroutines at once,
// and those that tell events do not wait for the disk.
type Log struct {
	o     Options
	start time.Time
	conns atomic.Int64
	dead  atomic.Bool // failed or closed

	peers sync.Map // netip.AddrPort of open UDP connections to their number

	mu     sync.Mutex
	room   sync.Cond // for Wait: a chunk has become free
	cur    *chunk
	queue  []*chunk // full, the oldest first
	free   []*chunk
	made   int
	missed int64 // since the last event that was taken
	lost   int64 // in all
	last   time.Duration
	closed bool

	wake chan struct{}
	done chan struct{}
	err  error // of the writer; read after done
}

// New begins a trace that is written to w, which it does not close. It writes
// the header at once, to fail early.
func New(w io.Writer, f Format, h Header, o Options) (*Log, error) {
	if o.Buffer <= 0 {
		o.Buffer = 32 << 10
	}
	enc, err := newEncoder(f, h)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(enc.header()); err != nil {
		return nil, fmt.Errorf("write the trace: %w", err)
	}
	l := &Log{o: o, start: h.Start, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.room.L = &l.mu
	go l.run(bufio.NewWriterSize(w, 64<<10), enc)
	return l, nil
}

// Elapsed is at as the trace counts it.
func (l *Log) Elapsed(at time.Time) time.Duration { return at.Sub(l.start) }

// Now is the time as the trace counts it.
func (l *Log) Now() time.Duration { return time.Since(l.start) }

// NewConn numbers a connection.
func (l *Log) NewConn() int { return int(l.conns.Add(1)) }

// Add tells an event. Its ranges are copied. Where its time is before that of
// the event before it, as happens between goroutines, it gets that one's.
func (l *Log) Add(e *Event) {
	if l.dead.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.reserve() {
		l.miss()
		return
	}
	if l.missed > 0 {
		gap := Event{Kind: Missed, Time: l.last, Has: HasRetransmits, Retransmits: l.missed}
		l.missed = 0
		l.put(&gap)
		if !l.reserve() {
			l.miss()
			return
		}
	}
	l.put(e)
}

func (l *Log) miss() {
	l.missed++
	l.lost++
}

// Missed is how many events found no room and are missing.
func (l *Log) Missed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// reserve makes sure that cur has room for an event.
func (l *Log) reserve() bool {
	if l.cur != nil && len(l.cur.events) < chunkLen {
		return true
	}
	if l.cur != nil {
		l.queue = append(l.queue, l.cur)
		l.cur = nil
		l.signal()
	}
	for {
		switch n := len(l.free); {
		case l.closed || l.dead.Load():
			return false
		case n > 0:
			l.cur, l.free = l.free[n-1], l.free[:n-1]
			return true
		case l.made*chunkLen < max(l.o.Buffer, 2*chunkLen):
			l.made++
			l.cur = &chunk{events: make([]Event, 0, chunkLen)}
			return true
		case !l.o.Wait:
			return false
		}
		l.room.Wait()
	}
}

func (l *Log) put(e *Event) {
	c := l.cur
	c.events = append(c.events, *e)
	k := &c.events[len(c.events)-1]
	l.last = max(l.last, k.Time)
	k.Time = l.last
	k.Ranges, k.Sacked = c.keep(e.Ranges), c.keep(e.Sacked)
}

func (c *chunk) keep(r []Range) []Range {
	if len(r) == 0 {
		return nil
	}
	// A full arena is replaced; what lies in the old one stays valid.
	if cap(c.arena)-len(c.arena) < len(r) {
		c.arena = make([]Range, 0, max(2*cap(c.arena), len(r), 256))
	}
	n := len(c.arena)
	c.arena = append(c.arena, r...)
	return c.arena[n:len(c.arena):len(c.arena)]
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine that writes.
func (l *Log) run(w *bufio.Writer, enc encoder) {
	defer close(l.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var line []byte
	for {
		flush := false
		select {
		case <-l.wake:
		case <-tick.C:
			flush = true
		}
		for {
			l.mu.Lock()
			closed := l.closed
			if (flush || closed) && len(l.queue) == 0 && l.cur != nil && len(l.cur.events) > 0 {
				l.queue = append(l.queue, l.cur)
				l.cur = nil
			}
			if len(l.queue) == 0 {
				l.mu.Unlock()
				if closed {
					l.finish(w.Flush())
					return
				}
				break
			}
			c := l.queue[0]
			l.queue = append(l.queue[:0], l.queue[1:]...)
			l.mu.Unlock()

			for i := range c.events {
				line = enc.append(line[:0], &c.events[i])
				if _, err := w.Write(line); err != nil {
					l.finish(err)
					return
				}
			}
			clear(c.events) // lets go of texts and arenas
			c.events, c.arena = c.events[:0], c.arena[:0]
			l.mu.Lock()
			l.free = append(l.free, c)
			l.mu.Unlock()
			l.room.Broadcast()
		}
		if flush {
			if err := w.Flush(); err != nil {
				l.finish(err)
				return
			}
		}
	}
}

// finish ends the writing, and everybody's telling.
func (l *Log) finish(err error) {
	l.mu.Lock()
	l.dead.Store(true)
	l.mu.Unlock()
	l.room.Broadcast()
	if err == nil {
		return
	}
	l.err = fmt.Errorf("write the trace: %w", err)
	if l.o.Failed != nil {
		l.o.Failed(l.err)
	}
}

// Close writes what is left, waits for it, and returns the error that writing
// met, which [Options.Failed] was told of.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed && l.missed > 0 {
		if l.cur == nil {
			l.cur = &chunk{}
		}
		l.put(&Event{Kind: Missed, Time: l.last, Has: HasRetransmits, Retransmits: l.missed})
	}
	l.closed = true
	l.mu.Unlock()
	l.room.Broadcast()
	l.signal()
	<-l.done
	return l.err
}

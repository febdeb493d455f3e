package relay

import (
	"context"
	"errors"
	"io"
	"math/bits"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// A shaper holds the streams of one direction to a rate that they share.
type shaper struct {
	rate uint64 // bits a second; 0 is no limit
	mu   sync.Mutex
	busy time.Time
}

func newShaper(r units.Rate) *shaper { return &shaper{rate: uint64(r)} }

// departs takes n bytes at now and returns when the last of them has left.
func (s *shaper) departs(now time.Time, n int) time.Time {
	if s.rate == 0 {
		return now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy.Before(now) {
		s.busy = now
	}
	hi, lo := bits.Mul64(uint64(n)*8, uint64(time.Second))
	q, _ := bits.Div64(hi, lo, s.rate)
	s.busy = s.busy.Add(time.Duration(q))
	return s.busy
}

// A stream is one direction of a TCP connection. What is read crosses a link that
// delays and keeps the order; when the shaper's queue is full nothing is read, and
// TCP's own window stops the sender.
type stream struct {
	shaper *shaper
	delay  time.Duration
	queue  time.Duration // what may wait for the shaper
	chunk  int
	start  time.Time

	mu    sync.Mutex
	link  *netem.Link
	eof   bool
	eofAt time.Duration
	fed   chan struct{} // something was pushed, or eof; room for one
	room  chan struct{} // something was popped; room for one
}

// maxChunks bounds what is on a stream's link: 2.5 MiB, which is also the
// bandwidth-delay product that a connection can have here.
const maxChunks = 256

const (
	minChunk = 1460
	maxChunk = 10 << 10 // what netem has a size of buffers for
)

func newStream(cfg netem.Config, sh *shaper) (*stream, error) {
	s := &stream{shaper: sh, delay: cfg.Delay, chunk: maxChunk, start: time.Now(), fed: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	if sh.rate > 0 {
		// 5 ms at the rate, so that a slow link does not move by jerks.
		s.chunk = max(minChunk, min(maxChunk, int(sh.rate/8/200)))
		s.queue = netem.DefaultQueueTime
		if cfg.Queue > 0 {
			s.queue = time.Duration(float64(cfg.Queue) * 8 / float64(sh.rate) * float64(time.Second))
		}
	}
	var err error
	s.link, err = netem.New(netem.Config{
		Seed: cfg.Seed, Direction: cfg.Direction,
		Delay: cfg.Delay, Jitter: cfg.Jitter, Distribution: cfg.Distribution, KeepOrder: true,
	})
	return s, err
}

type source interface {
	io.Reader
	SetReadDeadline(t time.Time) error
}

// run carries what it reads from src to write until the end of src, after which it
// calls end, or an error. After an error src cannot be read any more.
func (s *stream) run(ctx context.Context, src source, write func([]byte) error, end func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.read(ctx, src) }()
	err := s.write(ctx, write, end)
	cancel()
	if err != nil {
		_ = src.SetReadDeadline(time.Unix(1, 0)) // ends the read
	}
	if readErr := <-done; err == nil {
		err = readErr
	}
	return err
}

var errStopped = errors.New("stopped")

func (s *stream) read(ctx context.Context, src io.Reader) error {
	buf := make([]byte, s.chunk)
	for {
		s.mu.Lock()
		full := s.link.Len() >= maxChunks
		s.mu.Unlock()
		if full {
			select {
			case <-s.room:
				continue
			case <-ctx.Done():
				return errStopped
			}
		}
		n, err := src.Read(buf)
		now := time.Now()
		if n > 0 {
			at := s.shaper.departs(now, n)
			s.mu.Lock()
			s.link.Push(at.Sub(s.start), buf[:n])
			s.mu.Unlock()
			poke(s.fed)
			if !sleep(ctx, at.Add(-s.queue).Sub(now)) {
				return errStopped
			}
		}
		if err != nil {
			s.mu.Lock()
			s.eof, s.eofAt = true, time.Since(s.start)+s.delay
			s.mu.Unlock()
			poke(s.fed)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
	}
}

func (s *stream) write(ctx context.Context, write func([]byte) error, end func() error) error {
	buf := make([]byte, s.chunk)
	for {
		s.mu.Lock()
		at, ok := s.link.Next()
		eof, eofAt := s.eof, s.eofAt
		s.mu.Unlock()
		if !ok && !eof {
			select {
			case <-s.fed:
				continue
			case <-ctx.Done():
				return errStopped
			}
		}
		if !ok {
			at = eofAt
		}
		if !sleep(ctx, at-time.Since(s.start)) {
			return errStopped
		}
		if !ok {
			return end()
		}
		s.mu.Lock()
		n, _ := s.link.Pop(max(at, time.Since(s.start)), buf)
		s.mu.Unlock()
		poke(s.room)
		if err := write(buf[:n]); err != nil {
			return err
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sleep waits for d, or reports false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

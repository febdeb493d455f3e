package depot

import (
	"context"
	"sync"
)

// Memory is a log in memory, for tests: one sender, and any number of cursors by
// [Memory.Cursor]. The zero value is an empty log.
type Memory struct {
	// Twice, if set, tells whether message n is stored a second time.
	Twice func(n int64) bool
	// Fail, if set, is asked before message n is stored; its error is Append's.
	Fail func(n int64) error

	mu     sync.Mutex
	msgs   [][]byte
	first  int64 // what is before it was dropped
	change chan struct{}
	own    *memoryCursor
}

// Append is [Appender]'s.
func (l *Memory) Append(_ context.Context, n int64, msg []byte) error {
	if l.Fail != nil {
		if err := l.Fail(n); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.msgs = append(l.msgs, msg)
	if l.Twice != nil && l.Twice(n) {
		l.msgs = append(l.msgs, msg)
	}
	if l.change != nil {
		close(l.change)
		l.change = nil
	}
	return nil
}

// Flush is [Appender]'s.
func (l *Memory) Flush(context.Context) error { return nil }

// Drop drops all before the offset, as a carrier whose time is over.
func (l *Memory) Drop(offset int64) { l.mu.Lock(); defer l.mu.Unlock(); l.first = offset }

// Messages gives what is stored to f, which may change it.
func (l *Memory) Messages(f func([][]byte)) { l.mu.Lock(); defer l.mu.Unlock(); f(l.msgs) }

// Cursor is a cursor of its own.
func (l *Memory) Cursor() Cursor { return &memoryCursor{log: l} }

// Seek is [Cursor]'s, for the sender.
func (l *Memory) Seek(ctx context.Context, offset int64) error {
	l.own = &memoryCursor{log: l}
	return l.own.Seek(ctx, offset)
}

// Next is [Cursor]'s, for the sender.
func (l *Memory) Next(ctx context.Context) (Message, error) { return l.own.Next(ctx) }

type memoryCursor struct {
	log *Memory
	at  int64
}

func (c *memoryCursor) Seek(_ context.Context, offset int64) error {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if len(c.log.msgs) == 0 {
		return ErrNoOffer
	}
	if offset == Last {
		offset = int64(len(c.log.msgs)) - 1
	}
	c.at = max(offset, c.log.first)
	return nil
}

func (c *memoryCursor) Next(ctx context.Context) (Message, error) {
	l := c.log
	for {
		l.mu.Lock()
		if c.at < int64(len(l.msgs)) {
			// The reader opens it in place, and another cursor comes by here too.
			m := Message{c.at, append([]byte(nil), l.msgs[c.at]...)}
			c.at++
			l.mu.Unlock()
			return m, nil
		}
		if l.change == nil {
			l.change = make(chan struct{})
		}
		change := l.change
		l.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

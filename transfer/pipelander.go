package transfer

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A pipeLander writes the content of one file to a stream as it comes. What was
// written cannot be taken back, so a reader must look at the exit code before it
// trusts the bytes.
type pipeLander struct {
	w    io.Writer
	done <-chan struct{} // the transfer's end: a write that blocks is left behind

	mu   sync.Mutex
	next int64
}

var errStopped = errors.New("the transfer ended while the output was blocked")

var errOrder = errors.New("content came out of order")

func (l *pipeLander) caseRule() caseRule                       { return caseSensitive }
func (l *pipeLander) room(int64) error                         { return nil }
func (l *pipeLander) directory(*Entry) error                   { return errors.ErrUnsupported }
func (l *pipeLander) look(*Entry) (existing, error)            { return existing{}, nil }
func (l *pipeLander) same(*Entry) error                        { return nil }
func (l *pipeLander) commit([]finished)                        {}
func (l *pipeLander) finish(iter.Seq[*Entry], Overwrite) error { return nil }
func (l *pipeLander) close()                                   {}
func (l *pipeLander) landed(int64, treehash.CV)                {}
func (l *pipeLander) hole(int64, int64) error                  { return errors.ErrUnsupported }
func (l *pipeLander) abandon()                                 {}
func (l *pipeLander) target(context.Context, *Entry, Overwrite) (target, map[int64]treehash.CV, error) {
	return l, nil, nil
}

func (l *pipeLander) writeAt(p []byte, offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset != l.next {
		return errOrder
	}
	// A pipe that nobody reads blocks, and a write of it cannot be interrupted.
	written := make(chan error, 1)
	go func() {
		_, err := l.w.Write(p)
		written <- err
	}()
	select {
	case err := <-written:
		l.next += int64(len(p))
		return err
	case <-l.done:
		l.next = -1 // nothing may follow what is half written
		return errStopped
	}
}

package depot

import (
	"context"
	"errors"
)

// An Appender is the writing side of a log that a carrier keeps.
type Appender interface {
	// Append puts message n (see [Number]) behind all others. It may return before the
	// message is stored, keeps msg until it is, and blocks while too many are not. It
	// may store a message twice, and must not store one before those that were
	// appended before it.
	Append(ctx context.Context, n int64, msg []byte) error
	// Flush returns when all is stored that was appended.
	Flush(ctx context.Context) error
}

// A Cursor is the reading side. The messages of a log have offsets that grow by one;
// that of message n is n or more, since messages may be stored twice and marks are
// between them.
type Cursor interface {
	// Seek has Next begin with the message at the offset, or somewhat before it, or
	// with [Last] somewhere before the end; with the first one that is still there if
	// it is not. The error matches [ErrNoOffer] if there is no log.
	Seek(ctx context.Context, offset int64) error
	// Next waits for the next message, until ctx ends. The caller may overwrite it.
	Next(ctx context.Context) (Message, error)
}

// Last is for Seek.
const Last = -1

// A Message is one of a log.
type Message struct {
	Offset int64
	Body   []byte
}

// A Log is both sides, of one who appends to what is there already.
type Log interface {
	Appender
	Cursor
}

// ErrNoOffer is matched by errors of a log that does not exist.
var ErrNoOffer = errors.New("nothing was left under this code, or it is kept no longer")

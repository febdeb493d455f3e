package depot

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"time"

	"github.com/wherry-net/wherry/transfer"
)

// ReadOptions says how to read a log. The zero value is the default.
type ReadOptions struct {
	// Timeout is how long to wait for a message that is not there yet;
	// transfer.DefaultTimeout if zero.
	Timeout time.Duration
	// Waiting is called when a message has not come for a second or so, and at most
	// once until the next one comes: so much of the log is there.
	Waiting func(have, of int64)
}

var (
	// ErrCut is matched by errors of a log of which the carrier has dropped what is
	// needed: it was kept long enough, or there was too much.
	ErrCut = errors.New("the carrier keeps it no longer")
	// ErrDamaged is matched by errors of a message that is not as it was sealed.
	ErrDamaged = errors.New("what the carrier has kept is damaged")
)

// An IncompleteError says that the sender has not left everything, and that nothing
// more has come for the timeout.
type IncompleteError struct {
	Have, Of int64 // bytes of the log; Of is 0 if not even its beginning is there
	Waited   time.Duration
}

func (e *IncompleteError) Error() string {
	if e.Of == 0 {
		return fmt.Sprintf("the sender has only begun to leave something, and nothing has come for %v", e.Waited)
	}
	return fmt.Sprintf("the sender has left %d of %d bytes (%d%%), and nothing has come for %v", e.Have, e.Of, 100*e.Have/e.Of, e.Waited)
}

// seekFrom is how many chunks are read and dropped rather than sought: about what a
// carrier has sent ahead anyway.
const seekFrom = 16

// A reader reads the log as the bytes that were written into it.
type reader struct {
	log   Cursor
	aead  cipher.AEAD
	o     ReadOptions
	offer offerID
	of    int64 // the log's size, once it is known

	next  int64 // the chunk that the cursor comes to; less than 0: it has to be sought
	cut   bool  // the cursor did not begin where it was asked to
	asked int64 // the offset that was sought, until the first message has come; or -1

	at    int64 // the number of the chunk in plain
	plain []byte
	pos   int64
}

func newReader(k *Key, log Cursor, o ReadOptions) *reader {
	if o.Timeout <= 0 {
		o.Timeout = transfer.DefaultTimeout
	}
	return &reader{log: log, aead: newAEAD(&k.content), o: o, next: -1, at: -1, asked: -1}
}

func (r *reader) header(ctx context.Context) (header, error) {
	plain, err := r.chunk(ctx, 0)
	if err != nil {
		return header{}, err
	}
	h, err := decodeHeader(plain)
	if err == nil {
		r.offer, r.of = h.Offer, h.size()
	}
	return h, err
}

// read fills p from pos on. p must not be larger than what the log has.
func (r *reader) read(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		plain, err := r.chunk(ctx, r.pos/ChunkSize)
		if err != nil {
			return err
		}
		at := int(r.pos % ChunkSize)
		if at >= len(plain) {
			return fmt.Errorf("%w: a chunk of it is too short", ErrFormat)
		}
		n := copy(p, plain[at:])
		p = p[n:]
		r.pos += int64(n)
	}
	return nil
}

// chunk is the content of message n, until the next call.
func (r *reader) chunk(ctx context.Context, n int64) ([]byte, error) {
	if n == r.at {
		return r.plain, nil
	}
	if n < r.next || r.next < 0 || n >= r.next+seekFrom {
		if err := r.log.Seek(ctx, n); err != nil {
			return nil, err
		}
		r.cut, r.asked = false, n
	}
	r.at, r.next = -1, n
	damaged := false
	for {
		m, err := r.wait(ctx, n)
		if err != nil {
			return nil, err
		}
		if r.asked >= 0 {
			r.cut, r.asked = m.Offset > r.asked, -1
		}
		got := Number(m.Body)
		if got < n || got == mark {
			continue
		}
		if r.cut && got > n {
			return nil, fmt.Errorf("read message %d, and the first that is there is %d: %w", n, got, ErrCut)
		}
		plain, err := open(r.aead, m.Body, &r.offer)
		switch {
		case err != nil: // somebody else's; or ours, and what follows will tell
			damaged = damaged || got == n
		case got == n:
			r.at, r.next, r.plain = n, n+1, plain
			return plain, nil
		case damaged:
			return nil, fmt.Errorf("read message %d: %w", n, ErrDamaged)
		}
	}
}

// notice is how long nothing comes before that is told.
const notice = time.Second

func (r *reader) wait(ctx context.Context, n int64) (Message, error) {
	for _, part := range []time.Duration{min(notice, r.o.Timeout), r.o.Timeout - notice} {
		if part <= 0 {
			break
		}
		patience, cancel := context.WithTimeout(ctx, part)
		m, err := r.log.Next(patience)
		late := patience.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded)
		cancel()
		if !late {
			return m, err
		}
		if part == notice && r.o.Waiting != nil {
			r.o.Waiting(n*ChunkSize, r.of)
		}
	}
	return Message{}, &IncompleteError{Have: n * ChunkSize, Of: r.of, Waited: r.o.Timeout}
}

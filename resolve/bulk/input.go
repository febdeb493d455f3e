package bulk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	chunkItems  = 256  // names handed over at a time
	chunksAhead = 8    // chunks parsed before they are needed
	maxLineLen  = 4096 // longer than any name in any escape
)

// item is one line of the list, parsed.
type item struct {
	line  uint64 // 1 is the first line of the input
	off   int    // of the name in the chunk's arena
	n     int
	qtype uint16
	text  string // as written, where the name on the wire does not give it back
	bad   error  // the line is no name
}

// chunk is a run of items and the memory of their names.
type chunk struct {
	items []item
	arena []byte
	next  int // first item that has not been taken
}

// input parses a list into chunks ahead of those who ask, so that a slow pipe
// is never waited for under a lock.
type input struct {
	r       *bufio.Reader
	qtype   uint16
	done    *Done
	keep    bool // keep every line's text: the names sent will differ from it
	chunks  chan *chunk
	free    chan *chunk
	bytes   atomic.Int64
	skipped atomic.Int64 // blank lines and comments
	resumed atomic.Int64 // lines that had their result already
	err     error        // valid once chunks is closed
}

func newInput(r io.Reader, opt *Options) *input {
	return &input{
		r:      bufio.NewReaderSize(r, 64<<10),
		qtype:  opt.Type,
		done:   opt.Resume,
		keep:   opt.MixCase,
		chunks: make(chan *chunk, chunksAhead),
		free:   make(chan *chunk, chunksAhead+2),
	}
}

func (in *input) get() *chunk {
	select {
	case c := <-in.free:
		c.items, c.arena, c.next = c.items[:0], c.arena[:0], 0
		return c
	default:
		return &chunk{items: make([]item, 0, chunkItems), arena: make([]byte, 0, chunkItems*32)}
	}
}

func (in *input) put(c *chunk) {
	select {
	case in.free <- c:
	default:
	}
}

// run reads to the end of the list, or until ctx ends, and closes chunks. It
// calls more whenever there is something new to be had.
func (in *input) run(ctx context.Context, more func()) {
	defer more()
	defer close(in.chunks)
	c := in.get()
	flush := func() bool {
		if len(c.items) == 0 {
			return true
		}
		select {
		case in.chunks <- c:
			c = in.get()
			more()
			return true
		case <-ctx.Done():
			return false
		}
	}
	for line := uint64(1); ; line++ {
		// What has been read must not wait for what a person has yet to type.
		if len(c.items) == chunkItems || (in.r.Buffered() == 0 && len(c.items) > 0) {
			if !flush() {
				return
			}
		}
		text, long, err := in.readLine()
		if len(text) > 0 || err == nil {
			if line == 1 {
				text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
			}
			if err := in.add(c, line, text, long); err != nil {
				in.err = err
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				in.err = fmt.Errorf("reading the list, line %d: %w", line, err)
			}
			flush()
			return
		}
	}
}

// readLine returns the next line, cut at maxLineLen if it is long. The bytes
// are good until the next call.
func (in *input) readLine() (text []byte, long bool, err error) {
	text, err = in.r.ReadSlice('\n')
	in.bytes.Add(int64(len(text)))
	if errors.Is(err, bufio.ErrBufferFull) {
		text, long = bytes.Clone(text[:maxLineLen]), true
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = in.r.ReadSlice('\n')
			in.bytes.Add(int64(len(more)))
		}
	}
	if len(text) > maxLineLen {
		text, long = text[:maxLineLen], true
	}
	return text, long, err
}

func (in *input) add(c *chunk, line uint64, text []byte, long bool) error {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] == '#' || text[0] == ';' {
		in.skipped.Add(1)
		return nil
	}
	if in.done != nil {
		had, err := in.done.take(line, text, in.qtype)
		if err != nil {
			return err
		}
		if had {
			in.resumed.Add(1)
			return nil
		}
	}
	it := item{line: line, off: len(c.arena), qtype: in.qtype}
	if long {
		it.bad = errLongName
	} else {
		var plain bool
		c.arena, it.qtype, plain, it.bad = parseQuestion(c.arena, text, in.qtype)
		it.n = len(c.arena) - it.off
		if plain && !in.keep {
			c.items = append(c.items, it)
			return nil
		}
	}
	it.text = string(text)
	c.items = append(c.items, it)
	return nil
}

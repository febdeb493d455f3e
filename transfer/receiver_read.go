package transfer

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// read takes frames off the connection until the sender has finished.
func (r *receiver) read(ctx context.Context) error {
	m := newManifest(runtime.GOOS, r.landing.caseRule())
	listed := false
	var fill pieces
	flush := func() error {
		if len(fill.items) == 0 {
			return nil
		}
		select {
		case r.pieces <- fill:
			fill = pieces{}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	send := func(p planned) error {
		select {
		case r.plan <- p:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	mark := time.Now()
	for {
		// Hand over what is there before waiting for more.
		if r.link.br.Buffered() == 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		t, n, err := r.link.next()
		if err != nil {
			return err
		}
		if t == frameData || t == framePacked {
			var h [packedHeader]byte
			head := h[:dataHeader]
			if t == framePacked {
				head = h[:]
			}
			if n < len(head) {
				return protocolErrorf("a %v frame of %d bytes", t, n)
			}
			if err := r.link.read(head); err != nil {
				return err
			}
			length := n
			if t == framePacked {
				length = dataHeader + int(min(binary.BigEndian.Uint32(h[dataHeader:]), treehash.GroupSize+1))
			}
			p, err := decodeDataHeader(h[:dataHeader], length)
			if err != nil {
				return err
			}
			if _, err := r.incoming(p.entry); err != nil {
				return err
			}
			if cap(fill.buf)-len(fill.buf) < p.length {
				if err := flush(); err != nil {
					return err
				}
			}
			if fill.buf == nil {
				waiting := time.Now()
				select {
				case fill.buf = <-r.free:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
				r.result.Waited.Network += waiting.Sub(mark)
				mark = time.Now()
				r.result.Waited.Disk += mark.Sub(waiting)
			}
			start := len(fill.buf)
			fill.buf = fill.buf[:start+p.length]
			content := fill.buf[start:]
			if t == framePacked {
				err = r.unpack(content, n-packedHeader)
			} else {
				err = r.link.read(content)
			}
			if err != nil {
				return err
			}
			fill.items = append(fill.items, item{piece: p, content: content})
			if len(fill.buf) >= packSize {
				if err := flush(); err != nil {
					return err
				}
			}
			continue
		}
		p, err := r.link.payload(n)
		if err != nil {
			return err
		}
		switch {
		case t == frameManifest && !listed:
			r.listing.Write(p)
			err = decodeManifest(p, func(e Entry) error { return r.list(m, e) })
			if err == nil {
				err = send(planned{upTo: r.entries.n})
			}
		case t == frameManifestEnd && !listed:
			listed, m.seen = true, nil // nothing will be held against them any more
			var end manifestEnd
			if end, err = decodeManifestEnd(p); err == nil {
				if end.Entries != uint64(r.entries.n) {
					return protocolErrorf("the manifest has %d entries, its end says %d", r.entries.n, end.Entries)
				}
				r.mu.Lock()
				r.totals.Skipped = int(min(end.Skipped, 1<<31))
				r.result.Skipped = r.totals.Skipped
				if r.trace.Listed != nil && !r.resumed {
					r.trace.Listed(r.totals)
				}
				r.mu.Unlock()
				err = send(planned{upTo: r.entries.n, complete: true, list: [treehash.Size]byte(r.listing.Sum(nil))})
			}
		case t == frameEnd:
			var end fileEnd
			if end, err = decodeFileEnd(p); err != nil {
				return err
			}
			var in *incoming
			if in, err = r.incoming(end.Entry); err != nil {
				return err
			}
			if end.Status == statusHash {
				if !in.comparing {
					return protocolErrorf("a digest that was not asked for")
				}
				err = send(planned{compared: &end})
				break
			}
			fill.items = append(fill.items, item{piece: piece{entry: end.Entry}, end: &end})
		case t == frameFinish && n == 0 && r.agreed.Load():
			return flush()
		default:
			err = protocolErrorf("an unexpected %v frame", t)
		}
		if err != nil {
			return err
		}
	}
}

// unpack reads n bytes and decompresses them into content.
func (r *receiver) unpack(content []byte, n int) (err error) {
	if n >= len(content) {
		return protocolErrorf("a packed frame that is longer than its content")
	}
	if r.unpacker == nil {
		if r.unpacker, err = newUnpacker(); err != nil {
			return err
		}
	}
	in := r.unpacker.in[:n]
	if err := r.link.read(in); err != nil {
		return err
	}
	return r.unpacker.unpack(content, in)
}

// list takes one entry of the manifest.
func (r *receiver) list(m *manifest, e Entry) error {
	if err := m.add(e); err != nil {
		return err
	}
	if r.o.Output != nil && (e.Kind != File || r.entries.n > 0) {
		return &RefusedError{Reason: "more than one file, where one was to go to standard output"}
	}
	if r.o.MaxSize > 0 && (m.bytes > r.o.MaxSize || e.Size == UnknownSize && r.o.Output == nil && r.o.MaxSize < m.bytes) {
		return &RefusedError{Reason: fmt.Sprintf("more than the %d bytes that the receiver takes", r.o.MaxSize)}
	}
	r.mu.Lock()
	r.entries.add(e)
	r.totals.count(&e)
	r.mu.Unlock()
	return nil
}

// incoming is the state of a file that was asked for.
func (r *receiver) incoming(entry int) (*incoming, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.files[entry]
	if in == nil {
		return nil, protocolErrorf("content of a file that was not asked for")
	}
	return in, nil
}

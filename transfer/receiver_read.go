package transfer

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// An intake is the reading side of a connection. Several landers take turns at
// it: the one whose turn it is reads what fills its buffer, lets the next one
// read, and hashes and writes what it has read itself. So content stays in the
// cache of the processor that read it, and no goroutine is woken for it.
type intake struct {
	link     *link
	manifest *manifest
	listed   bool // the manifest is complete
	unpacker *unpacker

	streams int // connections besides this one that its finish told of

	turn  chan time.Time // to read, with when the last one was over; guards everything here
	ended bool           // nothing more is to be read
	err   error          // why, if it was not the sender's finish
}

func newIntake(l *link) *intake {
	in := &intake{link: l, turn: make(chan time.Time, 1)}
	in.turn <- time.Now()
	return in
}

// pieces is a buffer of content with what it is.
type pieces struct {
	buf   []byte
	items []item
	full  bool // enough for a turn, whatever it is
}

// An item is a piece with its content, or a file's end.
type item struct {
	piece
	content []byte
	sum     treehash.Digest // of content, if it is small and begins a file
	end     *fileEnd
}

// small reports that an item is hashed together with others of its turn: files of a
// few kilobytes alone would leave most of the processor's lanes empty.
func (it *item) small() bool {
	return it.end == nil && !it.hole && it.offset == 0 && it.length <= smallFile
}

// sum hashes the small items.
func (p *pieces) sum() {
	var contents [64][]byte
	var sums [64]treehash.Digest
	for i := 0; i < len(p.items); {
		from, n := i, 0
		for ; i < len(p.items) && n < len(sums); i++ {
			if p.items[i].small() {
				contents[n] = p.items[i].content
				n++
			}
		}
		treehash.Sums(sums[:n], contents[:n])
		for k, n := from, 0; k < i; k++ {
			if it := &p.items[k]; it.small() {
				it.sum = sums[n]
				n++
			}
		}
	}
}

// maxItems bounds what is taken in one turn, should it have little content.
const maxItems = 1024

// take is one lander's turns at in. An error is one of landing; those of reading
// stay with in.
func (r *receiver) take(ctx context.Context, in *intake) error {
	// Room for a group behind anything that is not enough for a turn.
	const room = packSize + treehash.GroupSize
	p := pieces{}
	if r.o.Output != nil {
		p.buf = make([]byte, 0, room) // a write of it that blocks may outlive this
	} else {
		buf, free := newBuffer(room)
		defer free()
		p.buf = buf
	}
	for ended := false; !ended; {
		p.buf, p.items, p.full = p.buf[:0], p.items[:0], false
		mark := <-in.turn
		begun := time.Now()
		if !in.ended {
			in.ended, in.err = r.read(ctx, in, &p)
		}
		ended = in.ended
		now := time.Now()
		in.turn <- now
		links := time.Duration(1 + r.fleet.count())
		r.mu.Lock()
		r.result.Waited.Disk += begun.Sub(mark) / links // the mean over them
		r.result.Waited.Network += now.Sub(begun) / links
		r.mu.Unlock()
		p.sum()
		for i := range p.items {
			if ctx.Err() != nil {
				return nil
			}
			if err := r.landItem(&p.items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// read takes frames off the connection until p holds enough for a turn, or
// nothing more is to be read.
func (r *receiver) read(ctx context.Context, in *intake, p *pieces) (ended bool, err error) {
	for {
		// Land what is here before waiting for more.
		if n := len(p.items); n > 0 && (in.link.br.Buffered() == 0 || len(p.buf) >= packSize || p.full || n >= maxItems) {
			return false, nil
		}
		t, n, err := in.link.next()
		if err != nil {
			return true, err
		}
		r.idle.moved()
		switch t {
		case frameData, framePacked:
			err = r.readData(in, t, n, p)
		case frameFinish:
			return true, r.readFinish(in, n)
		default:
			err = r.readControl(ctx, in, t, n, p)
		}
		if err != nil {
			return true, err
		}
	}
}

// readFinish reads the end of a connection's content: on the first one, with how
// many others there are and what limited the sender.
func (r *receiver) readFinish(in *intake, n int) error {
	most := 0
	switch {
	case in.manifest == nil: // not the first
	case r.limits:
		most = 1 + maxLimit
	default:
		most = 1
	}
	if !r.agreed.Load() || n > most {
		return protocolErrorf("an unexpected %v frame", frameFinish)
	}
	b, err := in.link.payload(n)
	if err != nil || n == 0 {
		return err
	}
	if in.streams = int(b[0]); in.streams > r.most {
		return protocolErrorf("it tells of %d streams (at most %d were agreed on)", in.streams, r.most)
	}
	r.theirs = limitText(b[1:])
	return nil
}

// readData reads a data frame's piece into p, which has room for one.
func (r *receiver) readData(in *intake, t frameType, n int, p *pieces) error {
	var h [packedHeader]byte
	head := h[:dataHeader]
	if t == framePacked {
		head = h[:]
	}
	if n < len(head) {
		return protocolErrorf("a %v frame of %d bytes", t, n)
	}
	if err := in.link.read(head); err != nil {
		return err
	}
	length := n
	if t == framePacked {
		length = dataHeader + int(min(binary.BigEndian.Uint32(h[dataHeader:]), treehash.GroupSize+1))
	}
	d, err := decodeDataHeader(h[:dataHeader], length)
	if err != nil {
		return err
	}
	if _, err := r.incoming(d.entry); err != nil {
		return err
	}
	start := len(p.buf)
	p.buf = p.buf[:start+d.length]
	content := p.buf[start:]
	if t == framePacked {
		err = in.unpack(content, n-packedHeader)
	} else {
		err = in.link.read(content)
	}
	if err != nil {
		return err
	}
	p.items = append(p.items, item{piece: d, content: content})
	return nil
}

// readControl reads any other frame.
func (r *receiver) readControl(ctx context.Context, in *intake, t frameType, n int, p *pieces) error {
	send := func(p planned) error {
		select {
		case r.plan <- p:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b, err := in.link.payload(n)
	if err != nil {
		return err
	}
	switch {
	case t == frameManifest && in.manifest != nil && !in.listed:
		r.listing.Write(b)
		if err := decodeManifest(b, func(e Entry) error { return r.list(in.manifest, e) }); err != nil {
			return err
		}
		return send(planned{upTo: r.entries.n})
	case t == frameManifestEnd && in.manifest != nil && !in.listed:
		in.listed, in.manifest.seen = true, nil // nothing will be held against them any more
		end, err := decodeManifestEnd(b)
		if err != nil {
			return err
		}
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
		return send(planned{upTo: r.entries.n, complete: true, list: [treehash.Size]byte(r.listing.Sum(nil))})
	case t == frameEnd:
		end, err := decodeFileEnd(b)
		if err != nil {
			return err
		}
		file, err := r.incoming(end.Entry)
		if err != nil {
			return err
		}
		if end.Status != statusHash {
			p.items = append(p.items, item{piece: piece{entry: end.Entry}, end: &end})
			return nil
		}
		if !file.comparing {
			return protocolErrorf("a digest that was not asked for")
		}
		return send(planned{compared: &end})
	case t == frameDatagrams && r.lossy != nil:
		count, err := decodeCount(b)
		if err != nil {
			return err
		}
		r.o.Datagrams.ExpectDatagrams(count)
		return nil
	case t == frameHole:
		h, err := decodeHole(b)
		if err != nil {
			return err
		}
		if _, err := r.incoming(h.entry); err != nil {
			return err
		}
		p.items = append(p.items, item{piece: h})
		p.full = true // each is work for a turn of its own
		return nil
	}
	return protocolErrorf("an unexpected %v frame", t)
}

// unpack reads n bytes and decompresses them into content.
func (in *intake) unpack(content []byte, n int) (err error) {
	if n >= len(content) {
		return protocolErrorf("a packed frame that is longer than its content")
	}
	if in.unpacker == nil {
		if in.unpacker, err = newUnpacker(); err != nil {
			return err
		}
	}
	packed := in.unpacker.in[:n]
	if err := in.link.read(packed); err != nil {
		return err
	}
	return in.unpacker.unpack(content, packed)
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
	r.totals.Count(&e)
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

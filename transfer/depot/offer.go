package depot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"lukechampine.com/blake3"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// An Offer is what a sender has left, as a receiver finds it. It is not safe for use by
// several goroutines.
type Offer struct {
	r      *reader
	header header
	addr   net.Addr
	files  []place // by entry
	roots  roots   // of what has landed
}

// A place is where an entry's content begins in the log.
type place struct{ start, size int64 }

var errNotFile = errors.New("it is not a file")

// Open reads the beginning of a log, waiting for it if there is a log. Addr is shown as
// the peer. The error matches [ErrOver] if the time of the offer is over, by this
// machine's clock.
func Open(ctx context.Context, k *Key, log Cursor, addr net.Addr, o ReadOptions) (*Offer, error) {
	r := newReader(k, log, o)
	h, err := r.header(ctx)
	if err != nil {
		return nil, err
	}
	if h.over(time.Now()) {
		return nil, errOver(&h)
	}
	return &Offer{r: r, header: h, addr: addr}, nil
}

// Receive lands the offer: [transfer.Receive], but that the sender is gone.
func (f *Offer) Receive(ctx context.Context, o transfer.ReceiveOptions) (transfer.Result, error) {
	return transfer.ReceiveStored(ctx, f, f.watch(o))
}

// watch has the digests of what lands kept.
func (f *Offer) watch(o transfer.ReceiveOptions) transfer.ReceiveOptions {
	t := transfer.Trace{}
	if o.Trace != nil {
		t = *o.Trace
	}
	told := t.Finished
	t.Finished = func(e *transfer.Entry, d treehash.Digest, had bool) {
		f.roots.add(e.Path, d)
		if told != nil {
			told(e, d, had)
		}
	}
	o.Trace = &t
	return o
}

// Receipt is one for all that r says has landed.
func (f *Offer) Receipt(r transfer.Result) Receipt {
	return Receipt{Offer: f.header.Offer, Count: int(f.header.Entries), Files: r.Files, Bytes: r.Bytes, Root: f.roots.sum()}
}

// ID is the number of the offer.
func (f *Offer) ID() [16]byte { return f.header.Offer }

// Shared reports whether each file is for one receiver only.
func (f *Offer) Shared() bool { return f.header.Shared }

// Created is when the sender began to leave it, by its clock.
func (f *Offer) Created() time.Time { return f.header.Created }

// Addr is [transfer.Stored]'s.
func (f *Offer) Addr() net.Addr { return f.addr }

// List is [transfer.Stored]'s.
func (f *Offer) List(ctx context.Context, yield func(transfer.Entry) error) (skipped int, err error) {
	h := &f.header
	f.files = nil
	f.r.pos = headerSize
	start, left := int64(headerSize)+h.Manifest, h.Manifest
	sum := blake3.New(treehash.Size, nil)
	var length [4]byte
	block := make([]byte, maxBlock)
	for left > 0 {
		if err := f.r.read(ctx, length[:]); err != nil {
			return 0, err
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if left -= int64(len(length)) + n; n == 0 || n > maxBlock || left < 0 {
			return 0, fmt.Errorf("%w: a block of its list has %d bytes", ErrFormat, n)
		}
		if err := f.r.read(ctx, block[:n]); err != nil {
			return 0, err
		}
		sum.Write(length[:])
		sum.Write(block[:n])
		err := transfer.DecodeEntries(block[:n], func(e transfer.Entry) error {
			if int64(len(f.files)) == h.Entries {
				return fmt.Errorf("%w: there are more entries than its header tells", ErrFormat)
			}
			p := place{start, -1}
			if e.Kind == transfer.File {
				if p.size = e.Size; e.Size < 0 || e.Size > maxContent {
					return fmt.Errorf("%w: a file has no possible size", ErrFormat)
				}
			}
			f.files = append(f.files, p)
			if start += span(&e); start > headerSize+h.Manifest+h.Content {
				return fmt.Errorf("%w: its files are longer than its header tells", ErrFormat)
			}
			return yield(e)
		})
		if err != nil {
			return 0, err
		}
	}
	if int64(len(f.files)) != h.Entries || start != headerSize+h.Manifest+h.Content || treehash.Digest(sum.Sum(nil)) != h.List {
		return 0, fmt.Errorf("%w: its list is not what its header tells", ErrFormat)
	}
	return int(h.Skipped), nil
}

// Digest is [transfer.Stored]'s.
func (f *Offer) Digest(ctx context.Context, i int) (transfer.StoredEnd, error) {
	if i >= len(f.files) || f.files[i].size < 0 {
		return transfer.StoredEnd{}, errNotFile
	}
	f.r.pos = f.files[i].start + f.files[i].size
	return f.trailer(ctx)
}

// trailer reads what every trailer begins with.
func (f *Offer) trailer(ctx context.Context) (end transfer.StoredEnd, err error) {
	var b [trailerFixed]byte
	if err := f.r.read(ctx, b[:]); err != nil {
		return end, err
	}
	copy(end.Digest[:], b[1:])
	switch b[0] {
	case 0:
		return end, nil
	case 1:
		return transfer.StoredEnd{Failed: "the sender could not read all of it"}, nil
	}
	return end, fmt.Errorf("%w: a file ends with the status %d", ErrFormat, b[0])
}

// Content is [transfer.Stored]'s. Groups that the receiver has are skipped, and brought
// after all if the trailer, which is known only then, tells of others.
func (f *Offer) Content(ctx context.Context, i int, have map[int64]treehash.CV, emit func(offset int64, content []byte) error) (end transfer.StoredEnd, err error) {
	if i >= len(f.files) || f.files[i].size < 0 {
		return end, errNotFile
	}
	p := f.files[i]
	groups := groupsOf(p.size)
	buf := make([]byte, min(treehash.GroupSize, p.size))
	group := func(g int64) error {
		offset := g * treehash.GroupSize
		b := buf[:min(treehash.GroupSize, p.size-offset)]
		f.r.pos = p.start + offset
		if err := f.r.read(ctx, b); err != nil {
			return err
		}
		return emit(offset, b)
	}
	for g := range groups {
		if _, ok := have[g]; ok {
			continue
		}
		if err := group(g); err != nil {
			return end, err
		}
	}
	f.r.pos = p.start + p.size
	if end, err = f.trailer(ctx); err != nil || end.Failed != "" || len(have) == 0 {
		return end, err
	}
	var wrong []int64
	for g := range groups {
		cv := treehash.CV(end.Digest)
		if groups > 1 {
			if err := f.r.read(ctx, cv[:]); err != nil {
				return end, err
			}
		}
		if ours, ok := have[g]; ok && ours != cv {
			wrong = append(wrong, g)
		}
	}
	for _, g := range wrong {
		if err := group(g); err != nil {
			return end, err
		}
	}
	return end, nil
}

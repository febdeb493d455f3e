package depot

import (
	"context"
	"net"
	"path"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

const (
	// A portion ends with the file by which it has so many entries, or a 128th of all
	// bytes within these bounds: large enough that taking the next one does not cost,
	// small enough to share well.
	portionEntries = 256
	portionParts   = 128
	minPortion     = 4 << 20
	maxPortion     = 64 << 20
)

// A Portion is a part of an offer's list: entries From to To, without To.
type Portion struct{ From, To int }

// Portions cuts a list into portions, of whole files.
func Portions(entries []transfer.Entry) (all []Portion) {
	total := int64(0)
	for i := range entries {
		total += sizeOf(&entries[i])
	}
	c := newCutter(total, len(entries))
	for i := range entries {
		if p, ok := c.add(&entries[i]); ok {
			all = append(all, p)
		}
	}
	return all
}

func sizeOf(e *transfer.Entry) int64 {
	if e.Kind != transfer.File {
		return 0
	}
	return max(e.Size, 0)
}

// A cutter makes portions of entries that come one by one.
type cutter struct {
	bytes   int64 // that a portion has
	entries int   // in all
	from, i int
	size    int64
}

func newCutter(total int64, entries int) *cutter {
	return &cutter{bytes: min(max(total/portionParts, minPortion), maxPortion), entries: entries}
}

// add takes the next entry, and returns the portion that ends with it.
func (c *cutter) add(e *transfer.Entry) (p Portion, ends bool) {
	c.i++
	c.size += sizeOf(e)
	if c.i < c.entries && c.size < c.bytes && c.i-c.from < portionEntries {
		return p, false
	}
	p = Portion{c.from, c.i}
	c.from, c.size = c.i, 0
	return p, true
}

// A Part is a [transfer.Stored] of a portion, and of the directories that it is in.
type Part struct {
	offer   *Offer
	entries []transfer.Entry
	index   []int        // of its entries
	failed  map[int]bool // the entries that the sender could not read
	stop    func() error // asked before a file is whole; may be nil
}

// NewPart is portion p of an offer whose list is entries.
func NewPart(offer *Offer, entries []transfer.Entry, p Portion) *Part {
	x := &Part{offer: offer, entries: entries, failed: map[int]bool{}}
	above := map[string]bool{}
	for _, e := range entries[p.From:p.To] {
		for dir := path.Dir(e.Path); dir != "." && !above[dir]; dir = path.Dir(dir) {
			above[dir] = true
		}
	}
	if len(above) > 0 {
		for i, e := range entries[:p.From] {
			if e.Kind == transfer.Dir && above[e.Path] {
				x.index = append(x.index, i)
			}
		}
	}
	for i := p.From; i < p.To; i++ {
		x.index = append(x.index, i)
	}
	return x
}

// Addr is [transfer.Stored]'s.
func (x *Part) Addr() net.Addr { return x.offer.Addr() }

// List is [transfer.Stored]'s.
func (x *Part) List(_ context.Context, yield func(transfer.Entry) error) (skipped int, err error) {
	for _, i := range x.index {
		if err := yield(x.entries[i]); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// Digest is [transfer.Stored]'s.
func (x *Part) Digest(ctx context.Context, i int) (transfer.StoredEnd, error) {
	end, err := x.offer.Digest(ctx, x.index[i])
	return x.end(i, end, err)
}

// Content is [transfer.Stored]'s.
func (x *Part) Content(ctx context.Context, i int, have map[int64]treehash.CV, emit func(int64, []byte) error) (transfer.StoredEnd, error) {
	end, err := x.offer.Content(ctx, x.index[i], have, emit)
	return x.end(i, end, err)
}

func (x *Part) end(i int, end transfer.StoredEnd, err error) (transfer.StoredEnd, error) {
	if err == nil && x.stop != nil {
		err = x.stop()
	}
	if err == nil && end.Failed != "" {
		x.failed[i] = true
	}
	return end, err
}

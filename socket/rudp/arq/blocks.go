package arq

const (
	// blockSize divides a buffer so that it grows and shrinks without copying.
	blockSize = 16 << 10
	// maxSpare bounds what is kept for reuse; the collector has the rest.
	maxSpare = 512
	// emptiedOften is after how many times that a buffer was empty what it did
	// not need meanwhile is let go.
	emptiedOften = 256
)

type block [blockSize]byte

// blocks is a byte buffer addressed by stream offset. It takes memory for what
// lies in it, in blocks, and the block that was let go last is the next to be
// used: it is still in the processor's cache, where a ring of many megabytes, all
// of which a stream would walk through, never is.
type blocks struct {
	held  []*block // held[head:] from the block number first on; nil: empty so far
	head  int
	first uint64
	spare []*block
	// peak is how many blocks were in use at most while the buffer was emptied
	// so many times.
	peak, emptied int
	// lent is set while somebody outside has slices of the buffer: what is let
	// go of meanwhile waits in limbo, with its bytes as they are.
	lent  bool
	limbo []*block
}

// at returns block i, which must not have been released.
func (r *blocks) at(i uint64) *block {
	k := r.head + int(i-r.first)
	if k >= len(r.held) {
		if r.head > 0 && k >= cap(r.held) {
			n := copy(r.held, r.held[r.head:])
			clear(r.held[n:])
			r.held, k, r.head = r.held[:n], k-r.head, 0
		}
		for k >= len(r.held) {
			r.held = append(r.held, nil)
		}
	}
	if r.held[k] == nil {
		if n := len(r.spare); n > 0 {
			r.held[k], r.spare = r.spare[n-1], r.spare[:n-1]
		} else {
			r.held[k] = new(block)
		}
		r.peak = max(r.peak, len(r.held)-r.head)
	}
	return r.held[k]
}

// release lets go of what lies wholly below off, which is never used again.
func (r *blocks) release(off uint64) {
	i := off / blockSize
	if r.first == i {
		return
	}
	for ; r.first < i && r.head < len(r.held); r.first++ {
		if p := r.held[r.head]; p != nil {
			r.keep(p)
		}
		r.held[r.head] = nil
		r.head++
	}
	r.first = i
	if r.head == len(r.held) {
		r.held, r.head = r.held[:0], 0
		// Empty again: now and then a connection gives back what it has not
		// needed for long.
		if r.emptied++; r.emptied >= emptiedOften {
			for n := len(r.spare); n > max(r.peak, 1); n-- {
				r.spare[n-1] = nil
				r.spare = r.spare[:n-1]
			}
			r.peak, r.emptied = 0, 0
		}
	}
}

// keep takes a block back for reuse.
func (r *blocks) keep(p *block) {
	switch {
	case r.lent:
		r.limbo = append(r.limbo, p)
	case len(r.spare) < maxSpare:
		r.spare = append(r.spare, p)
	}
}

// unlend ends what lent began.
func (r *blocks) unlend() {
	r.lent = false
	for i, p := range r.limbo {
		r.keep(p)
		r.limbo[i] = nil
	}
	r.limbo = r.limbo[:0]
}

// slice returns the bytes from lo on, as far as they lie in one piece.
func (r *blocks) slice(lo, hi uint64) []byte {
	i := lo % blockSize
	return r.at(lo / blockSize)[i:min(i+hi-lo, blockSize)]
}

func (r *blocks) write(off uint64, b []byte) {
	for len(b) > 0 {
		n := copy(r.at(off / blockSize)[off%blockSize:], b)
		b = b[n:]
		off += uint64(n)
	}
}

func (r *blocks) read(off uint64, b []byte) {
	for len(b) > 0 {
		n := copy(b, r.at(off / blockSize)[off%blockSize:])
		b = b[n:]
		off += uint64(n)
	}
}

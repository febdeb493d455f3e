package arq

import "errors"

// maxHoles bounds the memory that out-of-order data takes beside the data
// itself: a peer that sends every other byte gets this far and no further.
const maxHoles = 16 << 10

var (
	errFlow      = errors.New("data beyond the window")
	errFinalSize = errors.New("the stream's length changed")
	errHoles     = errors.New("too many holes")
)

// recvBuffer puts the stream back in order.
//
//	read            nxt               limit
//	  |  readable    |  holes          |  not allowed yet
//	--+--------------+-----------------+------>
//
// What arrives in order in a chunk stays there; everything else, and what comes
// before a hole is closed, is copied into blocks.
type recvBuffer struct {
	blocks
	kept      keptPieces
	chunk     *Chunk // that the data which is inserted lies in, or nil
	read, nxt uint64
	limit     uint64   // what the peer was allowed
	above     rangeSet // received beyond nxt
	fin       bool     // final is known
	final     uint64
	top       uint64 // highest byte seen
}

// insert takes in data at off. It returns how many bytes were new.
func (r *recvBuffer) insert(off uint64, b []byte, fin bool) (fresh int, err error) {
	hi := off + uint64(len(b))
	if hi > r.limit {
		return 0, errFlow
	}
	if r.fin && (hi > r.final || (fin && hi != r.final)) || fin && hi < r.top {
		return 0, errFinalSize
	}
	if fin {
		r.fin, r.final = true, hi
	}
	r.top = max(r.top, hi)
	// An end without data may come before the data that it ends.
	if hi <= r.nxt || len(b) == 0 {
		return 0, nil
	}
	if off < r.nxt {
		b = b[r.nxt-off:]
		off = r.nxt
	}
	if off > r.nxt && r.above.len() >= maxHoles {
		return 0, errHoles
	}
	if off == r.nxt && r.above.empty() {
		if r.chunk != nil && r.kept.bytes+len(b) <= maxKept {
			r.kept.keep(off, b, r.chunk)
		} else {
			r.write(off, b)
		}
		r.nxt = hi
		return len(b), nil
	}
	r.write(off, b)
	fresh = len(b) - int(r.above.within(off, hi))
	r.above.add(off, hi)
	if f := r.above.first(); f.lo == r.nxt {
		r.nxt = f.hi
		r.above.removeBelow(r.nxt)
	}
	return fresh, nil
}

// peek returns unread bytes as far as they lie in one piece.
func (r *recvBuffer) peek() []byte {
	hi := r.nxt
	if p := r.kept.first(); p != nil {
		if p.off <= r.read {
			return p.data[r.read-p.off:]
		}
		hi = p.off
	}
	return r.slice(r.read, hi)
}

// advance lets go of n bytes, which are read.
func (r *recvBuffer) advance(n int) {
	r.read += uint64(n)
	r.kept.letGo(r.read)
	r.release(r.read)
}

// readable is the count of bytes in order and unread.
func (r *recvBuffer) readable() int { return int(r.nxt - r.read) }

// atEnd reports whether everything was read and the end is known.
func (r *recvBuffer) atEnd() bool { return r.fin && r.read == r.final }

// complete reports whether the whole stream has arrived.
func (r *recvBuffer) complete() bool { return r.fin && r.nxt == r.final }

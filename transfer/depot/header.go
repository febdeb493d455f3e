package depot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A header begins a log and tells how it is laid out.
type header struct {
	Version  byte
	Shared   bool // each file is for one receiver
	Offer    offerID
	Created  time.Time       // to the second
	KeepFor  time.Duration   // from then on, to the second; 0: without end
	Entries  int64           //
	Skipped  int64           // entries that the sender left out
	Manifest int64           // bytes of the list, with the lengths of its blocks
	List     treehash.Digest // of the list
	Content  int64           // bytes behind the list
}

const (
	version      = 1
	headerSize   = 1 + 1 + 16 + 6*8 + treehash.Size
	maxBlock     = 32 << 10 // bytes of entries in a block of the list
	maxEntries   = 1 << 22
	maxManifest  = 1 << 30
	maxContent   = 1 << 60
	flagShared   = 1
	trailerFixed = 1 + treehash.Size
)

// ErrFormat is matched by errors of a log that was sealed with the right key, and yet
// is not as it has to be.
var ErrFormat = errors.New("what was left is malformed")

func (h *header) append(b []byte) []byte {
	flags := byte(0)
	if h.Shared {
		flags |= flagShared
	}
	b = append(b, version, flags)
	b = append(b, h.Offer[:]...)
	for _, v := range []int64{h.Created.Unix(), int64(h.KeepFor / time.Second), h.Entries, h.Skipped, h.Manifest, h.Content} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return append(b, h.List[:]...)
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerSize {
		return h, fmt.Errorf("%w: it ends in its header", ErrFormat)
	}
	if h.Version = b[0]; h.Version != version {
		return h, fmt.Errorf("%w: it has version %d, and this wherry knows %d", ErrFormat, b[0], version)
	}
	if b[1]&^flagShared != 0 {
		return h, fmt.Errorf("%w: it has unknown flags", ErrFormat)
	}
	h.Shared = b[1]&flagShared != 0
	b = b[2+copy(h.Offer[:], b[2:]):]
	var created, keep int64
	for _, f := range []struct {
		to  *int64
		max uint64
	}{{&created, 1 << 40}, {&keep, 1 << 32}, {&h.Entries, maxEntries}, {&h.Skipped, 1 << 32}, {&h.Manifest, maxManifest}, {&h.Content, maxContent}} {
		v := binary.BigEndian.Uint64(b)
		if v > f.max {
			return h, fmt.Errorf("%w: its header tells of %d where %d is the most", ErrFormat, v, f.max)
		}
		*f.to, b = int64(v), b[8:]
	}
	h.Created, h.KeepFor = time.Unix(created, 0), time.Duration(keep)*time.Second
	copy(h.List[:], b)
	return h, nil
}

// ErrOver is matched, beside [ErrNoOffer], by errors of an offer whose time is over. Who
// meets it removes it.
var ErrOver = errors.New("the time for which it was left is over")

func errOver(h *header) error {
	return fmt.Errorf("%w: %w, since %s", ErrNoOffer, ErrOver, h.until().Format("2 January 2006 at 15:04"))
}

// until is until when it is given out; the zero time is without end.
func (h *header) until() time.Time {
	if h.KeepFor == 0 {
		return time.Time{}
	}
	return h.Created.Add(h.KeepFor)
}

func (h *header) over(now time.Time) bool { return h.KeepFor > 0 && !now.Before(h.until()) }

// span is how many bytes of the log a file takes: its content and a trailer.
func span(e *transfer.Entry) int64 {
	if e.Kind != transfer.File {
		return 0
	}
	return e.Size + trailerSize(e.Size)
}

// groupsOf is how many groups a file has; unlike treehash's, an empty one has none.
func groupsOf(size int64) int64 {
	if size == 0 {
		return 0
	}
	return treehash.Groups(size)
}

// trailerSize is how long a trailer is: status, digest, and if there is more than one
// group, their chaining values.
func trailerSize(size int64) int64 {
	n := int64(trailerFixed)
	if g := groupsOf(size); g > 1 {
		n += g * treehash.Size
	}
	return n
}

// size is the length of the log in bytes, without what fills its last chunk.
func (h *header) size() int64 { return headerSize + h.Manifest + h.Content }

// chunks is how many messages there are.
func (h *header) chunks() int64 { return (h.size() + ChunkSize - 1) / ChunkSize }

// stored is about what a carrier has to keep.
func (h *header) stored() int64 {
	return (h.size()+padding-1)/padding*padding + h.chunks()*Overhead
}

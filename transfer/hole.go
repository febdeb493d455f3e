package transfer

import (
	"bytes"
	"encoding/binary"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A hole frame tells that a stretch of a file is zero bytes: the entry (32 bits),
// the offset (64 bits) and the length (64 bits). It begins where a hash group does
// and ends where one does, or where the file does. The receiver writes nothing
// there, and hashes the zeros as if they had come.
const (
	holeHeader = 4 + 8 + 8
	// maxHole bounds one frame, and so the work that it makes: a few hundredths of a
	// second of hashing. A longer hole is told by several, which several
	// processors take.
	maxHole = 64 * treehash.GroupSize
)

func appendHole(b []byte, entry int, offset, length int64) []byte {
	b = append(b, byte(frameHole), 0, 0, 0, holeHeader)
	b = binary.BigEndian.AppendUint32(b, uint32(entry))
	b = binary.BigEndian.AppendUint64(b, uint64(offset))
	return binary.BigEndian.AppendUint64(b, uint64(length))
}

// decodeHole checks what can be told without the file.
func decodeHole(p []byte) (piece, error) {
	d := decoder{b: p}
	raw := d.fixed(4)
	offset, length := d.uint64(), d.uint64()
	if err := d.done(); err != nil {
		return piece{}, err
	}
	switch {
	case offset > maxSize || offset%treehash.GroupSize != 0:
		return piece{}, protocolErrorf("a hole that does not begin where a hash group does")
	case length == 0 || length > maxHole:
		return piece{}, protocolErrorf("a hole of %d bytes (at most %d are allowed)", length, maxHole)
	}
	return piece{entry: int(binary.BigEndian.Uint32(raw)), offset: int64(offset), length: int(length), hole: true}, nil
}

// zeroCV is the chaining value of a group that is a hole of n bytes; of a file's
// only group, its digest.
func zeroCV(g int64, n int, only bool) treehash.CV {
	if only {
		return treehash.CV(treehash.Sum(treehash.Zeros(n)))
	}
	return treehash.Group(treehash.Zeros(n), g)
}

// holes finds those of a file that is being read. Not for several goroutines at
// once.
type holes struct {
	seek   func(offset int64) (data int64, ok bool) // the next data from offset on
	known  bool                                     // what follows is
	from   int64                                    // from here
	until  int64                                    // to there is a hole
	absent bool                                     // the file has none, or nobody can tell
}

// groups is how many groups from g on are a hole as a whole, at most the number
// that fits into a frame.
func (h *holes) groups(g, size int64) int64 {
	if h.absent {
		return 0
	}
	offset := g * treehash.GroupSize
	if !h.known || offset < h.from || offset >= h.until {
		data, ok := h.seek(offset)
		if !ok {
			h.absent = true
			return 0
		}
		h.known, h.from, h.until = true, offset, min(data, size)
		if data >= size { // a hole up to the end has a last group that may be shorter
			h.until = treehash.Groups(size) * treehash.GroupSize
		}
	}
	return min((h.until-offset)/treehash.GroupSize, maxHole/treehash.GroupSize)
}

// sparseBlock is what file systems store at the least, and so what is worth
// leaving out.
const sparseBlock = 4096

// writeSparse writes p at offset with write, but not those of its blocks that are
// zero: for a file where nothing was.
func writeSparse(p []byte, offset int64, write func(p []byte, offset int64) error) error {
	for at := 0; at < len(p); {
		end := at
		for end < len(p) && !zeroBlock(p, end) {
			end = min(end+sparseBlock, len(p))
		}
		if end > at {
			if err := write(p[at:end], offset+int64(at)); err != nil {
				return err
			}
		}
		for at = end; at < len(p) && zeroBlock(p, at); {
			at = min(at+sparseBlock, len(p))
		}
	}
	return nil
}

func zeroBlock(p []byte, at int) bool {
	n := min(sparseBlock, len(p)-at)
	return bytes.Equal(p[at:at+n], treehash.Zeros(n))
}

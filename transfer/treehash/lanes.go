package treehash

import (
	"unsafe"

	"lukechampine.com/blake3/guts"
)

// lanes is what compress16 takes: sixteen inputs of the same length, each in a
// lane of its own. Lanes that are not needed may repeat another.
type lanes struct {
	in     [16]unsafe.Pointer
	lo, hi [16]uint32 // counters
	key    [8]uint32
	blocks uint64 // of 64 bytes, in each input
	flags  uint32 // of all blocks
	start  uint32 // of the first
	end    uint32 // of the last
	_      uint32
}

// chunkLanes and parentLanes are for inputs that are whole chunks, and for
// pairs of chaining values.
func chunkLanes() lanes {
	return lanes{key: guts.IV, blocks: guts.ChunkSize / guts.BlockSize, start: guts.FlagChunkStart, end: guts.FlagChunkEnd}
}

func parentLanes() lanes { return lanes{key: guts.IV, blocks: 1, flags: guts.FlagParent} }

// counter numbers lane i's chunk.
func (l *lanes) counter(i int, n uint64) { l.lo[i], l.hi[i] = uint32(n), uint32(n>>32) }

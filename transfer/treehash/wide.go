package treehash

import (
	"sync"
	"unsafe"

	"lukechampine.com/blake3/guts"
)

const groupChunks = GroupSize / guts.ChunkSize

// A level is the nodes of one height in a group's tree, the leaves to begin with.
type level [groupChunks]CV

var levels = sync.Pool{New: func() any { return new(level) }}

// wideNode is the top node of p, which is at most GroupSize long and more than
// one chunk, on a processor that compresses sixteen inputs at once.
func wideNode(p []byte, counter uint64) guts.Node {
	nodes := levels.Get().(*level)
	defer levels.Put(nodes)
	n := 0
	l := chunkLanes()
	for whole := len(p) / guts.ChunkSize; n < whole; n += 16 {
		for i := range 16 {
			c := min(n+i, whole-1)
			l.in[i] = unsafe.Pointer(unsafe.SliceData(p[c*guts.ChunkSize:]))
			l.counter(i, counter+uint64(c))
		}
		compress16((*[16]CV)(nodes[n:]), &l)
	}
	n = len(p) / guts.ChunkSize
	if rest := p[n*guts.ChunkSize:]; len(rest) > 0 {
		nodes[n] = pack(guts.ChainingValue(guts.CompressChunk(rest, &guts.IV, counter+uint64(n), 0)))
		n++
	}
	return top(nodes, n)
}

// top joins n nodes until two are left, whose parent it gives. A node without a
// partner goes up as it is.
func top(nodes *level, n int) guts.Node {
	l := parentLanes()
	for n > 2 {
		pairs, last := n/2, nodes[n-1] // which a batch may write over
		for at := 0; at < pairs; at += 16 {
			for i := range 16 {
				l.in[i] = unsafe.Pointer(&nodes[2*min(at+i, pairs-1)])
			}
			compress16((*[16]CV)(nodes[at:]), &l)
		}
		if n%2 != 0 {
			nodes[pairs] = last
		}
		n = (n + 1) / 2
	}
	return guts.ParentNode(unpack(nodes[0]), unpack(nodes[1]), &guts.IV, 0)
}

// Package treehash computes BLAKE3 as what it is, a tree, so that the parts of
// a file can be hashed in any order, by several cores, and kept between runs.
//
// A file is cut into groups of GroupSize bytes (1 MiB, 1,024 BLAKE3 chunks; the
// last may be shorter). Group gives the chaining value of one of them; Root
// joins the chaining values of all groups, in order, into the file's digest,
// which equals BLAKE3 of the whole (https://github.com/BLAKE3-team/BLAKE3-specs,
// section 2.1; the same groups as Bao's, with a log size of 10). A file of one
// group or less has no chaining values: Sum is its digest.
//
// The arithmetic is that of lukechampine.com/blake3/guts; where the processor has
// AVX-512, whole chunks and the nodes above them are compressed sixteen at a time
// by assembly of this package (lanes_amd64.s, written by gen), which is about
// twice as fast: it fetches ahead of its use what is not in the cache, and puts
// words into lanes by shuffles instead of gathers.
package treehash

import (
	"encoding/binary"
	"math/bits"
	"sync"

	"lukechampine.com/blake3/guts"
)

//go:generate sh -c "go run ./gen >lanes_amd64.s"

// GroupSize is the number of bytes in every group but the last.
const GroupSize = 1 << 20

// Size is the length in bytes of digests and chaining values.
const Size = 32

// A Digest is the BLAKE3 hash of a whole file.
type Digest [Size]byte

// A CV is the chaining value of one group: a node of the tree below the root.
type CV [Size]byte

// Groups is the number of groups in a file of size bytes; an empty file has one.
func Groups(size int64) int64 {
	if size <= GroupSize {
		return 1
	}
	return (size + GroupSize - 1) / GroupSize
}

const simdBytes = guts.MaxSIMD * guts.ChunkSize

// tail is where a piece shorter than a SIMD batch is laid, since the assembly
// reads whole batches.
type tail [simdBytes]byte

var tails = sync.Pool{New: func() any { return new(tail) }}

// node is the top node of p, whose first chunk has the number counter in its
// file. p is at most GroupSize long.
func node(p []byte, counter uint64) guts.Node {
	if wide && len(p) > guts.ChunkSize {
		return wideNode(p, counter)
	}
	return plainNode(p, counter)
}

// plainNode is node by the batches of package guts.
func plainNode(p []byte, counter uint64) guts.Node {
	var stack [16][8]uint32 // by height, in batches; a group has 64 = 2^6
	var done uint64
	for len(p) > simdBytes {
		cv := guts.ChainingValue(guts.CompressBuffer((*[simdBytes]byte)(p), simdBytes, &guts.IV, counter+done*guts.MaxSIMD, 0))
		h := 0
		for done&(1<<h) != 0 {
			cv = guts.ChainingValue(guts.ParentNode(stack[h], cv, &guts.IV, 0))
			h++
		}
		stack[h] = cv
		done++
		p = p[simdBytes:]
	}
	var n guts.Node
	if len(p) == simdBytes {
		n = guts.CompressBuffer((*[simdBytes]byte)(p), simdBytes, &guts.IV, counter+done*guts.MaxSIMD, 0)
	} else if len(p) <= guts.ChunkSize {
		n = guts.CompressChunk(p, &guts.IV, counter+done*guts.MaxSIMD, 0)
	} else {
		b := tails.Get().(*tail)
		copy(b[:], p)
		n = guts.CompressBuffer((*[simdBytes]byte)(b), len(p), &guts.IV, counter+done*guts.MaxSIMD, 0)
		tails.Put(b)
	}
	for h := bits.TrailingZeros64(done); h < bits.Len64(done); h++ {
		if done&(1<<h) != 0 {
			n = guts.ParentNode(stack[h], guts.ChainingValue(n), &guts.IV, 0)
		}
	}
	return n
}

// Group is the chaining value of group number index (from 0) with content p:
// GroupSize bytes, fewer only in the file's last group.
func Group(p []byte, index int64) CV {
	return pack(guts.ChainingValue(node(p, uint64(index)*(GroupSize/guts.ChunkSize))))
}

// Sum is the digest of a file of at most GroupSize bytes.
func Sum(p []byte) Digest {
	if len(p) > GroupSize {
		panic("treehash: Sum of more than one group")
	}
	return root(node(p, 0))
}

// Root is the digest of a file whose groups have the chaining values cvs; there
// must be at least two, since a single group is its own root (see Sum).
func Root(cvs []CV) Digest {
	if len(cvs) < 2 {
		panic("treehash: Root of fewer than two groups")
	}
	return root(join(cvs))
}

// join is the parent of all of cvs: the left half of a BLAKE3 tree is the
// largest power of two that leaves something for the right half.
func join(cvs []CV) guts.Node {
	half := 1 << (bits.Len(uint(len(cvs)-1)) - 1)
	return guts.ParentNode(subtree(cvs[:half]), subtree(cvs[half:]), &guts.IV, 0)
}

func subtree(cvs []CV) [8]uint32 {
	if len(cvs) == 1 {
		return unpack(cvs[0])
	}
	return guts.ChainingValue(join(cvs))
}

func root(n guts.Node) Digest {
	n.Flags |= guts.FlagRoot
	words := guts.CompressNode(n)
	return Digest(pack([8]uint32(words[:8])))
}

func pack(w [8]uint32) (cv CV) {
	for i, x := range w {
		binary.LittleEndian.PutUint32(cv[4*i:], x)
	}
	return cv
}

func unpack(cv CV) (w [8]uint32) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(cv[4*i:])
	}
	return w
}

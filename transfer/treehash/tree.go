package treehash

import (
	"math/bits"

	"lukechampine.com/blake3/guts"
)

// A Tree takes chaining values of groups in any order, each once, and joins
// neighbours as soon as both are there: of a file that comes more or less in order
// it holds a few values for each doubling of its size, and not one for each MiB. It
// need not know how long the file will be.
type Tree struct {
	nodes map[place]CV
	// first has, by height, the two values that a node at the file's beginning was
	// joined from: it may turn out to be the root, which is made in another way.
	first [63][2]CV
}

// A place is that of a node in the tree: above 2^height groups from index<<height on.
type place struct {
	index  int64
	height uint8
}

// NewTree makes an empty tree.
func NewTree() *Tree { return &Tree{nodes: map[place]CV{}} }

// Add takes the chaining value of a group that was not added before.
func (t *Tree) Add(group int64, cv CV) {
	n := place{group, 0}
	for {
		beside := place{n.index ^ 1, n.height}
		other, ok := t.nodes[beside]
		if !ok {
			t.nodes[n] = cv
			return
		}
		delete(t.nodes, beside)
		left, right := cv, other
		if n.index&1 == 1 {
			left, right = other, cv
		}
		cv = parent(left, right)
		n = place{n.index >> 1, n.height + 1}
		if n.index == 0 {
			t.first[n.height] = [2]CV{left, right}
		}
	}
}

// Root is the digest of a file of so many groups, at least two, if all have been
// added, and no other.
func (t *Tree) Root(groups int64) (Digest, bool) {
	if groups < 2 {
		return Digest{}, false
	}
	top := place{0, uint8(bits.TrailingZeros64(uint64(groups)))}
	if _, whole := t.nodes[top]; whole && groups == 1<<top.height {
		return rootOf(t.first[top.height][0], t.first[top.height][1]), true
	}
	half := halve(groups)
	left, ok := t.subtree(0, half)
	if !ok {
		return Digest{}, false
	}
	right, ok := t.subtree(half, groups-half)
	if !ok {
		return Digest{}, false
	}
	return rootOf(left, right), true
}

func rootOf(left, right CV) Digest {
	return root(guts.ParentNode(unpack(left), unpack(right), &guts.IV, 0))
}

// subtree is the node above n groups from first on.
func (t *Tree) subtree(first, n int64) (CV, bool) {
	if n&(n-1) == 0 {
		h := bits.TrailingZeros64(uint64(n))
		if cv, ok := t.nodes[place{first >> h, uint8(h)}]; ok {
			return cv, true
		}
		if n == 1 {
			return CV{}, false
		}
	}
	half := halve(n)
	left, ok := t.subtree(first, half)
	if !ok {
		return CV{}, false
	}
	right, ok := t.subtree(first+half, n-half)
	if !ok {
		return CV{}, false
	}
	return parent(left, right), true
}

// halve is how many of n groups, at least two, are in the left half: the largest
// power of two that leaves something.
func halve(n int64) int64 { return 1 << (bits.Len64(uint64(n-1)) - 1) }

func parent(left, right CV) CV {
	return pack(guts.ChainingValue(guts.ParentNode(unpack(left), unpack(right), &guts.IV, 0)))
}

// zeros is never written, so that no memory stands behind it but one page.
var zeros [GroupSize]byte

// Zeros is n zero bytes, at most GroupSize, which must not be written.
func Zeros(n int) []byte { return zeros[:n] }

package treehash

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// Whatever the order, a Tree gives what Root does, and nothing before it is
// complete.
func TestTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := int64(2); n < 70; n++ {
		cvs := make([]CV, n)
		for i := range cvs {
			binary.LittleEndian.PutUint64(cvs[i][:], uint64(i)*2654435761+1)
		}
		want := Root(cvs)
		for range 3 {
			tree := NewTree()
			for k, i := range rng.Perm(int(n)) {
				if _, ok := tree.Root(n); ok {
					t.Fatalf("%d of %d groups are enough", k, n)
				}
				tree.Add(int64(i), cvs[i])
			}
			if got, ok := tree.Root(n); !ok || got != want {
				t.Fatalf("%d groups: %x, %v; want %x", n, got, ok, want)
			}
		}
	}
}

// In order, a Tree holds a value for each doubling.
func TestTreeIsSmall(t *testing.T) {
	const n = 100_000
	tree := NewTree()
	for i := range int64(n) {
		tree.Add(i, CV{byte(i)})
		if len(tree.nodes) > 18 {
			t.Fatalf("%d nodes after %d groups", len(tree.nodes), i)
		}
	}
	if _, ok := tree.Root(n + 1); ok {
		t.Error("complete with a group too few")
	}
}

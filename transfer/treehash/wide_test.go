package treehash

import (
	"math/rand/v2"
	"testing"
)

// The kernel that compresses sixteen inputs at once and the library's agree, for
// lengths around every border between blocks, chunks, batches and groups.
func TestWideAgreesWithLibrary(t *testing.T) {
	if !wide {
		t.Skip("this processor has no AVX-512")
	}
	buf := make([]byte, GroupSize)
	rand.NewChaCha8([32]byte{1}).Read(buf)
	var lengths []int
	for n := 1025; n <= GroupSize; n = n*5/4 + 1 {
		lengths = append(lengths, n)
	}
	for _, n := range []int{1024, 2048, 3 << 10, 4096, 8 << 10, 15 << 10, 16 << 10, 17 << 10, 31 << 10, 32 << 10, 33 << 10, 48 << 10, 64 << 10, 512 << 10, GroupSize} {
		lengths = append(lengths, n-1, n, min(n+1, GroupSize))
	}
	for _, n := range lengths {
		if n <= 1024 {
			continue
		}
		for _, counter := range []uint64{0, 1 << 10, 1<<32 - 3, 1 << 40} {
			if got, want := wideNode(buf[:n], counter), plainNode(buf[:n], counter); got != want {
				t.Fatalf("%d bytes from chunk %d: %x, want %x", n, counter, root(got), root(want))
			}
		}
	}
}

func FuzzWide(f *testing.F) {
	f.Add(1025, uint64(0), uint64(1))
	f.Add(3<<10, uint64(5), uint64(2))
	f.Add(GroupSize-1, uint64(1)<<33, uint64(3))
	f.Fuzz(func(t *testing.T, n int, counter, seed uint64) {
		if !wide || n <= 1024 || n > GroupSize {
			t.Skip()
		}
		buf := make([]byte, n)
		for i := range buf {
			seed = seed*6364136223846793005 + 1442695040888963407
			buf[i] = byte(seed >> 56)
		}
		if got, want := wideNode(buf, counter), plainNode(buf, counter); got != want {
			t.Fatalf("%d bytes from chunk %d: %x, want %x", n, counter, root(got), root(want))
		}
	})
}

package treehash

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"
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

// Files that are hashed together have the digests that each has alone.
func FuzzSums(f *testing.F) {
	f.Add([]byte{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4}, uint16(0))
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18}, uint16(1023))
	f.Add([]byte{3, 5, 7, 3, 6, 5, 8, 2, 9, 40, 3}, uint16(1))
	f.Add([]byte{}, uint16(1))
	f.Fuzz(func(t *testing.T, chunks []byte, less uint16) {
		var files [][]byte
		for i, n := range chunks[:min(len(chunks), 100)] {
			p := make([]byte, max(0, int(n)*1024-int(less)%1024))
			rand.NewChaCha8([32]byte{byte(i), n}).Read(p)
			files = append(files, p)
		}
		got := make([]Digest, len(files))
		Sums(got, files)
		for i, p := range files {
			if want := Digest(blake3.Sum256(p)); got[i] != want {
				t.Errorf("file %d of %d bytes: %x, want %x", i, len(p), got[i], want)
			}
		}
	})
}

func BenchmarkSums(b *testing.B) {
	for _, n := range []int{2 << 10, 4 << 10, 8 << 10} {
		files := make([][]byte, 64)
		for i := range files {
			files[i] = make([]byte, n)
		}
		out := make([]Digest, len(files))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n * len(files)))
			for b.Loop() {
				Sums(out, files)
			}
		})
		b.Run(fmt.Sprint(n, "-each"), func(b *testing.B) {
			b.SetBytes(int64(n * len(files)))
			for b.Loop() {
				for i, p := range files {
					out[i] = Sum(p)
				}
			}
		})
	}
}

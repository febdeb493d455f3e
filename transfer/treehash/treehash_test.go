package treehash

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"lukechampine.com/blake3"
)

// whole hashes p by its groups, as senders and receivers do.
func whole(p []byte) Digest {
	if len(p) <= GroupSize {
		return Sum(p)
	}
	var cvs []CV
	for i := int64(0); i < Groups(int64(len(p))); i++ {
		cvs = append(cvs, Group(p[i*GroupSize:min(int64(len(p)), (i+1)*GroupSize)], i))
	}
	return Root(cvs)
}

func TestEqualsBLAKE3(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{7})
	data := make([]byte, 9*GroupSize+1)
	_, _ = rng.Read(data)
	sizes := []int{0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 4096, 16383, 16384, 16385, 31744, 32768, 40000, 100000}
	for g := 1; g <= 9; g++ {
		sizes = append(sizes, g*GroupSize-1, g*GroupSize, g*GroupSize+1, g*GroupSize-GroupSize/3)
	}
	for _, n := range sizes {
		if got, want := whole(data[:n]), Digest(blake3.Sum256(data[:n])); got != want {
			t.Errorf("size %d: %x, want %x", n, got, want)
		}
	}
}

// The specification's own test vector for an empty input.
func TestVector(t *testing.T) {
	const want = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	if got := Sum(nil); hex.EncodeToString(got[:]) != want {
		t.Errorf("Sum(nil) = %x", got)
	}
}

func TestGroups(t *testing.T) {
	for size, want := range map[int64]int64{0: 1, 1: 1, GroupSize: 1, GroupSize + 1: 2, 10 * GroupSize: 10} {
		if got := Groups(size); got != want {
			t.Errorf("Groups(%d) = %d, want %d", size, got, want)
		}
	}
}

// BenchmarkGroup hashes memory that is in the cache, and memory that is not.
func BenchmarkGroup(b *testing.B) {
	buf := make([]byte, 64<<20)
	for i := range buf {
		buf[i] = byte(i)
	}
	for name, span := range map[string]int{"hot": GroupSize, "cold": len(buf)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(GroupSize)
			for i := 0; b.Loop(); i += GroupSize {
				Group(buf[i%span:][:GroupSize], 0)
			}
		})
	}
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{100, 4 << 10, 64 << 10, 1 << 20} {
		p := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Sum(p)
			}
		})
	}
}

package crc32c

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestUpdate compares with the standard library, at all lengths and alignments.
func TestUpdate(t *testing.T) {
	if !wide {
		t.Log("this processor has but the standard library's way")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 1<<17)
	rand.NewChaCha8([32]byte{}).Read(b)
	check := func(sum uint32, p []byte) {
		t.Helper()
		if got, want := Update(sum, p), crc32.Update(sum, table, p); got != want {
			t.Fatalf("%d bytes after %#x: %#x, want %#x", len(p), sum, got, want)
		}
	}
	for n := range 2000 {
		check(0, b[n%64:][:n])
		check(rng.Uint32(), b[:n])
	}
	for range 200 {
		check(rng.Uint32(), b[:rng.IntN(len(b))])
	}
	check(0, b)
}

// FuzzUpdate: it does not matter how a message is cut.
func FuzzUpdate(f *testing.F) {
	f.Add(uint32(0), []byte("123456789"), 4)
	f.Add(uint32(1), make([]byte, 1500), 700)
	f.Fuzz(func(t *testing.T, sum uint32, p []byte, cut int) {
		cut = min(max(cut, 0), len(p))
		got := Update(Update(sum, p[:cut]), p[cut:])
		if want := crc32.Update(sum, table, p); got != want {
			t.Errorf("%#x, want %#x", got, want)
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	p := make([]byte, 1472)
	for _, c := range []struct {
		name string
		f    func(uint32, []byte) uint32
	}{{"wide", Update}, {"hash", func(sum uint32, p []byte) uint32 { return crc32.Update(sum, table, p) }}} {
		for _, n := range []int{1436, 1472} {
			b.Run(fmt.Sprint(c.name, "/", n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for range b.N {
					c.f(0, p[:n])
				}
			})
		}
	}
}

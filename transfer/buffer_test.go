package transfer

import "testing"

// A buffer is empty, holds what was asked for, and others are elsewhere.
func TestNewBuffer(t *testing.T) {
	for _, n := range []int{1, 4096, bufferSize, 5 << 20} {
		a, freeA := newBuffer(n)
		b, freeB := newBuffer(n)
		if len(a) != 0 || cap(a) != n {
			t.Fatalf("length %d and capacity %d, want 0 and %d", len(a), cap(a), n)
		}
		a, b = a[:n], b[:n]
		for i := range a {
			if a[i] != 0 {
				t.Fatalf("byte %d is not zero", i)
			}
			a[i], b[i] = 1, 2
		}
		if a[0] != 1 || a[n-1] != 1 || b[0] != 2 || b[n-1] != 2 {
			t.Fatal("two buffers share memory")
		}
		freeA()
		freeB()
	}
}

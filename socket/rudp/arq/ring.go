package arq

import "math/bits"

// ring is a byte buffer addressed by stream offset. It grows by doubling, up
// to a limit its owner enforces, so that a connection that moves little holds
// little.
type ring struct {
	buf  []byte // length is a power of two, or 0
	mask uint64
}

func nextPow2(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// grow makes room for n bytes, keeping [lo, hi).
func (r *ring) grow(n int, lo, hi uint64) {
	if n <= len(r.buf) {
		return
	}
	old := *r
	r.buf = make([]byte, max(nextPow2(n), 16<<10))
	r.mask = uint64(len(r.buf) - 1)
	for lo < hi {
		a := old.slice(lo, hi)
		r.write(lo, a)
		lo += uint64(len(a))
	}
}

// slice returns the bytes from lo on, as far as they lie in one piece.
func (r *ring) slice(lo, hi uint64) []byte {
	i := lo & r.mask
	n := hi - lo
	if i+n > uint64(len(r.buf)) {
		n = uint64(len(r.buf)) - i
	}
	return r.buf[i : i+n]
}

func (r *ring) write(off uint64, b []byte) {
	n := copy(r.buf[off&r.mask:], b)
	copy(r.buf, b[n:])
}

func (r *ring) read(off uint64, b []byte) {
	n := copy(b, r.buf[off&r.mask:])
	copy(b[n:], r.buf)
}

package transfer

import "lukechampine.com/blake3"

func blake(b []byte) [32]byte { return blake3.Sum256(b) }

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// Package crc32c is the CRC-32C (Castagnoli) of [hash/crc32], faster where a
// processor can multiply many bits without carries at once (AVX-512 with
// VPCLMULQDQ): a datagram of 1472 bytes takes a third of the time. Elsewhere it
// is that of the standard library.
//
// The method is that of V. Gopal and others, Fast CRC Computation for Generic
// Polynomials Using PCLMULQDQ Instruction (Intel, 2009), with sixteen lanes: each
// holds 128 bits of the message, and is moved back over the next 2048 until only
// the end is left.
package crc32c

import "hash/crc32"

var table = crc32.MakeTable(crc32.Castagnoli)

// leastWide is how long a message must be for the wide way.
const leastWide = 256

// Update returns the checksum of a message to which p was added, of which sum was
// the checksum before. That of nothing is 0.
func Update(sum uint32, p []byte) uint32 {
	if wide && len(p) >= leastWide {
		return ^update(^sum, p)
	}
	return crc32.Update(sum, table, p)
}

package crc32c

import "golang.org/x/sys/cpu"

var wide = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VPCLMULQDQ && cpu.X86.HasSSE42

// update is Update without the inversions, for at least leastWide bytes.
//
//go:noescape
func update(state uint32, p []byte) uint32

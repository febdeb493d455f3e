package treehash

import "golang.org/x/sys/cpu"

// wide reports whether sixteen inputs can be compressed side by side.
var wide = cpu.X86.HasAVX512F

//go:noescape
func compress16(out *[16]CV, in *lanes)

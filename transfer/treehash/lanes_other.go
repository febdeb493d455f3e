//go:build !amd64

package treehash

const wide = false

func compress16(out *[16]CV, in *lanes) { panic("treehash: not for this processor") }

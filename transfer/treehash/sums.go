package treehash

import (
	"unsafe"

	"lukechampine.com/blake3/guts"
)

// sideBySide is the most chunks of a file that is hashed together with others: from
// eight on it fills the lanes well enough by itself.
const sideBySide = 8

// Sums puts Sum(p) of each p into out, which must be as long. Files of a few chunks
// share the processor's lanes, of which each alone would leave most empty: many
// files of 4 KiB take a third of the time.
func Sums(out []Digest, files [][]byte) {
	var b shared
	for i, p := range files {
		if !wide || len(p) < 2*guts.ChunkSize || len(p) > sideBySide*guts.ChunkSize {
			out[i] = Sum(p)
		} else {
			b.add(&out[i], p)
		}
	}
	b.finish()
}

// shared hashes up to sixteen files in one go.
type shared struct {
	n     int
	out   [16]*Digest
	width [16]int // nodes that are left of each file
	nodes [16][sideBySide]CV

	chunks, parents, roots filling
}

// A filling is a batch of lanes that is compressed when it is full.
type filling struct {
	lanes
	to [16]*CV
	n  int
}

func (f *filling) add(in unsafe.Pointer, to *CV) {
	f.in[f.n], f.to[f.n] = in, to
	if f.n++; f.n == 16 {
		f.flush()
	}
}

func (f *filling) flush() {
	if f.n == 0 {
		return
	}
	for i := f.n; i < 16; i++ {
		f.in[i] = f.in[0]
	}
	var cvs [16]CV
	compress16(&cvs, &f.lanes)
	for i := range f.n {
		*f.to[i] = cvs[i]
	}
	f.n = 0
}

// add takes a file of two to sideBySide chunks.
func (b *shared) add(out *Digest, p []byte) {
	if b.n == 0 {
		b.chunks.lanes, b.parents.lanes, b.roots.lanes = chunkLanes(), parentLanes(), parentLanes()
		b.roots.flags |= guts.FlagRoot
	}
	nodes := &b.nodes[b.n]
	n := len(p) / guts.ChunkSize
	for i := range n {
		b.chunks.counter(b.chunks.n, uint64(i))
		b.chunks.add(unsafe.Pointer(unsafe.SliceData(p[i*guts.ChunkSize:])), &nodes[i])
	}
	if rest := p[n*guts.ChunkSize:]; len(rest) > 0 {
		nodes[n] = pack(guts.ChainingValue(guts.CompressChunk(rest, &guts.IV, uint64(n), 0)))
		n++
	}
	b.out[b.n], b.width[b.n] = out, n
	if b.n++; b.n == 16 {
		b.finish()
	}
}

// finish joins the nodes of each file until two are left, and those to its root.
func (b *shared) finish() {
	if b.n == 0 {
		return
	}
	b.chunks.flush()
	for width := sideBySide; width > 2; width = (width + 1) / 2 {
		for i := range b.n {
			if n := b.width[i]; n > 2 {
				for k := range n / 2 {
					b.parents.add(unsafe.Pointer(&b.nodes[i][2*k]), &b.nodes[i][k])
				}
			}
		}
		b.parents.flush()
		for i := range b.n {
			if n := b.width[i]; n > 2 {
				if n%2 != 0 { // a node without a partner goes up as it is
					b.nodes[i][n/2] = b.nodes[i][n-1]
				}
				b.width[i] = (n + 1) / 2
			}
		}
	}
	for i := range b.n {
		b.roots.add(unsafe.Pointer(&b.nodes[i]), (*CV)(b.out[i]))
	}
	b.roots.flush()
	b.n = 0
}

package transfer

import (
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// An incoming is a file on its way: which groups are here, and where they go.
// Several landers may work on it at once.
type incoming struct {
	entry     int
	e         *Entry
	out       target
	comparing bool // only the sender's digest is awaited so far
	resumed   int64

	mu       sync.Mutex
	came     groupSet              // the groups that came on this connection
	tree     *treehash.Tree        // of those that are written; nil before the first
	had      map[int64]treehash.CV // groups from an earlier run, which may be sent anew
	first    treehash.Digest       // of group 0 as a file of its own
	received int64                 // bytes of pieces that have been written
	taken    int64                 // bytes of pieces, those being written too
	short    bool                  // a piece of less than a group has come: the last one
	busy     int                   // pieces being written
	end      *fileEnd
	failed   string // why it cannot be written; the rest of its pieces is dropped

	lossy   bool // its content comes as datagrams
	here    ranges
	latest  time.Time // of its datagrams
	endedAt time.Time
	settled bool
}

// A target takes a file's content.
type target interface {
	// writeAt may be called by several landers at once.
	writeAt(p []byte, offset int64) error
	// landed tells that a whole group has been written.
	landed(group int64, cv treehash.CV)
	// hole makes zeros of a stretch, without writing them where it can.
	hole(offset, length int64) error
	// abandon keeps or removes what there is of a file that will not be finished.
	abandon()
}

func newIncoming(entry int, e *Entry, out target) *incoming {
	return &incoming{entry: entry, e: e, out: out}
}

// piece hashes one piece, unless that has been done, and writes it. It must be a whole
// group. It reports whether the file is complete now. Only what the peer must not do
// is an error: a disk that fails is kept for the verdict.
//
// A hole is a piece of several groups and without content.
func (in *incoming) piece(it *item, maxSize int64) (complete bool, err error) {
	p, content := it.piece, it.content
	g := p.offset / treehash.GroupSize
	run := groupRun{g, g + treehash.Groups(int64(p.length))}
	part := p.length%treehash.GroupSize != 0 // its last group is shorter than others
	in.mu.Lock()
	switch {
	case in.comparing:
		err = protocolErrorf("content of a file that was only to be compared")
	case in.lossy:
		err = protocolErrorf("content on the stream, where datagrams were to carry it")
	case p.offset%treehash.GroupSize != 0:
		err = protocolErrorf("a piece that does not begin where a hash group does")
	case in.came.overlaps(run):
		err = protocolErrorf("a piece of a file came twice")
	case p.hole && in.e.Size == UnknownSize:
		err = protocolErrorf("a hole in a pipe")
	case part && in.short:
		err = protocolErrorf("a second piece of a file that is no whole group")
	case in.end != nil && in.taken+int64(p.length) > in.end.Sent:
		err = protocolErrorf("more content of a file than its end told")
	case in.e.Size >= 0 && p.offset+int64(p.length) > in.e.Size:
		err = &EntryError{in.e.Path, "more content came than was announced"}
	case in.e.Size == UnknownSize && maxSize > 0 && p.offset+int64(p.length) > maxSize:
		err = &RefusedError{Reason: "more content than the receiver takes"}
	}
	if err == nil && !in.came.add(run) {
		err = protocolErrorf("the pieces of a file come in no order")
	}
	if err != nil {
		in.mu.Unlock()
		return false, err
	}
	for k := run.first; k < run.end && len(in.had) > 0; k++ {
		if _, ok := in.had[k]; ok {
			delete(in.had, k)
			in.resumed -= min(treehash.GroupSize, in.e.Size-k*treehash.GroupSize)
		}
	}
	in.taken += int64(p.length)
	in.short = in.short || part
	in.busy++
	write := in.failed == ""
	in.mu.Unlock()

	var cvs [maxHole / treehash.GroupSize]treehash.CV
	cv := &cvs[0]
	var first treehash.Digest
	var failure string
	if write && p.hole {
		if g == 0 {
			first = treehash.Sum(treehash.Zeros(min(p.length, treehash.GroupSize)))
		}
		for k := run.first; k < run.end; k++ {
			cvs[k-g] = zeroCV(k, min(treehash.GroupSize, p.length-int(k-g)*treehash.GroupSize), false)
		}
		if werr := in.out.hole(p.offset, int64(p.length)); werr != nil {
			failure = bare(werr).Error()
		}
	} else if write {
		switch {
		case it.small():
			first = it.sum
		case g == 0:
			first = treehash.Sum(content)
		}
		if g != 0 || p.length == treehash.GroupSize {
			*cv = treehash.Group(content, g)
		}
		if werr := in.out.writeAt(content, p.offset); werr != nil {
			failure = bare(werr).Error()
		} else {
			in.out.landed(g, *cv)
		}
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	in.busy--
	in.received += int64(p.length)
	if g == 0 {
		in.first = first
	}
	if g != 0 || in.e.Size > treehash.GroupSize || in.e.Size == UnknownSize { // a small file needs none
		for k := run.first; k < run.end; k++ {
			in.leaves().Add(k, cvs[k-g])
		}
	}
	if failure != "" && in.failed == "" {
		in.failed = failure
	}
	return in.complete(), nil
}

// ended takes the file's end.
func (in *incoming) ended(end fileEnd) (complete bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.end != nil:
		return false, protocolErrorf("a file ended twice")
	case in.comparing:
		return false, protocolErrorf("the end of a file that was only to be compared")
	case in.taken > end.Sent:
		return false, protocolErrorf("more content of a file than its end told")
	case in.e.Size >= 0 && end.Size > in.e.Size:
		return false, &EntryError{in.e.Path, "it ended longer than was announced"}
	}
	in.end, in.endedAt = &end, time.Now()
	return in.complete(), nil
}

// complete reports that nothing more will come; in.mu is held.
func (in *incoming) complete() bool {
	return in.end != nil && !in.lossy && in.busy == 0 && in.received >= in.end.Sent
}

// size is the file's length after its end has come.
func (in *incoming) size() int64 {
	if in.end != nil {
		return in.end.Size
	}
	return max(0, in.e.Size)
}

// verdict compares what is here with what the sender read.
func (in *incoming) verdict() (status byte, digest treehash.Digest, text string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.end.Status == statusFailed:
		return statusFailed, digest, in.end.Text
	case in.failed != "":
		return statusFailed, digest, in.failed
	}
	digest, ok := in.digest()
	if !ok || digest != in.end.Digest || in.received != in.end.Sent {
		return statusMissing, digest, ""
	}
	return statusDone, digest, ""
}

// digest is that of the groups that are here, if they are all of the file.
func (in *incoming) digest() (d treehash.Digest, ok bool) {
	size := in.end.Size
	n := treehash.Groups(size)
	if size == 0 {
		return treehash.Sum(nil), in.received == 0 && len(in.had) == 0
	}
	here := in.received
	for g := range in.had {
		if g < n {
			here += min(treehash.GroupSize, size-g*treehash.GroupSize)
		}
	}
	if here != size { // the digest is right, and the length told is not
		return d, false
	}
	if n == 1 {
		return in.first, in.came.overlaps(groupRun{0, 1})
	}
	for g, cv := range in.had {
		if g < n {
			in.leaves().Add(g, cv)
		}
	}
	return in.leaves().Root(n)
}

// leaves is the tree of the groups that are here, made when it is needed: many
// files may be waiting.
func (in *incoming) leaves() *treehash.Tree {
	if in.tree == nil {
		in.tree = treehash.NewTree()
	}
	return in.tree
}

func (in *incoming) abandon() {
	if in.out != nil {
		in.out.abandon()
	}
}

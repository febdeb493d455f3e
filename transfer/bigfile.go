package transfer

import (
	"os"
	"sync/atomic"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A bigFile is a file whose groups several producers read side by side.
type bigFile struct {
	job    job
	e      *Entry
	file   *os.File
	info   os.FileInfo // when it was opened
	size   int64
	groups int64

	next   int64         // the next group to hand out; the feeder's lock guards it
	holes  holes         // the same
	cvs    []treehash.CV // by group; each written by the producer that read it
	left   atomic.Int64  // groups not yet read
	sent   atomic.Int64  // bytes
	failed atomic.Pointer[error]
}

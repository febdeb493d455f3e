package transfer

import (
	"encoding/binary"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A data frame carries one piece of one file: the entry's number (32 bits), the
// piece's offset (64 bits), and the bytes. A piece never crosses a border
// between groups of the file's hash tree, so that each end can hash, write and
// forget it.
const (
	dataHeader = 4 + 8
	maxData    = dataHeader + treehash.GroupSize
)

// putDataHeader writes the frame header and data header of n content bytes.
func putDataHeader(b []byte, entry int, offset int64, n int) {
	putFrameHeader(b, frameData, dataHeader+n)
	binary.BigEndian.PutUint32(b[frameHeader:], uint32(entry))
	binary.BigEndian.PutUint64(b[frameHeader+4:], uint64(offset))
}

// A piece is what a data frame says of its content.
type piece struct {
	entry  int
	offset int64
	length int
	hole   bool // zeros, of which nothing follows
}

// decodeDataHeader checks that the piece lies within one group.
func decodeDataHeader(h []byte, length int) (piece, error) {
	p := piece{
		entry:  int(binary.BigEndian.Uint32(h)),
		offset: int64(binary.BigEndian.Uint64(h[4:])),
		length: length - dataHeader,
	}
	switch {
	case p.length <= 0:
		return piece{}, protocolErrorf("a data frame without content")
	case p.offset < 0 || p.offset > maxSize:
		return piece{}, protocolErrorf("a data frame at an impossible offset")
	case p.offset%treehash.GroupSize+int64(p.length) > treehash.GroupSize:
		return piece{}, protocolErrorf("a data frame crosses the border of a hash group")
	}
	return p, nil
}

// Statuses of an end frame and of a receipt.
const (
	statusDone    = 0
	statusFailed  = 1 // the sender could not read it; the receiver could not write it
	statusHash    = 2 // end: the answer to a decision to compare, no content follows
	statusHad     = 2 // receipt: the receiver had it already, equal
	statusMissing = 3 // receipt: the digests differ
	statusRefused = 4 // receipt: another file is there, and policy keeps it
	statusHoles   = 5 // receipt: datagrams of it did not arrive
)

// fileEnd closes a file: how long it turned out to be, how much of it was sent
// (frames of one file may overtake each other, so its end may come before its
// last piece), and its digest. With statusFailed, Text says why instead.
type fileEnd struct {
	Entry  int
	Status byte
	Size   int64
	Sent   int64
	Digest treehash.Digest
	Text   string
}

func (e fileEnd) append(b []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = binary.AppendUvarint(b, uint64(e.Entry))
	b = append(b, e.Status)
	b = binary.AppendUvarint(b, uint64(e.Size))
	b = binary.AppendUvarint(b, uint64(e.Sent))
	if e.Status == statusFailed {
		b = appendBytes(b, []byte(e.Text[:min(len(e.Text), maxErrorText)]))
	} else {
		b = append(b, e.Digest[:]...)
	}
	putFrameHeader(b[start:], frameEnd, len(b)-start-frameHeader)
	return b
}

func decodeFileEnd(p []byte) (fileEnd, error) {
	d := decoder{b: p}
	e := fileEnd{Entry: int(d.count("an entry's number", maxEntries)), Status: d.byte()}
	e.Size = int64(d.count("a file's size", maxSize))
	e.Sent = int64(d.count("a count of bytes sent", maxSize))
	switch e.Status {
	case statusDone, statusHash:
		copy(e.Digest[:], d.fixed(treehash.Size))
	case statusFailed:
		e.Text = string(d.bytes("an error text", maxErrorText))
	default:
		d.fail("an end frame with the status %d", e.Status)
	}
	return e, d.done()
}

// A receipt is what became of one file at the receiver.
type receipt struct {
	Entry  int
	Status byte
	Digest treehash.Digest // of what is on the receiver's disk
	Text   string          // with statusFailed: why
}

func (r receipt) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(r.Entry))
	b = append(b, r.Status)
	if r.Status == statusFailed || r.Status == statusRefused || r.Status == statusHoles {
		return appendBytes(b, []byte(r.Text[:min(len(r.Text), maxErrorText)]))
	}
	return append(b, r.Digest[:]...)
}

func decodeReceipts(p []byte, yield func(receipt) error) error {
	d := decoder{b: p}
	for len(d.b) > 0 {
		r := receipt{Entry: int(d.count("an entry's number", maxEntries)), Status: d.byte()}
		switch r.Status {
		case statusDone, statusHad, statusMissing:
			copy(r.Digest[:], d.fixed(treehash.Size))
		case statusFailed, statusRefused, statusHoles:
			r.Text = string(d.bytes("an error text", maxErrorText))
		default:
			d.fail("a receipt with the status %d", r.Status)
		}
		if d.err != nil {
			return d.err
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return d.done()
}

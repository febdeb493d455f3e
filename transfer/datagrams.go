package transfer

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// Datagrams carry content beside a connection, each at most once: what is lost
// stays lost. [rudp.Conn] has them, if it runs arq.NoARQ, and package pairing
// seals them.
//
// [rudp.Conn]: https://pkg.go.dev/github.com/wherry-net/wherry/socket/rudp#Conn
type Datagrams interface {
	// SendDatagram queues a datagram, and waits while the queue is full.
	SendDatagram(ctx context.Context, b []byte) error
	// FlushDatagrams waits until the queue is sent.
	FlushDatagrams(ctx context.Context) error
	// ReadDatagram waits for one, and returns its length in b and its number.
	// One that waits is returned even if ctx has ended.
	ReadDatagram(ctx context.Context, b []byte) (n int, number uint64, err error)
	// MaxDatagramPayload is how much a datagram holds.
	MaxDatagramPayload() int
	// ExpectDatagrams tells how many the peer has sent, for its statistics.
	ExpectDatagrams(n uint64)
}

// A datagram of content is the entry's number (32 bits), the offset (64 bits)
// and the bytes.
const datagramHeader = 4 + 8

// maxDatagram is more than a UDP datagram holds.
const maxDatagram = 64 << 10

// A Range is the bytes [Start, End) of a file.
type Range struct{ Start, End int64 }

// A MissingError says that content which was sent once, as datagrams, did not
// all arrive. Trace.Missing told of each file.
type MissingError struct {
	Files int
	First string
}

func (e *MissingError) Error() string {
	if e.Files == 1 {
		return "bytes of one file are missing: " + e.First
	}
	return fmt.Sprintf("bytes of %d files are missing, the first: %s", e.Files, e.First)
}

// missingText says how much of a file is missing.
func missingText(missing, size int64) string {
	return fmt.Sprintf("%d of %d bytes did not arrive", missing, size)
}

// ranges is a set of bytes of a file, as sorted ranges that do not touch.
type ranges []Range

// maxRanges bounds the memory of a file's ranges: what comes beyond it counts
// as lost.
const maxRanges = 1 << 20

// add inserts r and returns how many bytes of it are new.
func (s *ranges) add(r Range) (fresh int64) {
	all := *s
	if r.Start >= r.End {
		return 0
	}
	if n := len(all); n > 0 && all[n-1].End == r.Start { // in order: the most frequent
		all[n-1].End = r.End
		return r.End - r.Start
	}
	i, _ := slices.BinarySearchFunc(all, r.Start, func(x Range, at int64) int {
		if x.End < at {
			return -1
		}
		return 1
	})
	j, had := i, int64(0)
	for j < len(all) && all[j].Start <= r.End {
		had += max(0, min(all[j].End, r.End)-max(all[j].Start, r.Start))
		j++
	}
	fresh = r.End - r.Start - had
	if i == j {
		if len(all) >= maxRanges {
			return 0
		}
		*s = slices.Insert(all, i, r)
		return fresh
	}
	all[i] = Range{min(all[i].Start, r.Start), max(all[j-1].End, r.End)}
	*s = slices.Delete(all, i+1, j)
	return fresh
}

// holes is what is not in the set of [0, size).
func (s ranges) holes(size int64) (out []Range) {
	at := int64(0)
	for _, r := range s {
		if r.Start > at {
			out = append(out, Range{at, min(r.Start, size)})
		}
		at = max(at, r.End)
	}
	if at < size {
		out = append(out, Range{at, size})
	}
	return out
}

// has reports whether [start, end) is in the set.
func (s ranges) has(start, end int64) bool {
	for _, r := range s {
		if r.Start <= start && end <= r.End {
			return true
		}
	}
	return start >= end
}

// A datagramSender turns the feeder's frames into datagrams of content and
// frames for the rest.
type datagramSender struct {
	d    Datagrams
	buf  []byte
	sent uint64
}

// write sends the frames of a batch. An end follows its file's last datagram.
func (s *datagramSender) write(ctx context.Context, l *link, frames []byte) error {
	for len(frames) > 0 {
		n := frameHeader + int(binary.BigEndian.Uint32(frames[1:]))
		f := frames[:n]
		frames = frames[n:]
		if frameType(f[0]) != frameData {
			if err := s.d.FlushDatagrams(ctx); err != nil {
				return l.explain("sending to", err)
			}
			if err := l.write(f); err != nil {
				return err
			}
			continue
		}
		offset := binary.BigEndian.Uint64(f[frameHeader+4:])
		content := f[frameHeader+dataHeader:]
		room := s.d.MaxDatagramPayload() - datagramHeader
		for len(content) > 0 {
			k := min(room, len(content))
			s.buf = append(s.buf[:0], f[frameHeader:frameHeader+4]...)
			s.buf = binary.BigEndian.AppendUint64(s.buf, offset)
			s.buf = append(s.buf, content[:k]...)
			if err := s.d.SendDatagram(ctx, s.buf); err != nil {
				return l.explain("sending to", err)
			}
			s.sent++
			content = content[k:]
			offset += uint64(k)
		}
	}
	return nil
}

// finish tells how many datagrams there were.
func (s *datagramSender) finish(l *link) error { return l.frame(frameDatagrams, encodeCount(s.sent)) }

func encodeCount(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func decodeCount(p []byte) (uint64, error) {
	d := decoder{b: p}
	n := d.count("a count of datagrams", maxSize)
	return n, d.done()
}

// A digester reads back what was collected.
type digester interface {
	readAt(p []byte, offset int64) error
}

// readBack hashes what is there of a file of size bytes: its digest, and for
// each group that is there as a whole, landed.
func readBack(in digester, size int64, here ranges, landed func(group int64, cv treehash.CV)) (treehash.Digest, error) {
	groups := treehash.Groups(size)
	buf := make([]byte, min(size, treehash.GroupSize))
	var cvs []treehash.CV
	for g := range groups {
		start := g * treehash.GroupSize
		end := min(start+treehash.GroupSize, size)
		if !here.has(start, end) {
			continue
		}
		p := buf[:end-start]
		if err := in.readAt(p, start); err != nil {
			return treehash.Digest{}, err
		}
		if groups == 1 {
			return treehash.Sum(p), nil
		}
		cv := treehash.Group(p, g)
		cvs = append(cvs, cv)
		landed(g, cv)
	}
	if int64(len(cvs)) < groups {
		return treehash.Digest{}, nil
	}
	return treehash.Root(cvs), nil
}

// quoteMissing is a MissingError's First.
func quoteMissing(e *Entry, text string) string {
	return safetext.Quote(e.Path) + ": " + safetext.Clean(text)
}

package transfer

import (
	"encoding/binary"
	"fmt"
	"io"
)

// A frameType says what a frame's payload is. The package doc has the format of
// each.
type frameType byte

const (
	frameHello        frameType = 1
	frameManifest     frameType = 2
	frameManifestEnd  frameType = 3
	frameDecisions    frameType = 4
	frameDecisionsEnd frameType = 5
	frameData         frameType = 6
	frameEnd          frameType = 7
	frameReceipts     frameType = 8
	frameFinish       frameType = 9
	frameDone         frameType = 10
	frameError        frameType = 11
	framePing         frameType = 12
	framePacked       frameType = 13
	frameHole         frameType = 14
	frameDatagrams    frameType = 15
)

func (t frameType) String() string {
	names := [...]string{"none", "hello", "manifest", "manifest-end", "decisions", "decisions-end", "data", "end", "receipts", "finish", "done", "error", "ping", "packed", "hole", "datagrams"}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("frame type %d", byte(t))
}

// frameHeader is the length in bytes of what stands before every payload: the
// type, and the payload's length as a big-endian 32-bit number.
const frameHeader = 5

// maxControl bounds the payload of every frame but data: what the receiver of a
// frame reads into memory before it looks at it.
const maxControl = 64 << 10

// putFrameHeader writes a frame header into b.
func putFrameHeader(b []byte, t frameType, length int) {
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:], uint32(length))
}

// appendFrame appends a whole frame to b.
func appendFrame(b []byte, t frameType, payload []byte) []byte {
	b = append(b, byte(t), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[len(b)-4:], uint32(len(payload)))
	return append(b, payload...)
}

// readFrameHeader reads the next frame's type and length, and holds the length
// to the bound of its type.
func readFrameHeader(r io.Reader) (frameType, int, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	return parseFrameHeader(h)
}

func parseFrameHeader(h [frameHeader]byte) (frameType, int, error) {
	t, n := frameType(h[0]), binary.BigEndian.Uint32(h[1:])
	limit := uint32(maxControl)
	if t == frameData || t == framePacked {
		limit = maxData
	}
	if n > limit {
		return 0, 0, protocolErrorf("a %v frame of %d bytes (at most %d are allowed)", t, n, limit)
	}
	if t < frameHello || t > frameDatagrams {
		return 0, 0, protocolErrorf("%v", t)
	}
	return t, int(n), nil
}

// A decoder reads the fields of one payload. The first field that is not there,
// or out of bounds, sets err; everything after it reads as zero, so that a
// caller checks once, with done.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = protocolErrorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.fail("a frame ends early")
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail("a frame ends early")
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("a number is cut off or too long")
		return 0
	}
	if n > 1 && d.b[n-1] == 0 {
		d.fail("a number is not in its shortest form")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number that must not be above max.
func (d *decoder) count(what string, max uint64) uint64 {
	v := d.uvarint()
	if v > max {
		d.fail("%s is %d (at most %d is allowed)", what, v, max)
		return 0
	}
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// bytes reads a length and that many bytes, which stay part of the payload.
func (d *decoder) bytes(what string, max int) []byte {
	n := d.uvarint()
	if n > uint64(max) {
		d.fail("%s is %d bytes long (at most %d are allowed)", what, n, max)
		return nil
	}
	return d.fixed(int(n))
}

func (d *decoder) fixed(n int) []byte {
	if len(d.b) < n {
		d.fail("a frame ends early")
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// done is the first error, or one if bytes are left over.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many in a frame", len(d.b))
	}
	return d.err
}

func appendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

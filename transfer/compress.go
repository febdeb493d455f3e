package transfer

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A packed frame is a data frame whose content is one zstd frame (RFC 8878): the
// entry (32 bits), the offset (64 bits), the content's length (32 bits), and the
// zstd frame, whose own header must tell the same length. It is always shorter
// than the data frame would be. Hashes, offsets and counts are of the content as
// it is on the disks.
const packedHeader = dataHeader + 4

const (
	// packFrom is the content from which trying is worth the time.
	packFrom = 512
	// sampleSize is how much of a large piece is tried first.
	sampleSize = 32 << 10
)

// paysOff reports whether n bytes in the place of raw spare the network more
// than compressing costs: a tenth.
func paysOff(n, raw int) bool { return n < raw-raw/10 }

// A packer compresses data frames, as long as that is faster than the link. It
// belongs to one sender; its encoder serves all producers.
type packer struct {
	enc   *zstd.Encoder
	hands int // producers, which compress side by side

	link  linkPace     // bytes a second that the link takes, over all streams
	speed pace         // bytes of content a second that one producer compresses
	spare atomic.Int64 // pieces since one was compressed, to see whether it pays now
}

// A pace is a rate that is measured again and again.
type pace struct{ rate atomic.Int64 } // bytes a second; zero before the first time

// took tells of n bytes in d.
func (p *pace) took(n int, d time.Duration) {
	if d <= 0 || n < paceFrom {
		return
	}
	now := int64(float64(n) / d.Seconds())
	if was := p.rate.Load(); was > 0 {
		now = was + (now-was)/4
	}
	p.rate.Store(max(1, now))
}

// A linkPace is the pace of a link that several connections share. One of them alone
// gets a part of it, so what a write tells is taken as many times as there were
// writes at once while it lasted, on average.
type linkPace struct {
	pace
	mu     sync.Mutex
	active int           // writes under way
	area   time.Duration // their number over the time so far
	at     time.Time     // until when area is summed
}

// A writing is one write under way.
type writing struct {
	begun time.Time
	area  time.Duration
}

func (p *linkPace) begin(now time.Time) writing {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(now)
	p.active++
	return writing{now, p.area}
}

// end tells that w is over, and was of n bytes.
func (p *linkPace) end(now time.Time, w writing, n int) {
	p.mu.Lock()
	p.advance(now)
	p.active--
	d := now.Sub(w.begun)
	at := float64(p.area-w.area) / float64(max(d, 1))
	p.mu.Unlock()
	p.took(n, time.Duration(float64(d)/max(at, 1)))
}

func (p *linkPace) advance(now time.Time) {
	if now.After(p.at) {
		p.area += time.Duration(p.active) * now.Sub(p.at)
		p.at = now
	}
}

const (
	// paceFrom is the least that is measured: what a buffer swallows tells nothing.
	paceFrom = 64 << 10
	// trySometimes is after how many pieces that were not worth compressing one is
	// compressed all the same: links and machines change.
	trySometimes = 64
)

// worth reports whether compressing is faster than the link. A link that is not
// measured yet is taken for slow, since somebody has asked to compress.
func (p *packer) worth() bool {
	link, speed := p.link.rate.Load(), p.speed.rate.Load()
	if link == 0 || speed == 0 || link < speed*int64(p.hands)/10*9 {
		return true
	}
	return p.spare.Add(1)%trySometimes == 0
}

func newPacker(hands int) (*packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(treehash.GroupSize), zstd.WithEncoderConcurrency(4))
	if err != nil {
		return nil, err
	}
	return &packer{enc: enc, hands: hands}, nil
}

// squeeze replaces data frames in b, which holds whole frames, by packed ones
// where a sample shows that it pays.
func (p *packer) squeeze(b []byte) []byte {
	var scratch []byte
	out := 0
	for in := 0; in < len(b); {
		n := frameHeader + int(binary.BigEndian.Uint32(b[in+1:]))
		frame := b[in : in+n]
		in += n
		if frameType(frame[0]) == frameData {
			content := frame[frameHeader+dataHeader:]
			if scratch = p.pack(scratch[:0], content); scratch != nil {
				raw := len(content)
				copy(b[out:], frame[:frameHeader+dataHeader])
				putFrameHeader(b[out:], framePacked, packedHeader+len(scratch))
				out += frameHeader + dataHeader
				binary.BigEndian.PutUint32(b[out:], uint32(raw))
				out += 4
				out += copy(b[out:], scratch)
				continue
			}
		}
		out += copy(b[out:], frame)
	}
	return b[:out]
}

// pack is content compressed, or nil if that does not pay.
func (p *packer) pack(dst, content []byte) []byte {
	if len(content) < packFrom || !p.worth() {
		return nil
	}
	start := time.Now()
	if len(content) > 4*sampleSize {
		middle := content[len(content)/2:][:sampleSize]
		if dst = p.enc.EncodeAll(middle, dst); !paysOff(len(dst), sampleSize) {
			return nil
		}
		dst = dst[:0]
	}
	dst = p.enc.EncodeAll(content, dst)
	p.speed.took(len(content), time.Since(start))
	if !paysOff(len(dst), len(content)) {
		return nil
	}
	return dst
}

// An unpacker takes packed frames apart. Not for several goroutines at once.
type unpacker struct {
	dec *zstd.Decoder
	in  []byte
}

func newUnpacker() (*unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(treehash.GroupSize), zstd.WithDecoderMaxWindow(treehash.GroupSize), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &unpacker{dec: dec, in: make([]byte, 0, treehash.GroupSize)}, nil
}

// unpack decompresses src into the whole of dst, and nowhere beyond it: what the
// zstd frame says of its size is held to that before anything is decoded.
func (u *unpacker) unpack(dst, src []byte) error {
	var h zstd.Header
	if err := h.Decode(src); err != nil || h.Skippable || !h.HasFCS || h.FrameContentSize != uint64(len(dst)) {
		return protocolErrorf("a packed frame that does not say how much is in it")
	}
	got, err := u.dec.DecodeAll(src, dst[:0:len(dst)])
	if err != nil || len(got) != len(dst) {
		return protocolErrorf("a packed frame that cannot be unpacked")
	}
	return nil
}

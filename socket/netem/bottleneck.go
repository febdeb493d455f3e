package netem

import (
	"math/bits"
	"time"
)

// A bottleneck serves packets in order, at a rate or by a Schedule, and knows
// how many bytes are waiting.
type bottleneck struct {
	rate   uint64  // bits a second; 0 with a nil cursor serves at once
	cursor *cursor // in place of rate

	busy time.Duration // when everything accepted so far has left
	rem  uint64        // what the last division left over, in 1/rate ns

	// The packets that have not left, oldest first, as a ring whose length is a
	// power of two. It is bounded by the queue's bytes.
	ring        []departure
	first, last uint64
	bytes       int64
}

type departure struct {
	at   time.Duration
	size int64
}

func (b *bottleneck) limits() bool { return b.rate > 0 || b.cursor != nil }

// queued is the number of bytes that have not left at now, the packet on the
// wire included.
func (b *bottleneck) queued(now time.Duration) int64 {
	for b.first != b.last {
		d := b.ring[b.first&uint64(len(b.ring)-1)]
		if d.at > now {
			break
		}
		b.bytes -= d.size
		b.first++
	}
	return b.bytes
}

// send accepts size bytes at now and returns when the last of them has left.
func (b *bottleneck) send(now time.Duration, size int64) time.Duration {
	size = max(1, size) // an empty packet takes its place in the queue, too
	if b.cursor != nil {
		b.busy = b.cursor.send(now, size)
	} else {
		if b.busy < now {
			b.busy, b.rem = now, 0
		}
		// The remainder goes into the next packet: rounding must not add up,
		// since a nanosecond a packet is a tenth of a percent at 10 Gbit/s.
		hi, lo := bits.Mul64(uint64(size)*8, uint64(time.Second))
		lo, carry := bits.Add64(lo, b.rem, 0)
		q, r := bits.Div64(hi+carry, lo, b.rate)
		b.busy += time.Duration(q)
		b.rem = r
	}
	if b.last-b.first == uint64(len(b.ring)) {
		b.grow()
	}
	b.ring[b.last&uint64(len(b.ring)-1)] = departure{b.busy, size}
	b.last++
	b.bytes += size
	return b.busy
}

func (b *bottleneck) grow() {
	ring := make([]departure, max(64, 2*len(b.ring)))
	for i := b.first; i != b.last; i++ {
		ring[i&uint64(len(ring)-1)] = b.ring[i&uint64(len(b.ring)-1)]
	}
	b.ring = ring
}

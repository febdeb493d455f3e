package netem

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// A Link is one direction of an impaired wire; see the package documentation.
// Times are counted from any moment that the caller likes, and must not run
// backwards between calls.
type Link struct {
	cfg   Config
	drop  []uint64
	queue int64 // room before the bottleneck
	limit int

	loss, reorder, duplicate, corrupt chance
	move                              [2]chance // of leaving the good, the bad state
	inState                           [2]chance // of loss in the good, the bad state
	bad                               int       // the Gilbert–Elliott state: 0 good, 1 bad

	count    uint64 // packets numbered so far
	shadow   uint64 // packets that Index left to be counted
	lastStay time.Duration
	bottle   bottleneck
	inflight heap
	held     int // bytes in flight, Header included
	seq      uint64
	free     [len(classes)][][]byte // buffers for the next packets
	stats    Stats
}

// New makes a Link. It fails where [Config.Validate] does.
func New(cfg Config) (*Link, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &Link{
		cfg: cfg, drop: cfg.dropList(), queue: cfg.queueBytes(), limit: cfg.Limit,
		loss: chanceOf(cfg.Loss), reorder: chanceOf(cfg.Reorder),
		duplicate: chanceOf(cfg.Duplicate), corrupt: chanceOf(cfg.Corrupt),
	}
	if l.limit == 0 {
		l.limit = DefaultLimit
	}
	if l.cfg.HoldBack == 0 {
		l.cfg.HoldBack = DefaultHoldBack
	}
	if g := cfg.Gilbert; g != nil {
		l.move = [2]chance{chanceOf(g.P), chanceOf(g.R)}
		l.inState = [2]chance{chanceOf(g.LossGood), chanceOf(g.LossBad)}
	}
	l.bottle.rate = uint64(cfg.Rate)
	if cfg.Schedule != nil {
		l.bottle.cursor = &cursor{Schedule: cfg.Schedule}
	}
	return l, nil
}

// Push sends pkt, which is copied, at now. It reports whether the sender could
// tell that the packet did not get onto the link: false for a tail drop and an
// overflow, which happen in the sender's own queue if the link is its first
// hop; true for everything else, losses included.
func (l *Link) Push(now time.Duration, pkt []byte) bool {
	body := pkt[min(l.cfg.Header, len(pkt)):]
	l.stats.Packets++
	l.stats.Bytes += uint64(len(body))

	d := Decision{Direction: l.cfg.Direction, Index: l.number(body), Size: len(body), At: now, Departs: now, Arrives: now}
	// The state of the loss model moves with every packet, whatever becomes of
	// it, so that a queue that drops does not shift the bursts behind it.
	lost := l.loses(d.Index)

	wire := int64(len(body) + l.cfg.Overhead)
	switch {
	case l.cfg.MTU > 0 && len(body) > l.cfg.MTU, len(body) > MaxPacket:
		d.Fate = TooBig
		l.stats.TooBig++
	case l.bottle.limits() && l.bottle.queued(now)+wire > l.queue:
		d.Fate = TailDrop
		d.Queued = int(l.bottle.queued(now))
		l.stats.TailDrops++
	case l.held+classes[class(len(pkt))] > l.limit:
		d.Fate = Overflow
		l.stats.Overflows++
	default:
		if l.bottle.limits() {
			d.Departs = l.bottle.send(now, wire)
			d.Queued = int(l.bottle.queued(now))
			l.stats.MaxQueue = max(l.stats.MaxQueue, d.Queued)
		}
		if lost {
			d.Fate = Lost
			l.stats.Lost++
			break
		}
		l.deliver(pkt, &d)
	}
	if t := l.cfg.Trace; t != nil && t.Packet != nil {
		t.Packet(d)
	}
	return d.Fate != TailDrop && d.Fate != Overflow
}

// number gives the packet its number.
func (l *Link) number(body []byte) uint64 {
	if l.cfg.Index != nil {
		if i, ok := l.cfg.Index(body); ok {
			return i
		}
		// The other packets count in the upper half, away from the ones that
		// carry their numbers.
		l.shadow++
		return 1<<63 | l.shadow
	}
	l.count++
	return l.count
}

// loses draws whether packet i is lost behind the bottleneck.
func (l *Link) loses(i uint64) bool {
	lost := l.loss.hit(l.draw(i, forLoss))
	if l.cfg.Gilbert != nil {
		// As sch_netem.c has it: the packet is lost by the state it finds, and
		// moves the state for the next one.
		lost = l.inState[l.bad].hit(l.draw(i, forGilbertLoss)) || lost
		if l.move[l.bad].hit(l.draw(i, forGilbertMove)) {
			l.bad ^= 1
		}
	}
	if len(l.drop) > 0 {
		_, listed := slices.BinarySearch(l.drop, i)
		lost = lost || listed
	}
	return lost
}

// deliver decides when pkt arrives, how often and how whole, and keeps it.
func (l *Link) deliver(pkt []byte, d *Decision) {
	d.Arrives = d.Departs + l.delay(d.Index)
	if l.cfg.KeepOrder {
		d.Arrives = max(d.Arrives, l.lastStay)
		l.lastStay = d.Arrives
	}
	if l.reorder.hit(l.draw(d.Index, forReorder)) {
		d.Reordered = true
		l.stats.Reordered++
		if l.cfg.Delay > 0 {
			d.Arrives = d.Departs
		} else {
			d.Arrives += l.cfg.HoldBack
		}
	}
	buf := l.keep(pkt, d.Arrives)
	if d.Size > 0 && l.corrupt.hit(l.draw(d.Index, forCorrupt)) {
		d.Corrupted = true
		l.stats.Corrupted++
		hi, _ := bits.Mul64(l.draw(d.Index, forCorruptBit), uint64(d.Size)*8)
		d.FlippedBit = int(hi)
		buf[l.cfg.Header+d.FlippedBit/8] ^= 1 << (d.FlippedBit % 8)
	}
	if l.duplicate.hit(l.draw(d.Index, forDuplicate)) && l.held+cap(buf) <= l.limit {
		d.Duplicated = true
		l.stats.Duplicated++
		l.keep(buf, d.Arrives)
	}
}

func (l *Link) delay(i uint64) time.Duration {
	if l.cfg.Jitter == 0 {
		return l.cfg.Delay
	}
	var j int64
	if l.cfg.Distribution == Normal {
		j = normal(func(k purpose) uint64 { return l.draw(i, forJitter+k) }, int64(l.cfg.Jitter))
	} else {
		j = uniform(l.draw(i, forJitter), int64(l.cfg.Jitter))
	}
	return max(0, l.cfg.Delay+time.Duration(j))
}

func (l *Link) draw(i uint64, p purpose) uint64 {
	return draw(l.cfg.Seed, l.cfg.Direction, i, p)
}

// Next returns when the next packet arrives, and whether there is one.
func (l *Link) Next() (time.Duration, bool) {
	if len(l.inflight) == 0 {
		return 0, false
	}
	return l.inflight[0].at, true
}

// NextLen returns the length of the next packet, Header included, or 0.
func (l *Link) NextLen() int {
	if len(l.inflight) == 0 {
		return 0
	}
	return len(l.inflight[0].data)
}

// Pop copies the next packet that has arrived by now into buf and returns its
// length; what does not fit is cut off. It returns false when there is none.
// Packets that arrive at the same moment come in the order of their pushing.
func (l *Link) Pop(now time.Duration, buf []byte) (n int, ok bool) {
	if len(l.inflight) == 0 || l.inflight[0].at > now {
		return 0, false
	}
	p := l.inflight.pop()
	n = copy(buf, p.data)
	l.stats.Delivered++
	l.stats.DeliveredBytes += uint64(len(p.data) - min(l.cfg.Header, len(p.data)))
	l.release(p.data)
	return n, true
}

// Len is the number of packets on the link, those in the queue included.
func (l *Link) Len() int { return len(l.inflight) }

// Queued is the number of bytes before the bottleneck at now.
func (l *Link) Queued(now time.Duration) int { return int(l.bottle.queued(now)) }

// Stats returns the counters.
func (l *Link) Stats() Stats { return l.stats }

// Buffers come in a few sizes, each with its own free list: an Ethernet frame,
// a jumbo frame, and the largest packet, with room for a Header.
var classes = [...]int{2048, 10 << 10, MaxPacket + 256}

// maxFree bounds the bytes of each free list, so that a link that was full once
// does not stay that large.
const maxFree = 2 << 20

func class(n int) int {
	c := 0
	for classes[c] < n {
		c++
	}
	return c
}

func (l *Link) keep(pkt []byte, at time.Duration) []byte {
	c := class(len(pkt))
	free := &l.free[c]
	var b []byte
	if n := len(*free); n > 0 {
		b, *free = (*free)[n-1], (*free)[:n-1]
	} else {
		b = make([]byte, classes[c])
	}
	b = b[:copy(b[:cap(b)], pkt)]
	l.seq++
	l.held += cap(b)
	l.inflight.push(arrival{at: at, seq: l.seq, data: b})
	return b
}

func (l *Link) release(b []byte) {
	l.held -= cap(b)
	if free := &l.free[class(cap(b))]; len(*free)*cap(b) < maxFree {
		*free = append(*free, b)
	}
}

package arq

import "time"

type packetState uint8

const (
	packetIgnored  packetState = iota // nothing rides on it (an ACK alone)
	packetInFlight                    // sent, not heard of
	packetAcked
	packetLost // deemed lost; kept a while to notice if it was only late
)

type packetFlags uint16

const (
	hasData packetFlags = 1 << iota
	hasFin
	hasWindow
	hasSender
	isRetransmit
	isProbe
	isTail
	isMTUProbe
	isAppLimited
)

// sentPacket is what is remembered of a datagram until its fate is known.
type sentPacket struct {
	time          time.Duration
	off           uint64        // of its data in the stream
	delivered     uint64        // connection's delivered bytes when it left
	deliveredTime time.Duration // when those were delivered
	firstSent     time.Duration // start of the flight it belongs to
	epoch         uint32        // controller's accounting period
	n             uint16        // bytes of stream
	size          uint16        // bytes of UDP payload
	flags         packetFlags
	state         packetState
}

// sentRing holds the records of packets [floor, next), indexed by number.
type sentRing struct {
	buf         []sentPacket // length is a power of two
	floor, next uint64
	// scan is the lowest number that may be in flight.
	scan uint64
}

// maxTracked bounds the packets whose fate is open: 2^17 of them at 1452
// bytes are ten times the largest window.
const maxTracked = 1 << 17

func (r *sentRing) full() bool { return r.next-r.floor >= maxTracked }

// push makes a record for the next number.
func (r *sentRing) push() *sentPacket {
	if r.next-r.floor == uint64(len(r.buf)) {
		old := r.buf
		r.buf = make([]sentPacket, max(256, 2*len(old)))
		for n := r.floor; n < r.next; n++ {
			r.buf[n&uint64(len(r.buf)-1)] = old[n&uint64(len(old)-1)]
		}
	}
	p := &r.buf[r.next&uint64(len(r.buf)-1)]
	*p = sentPacket{}
	r.next++
	return p
}

func (r *sentRing) at(n uint64) *sentPacket { return &r.buf[n&uint64(len(r.buf)-1)] }

// settle advances floor past packets that nothing can be learnt of any more:
// lost ones are kept until keep, so that late arrivals are recognised.
func (r *sentRing) settle(keep time.Duration) {
	for r.floor < r.next {
		p := r.at(r.floor)
		if p.state == packetInFlight || (p.state == packetLost && p.time > keep && r.next-r.floor < maxTracked/2) {
			break
		}
		r.floor++
	}
	r.scan = max(r.scan, r.floor)
}

package rudp

import (
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// offload gives a [datagram.Comparison] the fates of a connection's packets, so
// that segmentation is turned off on a path that loses segmented trains. A nil
// offload does nothing. It is guarded by the connection's lock.
type offload struct {
	cmp     datagram.Comparison
	disable func(netip.AddrPort)
	to      netip.AddrPort // where the last train went: a client may move
	// alone marks, by the packets' numbers, what was sent singly while
	// comparing. A comparison takes a few thousand packets.
	alone *[ringPackets / 64]uint64
	since uint64 // the first packet of the comparison that goes on
	on    bool   // one goes on
}

const ringPackets = 1 << 16

// watch returns trace with the fates of packets tapped.
func (o *offload) watch(trace *arq.Trace) *arq.Trace {
	var t arq.Trace
	if trace != nil {
		t = *trace
	}
	acked, lost := t.PacketAcked, t.PacketLost
	t.PacketAcked = func(now time.Duration, number uint64, rtt time.Duration) {
		o.settled(number, false)
		if acked != nil {
			acked(now, number, rtt)
		}
	}
	t.PacketLost = func(now time.Duration, number uint64, why arq.LossTrigger) {
		o.settled(number, true)
		if lost != nil {
			lost(now, number, why)
		}
	}
	return &t
}

// settled takes in a packet's fate.
func (o *offload) settled(number uint64, lost bool) {
	// What was in flight when the comparison began holds the losses that
	// began it, and all of it went by train.
	if o.cmp.Comparing() && (!o.on || number < o.since) {
		return
	}
	alone := false
	if o.alone != nil {
		i := number % ringPackets
		alone = o.alone[i/64]>>(i%64)&1 == 1
	}
	o.cmp.Settled(!alone, lost)
	if o.cmp.Off() && o.disable != nil {
		o.disable(o.to)
		o.disable = nil
	}
}

// sending decides how a train leaves.
func (o *offload) sending(m *datagram.Message) {
	if o == nil {
		return
	}
	o.to = m.Addr
	if !o.cmp.Comparing() {
		o.on = false
		return
	}
	first, ok := arq.PacketNumber(m.Buf)
	if !ok {
		return
	}
	if !o.on {
		o.on, o.since = true, first
	}
	if o.alone == nil {
		o.alone = new([ringPackets / 64]uint64)
	}
	m.Single = m.Segment >= len(m.Buf) || !o.cmp.Segment()
	for n := first; n < first+uint64((len(m.Buf)+m.Segment-1)/m.Segment); n++ {
		i := n % ringPackets
		if m.Single {
			o.alone[i/64] |= 1 << (i % 64)
		} else {
			o.alone[i/64] &^= 1 << (i % 64)
		}
	}
}

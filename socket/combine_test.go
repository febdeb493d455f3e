package socket

import (
	"testing"
	"time"
)

func TestCombine(t *testing.T) {
	at := time.Unix(1000, 0)
	span := func(from, to time.Duration, busy, window float64, sent, retransmits int64, rtt time.Duration) Span {
		d := to - from
		b := TCPInfo{At: at.Add(from), HasTimes: true, BytesSent: 100, SegmentsSent: 2, Retransmits: 1, BusyTime: time.Second, RTT: time.Hour}
		a := b
		a.At, a.RTT = at.Add(to), rtt
		a.BytesSent += sent
		a.SegmentsSent += sent / 1000
		a.Retransmits += retransmits
		a.BytesRetransmitted = retransmits * 1000
		a.DeliveryRate = sent
		a.BusyTime += time.Duration(busy * float64(d))
		a.ReceiveWindow += time.Duration(window * float64(d))
		return Span{b, a}
	}
	one := span(0, 10*time.Second, 1, 0.9, 1_000_000, 1, 7*time.Millisecond)
	if got := Combine(one); got != one {
		t.Errorf("one connection: %+v", got)
	}
	if got := Combine(); got != (Span{}) {
		t.Errorf("none: %+v", got)
	}
	// Three came when half of the time had passed; each spent 90% of its own at
	// the receiver's window, and so did all together.
	all := []Span{one}
	for i := range 3 {
		all = append(all, span(5*time.Second, 10*time.Second, 1, 0.9, 2_000_000+int64(i), 10, 20*time.Millisecond))
	}
	got := Combine(all...)
	if d := got.After.BytesSent - got.Before.BytesSent; d != 7_000_003 {
		t.Errorf("%d bytes sent", d)
	}
	if d := got.After.SegmentsSent - got.Before.SegmentsSent; d != 7000 {
		t.Errorf("%d segments sent", d)
	}
	if d := got.After.Retransmits - got.Before.Retransmits; d != 31 {
		t.Errorf("%d retransmits", d)
	}
	if got.After.DeliveryRate != 7_000_003 || got.After.RTT != 20*time.Millisecond {
		t.Errorf("delivery rate %d, RTT %v", got.After.DeliveryRate, got.After.RTT)
	}
	d := Explain(got.Before, got.After, Load{})
	if d.Limiter != LimitReceiveWindow || d.Share < 0.899 || d.Share > 0.901 {
		t.Errorf("%+v", d)
	}
	if d.Idle > 0.001 {
		t.Errorf("idle %v, though each was busy all its time", d.Idle)
	}
}

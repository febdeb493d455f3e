package socket

import "time"

// A Span is two readings of one connection.
type Span struct{ Before, After TCPInfo }

// Combine makes of several connections that were used at once one pair of readings
// for [Explain]: counts and rates are those of all together, the kernel's times the
// mean of what part of its own span each spent so, and the rest, which describes a
// path, is of the one that sent most. Of one connection it is that.
func Combine(spans ...Span) Span {
	if len(spans) == 0 {
		return Span{}
	}
	sent := func(s Span) int64 { return s.After.BytesSent - s.Before.BytesSent }
	most := spans[0]
	for _, s := range spans[1:] {
		if sent(s) > sent(most) {
			most = s
		}
	}
	if len(spans) == 1 {
		return most
	}
	all := most
	after, before := &all.After, &all.Before
	times := [...]func(*TCPInfo) *time.Duration{
		func(t *TCPInfo) *time.Duration { return &t.BusyTime },
		func(t *TCPInfo) *time.Duration { return &t.ReceiveWindow },
		func(t *TCPInfo) *time.Duration { return &t.SendBufferFilled },
	}
	counts := [...]func(*TCPInfo) *int64{
		func(t *TCPInfo) *int64 { return &t.BytesSent },
		func(t *TCPInfo) *int64 { return &t.BytesRetransmitted },
		func(t *TCPInfo) *int64 { return &t.BytesAcked },
		func(t *TCPInfo) *int64 { return &t.BytesReceived },
		func(t *TCPInfo) *int64 { return &t.SegmentsSent },
		func(t *TCPInfo) *int64 { return &t.SegmentsReceived },
		func(t *TCPInfo) *int64 { return &t.Retransmits },
		func(t *TCPInfo) *int64 { return &t.SpuriousRetransmit },
		func(t *TCPInfo) *int64 { return &t.ReorderingSeen },
		func(t *TCPInfo) *int64 { return &t.CongestionMarks },
		// rates, which are of the moment
		func(t *TCPInfo) *int64 { return &t.DeliveryRate },
		func(t *TCPInfo) *int64 { return &t.PacingRate },
		func(t *TCPInfo) *int64 { return &t.MaxPacingRate },
	}
	const rates = len(counts) - 3
	for _, f := range times {
		*f(before), *f(after) = 0, 0
	}
	for _, f := range counts {
		*f(before), *f(after) = 0, 0
	}
	var length time.Duration
	for i := range spans {
		b, a := &spans[i].Before, &spans[i].After
		if b.At.Before(before.At) {
			before.At = b.At
		}
		if a.At.After(after.At) {
			after.At = a.At
		}
		length += a.At.Sub(b.At)
		after.HasTimes = after.HasTimes && a.HasTimes
		for _, f := range times {
			*f(after) += *f(a) - *f(b)
		}
		for k, f := range counts {
			if *f(after) += *f(a); k < rates {
				*f(after) -= *f(b)
			}
		}
	}
	if length > 0 {
		part := float64(after.At.Sub(before.At)) / float64(length)
		for _, f := range times {
			*f(after) = time.Duration(float64(*f(after)) * part)
		}
	}
	return all
}

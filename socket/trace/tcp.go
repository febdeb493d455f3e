package trace

import (
	"context"
	"net"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// SamplePeriod is how often a TCP connection is looked at: half a round trip of
// a short path, and about a hundredth of a per cent of a processor.
const SamplePeriod = 10 * time.Millisecond

// TCPSource tells what the kernel knows of a connection; it is a
// [*socket.Conn].
type TCPSource interface {
	TCPInfo() (socket.TCPInfo, bool)
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// TCP samples a TCP connection until ctx ends or the kernel tells no more, and
// returns then. Where the system does not tell, the trace has the beginning and
// the end only.
func (l *Log) TCP(ctx context.Context, c TCPSource) {
	t := tcpTrace{l: l, conn: l.NewConn()}
	first, ok := c.TCPInfo()
	name := "tcp"
	if first.Congestion != "" {
		name += " " + first.Congestion
	}
	l.Add(&Event{Time: l.Now(), Conn: t.conn, Kind: ConnectionStarted, Type: name,
		Reason: c.LocalAddr().String() + " " + c.RemoteAddr().String()})
	if ok {
		t.sample(&first)
		tick := time.NewTicker(SamplePeriod)
		defer tick.Stop()
		for ok {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			var info socket.TCPInfo
			if info, ok = c.TCPInfo(); ok {
				t.sample(&info)
			}
			if ctx.Err() != nil {
				break
			}
		}
	} else {
		<-ctx.Done()
	}
	l.Add(&Event{Time: l.Now(), Conn: t.conn, Kind: ConnectionClosed, Type: "clean"})
}

// tcpTrace is a connection that is sampled.
type tcpTrace struct {
	l    *Log
	conn int
	last Event
}

// sample tells what the kernel told, if it is news.
func (t *tcpTrace) sample(i *socket.TCPInfo) {
	// The kernel counts the acknowledged SYN of who dials as a byte.
	nxt := i.BytesSent - i.BytesRetransmitted
	una := min(i.BytesAcked, nxt)
	e := Event{
		Conn: t.conn, Kind: TCPInfo,
		UNA: una, NXT: nxt, WND: una + i.PeerWindow,
		InFlight: i.InFlight, Cwnd: i.CongestionWindow,
		SRTT: i.RTT, RTTVar: i.RTTVar, MinRTT: i.MinRTT,
		Pacing: i.PacingRate * 8, Bandwidth: i.DeliveryRate * 8,
		RcvNXT: i.BytesReceived, Retransmits: i.Retransmits,
		Has: HasUNA | HasNXT | HasWND | HasInFlight | HasCwnd | HasSRTT | HasRTTVar | HasRcvNXT | HasRetransmits,
	}
	for _, x := range [...]struct {
		v int64
		f Field
	}{{e.Pacing, HasPacing}, {e.Bandwidth, HasBandwidth}, {int64(e.MinRTT), HasMinRTT}} {
		if x.v > 0 {
			e.Has |= x.f
		}
	}
	if t.same(&e) {
		return
	}
	t.last = e
	e.Time = t.l.Elapsed(i.At)
	t.l.Add(&e)
}

// same reports whether the last sample said the same.
func (t *tcpTrace) same(e *Event) bool {
	if e.Has != t.last.Has {
		return false
	}
	for i := range columns {
		if *columns[i].at(e) != *columns[i].at(&t.last) {
			return false
		}
	}
	return true
}

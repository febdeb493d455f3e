package trace

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/safetext"
)

// UDPConn describes a connection of package arq.
type UDPConn struct {
	// Epoch is the engine's time zero, as the trace counts times.
	Epoch         time.Duration
	Local, Remote netip.AddrPort
	// Protocol is the retransmission protocol, or of the model its congestion
	// control, as "go-back-n" or "cubic"; empty if it is not known yet.
	Protocol string
}

// maxInFlight bounds the packets that are remembered until their fate is told;
// the engine has the same bound.
const maxInFlight = 1 << 17

// flight remembers what was in a packet.
type flight struct {
	number    int64
	off       int64
	n, size   int32
	open      bool // in flight
	hasStream bool
	mtuProbe  bool
}

// udpTrace turns what an engine tells into events. It is called under the lock
// of its connection.
type udpTrace struct {
	l     *Log
	conn  int
	epoch time.Duration
	e     Event // scratch
	send  Event // the state of the sender
	recv  Event // of the receiver
	ring  []flight
	floor int64 // no lower number is open
	next  int64
	read  int64 // rcv_read as last told
	peer  netip.AddrPort
	phase string

	ranges, sacked []Range // scratch
}

// UDP returns what an [arq.Config] traces a connection with.
func (l *Log) UDP(c UDPConn) *arq.Trace {
	u := &udpTrace{l: l, conn: l.NewConn(), epoch: c.Epoch, peer: c.Remote, ring: make([]flight, 256)}
	l.peers.Store(c.Remote, u.conn)
	u.e = Event{Kind: ConnectionStarted, Type: strings.TrimSpace("udp " + c.Protocol), Reason: c.Local.String() + " " + c.Remote.String()}
	u.add(0)
	return &arq.Trace{
		PacketSent: u.packetSent, PacketReceived: u.packetReceived, PacketDropped: u.packetDropped,
		AckProcessed: u.ackProcessed, PacketLost: u.packetLost, PacketSpurious: u.packetSpurious,
		ProbeTimeout: u.probeTimeout, SendWindow: u.sendWindow, RecvWindow: u.recvWindow, FrameWindow: u.frameWindow,
		RTT: u.rtt, Controller: u.controller, MTU: u.mtu, State: u.state, Closed: u.closed,
	}
}

// add tells the scratch event, with the state that belongs to its kind.
func (u *udpTrace) add(now time.Duration) {
	u.e.Time = u.epoch + now
	u.e.Conn = u.conn
	mask := kindTable[u.e.Kind].state
	if mask&sending != 0 {
		u.e.fill(&u.send, mask)
	}
	if mask&receiving != 0 {
		u.e.fill(&u.recv, mask)
	}
	u.l.Add(&u.e)
}

func packetFlags(p *arq.PacketEvent) (f Flags) {
	for _, x := range [...]struct {
		on bool
		f  Flags
	}{{p.Fin, Fin}, {p.Retransmit, Retransmit}, {p.Probe, Probe}, {p.MTUProbe, MTUProbe}, {p.Ack, Ack}, {p.Close, Close}} {
		if x.on {
			f |= x.f
		}
	}
	return f
}

// packet begins an event about a packet.
func (u *udpTrace) packet(k Kind, p *arq.PacketEvent) {
	u.e = Event{Kind: k, Type: p.Type, Flags: packetFlags(p), Size: int64(p.Size), Has: HasSize}
	if p.Type != "data" {
		return // what is in the number's place is a connection ID
	}
	u.e.Packet, u.e.Has = int64(p.Number), u.e.Has|HasPacket
	if p.Ack {
		u.e.Ack, u.e.Has = int64(p.AckLargest), u.e.Has|HasAck
	}
	if p.Datagram != 0 {
		u.e.Datagram, u.e.Has = int64(p.Datagram), u.e.Has|HasDatagram
	} else if p.Length > 0 || p.Fin {
		u.e.Offset, u.e.Length, u.e.Has = int64(p.Offset), int64(p.Length), u.e.Has|HasOffset|HasLength
	}
}

func (u *udpTrace) packetSent(p arq.PacketEvent) {
	u.packet(PacketSent, &p)
	if u.e.Has&HasPacket != 0 {
		if end := u.e.Offset + u.e.Length; u.e.Has&HasOffset != 0 && end >= u.send.NXT {
			u.send.NXT, u.send.Has = end, u.send.Has|HasNXT
		}
		u.send.InFlight, u.send.Has = int64(p.InFlight), u.send.Has|HasInFlight
		if p.Eliciting {
			u.remember(p)
		}
	}
	u.add(p.Now)
}

func (u *udpTrace) remember(p arq.PacketEvent) {
	n := int64(p.Number)
	u.next = n + 1
	for u.floor < n && !u.at(u.floor).open {
		u.floor++
	}
	if n-u.floor >= int64(len(u.ring)) {
		if len(u.ring) >= maxInFlight {
			return // more than there can be
		}
		old := u.ring
		u.ring = make([]flight, 2*len(old))
		for _, f := range old {
			if f.open {
				*u.at(f.number) = f
			}
		}
	}
	*u.at(n) = flight{n, int64(p.Offset), int32(p.Length), int32(p.Size), true, p.Length > 0 || p.Fin, p.MTUProbe}
}

func (u *udpTrace) at(n int64) *flight { return &u.ring[n&int64(len(u.ring)-1)] }

// find returns what was in packet n, or nil if that is forgotten.
func (u *udpTrace) find(n int64) *flight {
	if f := u.at(n); f.number == n && f.size > 0 {
		return f
	}
	return nil
}

func (u *udpTrace) packetReceived(p arq.PacketEvent) {
	u.packet(PacketReceived, &p)
	if p.ECN == arq.CE {
		u.e.Flags |= CE
	}
	u.add(p.Now)
}

func (u *udpTrace) packetDropped(now time.Duration, size int, reason arq.DropReason) {
	u.e = Event{Kind: PacketDropped, Reason: reason.String(), Size: int64(size), Has: HasSize}
	u.add(now)
}

func (u *udpTrace) ackProcessed(a arq.AckEvent) {
	u.ranges, u.sacked = u.ranges[:0], u.sacked[:0]
	for _, r := range a.Newly {
		u.ranges = append(u.ranges, Range{int64(r.First), int64(r.Last)})
		for n := int64(r.First); n <= int64(r.Last); n++ {
			f := u.find(n)
			if f == nil {
				continue
			}
			f.open = false
			if f.n == 0 {
				continue
			}
			lo, hi := f.off, f.off+int64(f.n)-1
			if k := len(u.sacked); k > 0 && u.sacked[k-1].Last+1 == lo {
				u.sacked[k-1].Last = hi
				continue
			}
			u.sacked = append(u.sacked, Range{lo, hi})
		}
	}
	u.sacked = merge(u.sacked)
	u.send.UNA, u.send.Has = int64(a.UNA), u.send.Has|HasUNA
	u.setController(&a.Controller)
	u.e = Event{Kind: PacketsAcked, Packet: int64(a.Largest), Has: HasPacket, Ranges: u.ranges, Sacked: u.sacked}
	u.add(a.Now)
	u.e = Event{}
}

// merge sorts ranges and joins those that touch.
func merge(rs []Range) []Range {
	if len(rs) < 2 {
		return rs
	}
	slices.SortFunc(rs, func(a, b Range) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	out := rs[:1]
	for _, r := range rs[1:] {
		if last := &out[len(out)-1]; r.First <= last.Last+1 {
			last.Last = max(last.Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// about begins an event about the sent packet n.
func (u *udpTrace) about(k Kind, n uint64) *flight {
	u.e = Event{Kind: k, Type: "data", Packet: int64(n), Has: HasPacket}
	f := u.find(int64(n))
	if f == nil {
		return nil
	}
	if f.hasStream {
		u.e.Offset, u.e.Length, u.e.Has = f.off, int64(f.n), u.e.Has|HasOffset|HasLength
	}
	if f.mtuProbe {
		u.e.Flags |= MTUProbe
	}
	return f
}

func (u *udpTrace) packetLost(now time.Duration, number uint64, why arq.LossTrigger) {
	if f := u.about(PacketLost, number); f != nil && f.open {
		f.open = false
		u.send.InFlight -= int64(f.size)
	}
	u.e.Reason = why.String()
	u.add(now)
}

func (u *udpTrace) packetSpurious(now time.Duration, number uint64) {
	u.about(SpuriousLoss, number)
	u.add(now)
}

func (u *udpTrace) probeTimeout(now time.Duration, count int) {
	u.e = Event{Kind: TimerExpired, Type: "pto", Retransmits: int64(count), Has: HasRetransmits}
	u.add(now)
}

func (u *udpTrace) sendWindow(now time.Duration, una, nxt, wnd uint64) {
	s := &u.send
	moved := s.Has&HasWND == 0 || s.WND != int64(wnd)
	s.UNA, s.NXT, s.WND = int64(una), int64(nxt), int64(wnd)
	s.Has |= HasUNA | HasNXT | HasWND
	if !moved {
		return // what moved UNA or NXT has an event of its own
	}
	u.e = Event{Kind: SendWindow}
	u.add(now)
}

func (u *udpTrace) frameWindow(now time.Duration, w arq.FrameWindow) {
	u.e = Event{Kind: FrameWindow, FrameUNA: int64(w.UNA), FrameNXT: int64(w.NXT), FrameWND: int64(w.WND), Has: HasFrames}
	u.add(now)
}

// readStep is how far the application reads before that is worth an event of
// its own; the events of packets have the edges anyhow.
const readStep = 64 << 10

func (u *udpTrace) recvWindow(now time.Duration, read, nxt, wnd uint64) {
	r := &u.recv
	first := r.Has == 0
	r.RcvRead, r.RcvNXT, r.RcvWND, r.Has = int64(read), int64(nxt), int64(wnd), receiving
	if !first && r.RcvRead-u.read < readStep {
		return
	}
	u.read = r.RcvRead
	u.e = Event{Kind: ReceiveWindow}
	u.add(now)
}

func (u *udpTrace) rtt(now, latest, smoothed, variance, minimum time.Duration) {
	s := &u.send
	s.SRTT, s.RTTVar, s.MinRTT = smoothed, variance, minimum
	s.Has |= HasSRTT | HasRTTVar | HasMinRTT
	u.e = Event{Kind: MetricsUpdated, RTT: latest, Has: HasRTT}
	u.add(now)
}

// bits is a rate in bytes a second as bits a second.
func bits(rate float64) int64 {
	if rate <= 0 {
		return 0
	}
	return int64(min(rate*8, 1<<62))
}

func (u *udpTrace) setController(c *arq.ControllerState) {
	s := &u.send
	s.InFlight, s.Cwnd, s.Pacing, s.QueueDelay = int64(c.InFlight), int64(c.Window), bits(c.Pace), c.Queue
	s.Has |= HasInFlight | HasCwnd | HasQueueDelay
	if c.Pace > 0 {
		s.Has |= HasPacing
	}
	if s.Bandwidth = bits(c.Bandwidth); s.Bandwidth > 0 {
		s.Has |= HasBandwidth
	}
}

func (u *udpTrace) controller(now time.Duration, c arq.ControllerState) {
	u.setController(&c)
	if c.Phase != u.phase {
		u.phase = c.Phase
		u.e = Event{Kind: CongestionUpdated, Type: c.Phase}
		u.add(now)
		return
	}
	u.e = Event{Kind: MetricsUpdated}
	u.add(now)
}

func (u *udpTrace) mtu(now time.Duration, size int) {
	u.e = Event{Kind: MTUUpdated, Size: int64(size), Has: HasSize}
	u.add(now)
}

func (u *udpTrace) state(now time.Duration, s arq.State) {
	u.e = Event{Kind: StateUpdated, Type: s.String()}
	u.add(now)
}

func (u *udpTrace) closed(now time.Duration, err error) {
	u.l.peers.CompareAndDelete(u.peer, u.conn)
	u.e = Event{Kind: ConnectionClosed, Type: "clean"}
	var closed *arq.CloseError
	switch {
	case err == nil, errors.Is(err, arq.ErrClosed):
	case errors.Is(err, arq.ErrIdleTimeout):
		u.e.Type = "idle_timeout"
	case errors.Is(err, arq.ErrHandshakeTimeout):
		u.e.Type = "handshake_timeout"
	case errors.Is(err, arq.ErrReset):
		u.e.Type = "stateless_reset"
	case errors.Is(err, arq.ErrVersion):
		u.e.Type = "version_mismatch"
	case errors.As(err, &closed) && closed.Application:
		u.e.Type = "application"
	default:
		u.e.Type = "error"
	}
	if err != nil {
		u.e.Reason = safetext.Clean(err.Error()) // a peer may have written it
	}
	u.add(now)
}

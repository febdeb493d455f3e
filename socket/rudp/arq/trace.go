package arq

import "time"

// Trace is told what a connection does, as it does it, as httptrace is. Every
// func may be nil. They are called from within the engine and must neither
// call it back nor block. Times are those handed to the engine.
type Trace struct {
	// PacketSent: a datagram left.
	PacketSent func(PacketEvent)
	// PacketReceived: an intact datagram of this connection arrived.
	PacketReceived func(PacketEvent)
	// PacketDropped: a datagram arrived and was ignored.
	PacketDropped func(now time.Duration, size int, reason DropReason)
	// PacketAcked: the peer has the packet.
	PacketAcked func(now time.Duration, number uint64, rtt time.Duration)
	// PacketLost: the packet is deemed lost; what it carried is sent again
	// under a new number.
	PacketLost func(now time.Duration, number uint64, trigger LossTrigger)
	// PacketSpurious: a packet deemed lost was acknowledged after all.
	PacketSpurious func(now time.Duration, number uint64)
	// AckReceived: an ACK was processed; Largest and the count of packets
	// it newly acknowledged.
	AckReceived func(now time.Duration, largest uint64, newly int)
	// AckProcessed follows AckReceived and says it in full. The ranges are
	// only valid during the call.
	AckProcessed func(AckEvent)
	// ProbeTimeout: nothing came back for a probe timeout (RFC 9002, 6.2);
	// count is how many in a row.
	ProbeTimeout func(now time.Duration, count int)
	// SendWindow: the edges of the sender's window moved, in bytes of the
	// stream, named as in the textbooks: UNA is the oldest unacknowledged
	// byte, NXT the next to be sent first, WND the end of what the peer
	// allows.
	SendWindow func(now time.Duration, una, nxt, wnd uint64)
	// FrameWindow: the same of a textbook protocol, counted in its frames.
	// SendWindow's WND is then the nearer of the window's and the peer's.
	FrameWindow func(now time.Duration, w FrameWindow)
	// RecvWindow: the receiver's edges moved: read by the application,
	// next expected, and granted to the peer.
	RecvWindow func(now time.Duration, read, nxt, wnd uint64)
	// RTT: a round-trip sample and what it did to the estimate.
	RTT func(now time.Duration, latest, smoothed, variance, minimum time.Duration)
	// Controller: the congestion controller's state changed or a round
	// passed.
	Controller func(now time.Duration, s ControllerState)
	// MTU: the datagram size changed.
	MTU func(now time.Duration, size int)
	// State: the connection's state changed.
	State func(now time.Duration, s State)
	// Closed: this end or the peer has closed the connection, or it is given up,
	// with err as [Conn.Err] has it. Packets may follow, until [StateDone].
	Closed func(now time.Duration, err error)
}

// PacketRange is the packet numbers from First to Last, both included.
type PacketRange struct{ First, Last uint64 }

// AckEvent describes an ACK that was processed.
type AckEvent struct {
	Now     time.Duration
	Largest uint64
	Delay   time.Duration // that the peer says it waited
	// Newly are the numbers that it acknowledged for the first time, late
	// ones included, the highest first.
	Newly []PacketRange
	// UNA and InFlight are as they stand afterwards.
	UNA        uint64
	Controller ControllerState
}

// PacketEvent describes a datagram. Zero lengths mean the frame was absent.
type PacketEvent struct {
	Now    time.Duration
	Type   string // "data" (also of an OPEN), "init", "retry", "version", "reset"
	Number uint64
	Size   int // bytes of UDP payload
	// Offset and Length are of the DATA frame; Fin its flag.
	Offset     uint64
	Length     int
	Fin        bool
	Retransmit bool // the bytes were sent before (sent packets only)
	Probe      bool // sent by the probe timer or to protect the tail
	MTUProbe   bool
	Datagram   uint64 // the number of the DATAGRAM in it, or 0
	Ack        bool   // an ACK frame is in it
	AckLargest uint64
	Close      bool // a CLOSE frame is in it
	ECN        ECN
	// InFlight is the bytes in flight after the packet was sent. It is the
	// same as before for packets that want no acknowledgement.
	InFlight  int
	Eliciting bool // wants an acknowledgement (sent packets only)
}

// DropReason says why a datagram was ignored.
type DropReason int

// Reasons for [Trace.PacketDropped], counted in [Stats].
const (
	DropMalformed DropReason = iota // no header, wrong magic, unknown type
	DropChecksum
	DropVersion
	DropUnknown   // not for this connection, or not in this state
	DropDuplicate // the packet number was seen
	DropOld       // too old to tell
	DropNoRoom    // out-of-order data in too many pieces
	DropClosed
	DropOutOfOrder // go-back-N: a frame before it is missing
	dropReasons
)

var dropNames = [...]string{"malformed", "checksum", "version", "unknown", "duplicate", "old", "no-room", "closed", "out-of-order"}

func (d DropReason) String() string { return dropNames[d] }

// LossTrigger says how a loss was found.
type LossTrigger int

// Triggers for [Trace.PacketLost].
const (
	LossReorder LossTrigger = iota // enough later packets were acknowledged
	LossTime                       // a later packet was, long enough ago
	LossProbe                      // nothing came back at all
	LossTimeout                    // the frame's own timer ran out
	LossGoBack                     // an earlier frame's did, and go-back-N goes back
)

func (l LossTrigger) String() string {
	return [...]string{"reordering_threshold", "time_threshold", "pto_expired", "timer_expired", "go_back"}[l]
}

// ControllerState is a congestion controller's state.
type ControllerState struct {
	Phase     string
	Window    int           // bytes that may be in flight
	InFlight  int           // bytes that are
	Pace      float64       // bytes/s
	Bandwidth float64       // bytes/s delivered, as estimated; 0 if unknown
	LossFloor float64       // share of packets the path loses by itself
	MinRTT    time.Duration // as the controller sees it
	Queue     time.Duration // estimated queueing delay
}

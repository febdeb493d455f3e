package trace

import (
	"fmt"
	"strings"
	"time"
)

// Kind is what happened.
type Kind uint8

// Kinds of events. Their names in files are those of the qlog events, without
// the namespace; see the package documentation.
const (
	ConnectionStarted Kind = iota + 1
	StateUpdated
	ConnectionClosed
	PacketSent
	PacketReceived
	PacketDropped
	PacketsAcked
	PacketLost
	SpuriousLoss
	MetricsUpdated
	CongestionUpdated
	TimerExpired
	MTUUpdated
	SendWindow
	ReceiveWindow
	FrameWindow
	LinkPacket
	TCPInfo
	Progress
	Missed
	kinds
)

// kindTable has the names of the kinds, and the fields of which each event of a
// kind carries the latest values.
var kindTable = [kinds]struct {
	space, name string
	state       Field
}{
	ConnectionStarted: {"quic", "connection_started", 0},
	StateUpdated:      {"quic", "connection_state_updated", 0},
	ConnectionClosed:  {"quic", "connection_closed", 0},
	PacketSent:        {"quic", "packet_sent", sending},
	PacketReceived:    {"quic", "packet_received", receiving},
	PacketDropped:     {"quic", "packet_dropped", receiving},
	PacketsAcked:      {"quic", "packets_acked", sending},
	PacketLost:        {"quic", "packet_lost", sending},
	SpuriousLoss:      {"wherry", "spurious_loss", sending},
	MetricsUpdated:    {"quic", "recovery_metrics_updated", sending},
	CongestionUpdated: {"quic", "congestion_state_updated", sending},
	TimerExpired:      {"quic", "loss_timer_updated", sending},
	MTUUpdated:        {"quic", "mtu_updated", 0},
	SendWindow:        {"wherry", "send_window_updated", sending},
	ReceiveWindow:     {"wherry", "receive_window_updated", receiving},
	FrameWindow:       {"wherry", "frame_window_updated", 0},
	LinkPacket:        {"wherry", "link_packet", 0},
	TCPInfo:           {"wherry", "tcp_info", sending | receiving | HasRetransmits},
	Progress:          {"wherry", "transfer_progress", 0},
	Missed:            {"wherry", "events_missed", 0},
}

// String is the event's name in a CSV file.
func (k Kind) String() string {
	if k == 0 || k >= kinds {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindTable[k].name
}

// Field is a set of fields of an [Event].
type Field uint32

// Fields of an Event that may be unknown.
const (
	HasPacket Field = 1 << iota
	HasAck
	HasOffset
	HasLength
	HasSize
	HasUNA
	HasNXT
	HasWND
	HasInFlight
	HasCwnd
	HasPacing
	HasBandwidth
	HasRTT
	HasSRTT
	HasRTTVar
	HasMinRTT
	HasQueue
	HasQueueDelay
	HasRcvRead
	HasRcvNXT
	HasRcvWND
	HasRetransmits
	HasDatagram
	HasFrames

	sending   = HasUNA | HasNXT | HasWND | HasInFlight | HasCwnd | HasPacing | HasBandwidth | HasSRTT | HasRTTVar | HasMinRTT | HasQueueDelay
	receiving = HasRcvRead | HasRcvNXT | HasRcvWND
)

// Flags are what is said of a packet in one word each.
type Flags uint8

// Flags of packets.
const (
	Fin        Flags = 1 << iota // the stream ends with it
	Retransmit                   // the bytes were sent before
	Probe                        // sent by the probe timer, or as a copy to protect the tail
	MTUProbe
	Ack   // has an ACK frame
	Close // has a CLOSE frame
	CE    // arrived with a congestion mark
)

var flagNames = [...]string{"fin", "retransmit", "probe", "mtu_probe", "ack", "close", "ce"}

func (f Flags) String() string {
	var names []string
	for i, n := range flagNames {
		if f>>i&1 != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}

// Range is the numbers from First to Last, both included.
type Range struct{ First, Last int64 }

// Event is one line of a trace. What of it is known, Has tells; the others are
// zero. Counts are bytes unless they say otherwise.
type Event struct {
	Time time.Duration // since the trace began; never runs back in a file
	Conn int           // numbers the connections of a trace from 1; 0: of none
	Kind Kind
	Has  Field

	// Type is the packet's ("data", "init", …), a new state ("established"), a
	// controller's phase ("cruise"), a link's verdict on a packet ("lost",
	// "tail drop", "delivered"), "pto", or the transport of a connection that
	// starts ("udp model").
	Type   string
	Packet int64 // number of the packet; for PacketsAcked the largest that the peer named
	Ack    int64 // largest number that the ACK in the packet names
	Flags  Flags
	// Offset and Length are the bytes of the stream in the packet; of a
	// Progress, the content moved so far and since the last one.
	Offset, Length int64
	Size           int64 // bytes of UDP payload; of MTUUpdated, the largest from now on
	// Reason is why a packet was lost or dropped and a connection closed, what a
	// link does to a packet that it delivers ("duplicated"), whose content a
	// Progress is of (the peer's address), and where a connection that starts
	// leads ("127.0.0.1:7557 192.0.2.1:1234").
	Reason string

	// The sender: the oldest unacknowledged byte, the next to be sent for the
	// first time, the end of what the peer allows.
	UNA, NXT, WND int64
	InFlight      int64
	Cwnd          int64
	Pacing        int64         // bit/s
	Bandwidth     int64         // bit/s, as the controller (or the kernel) estimates it
	RTT           time.Duration // a sample, on the event that made it
	SRTT, RTTVar  time.Duration
	MinRTT        time.Duration
	Queue         int64         // in the bottleneck of the impaired link
	QueueDelay    time.Duration // as the controller estimates it

	// The receiver: read by the application, next expected, granted.
	RcvRead, RcvNXT, RcvWND int64

	Datagram int64 // number of the DATAGRAM in the packet (protocol none)

	// The window of a textbook protocol, in its frames.
	FrameUNA, FrameNXT, FrameWND int64

	// Retransmits counts: segments so far (TCPInfo), probe timeouts in a row
	// (TimerExpired), events that are missing (Missed).
	Retransmits int64

	// Ranges are the packet numbers that an ACK acknowledged for the first
	// time, the highest range first; Sacked the bytes of the stream in them,
	// the lowest first. What they have in common with [0, UNA) is the
	// cumulative part, the rest selective.
	Ranges, Sacked []Range
}

// unit of a column.
type unit uint8

const (
	count unit = iota
	seconds
)

// column is a numeric field as both formats write it.
type column struct {
	name string // in CSV, and in qlog's "wherry" object
	has  Field
	unit unit
	at   func(*Event) *int64
}

func nanos(d *time.Duration) *int64 { return (*int64)(d) }

// columns are in the order of the CSV file.
var columns = [...]column{
	{"packet", HasPacket, count, func(e *Event) *int64 { return &e.Packet }},
	{"ack", HasAck, count, func(e *Event) *int64 { return &e.Ack }},
	{"offset", HasOffset, count, func(e *Event) *int64 { return &e.Offset }},
	{"length", HasLength, count, func(e *Event) *int64 { return &e.Length }},
	{"size", HasSize, count, func(e *Event) *int64 { return &e.Size }},
	{"una", HasUNA, count, func(e *Event) *int64 { return &e.UNA }},
	{"nxt", HasNXT, count, func(e *Event) *int64 { return &e.NXT }},
	{"wnd", HasWND, count, func(e *Event) *int64 { return &e.WND }},
	{"in_flight", HasInFlight, count, func(e *Event) *int64 { return &e.InFlight }},
	{"cwnd", HasCwnd, count, func(e *Event) *int64 { return &e.Cwnd }},
	{"pacing_rate", HasPacing, count, func(e *Event) *int64 { return &e.Pacing }},
	{"bandwidth", HasBandwidth, count, func(e *Event) *int64 { return &e.Bandwidth }},
	{"rtt", HasRTT, seconds, func(e *Event) *int64 { return nanos(&e.RTT) }},
	{"srtt", HasSRTT, seconds, func(e *Event) *int64 { return nanos(&e.SRTT) }},
	{"rttvar", HasRTTVar, seconds, func(e *Event) *int64 { return nanos(&e.RTTVar) }},
	{"min_rtt", HasMinRTT, seconds, func(e *Event) *int64 { return nanos(&e.MinRTT) }},
	{"queue", HasQueue, count, func(e *Event) *int64 { return &e.Queue }},
	{"queue_delay", HasQueueDelay, seconds, func(e *Event) *int64 { return nanos(&e.QueueDelay) }},
	{"rcv_read", HasRcvRead, count, func(e *Event) *int64 { return &e.RcvRead }},
	{"rcv_nxt", HasRcvNXT, count, func(e *Event) *int64 { return &e.RcvNXT }},
	{"rcv_wnd", HasRcvWND, count, func(e *Event) *int64 { return &e.RcvWND }},
	{"retransmits", HasRetransmits, count, func(e *Event) *int64 { return &e.Retransmits }},
	{"datagram", HasDatagram, count, func(e *Event) *int64 { return &e.Datagram }},
	{"frame_una", HasFrames, count, func(e *Event) *int64 { return &e.FrameUNA }},
	{"frame_nxt", HasFrames, count, func(e *Event) *int64 { return &e.FrameNXT }},
	{"frame_wnd", HasFrames, count, func(e *Event) *int64 { return &e.FrameWND }},
}

// last reports whether nothing more is to be expected of the connection, so that
// its state may be forgotten.
func (e *Event) last() bool {
	return e.Kind == StateUpdated && e.Type == "done" || e.Kind == ConnectionClosed
}

// fill copies the fields in mask that from knows and e does not.
func (e *Event) fill(from *Event, mask Field) {
	mask &= from.Has &^ e.Has
	if mask == 0 {
		return
	}
	e.Has |= mask
	for i := range columns {
		if c := &columns[i]; mask&c.has != 0 {
			*c.at(e) = *c.at(from)
		}
	}
}

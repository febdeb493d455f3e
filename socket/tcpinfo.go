package socket

import "time"

// TCPInfo is what the kernel knows about a connection at one moment. Counts
// and times run from the connection's start. What a system does not report is
// zero.
type TCPInfo struct {
	At time.Time // of the reading

	RTT    time.Duration // smoothed round-trip time (RFC 6298)
	RTTVar time.Duration // its mean deviation
	MinRTT time.Duration // smallest in the kernel's filter window
	RTO    time.Duration // retransmission timeout

	MSS              int    // bytes in a full segment that we send
	PathMTU          int    // bytes
	CongestionWindow int64  // bytes
	SlowStartThresh  int64  // bytes; 0 while it has not been set
	PeerWindow       int64  // bytes the peer last offered to take
	InFlight         int64  // bytes sent and not known to have arrived or been lost
	NotSent          int64  // bytes written and not yet sent
	Congestion       string // algorithm

	DeliveryRate  int64 // bytes/s, the kernel's latest estimate
	PacingRate    int64 // bytes/s at which the kernel spaces segments; 0: not paced
	MaxPacingRate int64 // bytes/s; 0: not capped

	BytesSent          int64 // payload, retransmissions included
	BytesRetransmitted int64
	BytesAcked         int64
	BytesReceived      int64
	SegmentsSent       int64
	SegmentsReceived   int64
	Retransmits        int64 // segments
	Lost               int64 // segments reckoned lost at this moment, not in all
	SpuriousRetransmit int64 // segments the peer reported to have got twice (DSACK, RFC 2883)
	ReorderingSeen     int64 // times that reordering was noticed
	CongestionMarks    int64 // delivered segments that carried ECN's CE (RFC 3168)

	// HasTimes says that the three times below are known. The kernel keeps
	// them as a partition: BusyTime is the time with anything to send or
	// unacknowledged, and of it the two others were spent stopped by the
	// peer's window and by our own send buffer. Its clock is the tick (1 to 10
	// ms): what is shorter, as on loopback, comes out as idle.
	HasTimes         bool
	BusyTime         time.Duration
	ReceiveWindow    time.Duration
	SendBufferFilled time.Duration
}

// RetransmitRatio returns the part of the segments sent since before that were
// retransmissions, or 0 if none were sent.
func (t TCPInfo) RetransmitRatio(before TCPInfo) float64 {
	if sent := t.BytesSent - before.BytesSent; sent > 0 {
		return float64(t.BytesRetransmitted-before.BytesRetransmitted) / float64(sent)
	}
	if sent := t.SegmentsSent - before.SegmentsSent; sent > 0 {
		return float64(t.Retransmits-before.Retransmits) / float64(sent)
	}
	return 0
}

// TCPInfo asks the kernel about the connection; ok is false where the system
// does not tell, or the connection is closed. Read it before Close.
func (c *Conn) TCPInfo() (info TCPInfo, ok bool) {
	err := c.control(func(fd uintptr) { info, ok = readTCPInfo(fd) })
	if err != nil || !ok {
		return TCPInfo{}, false
	}
	info.At = time.Now()
	return info, true
}

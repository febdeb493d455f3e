package socket

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

func readTCPInfo(fd uintptr) (TCPInfo, bool) {
	// An older kernel fills in less of the structure; the rest stays zero.
	k, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return TCPInfo{}, false
	}
	us := func(v uint32) time.Duration { return time.Duration(v) * time.Microsecond }
	mss := int64(k.Snd_mss)
	info := TCPInfo{
		RTT: us(k.Rtt), RTTVar: us(k.Rttvar), MinRTT: us(k.Min_rtt), RTO: us(k.Rto),
		MSS:              int(k.Snd_mss),
		PathMTU:          int(k.Pmtu),
		CongestionWindow: int64(k.Snd_cwnd) * mss,
		PeerWindow:       int64(k.Snd_wnd),
		// tcp_packets_in_flight: what has left, less what has arrived out of
		// order or been given up, plus what was sent again.
		InFlight:           max(0, int64(k.Unacked)-int64(k.Sacked)-int64(k.Lost)+int64(k.Retrans)) * mss,
		NotSent:            int64(k.Notsent_bytes),
		DeliveryRate:       rate(k.Delivery_rate),
		PacingRate:         rate(k.Pacing_rate),
		MaxPacingRate:      rate(k.Max_pacing_rate),
		BytesSent:          int64(k.Bytes_sent),
		BytesRetransmitted: int64(k.Bytes_retrans),
		BytesAcked:         int64(k.Bytes_acked),
		BytesReceived:      int64(k.Bytes_received),
		SegmentsSent:       int64(k.Segs_out),
		SegmentsReceived:   int64(k.Segs_in),
		Retransmits:        int64(k.Total_retrans),
		Lost:               int64(k.Lost),
		SpuriousRetransmit: int64(k.Dsack_dups),
		ReorderingSeen:     int64(k.Reord_seen),
		CongestionMarks:    int64(k.Delivered_ce),
		HasTimes:           true,
		BusyTime:           time.Duration(k.Busy_time) * time.Microsecond,
		ReceiveWindow:      time.Duration(k.Rwnd_limited) * time.Microsecond,
		SendBufferFilled:   time.Duration(k.Sndbuf_limited) * time.Microsecond,
	}
	// The kernel's TCP_INFINITE_SSTHRESH means that slow start has not ended.
	if k.Snd_ssthresh < math.MaxInt32 {
		info.SlowStartThresh = int64(k.Snd_ssthresh) * mss
	}
	if k.Min_rtt == math.MaxUint32 { // no sample yet
		info.MinRTT = 0
	}
	info.Congestion, _ = getCongestion(fd)
	return info, true
}

// rate maps the kernel's "no limit", which is all ones, to 0.
func rate(v uint64) int64 {
	if v > math.MaxInt64 {
		return 0
	}
	return int64(v)
}

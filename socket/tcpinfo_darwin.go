package socket

import (
	"time"

	"golang.org/x/sys/unix"
)

// readTCPInfo reads macOS's tcp_connection_info, which has neither a minimum
// RTT nor a delivery rate nor the times.
func readTCPInfo(fd uintptr) (TCPInfo, bool) {
	k, err := unix.GetsockoptTCPConnectionInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CONNECTION_INFO)
	if err != nil {
		return TCPInfo{}, false
	}
	ms := func(v uint32) time.Duration { return time.Duration(v) * time.Millisecond }
	return TCPInfo{
		RTT: ms(k.Srtt), RTTVar: ms(k.Rttvar), RTO: ms(k.Rto),
		MSS:                int(k.Maxseg),
		CongestionWindow:   int64(k.Snd_cwnd),
		SlowStartThresh:    int64(k.Snd_ssthresh),
		PeerWindow:         int64(k.Snd_wnd),
		BytesSent:          int64(k.Txbytes),
		BytesRetransmitted: int64(k.Txretransmitbytes),
		BytesReceived:      int64(k.Rxbytes),
		SegmentsSent:       int64(k.Txpackets),
		SegmentsReceived:   int64(k.Rxpackets),
		Retransmits:        int64(k.Txretransmitpackets),
	}, true
}

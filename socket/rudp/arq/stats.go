package arq

import (
	"math/bits"
	"time"
)

// Limiter is what kept a sender from sending more.
type Limiter int

// What limits a sender at a moment.
const (
	LimitApp    Limiter = iota // nothing to send
	LimitRwnd                  // the peer's window
	LimitCwnd                  // the congestion window
	LimitPacing                // the pacer
	LimitHost                  // data and permission were there, and nobody sent
	limiters
)

func (l Limiter) String() string {
	return [...]string{"app", "rwnd", "cwnd", "pacing", "host"}[l]
}

// Stats are a connection's counters since it began. Sizes are bytes of UDP
// payload unless they say otherwise.
type Stats struct {
	PacketsSent, PacketsReceived uint64
	BytesSent, BytesReceived     uint64
	PacketsAcked                 uint64
	// PacketsLost were deemed lost, late ones included, and those after
	// them for which go-back-N went back.
	PacketsLost            uint64
	PacketsSpurious        uint64 // deemed lost and acknowledged later
	Retransmits            uint64 // packets with bytes sent before
	TailCopies             uint64 // packets sent again before anything was missed
	ProbeTimeouts          uint64
	Timeouts               uint64 // of frames, by a textbook protocol
	DatagramsSent          uint64 // by NoARQ, once each
	AcksSent, AcksReceived uint64
	Dropped                [dropReasons]uint64

	StreamSent     uint64 // bytes of stream acknowledged by the peer
	StreamReceived uint64 // bytes of stream in order
	StreamWaiting  uint64 // bytes of stream that were written and never sent

	RTTLatest, RTTMin, RTTSmoothed, RTTVar time.Duration
	RTTMedian, RTTP99                      time.Duration // within 3%
	RTTSamples                             uint64

	ARQ        ARQ
	Window     FrameWindow // of a textbook protocol
	Controller ControllerState
	Datagram   int // current datagram size
	ECNCapable bool
	CEReceived uint64

	// Limited is the time spent limited by each [Limiter], from the
	// handshake until the last byte was acknowledged.
	Limited [limiters]time.Duration
}

// histogram counts durations in logarithmic buckets, 32 a power of two, which
// keeps quantiles within 3% in fixed memory.
type histogram struct {
	n     uint64
	count [40 * 32]uint32
}

func (h *histogram) add(d time.Duration) {
	us := uint64(max(d, 0)) >> 7 // units of 128 ns
	i := bucket(us)
	h.count[i]++
	h.n++
}

func bucket(v uint64) int {
	if v < 32 {
		return int(v)
	}
	e := bits.Len64(v) - 6 // v>>e is in [32, 64)
	i := (e+1)*32 + int(v>>e) - 32
	return min(i, 40*32-1)
}

func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(q * float64(h.n))
	var sum uint64
	for i, c := range h.count {
		if sum += uint64(c); sum > want {
			if i < 32 {
				return time.Duration(i) << 7
			}
			e := i/32 - 1
			return time.Duration((uint64(i%32+32)<<e)+(1<<e)/2) << 7
		}
	}
	return 0
}

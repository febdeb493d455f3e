package arq

import "time"

// controller decides how fast and how far ahead a sender may go. It is told
// of packets as they leave and of what each ACK said.
type controller interface {
	// onSend is told of an eliciting packet before it counts as in flight,
	// and returns the accounting period it belongs to.
	onSend(now time.Duration, size, inFlight int, appLimited bool) (epoch uint32)
	// onPacket is told the fate of one packet.
	onPacket(fate packetFate, p *sentPacket)
	// onAck is told of an ACK, or of a loss found by timer, after onPacket
	// of all it settled.
	onAck(e *ackEvent)
	// window is how many bytes may be in flight, pace how many may leave a
	// second (0: as many as fit).
	window() int
	pace() float64
	state(s *ControllerState)
}

type packetFate int

const (
	fateAcked packetFate = iota
	fateLost
	fateSpurious // lost, then acknowledged
	fateVoid     // lost, for it was too large: as if it had never been sent
)

// ackEvent is what an ACK, or a loss timer, told.
type ackEvent struct {
	now          time.Duration
	acked, lost  int // bytes
	ackedPackets int
	lostPackets  int
	spurious     int           // bytes
	rtt          time.Duration // sample, or 0
	minRTT       time.Duration
	srtt         time.Duration
	inFlight     int // afterwards
	prior        int // before
	delivered    uint64
	round        bool          // a round trip passed
	rate         float64       // delivery rate sample in bytes/s, or 0
	rateLimited  bool          // the sample was limited by the application
	ce           int           // newly reported congestion marks
	lostSent     time.Duration // when the last packet lost was sent
	persistent   bool          // nothing came back for several probe timeouts
	mtu          int
	appLimited   bool
}

func newController(cfg *Config, rng func() uint64) controller {
	if cfg.ARQ.Textbook() {
		return &windowed{arq: cfg.ARQ, frames: cfg.Window, size: cfg.MaxDatagram}
	}
	switch cfg.Congestion {
	case Cubic:
		return newCubic()
	case Fixed:
		return &fixed{rate: cfg.Rate}
	default:
		return newModel(cfg.Congestion == BBR, rng)
	}
}

const (
	initialWindow = 32 // packets
	// initialRate raises the first window of long paths, in bytes/s: what
	// counts for a queue is the pace, and that stays modest. What a window of
	// ten packets (RFC 6928) is to a path of 10 ms, this is to all.
	initialRate      = 1.6e6
	initialWindowMax = 352 // packets at most
)

// fixed sends at one rate.
type fixed struct {
	rate float64
	srtt time.Duration
	mtu  int
}

func (f *fixed) onSend(time.Duration, int, int, bool) uint32 { return 0 }
func (f *fixed) onPacket(packetFate, *sentPacket)            {}
func (f *fixed) onAck(e *ackEvent)                           { f.srtt, f.mtu = e.srtt, e.mtu }
func (f *fixed) pace() float64                               { return f.rate }

// window lets four round trips be in flight, so that it never is the window
// that limits before the rate does.
func (f *fixed) window() int {
	rtt := max(f.srtt, 50*time.Millisecond)
	return max(int(4*f.rate*rtt.Seconds()), initialWindow*MinDatagram)
}

func (f *fixed) state(s *ControllerState) { s.Phase = "fixed" }

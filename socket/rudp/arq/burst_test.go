package arq_test

import (
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestBursts: what a connection sends at one moment is half a millisecond of its
// pace at most, or two datagrams where that is less.
func TestBursts(t *testing.T) {
	for _, rate := range []float64{1e6, 20e6, 100e6, 1e9} { // bit/s
		most, burst, sent := 0, 0, 0
		last, size := time.Duration(-1), 0
		cfg := sim.Config{Seed: 1, Forward: netem.Config{Delay: 5 * time.Millisecond}, Reverse: netem.Config{Delay: 5 * time.Millisecond}}
		cfg.Flows = []sim.Flow{{Bytes: int64(min(rate/8, 25e6)), Client: arq.Config{Congestion: arq.Fixed, Rate: rate / 8, Trace: &arq.Trace{
			PacketSent: func(e arq.PacketEvent) {
				if !e.Eliciting || e.MTUProbe {
					return
				}
				if e.Now != last {
					burst, last = 0, e.Now
				}
				burst += e.Size
				sent += e.Size
				size = max(size, e.Size)
				most = max(most, burst)
			}}}}}
		r, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		limit := max(int(rate/8*500e-6), 2*size)
		t.Logf("%.0f Mbit/s: at most %d bytes at once (%d datagrams), the limit is %d; %.1f Mbit/s", rate/1e6, most, most/size, limit, r.Flows[0].Goodput*8/1e6)
		if most > limit {
			t.Errorf("%.0f Mbit/s: %d bytes at once, want at most %d", rate/1e6, most, limit)
		}
		if got := r.Flows[0].Goodput * 8; got < .85*rate { // with the handshake
			t.Errorf("%.1f Mbit/s of %.1f", got/1e6, rate/1e6)
		}
	}
}

package arq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/units"
)

// link is a duplex path: rate in Mbit/s, round-trip time, loss each way, and
// a queue in bandwidth-delay products.
func link(mbit float64, rtt time.Duration, loss, bdp float64) sim.Config {
	rate := units.Rate(mbit * 1e6)
	q := max(bdp*rate.Bytes()*rtt.Seconds(), 16<<10)
	l := netem.Config{Rate: rate, Delay: rtt / 2, Loss: units.Probability(loss), Queue: units.Size(q), Overhead: 28}
	return sim.Config{Seed: 1, Forward: l, Reverse: l}
}

func TestTransfer(t *testing.T) {
	for _, loss := range []float64{0, .01, .1, .3} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			cfg := link(20, 40*time.Millisecond, loss, 1)
			cfg.Check = true
			cfg.Flows = []sim.Flow{{Bytes: 1 << 20}}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			f := r.Flows[0]
			if f.Err != nil || f.Delivered != 1<<20 {
				t.Fatalf("%d bytes, %v", f.Delivered, f.Err)
			}
			t.Logf("%.2f Mbit/s, done %v, %d steps, %+v", f.Goodput*8/1e6, f.Done, r.Steps, f.Client)
		})
	}
}

// TestCloseIsAnswered: an orderly end takes two round trips after the last byte
// was sent, one for the end of the streams and one for CLOSE and its answer; an
// end that is not answered would wait for four probe timeouts.
func TestCloseIsAnswered(t *testing.T) {
	const rtt = 100 * time.Millisecond
	cfg := link(100, rtt, 0, 1)
	cfg.Flows = []sim.Flow{{Bytes: 1000}}
	r, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Flows[0]
	lastByte := time.Duration(1000 / f.Goodput * 1e9)
	if over := f.Done - lastByte; f.Err != nil || over > 2*rtt {
		t.Fatalf("the client was done %v after the last byte arrived (%v), error %v", over, lastByte, f.Err)
	}
}

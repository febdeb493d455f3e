package arq_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestTargets holds single transfers to the goodput that they must reach,
// start-up and end included.
func TestTargets(t *testing.T) {
	for _, c := range []struct {
		name      string
		mbit      float64
		rtt       time.Duration
		loss, bdp float64
		bytes     int64
		want      float64
	}{
		{"clean", 100, 50 * time.Millisecond, 0, 1, 100e6, 90},
		{"50ms-1%", 100, 50 * time.Millisecond, .01, 1, 100e6, 88},
		{"100ms-5%", 100, 100 * time.Millisecond, .05, 1, 100e6, 78},
		{"50ms-20%", 50, 50 * time.Millisecond, .20, 1, 20e6, 32},
		{"300ms-1%", 100, 300 * time.Millisecond, .01, 1, 100e6, 75},
		{"deep", 100, 50 * time.Millisecond, 0, 10, 100e6, 88},
		{"shallow", 100, 50 * time.Millisecond, 0, .1, 100e6, 80},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := link(c.mbit, c.rtt, c.loss, c.bdp)
			cfg.Flows = []sim.Flow{{Bytes: c.bytes}}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			f := r.Flows[0]
			got := f.Goodput * 8 / 1e6
			t.Logf("%.1f Mbit/s, queue median %v p99 %v, tail drops %d, lost %d retransmitted %d spurious %d tail copies %d, floor %.3f",
				got, r.QueueMedian.Round(100*time.Microsecond), r.QueueP99.Round(100*time.Microsecond), r.Forward.TailDrops,
				f.Client.PacketsLost, f.Client.Retransmits, f.Client.PacketsSpurious, f.Client.TailCopies, f.Client.Controller.LossFloor)
			if got < c.want {
				t.Errorf("%.1f Mbit/s, want %.0f", got, c.want)
			}
			if c.bdp > 5 && r.QueueMedian > 20*time.Millisecond {
				t.Errorf("median queue %v, want at most 20 ms", r.QueueMedian)
			}
		})
	}
}

// TestTable prints the table of the package documentation.
func TestTable(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("prints a table; run with -v")
	}
	rtts := []int{10, 30, 50, 100, 200, 300}
	line := "loss \\ RTT"
	for _, ms := range rtts {
		line += fmt.Sprintf("%6d ms", ms)
	}
	lines := []string{line}
	for _, loss := range []float64{0, .001, .01, .02, .05, .1, .2} {
		line := fmt.Sprintf("%9.1f%%", 100*loss)
		for _, ms := range rtts {
			cfg := link(100, time.Duration(ms)*time.Millisecond, loss, 1)
			cfg.Flows = []sim.Flow{{Bytes: 60e6}}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			line += fmt.Sprintf("%9.1f", r.Flows[0].Goodput*8/1e6)
		}
		lines = append(lines, line)
	}
	for _, l := range lines {
		fmt.Println("//\t" + l)
	}
}

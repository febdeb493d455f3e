package arq_test

import (
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestBesideCubic measures the share that a flow takes beside one CUBIC flow:
// the mean of two runs of a minute, for single runs vary.
func TestBesideCubic(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("minutes of network, in one goroutine")
	}
	for _, c := range []struct {
		name  string
		mbit  float64
		rtt   time.Duration
		bdp   float64
		late  time.Duration // of the CUBIC flow
		early time.Duration // of ours
	}{
		{"50ms-1bdp", 100, 50 * time.Millisecond, 1, 0, 5 * time.Second},
		{"50ms-2bdp", 100, 50 * time.Millisecond, 2, 0, 5 * time.Second},
		{"50ms-4bdp", 100, 50 * time.Millisecond, 4, 0, 5 * time.Second},
		{"50ms-4bdp-cubic-late", 100, 50 * time.Millisecond, 4, 5 * time.Second, 0},
		{"20ms-4bdp", 50, 20 * time.Millisecond, 4, 0, 5 * time.Second},
		{"100ms-2bdp", 100, 100 * time.Millisecond, 2, 0, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			share, mean := 0.0, 0.0
			for seed := uint64(1); seed <= 2; seed++ {
				cfg := link(c.mbit, c.rtt, 0, c.bdp)
				cfg.Seed = seed
				cfg.Flows = []sim.Flow{
					{Client: arq.Config{Congestion: arq.Cubic}, Start: c.late},
					{Start: c.early},
				}
				cfg.From, cfg.Until = 10*time.Second, 70*time.Second
				r, err := sim.Run(cfg)
				if err != nil {
					t.Fatal(err)
				}
				them, us := r.Flows[0].Share, r.Flows[1].Share
				share = us / (us + them)
				mean += share / 2
				t.Logf("share %.0f%%, together %.1f Mbit/s, queue median %v", 100*share, (us+them)*8/1e6, r.QueueMedian.Round(time.Millisecond))
			}
			share = mean
			if share < .3 || share > .7 {
				t.Errorf("share %.0f%%, want 30%% to 70%%", 100*share)
			}
		})
	}
}

// TestAmongUs measures how fairly our flows share: the mean index of two runs.
func TestAmongUs(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("minutes of network, in one goroutine")
	}
	for _, c := range []struct {
		name string
		n    int
		bdp  float64
		loss float64
		want float64
	}{
		{"two-1bdp", 2, 1, 0, .95},
		{"two-4bdp", 2, 4, 0, .95},
		{"two-1bdp-1%", 2, 1, .01, .95},
		{"five-1bdp", 5, 1, 0, .9},
		{"five-2bdp-1%", 5, 2, .01, .9},
		{"five-4bdp", 5, 4, 0, .9},
		{"five-10bdp", 5, 10, 0, .9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mean := 0.0
			for seed := uint64(1); seed <= 2; seed++ {
				cfg := link(100, 50*time.Millisecond, c.loss, c.bdp)
				cfg.Seed = seed
				for i := range c.n {
					cfg.Flows = append(cfg.Flows, sim.Flow{Start: time.Duration(i) * time.Duration(1000+300*seed) * time.Millisecond})
				}
				cfg.From, cfg.Until = 15*time.Second, 75*time.Second
				r, err := sim.Run(cfg)
				if err != nil {
					t.Fatal(err)
				}
				mean += r.Jain() / 2
				t.Logf("Jain %.3f, queue median %v, %d drops", r.Jain(), r.QueueMedian.Round(time.Millisecond), r.Forward.TailDrops)
			}
			if mean < c.want {
				t.Errorf("Jain's index %.3f, want %.2f", mean, c.want)
			}
		})
	}
}

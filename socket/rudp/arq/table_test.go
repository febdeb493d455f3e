package arq_test

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
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

var (
	tableRTT  = []int{10, 30, 50, 100, 200, 300} // ms
	tableLoss = []float64{0, .001, .01, .02, .05, .1, .2}
)

// tableCell is the goodput of a transfer in Mbit/s.
func tableCell(t testing.TB, loss float64, ms int) float64 {
	cfg := link(100, time.Duration(ms)*time.Millisecond, loss, 1)
	cfg.Flows = []sim.Flow{{Bytes: 100e6}}
	r, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r.Flows[0].Goodput * 8 / 1e6
}

// TestTableIsCurrent: the table in the package documentation is what the code
// does, in two of its cells. `make fairness` prints all of it anew.
func TestTableIsCurrent(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		loss float64
		ms   int
	}{{.01, 50}, {.1, 100}} {
		_, line, ok := strings.Cut(string(doc), fmt.Sprintf("\n//\t%9.1f%%", 100*c.loss))
		line, _, _ = strings.Cut(line, "\n")
		cells := strings.Fields(line)
		if !ok || len(cells) != len(tableRTT) {
			t.Fatalf("no row of %v in the table: %q", c.loss, line)
		}
		told, err := strconv.ParseFloat(cells[slices.Index(tableRTT, c.ms)], 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := tableCell(t, c.loss, c.ms); math.Abs(got-told) > 1.5 {
			t.Errorf("loss %v, %d ms: the documentation says %.1f Mbit/s, it is %.1f", c.loss, c.ms, told, got)
		}
	}
}

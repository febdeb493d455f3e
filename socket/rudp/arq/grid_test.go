package arq_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestGrid prints what the model does over loss, round trip, queue and company:
// the tables of the package documentation, and beside each value outside of its
// target a '!'. It simulates seven hours of network, which takes some minutes, and
// runs only where WHERRY_GRID is set: `make fairness`. WHERRY_GRID is the number of
// seeds for each cell.
func TestGrid(t *testing.T) {
	var seeds int
	if n, _ := fmt.Sscan(os.Getenv("WHERRY_GRID"), &seeds); n == 0 || seeds < 1 {
		t.Skip("WHERRY_GRID is not set to a number of seeds")
	}
	rtts := []time.Duration{10, 30, 50, 100, 200}
	queues := []float64{.5, 1, 2, 4, 8}

	fmt.Println("Goodput in Mbit/s of 100 MB over 100 Mbit/s, queue 1 BDP:")
	fmt.Println("//")
	fmt.Print("//\tloss \\ RTT")
	for _, ms := range tableRTT {
		fmt.Printf("%6d ms", ms)
	}
	fmt.Println()
	printGrid(len(tableLoss), len(tableRTT), func(i int) string { return fmt.Sprintf("//\t%9.1f%%", 100*tableLoss[i]) },
		func(i, k int) string { return fmt.Sprintf("%9.1f", tableCell(t, tableLoss[i], tableRTT[k])) })

	header := func(title string) {
		fmt.Printf("\n%s\n//\n//\tqueue \\ RTT", title)
		for _, ms := range rtts {
			fmt.Printf("%14d ms", ms)
		}
		fmt.Println()
	}
	row := func(i int) string { return fmt.Sprintf("//\t%8.1f BDP", queues[i]) }
	for _, late := range []bool{false, true} {
		header(fmt.Sprintf("Share in %% of 100 Mbit/s beside one CUBIC flow over 60 s, lowest, mean and highest of %d; CUBIC comes 5 s later: %v", seeds, late))
		printGrid(len(queues), len(rtts), row, func(i, k int) string {
			return summary(seeds, 100, 30, 70, "%.0f", func(seed uint64) float64 { return shareBesideCubic(t, seed, rtts[k], queues[i], late) })
		})
	}
	for _, flows := range []int{2, 5} {
		for _, loss := range []float64{0, .01} {
			want := map[int]float64{2: .95, 5: .9}[flows]
			header(fmt.Sprintf("Jain's index of %d flows over 60 s at %v%% loss, lowest, mean and highest of %d", flows, 100*loss, seeds))
			printGrid(len(queues), len(rtts), row, func(i, k int) string {
				return summary(seeds, 1, want, 1, "%.2f", func(seed uint64) float64 { return jainAmongUs(t, seed, rtts[k], queues[i], loss, flows) })
			})
		}
	}
}

// printGrid prints rows of cells, each of which is computed by itself.
func printGrid(rows, columns int, name func(i int) string, cell func(i, k int) string) {
	out := make([][]string, rows)
	var wg sync.WaitGroup
	room := make(chan struct{}, 2)
	for i := range rows {
		out[i] = make([]string, columns)
		for k := range columns {
			wg.Go(func() {
				room <- struct{}{}
				out[i][k] = cell(i, k)
				<-room
			})
		}
	}
	wg.Wait()
	for i, cells := range out {
		fmt.Println(name(i) + strings.Join(cells, ""))
	}
}

// summary is lowest/mean/highest over seeds, with '!' if the mean is out of bounds.
func summary(seeds int, factor, low, high float64, format string, value func(seed uint64) float64) string {
	lowest, highest, sum := factor, 0.0, 0.0
	for seed := range uint64(seeds) {
		v := factor * value(seed+1)
		lowest, highest, sum = min(lowest, v), max(highest, v), sum+v
	}
	mean, mark := sum/float64(seeds), " "
	if mean < low || mean > high {
		mark = "!"
	}
	f := strings.Repeat(format+"/", 2) + format
	return fmt.Sprintf("%16s", fmt.Sprintf(f, lowest, mean, highest)) + mark
}

func shareBesideCubic(t testing.TB, seed uint64, rtt time.Duration, bdp float64, late bool) float64 {
	cfg := link(100, rtt*time.Millisecond, 0, bdp)
	cfg.Seed = seed
	cfg.Flows = []sim.Flow{{Client: arq.Config{Congestion: arq.Cubic}}, {}}
	second := &cfg.Flows[1]
	if late {
		second = &cfg.Flows[0]
	}
	second.Start = 5*time.Second + time.Duration(seed)*70*time.Millisecond
	cfg.From, cfg.Until = 10*time.Second, 70*time.Second
	r, err := sim.Run(cfg)
	if err != nil {
		t.Error(err)
		return 0
	}
	return r.Flows[1].Share / (r.Flows[0].Share + r.Flows[1].Share)
}

func jainAmongUs(t testing.TB, seed uint64, rtt time.Duration, bdp, loss float64, flows int) float64 {
	cfg := link(100, rtt*time.Millisecond, loss, bdp)
	cfg.Seed = seed
	for i := range flows {
		cfg.Flows = append(cfg.Flows, sim.Flow{Start: time.Duration(i) * time.Duration(1000+300*seed) * time.Millisecond})
	}
	cfg.From, cfg.Until = 15*time.Second, 75*time.Second
	r, err := sim.Run(cfg)
	if err != nil {
		t.Error(err)
		return 0
	}
	return r.Jain()
}

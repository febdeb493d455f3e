package datagram

import (
	"math/rand/v2"
	"testing"
)

func TestComparison(t *testing.T) {
	for _, tc := range []struct {
		name          string
		train, single float64 // loss of a whole train, of a single datagram
		off, tested   bool
	}{
		{"nothing is lost", 0, 0, false, false},
		{"a bad link", .05, .05, false, true},
		{"a very bad link", .3, .3, false, true},
		{"congestion is harder on trains", .06, .04, false, true},
		{"trains are lost", .3, 0, true, true},
		{"trains are lost on a bad link", .4, .05, true, true},
		{"every train is lost", 1, 0, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			var c Comparison
			tested, singles := false, 0
			const trains, length = 20000, 40
			for range trains {
				if c.Segment() {
					lost := rng.Float64() < tc.train
					for range length {
						c.Settled(true, lost)
					}
				} else {
					singles++
					for range length {
						c.Settled(false, rng.Float64() < tc.single)
					}
				}
				tested = tested || c.Comparing()
			}
			if c.Off() != tc.off || tested != tc.tested {
				t.Errorf("off %v, compared %v; want %v, %v", c.Off(), tested, tc.off, tc.tested)
			}
			// Comparing has to get rarer, or it is a tax on bad links.
			if !tc.off && singles > trains/5 {
				t.Errorf("%d of %d trains went singly", singles, trains)
			}
		})
	}
}

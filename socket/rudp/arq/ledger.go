package arq

import (
	"math"
	"slices"
)

// ledger counts what became of the packets of each accounting period (about
// a round trip), by when they were sent, not by when it was known.
type ledger struct {
	book           [64]period
	current, first uint32
}

type period struct {
	sent, acked, lost int
	phase             phase
}

func (l *ledger) at(e uint32) *period { return &l.book[e%uint32(len(l.book))] }

// begin starts a period.
func (l *ledger) begin(ph phase) {
	p := l.at(l.current)
	if p.sent == 0 {
		p.phase = ph
		return
	}
	l.current++
	if l.current-l.first >= uint32(len(l.book)) {
		l.first++
	}
	*l.at(l.current) = period{phase: ph}
}

// settled returns the oldest period that is over and of which every packet's
// fate is known, or nil.
func (l *ledger) settled() *period {
	if l.first == l.current {
		return nil
	}
	p := l.at(l.first)
	if p.acked+p.lost < p.sent {
		return nil
	}
	l.first++
	return p
}

// lossFloor estimates the share of packets that the path loses by itself,
// from periods in which this sender left the queue to drain: the trimmed mean
// of the last ten samples, so that a burst or somebody else's overflow in one
// of them does not count.
type lossFloor struct {
	sample     [10]float64
	size       [10]int
	n          int
	sent, lost int // towards the next sample
	value      float64
	spread     float64 // variance of the samples over that of independent losses, at least 1
}

const (
	floorPackets = 48 // smallest sample
	floorMax     = .3
	// spreadMax is what bursts of a dozen packets do, as radio has them.
	spreadMax = 25
)

func (f *lossFloor) add(sent, lost int) {
	f.sent += sent
	f.lost += lost
	if f.sent < floorPackets {
		return
	}
	f.sample[f.n%len(f.sample)] = float64(f.lost) / float64(f.sent)
	f.size[f.n%len(f.size)] = f.sent
	f.n++
	f.sent, f.lost = 0, 0
	var s [10]float64
	k := min(f.n, len(s))
	copy(s[:], f.sample[:k])
	slices.Sort(s[:k])
	cut := k / 5
	if k == 3 || k == 4 {
		cut = 1
	}
	sum := 0.0
	for _, x := range s[cut : k-cut] {
		sum += x
	}
	f.value = min(sum/float64(k-2*cut), floorMax)
	f.spread = 1
	if p := f.value; p > 0 && k == len(f.sample) {
		sum = 0
		for i, x := range f.sample {
			sum += (x - p) * (x - p) * float64(f.size[i])
		}
		f.spread = min(max(sum/float64(k)/(p*(1-p)), 1), spreadMax)
	}
}

// excess is by how much more than the floor, and than chance explains, a
// period lost; spread is how much wider than that of independent losses chance is.
func (f *lossFloor) excess(p *period, spread float64) float64 {
	n := float64(p.sent)
	if n == 0 {
		return 0
	}
	// The floor itself is known from so many packets only.
	known := 0.0
	for _, k := range f.size {
		known += float64(k)
	}
	sigma := math.Sqrt((f.value + 1/n) * (1 - f.value) * (1/n + 1/(known+1)))
	return float64(p.lost)/n - f.value - 2*sigma*math.Sqrt(max(spread, 1))
}

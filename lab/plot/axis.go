package plot

import (
	"math"
	"strconv"
)

// Scale is how an axis places its values.
type Scale int

// Scales. On a logarithmic axis a zero stands by itself at the low end, behind a
// break; negative values have no place.
const (
	Linear Scale = iota
	Log
)

// Axis describes an axis; its range is that of the series unless Min and Max are
// given.
type Axis struct {
	Label string // with the unit
	Scale Scale
	// From0 begins a linear axis at zero.
	From0 bool
	// Max ends the axis where it is above zero.
	Max float64
}

// A ruler is an axis with its range and its place in the drawing.
type ruler struct {
	scale    Scale
	lo, hi   float64 // values; of a logarithmic ruler powers that are whole tenths
	from, to float64 // where they are
	zero     bool    // a logarithmic ruler with a place for zero
	ticks    []tick
}

type tick struct {
	at    float64 // place
	label string
}

// zeroRoom is the share of a logarithmic ruler that its zero takes.
const zeroRoom = .1

// newRuler makes a ruler for the values over the places from and to with about n
// ticks.
func newRuler(a Axis, values []float64, from, to float64, n int) *ruler {
	r := &ruler{scale: a.Scale, from: from, to: to}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		switch {
		case !drawable(v):
		case a.Scale == Log && v <= 0:
			r.zero = r.zero || v == 0
		default:
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if a.Max > 0 {
		hi = a.Max
	}
	if a.Scale == Log {
		r.log(lo, hi)
		return r
	}
	if lo > hi {
		lo, hi = 0, 1
	}
	if a.From0 {
		lo = min(lo, 0)
	}
	if hi-lo <= 1e-9*max(math.Abs(lo), math.Abs(hi)) { // one value
		lo, hi = lo-math.Abs(lo)/2, hi+math.Abs(hi)/2
		if hi == lo {
			lo, hi = 0, 1
		}
	}
	step := niceStep((hi - lo) / float64(max(n, 1)))
	r.lo = math.Floor(lo/step+1e-9) * step
	if !a.From0 && lo >= 0 {
		r.lo = max(r.lo, 0)
	}
	r.hi = math.Ceil(hi/step-1e-9) * step
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	for i := range 100 {
		v := r.lo + float64(i)*step
		if v > r.hi+step/2 {
			break
		}
		r.ticks = append(r.ticks, tick{r.place(v), strconv.FormatFloat(v+0, 'f', decimals, 64)})
	}
	return r
}

// log chooses whole decades, and labels 1, 2 and 5 where there are few.
func (r *ruler) log(lo, hi float64) {
	if lo > hi {
		lo, hi = 1, 10
	}
	low, high := math.Floor(math.Log10(lo)+1e-9), math.Ceil(math.Log10(hi)-1e-9)
	steps := []float64{1}
	switch {
	case high-low <= 3:
		steps = []float64{1, 2, 5}
	case high-low > 6:
		high = max(high, low+1)
	}
	// The nearest label below and above, not the whole decade.
	r.lo, r.hi = math.Pow(10, low), math.Pow(10, high)
	for d := low; d <= high; d++ {
		for _, s := range steps {
			v := s * math.Pow(10, d)
			if v <= lo*(1+1e-9) {
				r.lo = v
			}
		}
	}
	for d := high; d >= low; d-- {
		for i := len(steps) - 1; i >= 0; i-- {
			if v := steps[i] * math.Pow(10, d); v >= hi*(1-1e-9) {
				r.hi = v
			}
		}
	}
	if r.lo >= r.hi {
		r.lo, r.hi = r.lo/2, r.hi*2
	}
	if r.zero {
		r.ticks = append(r.ticks, tick{r.place(0), "0"})
	}
	every := max(1, math.Ceil((high-low)/6))
	for d := low; d <= high; d++ {
		if math.Mod(d-low, every) != 0 {
			continue
		}
		for _, s := range steps {
			if v := s * math.Pow(10, d); v >= r.lo*(1-1e-9) && v <= r.hi*(1+1e-9) {
				r.ticks = append(r.ticks, tick{r.place(v), strconv.FormatFloat(v, 'g', 6, 64)})
			}
		}
	}
}

// drawable tells whether v is a number, and not one of those whose differences
// or quotients are none.
func drawable(v float64) bool { return v == 0 || math.Abs(v) > 1e-90 && math.Abs(v) < 1e90 }

// place is where v stands; NaN if it has no place.
func (r *ruler) place(v float64) float64 {
	if math.IsNaN(v) || math.Abs(v) > 1e100 { // an end of the axis may lie beyond what is drawable
		return math.NaN()
	}
	if r.scale == Log {
		from := r.from
		if r.zero {
			from += (r.to - r.from) * zeroRoom
			if v == 0 {
				return r.from + (r.to-r.from)*zeroRoom*.25
			}
		}
		if v <= 0 {
			return math.NaN()
		}
		// Differences of logarithms, for a quotient may be too large or small.
		return from + (r.to-from)*(math.Log(v)-math.Log(r.lo))/(math.Log(r.hi)-math.Log(r.lo))
	}
	return r.from + (r.to-r.from)*(v-r.lo)/(r.hi-r.lo)
}

// niceStep is the next of 1, 2, 5 times a power of ten.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*p*(1+1e-9) {
			return m * p
		}
	}
	return 10 * p
}

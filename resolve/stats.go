package resolve

import (
	"slices"
	"time"
)

// Timings sums up how long queries took.
type Timings struct {
	Count                 int
	Min, Median, P99, Max time.Duration
	Mean                  time.Duration
}

// Summarize returns the timings of some durations. The percentiles are those
// of the nearest rank: each is one of the durations.
func Summarize(ds []time.Duration) Timings {
	if len(ds) == 0 {
		return Timings{}
	}
	s := slices.Sorted(slices.Values(ds))
	rank := func(percent int) time.Duration { return s[(len(s)*percent+99)/100-1] }
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return Timings{Count: len(s), Min: s[0], Median: rank(50), P99: rank(99), Max: s[len(s)-1],
		Mean: sum / time.Duration(len(s))}
}

// TimingsOf returns the timings of the results that servers answered.
func TimingsOf(rs []*Result) Timings {
	var ds []time.Duration
	for _, r := range rs {
		if r.Source == FromServer && r.Msg != nil {
			ds = append(ds, r.RTT)
		}
	}
	return Summarize(ds)
}

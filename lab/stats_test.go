package lab

import (
	"fmt"
	"math"
	"testing"
)

// The quantiles that every table of Student's t prints.
func TestStudentT(t *testing.T) {
	for _, c := range []struct {
		p    float64
		df   int
		want float64
	}{
		{.975, 1, 12.706205}, {.975, 2, 4.302653}, {.975, 3, 3.182446}, {.975, 4, 2.776445},
		{.975, 5, 2.570582}, {.975, 9, 2.262157}, {.975, 19, 2.093024}, {.975, 29, 2.045230},
		{.975, 99, 1.984217}, {.975, 999, 1.962341}, {.95, 4, 2.131847}, {.95, 1, 6.313752},
		{.995, 10, 3.169273}, {.999, 2, 22.327125}, {.9, 7, 1.414924}, {.5, 3, 0},
		{.025, 9, -2.262157}, {.75, 1, 1}, // the Cauchy distribution's quartile
	} {
		if got := StudentT(c.p, c.df); math.Abs(got-c.want) > 2e-6*math.Max(1, math.Abs(c.want)) {
			t.Errorf("StudentT(%v, %d) = %.7f, want %.6f", c.p, c.df, got, c.want)
		}
	}
	for _, c := range []struct {
		p  float64
		df int
	}{{.975, 0}, {0, 3}, {1, 3}, {math.NaN(), 3}, {-1, 3}} {
		if got := StudentT(c.p, c.df); !math.IsNaN(got) {
			t.Errorf("StudentT(%v, %d) = %v, want NaN", c.p, c.df, got)
		}
	}
	// In closed form: tan for one degree of freedom, 2u/sqrt(1-u²)·… for two.
	for _, p := range []float64{.6, .9, .99, .9999} {
		if got, want := StudentT(p, 1), math.Tan(math.Pi*(p-.5)); math.Abs(got/want-1) > 1e-10 {
			t.Errorf("one degree of freedom, %v: %v, want %v", p, got, want)
		}
		u := 2*p - 1
		if got, want := StudentT(p, 2), u*math.Sqrt(2/(1-u*u)); math.Abs(got/want-1) > 1e-10 {
			t.Errorf("two degrees of freedom, %v: %v, want %v", p, got, want)
		}
	}
}

func TestSummarise(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		in               []float64
		n                int
		mean, sd, half   float64
		lowest, greatest float64
	}{
		{nil, 0, nan, nan, nan, nan, nan},
		{[]float64{7}, 1, 7, nan, nan, 7, 7},
		{[]float64{1, 3}, 2, 2, math.Sqrt2, 12.706205, 1, 3},
		{[]float64{5, 5, 5}, 3, 5, 0, 0, 5, 5},
		// By hand: mean 3, variance 2.5, 2.776445·sqrt(2.5/5).
		{[]float64{1, 2, 3, 4, 5}, 5, 3, math.Sqrt(2.5), 1.963243, 1, 5},
		{[]float64{4, nan, 2}, 2, 3, math.Sqrt2, 12.706205, 2, 4},
		// The digits survive a large mean.
		{[]float64{1e9 + 1, 1e9 + 2, 1e9 + 3, 1e9 + 4, 1e9 + 5}, 5, 1e9 + 3, math.Sqrt(2.5), 1.963243, 1e9 + 1, 1e9 + 5},
	} {
		t.Run(fmt.Sprint(c.in), func(t *testing.T) {
			s := Summarise(c.in)
			same := func(what string, got, want float64) {
				if math.IsNaN(want) != math.IsNaN(got) || math.Abs(got-want) > 2e-6*math.Max(1, math.Abs(want)) {
					t.Errorf("%s %v, want %v", what, got, want)
				}
			}
			if s.N != c.n {
				t.Errorf("%d values, want %d", s.N, c.n)
			}
			same("mean", s.Mean, c.mean)
			same("deviation", s.SD, c.sd)
			same("half the interval", s.Half, c.half)
			same("minimum", s.Min, c.lowest)
			same("maximum", s.Max, c.greatest)
		})
	}
}

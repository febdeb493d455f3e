package lab

import "math"

// A Summary is what a sample says of the mean of what it was drawn from.
type Summary struct {
	N    int
	Mean float64
	// SD is the sample's standard deviation, with N-1 in the denominator; NaN
	// for fewer than two values.
	SD float64
	// Half is half the width of the 95% confidence interval of the mean by
	// Student's t: the interval is Mean ± Half. NaN for fewer than two values.
	Half     float64
	Min, Max float64
}

// Summarise makes the summary of the values, leaving out those that are NaN.
func Summarise(values []float64) Summary {
	s := Summary{Mean: math.NaN(), SD: math.NaN(), Half: math.NaN(), Min: math.NaN(), Max: math.NaN()}
	// Welford's update does not lose digits where the spread is small beside
	// the mean, as it is where a simulation hardly varies.
	mean, m2 := 0.0, 0.0
	for _, v := range values {
		if math.IsNaN(v) {
			continue
		}
		if s.N++; s.N == 1 {
			s.Min, s.Max = v, v
		}
		s.Min, s.Max = min(s.Min, v), max(s.Max, v)
		d := v - mean
		mean += d / float64(s.N)
		m2 += d * (v - mean)
	}
	if s.N == 0 {
		return s
	}
	s.Mean = mean
	if s.N > 1 {
		s.SD = math.Sqrt(m2 / float64(s.N-1))
		s.Half = StudentT(.975, s.N-1) * s.SD / math.Sqrt(float64(s.N))
	}
	return s
}

// StudentT is the p-quantile of Student's t distribution with df degrees of
// freedom, right to about twelve digits: StudentT(0.975, 9) is 2.262. It is NaN
// where df is less than one or p not between 0 and 1.
func StudentT(p float64, df int) float64 {
	switch {
	case df < 1 || !(p > 0 && p < 1):
		return math.NaN()
	case p == .5:
		return 0
	case p < .5:
		return -StudentT(1-p, df)
	}
	// P(T > t) = I_x(df/2, 1/2)/2 with x = df/(df+t²), Abramowitz and Stegun
	// 26.7.1 with 26.5.27. The tail falls as t grows, so bisection cannot miss.
	tail := 1 - p
	lo, hi := 0.0, 1.0
	for studentTail(hi, df) > tail {
		lo, hi = hi, 2*hi
		if math.IsInf(hi, 0) {
			return math.NaN()
		}
	}
	for range 200 {
		mid := lo + (hi-lo)/2
		if mid == lo || mid == hi {
			break
		}
		if studentTail(mid, df) > tail {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo + (hi-lo)/2
}

// studentTail is P(T > t) for t >= 0.
func studentTail(t float64, df int) float64 {
	v := float64(df)
	return betaRegularised(v/(v+t*t), v/2, .5) / 2
}

// betaRegularised is the regularised incomplete beta function I_x(a, b).
func betaRegularised(x, a, b float64) float64 {
	switch {
	case x <= 0:
		return 0
	case x >= 1:
		return 1
	case x > (a+1)/(a+b+2): // where the fraction converges slowly, by symmetry
		return 1 - betaRegularised(1-x, b, a)
	}
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	front := math.Exp(lab - la - lb + a*math.Log(x) + b*math.Log1p(-x))
	return front * betaFraction(x, a, b) / a
}

// betaFraction is the continued fraction of I_x, DLMF 8.17.22, by Lentz's
// method.
func betaFraction(x, a, b float64) float64 {
	const tiny = 1e-300
	guard := func(v float64) float64 {
		if math.Abs(v) < tiny {
			return tiny
		}
		return v
	}
	c, d := 1.0, 1/guard(1-(a+b)*x/(a+1))
	h := d
	for i := 1; i <= 1000; i++ {
		m := float64(i)
		even := m * (b - m) * x / ((a + 2*m - 1) * (a + 2*m))
		d = 1 / guard(1+even*d)
		c = guard(1 + even/c)
		h *= d * c
		odd := -(a + m) * (a + b + m) * x / ((a + 2*m) * (a + 2*m + 1))
		d = 1 / guard(1+odd*d)
		c = guard(1 + odd/c)
		h *= d * c
		if math.Abs(d*c-1) < 1e-15 {
			break
		}
	}
	return h
}

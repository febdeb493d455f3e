// Package units reads and prints the quantities that network tools are told:
// rates, sizes, probabilities and times, spelled as tc(8) and iperf3(1) spell
// them.
//
//	rate         10Mbit  1Gbit  5MB/s  2.5Gbit/s  800k  64Kibit    bits a second
//	size         64KiB   1500   10M    1500B                       bytes
//	probability  1%      0.1%   0.01                               0 to 1
//	time         25ms    1.5s   200us  10msec  1m30s               nanoseconds
//
// Letters may be of either case: tc knows no difference between "mbit" and
// "Mbit", and neither do we. A "b" alone is a byte (tc), never a bit.
//
// # Rates
//
// A bare number, or one with only a prefix, counts bits a second, as in both
// tools. "bit", "bit/s" and "bits/s" say so; "B/s" counts bytes a second. The
// prefixes k, m, g and t are powers of 1000; ki, mi, gi and ti are powers of
// 1024. Spellings that end in "bps" are refused: tc reads "10mbps" as ten
// megabytes a second and everybody else as ten megabits, and a tool that
// guesses would be wrong by a factor of eight for one half of its users.
//
// # Sizes
//
// k, m, g and t are powers of 1024, with or without "b" or "ib" after them, as
// tc and iperf3 have it for sizes. A bare number counts bytes.
//
// Every String method prints a form that the parser reads back to the same
// value, which the fuzz tests hold it to.
package units

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrSyntax is what the errors of all parsers here wrap.
var ErrSyntax = errors.New("not understood")

func syntax(what, s, want string) error {
	return fmt.Errorf("%s %q: %w: %s", what, s, ErrSyntax, want)
}

// split cuts s into its number and its unit, which it returns in lower case
// with the blanks trimmed that people put between the two.
func split(s string) (num float64, unit string, ok bool) {
	s = strings.TrimSpace(s)
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	// An exponent is not read: tc does, by way of strtod, but nobody types one
	// and "1e3" beside "1E" (an exabyte) would be one more thing to know.
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, "", false
	}
	return n, strings.ToLower(strings.TrimSpace(s[i:])), true
}

// exact returns n·scale/div rounded to the nearest integer, or false when it
// does not fit an int64.
func exact(n, scale, div float64) (int64, bool) {
	v := math.Round(n * scale / div)
	if v < 0 || v >= math.MaxInt64 {
		return 0, false
	}
	return int64(v), true
}

// prefix takes a multiplier's letter from the front of unit: k, m, g, t, and
// the same with i after them, which always mean powers of 1024. base is what
// the letter alone stands for, 1000 or 1024.
func prefix(unit string, base float64) (scale float64, rest string) {
	if unit == "" {
		return 1, ""
	}
	p := strings.IndexByte("kmgt", unit[0])
	if p < 0 {
		return 1, unit
	}
	rest = unit[1:]
	if strings.HasPrefix(rest, "i") {
		base, rest = 1024, rest[1:]
	}
	return math.Pow(base, float64(p+1)), rest
}

// A Rate is a number of bits a second. Zero means no limit wherever a rate is
// an option.
type Rate int64

const (
	BitPerSecond Rate = 1
	Kbit              = 1000 * BitPerSecond
	Mbit              = 1000 * Kbit
	Gbit              = 1000 * Mbit
)

// ParseRate reads a rate; see the package documentation for its spellings.
func ParseRate(s string) (Rate, error) {
	const want = "want a rate such as 10Mbit, 1Gbit or 5MB/s"
	n, unit, ok := split(s)
	if !ok {
		return 0, syntax("rate", s, want)
	}
	if strings.HasSuffix(unit, "bps") {
		return 0, syntax("rate", s, "tc counts bytes here and everybody else bits: write 10Mbit or 10MB/s")
	}
	scale, rest := prefix(unit, 1000)
	switch rest {
	case "", "bit", "bits", "bit/s", "bits/s":
	case "b/s":
		scale *= 8
	default:
		return 0, syntax("rate", s, want)
	}
	v, ok := exact(n, scale, 1)
	if !ok {
		return 0, syntax("rate", s, "too large")
	}
	return Rate(v), nil
}

// String prints r in the largest unit that keeps it exact: 10Mbit, 1500Kbit.
func (r Rate) String() string {
	return scaled(int64(r), []string{"bit", "Kbit", "Mbit", "Gbit", "Tbit"}, 1000)
}

// Bytes is the rate in bytes a second.
func (r Rate) Bytes() float64 { return float64(r) / 8 }

// MarshalText and UnmarshalText let a Rate stand in flags, YAML and JSON.
func (r Rate) MarshalText() ([]byte, error)      { return []byte(r.String()), nil }
func (r *Rate) UnmarshalText(b []byte) (e error) { *r, e = ParseRate(string(b)); return e }

// A Size is a number of bytes.
type Size int64

const (
	Byte Size = 1
	KiB       = 1024 * Byte
	MiB       = 1024 * KiB
	GiB       = 1024 * MiB
)

// ParseSize reads a size; see the package documentation for its spellings.
func ParseSize(s string) (Size, error) {
	const want = "want a size in bytes such as 1500, 64KiB or 10M"
	n, unit, ok := split(s)
	if !ok {
		return 0, syntax("size", s, want)
	}
	scale, rest := prefix(unit, 1024)
	switch rest {
	case "", "b":
	default:
		return 0, syntax("size", s, want)
	}
	v, ok := exact(n, scale, 1)
	if !ok {
		return 0, syntax("size", s, "too large")
	}
	return Size(v), nil
}

// String prints s in the largest unit that keeps it exact: 64KiB, 1500B.
func (s Size) String() string {
	return scaled(int64(s), []string{"B", "KiB", "MiB", "GiB", "TiB"}, 1024)
}

// MarshalText and UnmarshalText let a Size stand in flags, YAML and JSON.
func (s Size) MarshalText() ([]byte, error)      { return []byte(s.String()), nil }
func (s *Size) UnmarshalText(b []byte) (e error) { *s, e = ParseSize(string(b)); return e }

func scaled(v int64, names []string, base int64) string {
	i := 0
	for v != 0 && v%base == 0 && i < len(names)-1 {
		v /= base
		i++
	}
	return strconv.FormatInt(v, 10) + names[i]
}

// A Probability lies between 0 and 1 inclusive.
type Probability float64

// ParseProbability reads "1%" or "0.01". A bare number is a fraction of one,
// and one above 1 is refused rather than taken for a percentage.
func ParseProbability(s string) (Probability, error) {
	const want = "want a share between 0% and 100%, such as 1% or 0.01"
	n, unit, ok := split(s)
	if !ok || unit != "" && unit != "%" {
		return 0, syntax("probability", s, want)
	}
	if unit == "%" {
		n /= 100
	}
	if n > 1 {
		return 0, syntax("probability", s, want)
	}
	return Probability(n), nil
}

// String prints p as a percentage: 1%, 0.25%.
func (p Probability) String() string {
	// The shortest digits of p·100 may divide back to a neighbour of p: then
	// the fraction itself is printed.
	pc := strconv.FormatFloat(float64(p)*100, 'f', -1, 64)
	if v, err := strconv.ParseFloat(pc, 64); err == nil && v/100 == float64(p) {
		return pc + "%"
	}
	return strconv.FormatFloat(float64(p), 'f', -1, 64)
}

// MarshalText and UnmarshalText let a Probability stand in flags, YAML and JSON.
func (p Probability) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
func (p *Probability) UnmarshalText(b []byte) (e error) {
	*p, e = ParseProbability(string(b))
	return e
}

// ParseDuration reads a time that is not negative: what time.ParseDuration
// reads, and tc's "sec", "msec" and "usec". A bare number is refused, except
// 0: it would be microseconds to tc and seconds to ping.
func ParseDuration(s string) (time.Duration, error) {
	const want = "want a time such as 25ms, 1.5s or 200us"
	t := strings.TrimSpace(s)
	switch low := strings.ToLower(t); {
	case strings.HasSuffix(low, "secs"):
		t = low[:len(low)-3]
	case strings.HasSuffix(low, "sec"):
		t = low[:len(low)-2]
	}
	// "10 ms" is how tc prints it.
	if i := strings.IndexByte(t, ' '); i > 0 && strings.IndexByte(t[i+1:], ' ') < 0 {
		t = t[:i] + t[i+1:]
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 {
		return 0, syntax("time", s, want)
	}
	return d, nil
}

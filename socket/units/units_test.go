package units

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{
		"0": 0, "1000": 1000, "10Mbit": 10 * Mbit, "10mbit": 10 * Mbit, "1Gbit": Gbit, "1gbit/s": Gbit,
		"5MB/s": 40 * Mbit, "800k": 800 * Kbit, "10M": 10 * Mbit, "64kibit": 65536, "2.5Gbit": 2500 * Mbit,
		"1KiB/s": 8192, " 10 Mbit ": 10 * Mbit, "1bit": 1, "1tbit": 1000 * Gbit, "7B/s": 56, "10Mbits/s": 10 * Mbit,
	} {
		got, err := ParseRate(in)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", in, int64(got), err, int64(want))
		}
	}
	for _, in := range []string{"", "fast", "-1Mbit", "10Mbps", "10kbps", "1e9", "10MB", "9999999Tbit", "1..5M", "NaN", "10 M bit", "Inf"} {
		if got, err := ParseRate(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseRate(%q) = %v, %v; want a syntax error", in, got, err)
		}
	}
	if _, err := ParseRate("10Mbps"); !strings.Contains(err.Error(), "10MB/s") {
		t.Errorf("the error about bps names no way out: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"1500": 1500, "1500B": 1500, "64KiB": 64 * KiB, "64k": 64 * KiB, "64KB": 64 * KiB, "10M": 10 * MiB, "1.5GiB": 1536 * MiB, "0": 0,
	} {
		got, err := ParseSize(in)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, int64(got), err, int64(want))
		}
	}
	for _, in := range []string{"", "big", "-1", "1kbit", "5MB/s", "99999999TiB"} {
		if got, err := ParseSize(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseSize(%q) = %v, %v; want a syntax error", in, got, err)
		}
	}
}

func TestParseProbability(t *testing.T) {
	for in, want := range map[string]Probability{"1%": .01, "0.01": .01, "100%": 1, "1": 1, "0": 0, "0.1%": .001, "0.1 %": .001} {
		got, err := ParseProbability(in)
		if err != nil || got != want {
			t.Errorf("ParseProbability(%q) = %v, %v; want %v", in, float64(got), err, float64(want))
		}
	}
	for _, in := range []string{"", "101%", "5", "-1%", "%", "1%%", "a lot"} {
		if got, err := ParseProbability(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseProbability(%q) = %v, %v; want a syntax error", in, got, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"25ms": 25 * time.Millisecond, "10msec": 10 * time.Millisecond, "200usec": 200 * time.Microsecond, "2sec": 2 * time.Second,
		"2secs": 2 * time.Second, "1m30s": 90 * time.Second, "0": 0, "10 ms": 10 * time.Millisecond, "200us": 200 * time.Microsecond, "1.5s": 1500 * time.Millisecond,
	} {
		got, err := ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "25", "-1ms", "soon", "sec", "1 0 ms"} {
		if got, err := ParseDuration(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("ParseDuration(%q) = %v, %v; want a syntax error", in, got, err)
		}
	}
}

// FuzzRoundTrip holds every unit to: what is printed is read back unchanged,
// and nothing outside a unit's bounds is ever let through.
func FuzzRoundTrip(f *testing.F) {
	for _, s := range []string{"10Mbit", "5MB/s", "64KiB", "1500", "1%", "0.3", "25ms", "1.5G", "33.3333%", "7e", "ki", "0.07"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseRate(s); err == nil {
			if w, err := ParseRate(v.String()); err != nil || w != v || v < 0 {
				t.Errorf("rate %q -> %d -> %q -> %d, %v", s, int64(v), v, int64(w), err)
			}
		}
		if v, err := ParseSize(s); err == nil {
			if w, err := ParseSize(v.String()); err != nil || w != v || v < 0 {
				t.Errorf("size %q -> %d -> %q -> %d, %v", s, int64(v), v, int64(w), err)
			}
		}
		if v, err := ParseProbability(s); err == nil {
			if w, err := ParseProbability(v.String()); err != nil || w != v || !(v >= 0 && v <= 1) {
				t.Errorf("probability %q -> %v -> %q -> %v, %v", s, float64(v), v, float64(w), err)
			}
		}
		if v, err := ParseDuration(s); err == nil {
			if w, err := ParseDuration(v.String()); err != nil || w != v || v < 0 {
				t.Errorf("time %q -> %v -> %v, %v", s, v, w, err)
			}
		}
	})
}

package transfer

import (
	"math/rand/v2"
	"testing"
)

// A groupSet says what a map of the same groups does, and its runs are in order
// and apart.
func TestGroupSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var s groupSet
		in := map[int64]bool{}
		for range 60 {
			r := groupRun{first: rng.Int64N(50)}
			r.end = r.first + 1 + rng.Int64N(5)
			want := false
			for g := r.first; g < r.end; g++ {
				want = want || in[g]
			}
			if got := s.overlaps(r); got != want {
				t.Fatalf("%v overlaps %v: %v", r, s, got)
			}
			if want {
				continue
			}
			if !s.add(r) {
				t.Fatal("full")
			}
			for g := r.first; g < r.end; g++ {
				in[g] = true
			}
			n := 0
			for i, r := range s.runs {
				n += int(r.end - r.first)
				if r.first >= r.end || i > 0 && s.runs[i-1].end >= r.first {
					t.Fatalf("%v", s)
				}
			}
			if n != len(in) {
				t.Fatalf("%v holds %d groups, want %d", s, n, len(in))
			}
		}
	}
	var s groupSet
	for i := range int64(maxRuns) {
		if !s.add(groupRun{2 * i, 2*i + 1}) {
			t.Fatal(i)
		}
	}
	if s.add(groupRun{1 << 40, 1<<40 + 1}) || !s.add(groupRun{1, 2}) {
		t.Error("the bound does not hold, or holds too much")
	}
}

package transfer

import (
	"cmp"
	"slices"
)

// A groupSet is a set of a file's groups, as runs: content comes more or less in
// order, so they are few.
type groupSet struct {
	runs []groupRun
	more int // runs that are allowed beyond maxRuns: what was here already may lie between
}

// A groupRun is the groups from first to before end.
type groupRun struct{ first, end int64 }

// maxRuns bounds what a peer that scatters a file's groups can make us remember.
// Honest ones send in order, by a few hands.
const maxRuns = 1 << 10

// overlaps reports whether any group of r is in the set.
func (s *groupSet) overlaps(r groupRun) bool {
	i, _ := s.after(r.first)
	return i < len(s.runs) && s.runs[i].first < r.end
}

// after is the first run that ends behind group g, and whether it has g.
func (s *groupSet) after(g int64) (i int, has bool) {
	i, _ = slices.BinarySearchFunc(s.runs, g, func(r groupRun, g int64) int {
		if r.end <= g {
			return -1
		}
		return cmp.Compare(r.end, g) // never equal here
	})
	return i, i < len(s.runs) && s.runs[i].first <= g
}

// add puts in r, of which nothing is in the set. False: the set has too many runs.
func (s *groupSet) add(r groupRun) bool {
	i, _ := s.after(r.first)
	left := i > 0 && s.runs[i-1].end == r.first
	right := i < len(s.runs) && s.runs[i].first == r.end
	switch {
	case left && right:
		s.runs[i-1].end = s.runs[i].end
		s.runs = slices.Delete(s.runs, i, i+1)
	case left:
		s.runs[i-1].end = r.end
	case right:
		s.runs[i].first = r.first
	case len(s.runs) >= maxRuns+s.more:
		return false
	default:
		s.runs = slices.Insert(s.runs, i, r)
	}
	return true
}

package transfer

import "iter"

// An entryList is a list of entries that grows without being copied: what points
// to an entry stays good, and no more than a page of memory lies idle. (A slice
// that grows needs more than double for a moment, and whoever holds a pointer into
// it keeps an old copy of the whole alive.)
type entryList struct {
	pages [][]Entry
	n     int
}

// entryPage is the entries in a page: about 20 KiB.
const entryPage = 256

func (l *entryList) add(e Entry) *Entry {
	if l.n%entryPage == 0 {
		l.pages = append(l.pages, make([]Entry, 0, entryPage))
	}
	last := &l.pages[len(l.pages)-1]
	*last = append(*last, e)
	l.n++
	return &(*last)[len(*last)-1]
}

func (l *entryList) at(i int) *Entry { return &l.pages[i/entryPage][i%entryPage] }

// all is the list as it is now; what is added meanwhile is not in it.
func (l *entryList) all() iter.Seq[*Entry] {
	pages := l.pages
	return func(yield func(*Entry) bool) {
		for _, p := range pages {
			for i := range p {
				if !yield(&p[i]) {
					return
				}
			}
		}
	}
}

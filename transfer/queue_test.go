package transfer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// One connection sends files in the order of the list; several begin with the
// largest, whatever the order was in which they were decided on.
func TestQueueOrder(t *testing.T) {
	sizes := []int64{5, 7, 7, 1 << 40, 0, UnknownSize, 300, 7, 1 << 20}
	run := func(several int, seed uint64) (got []int) {
		var q jobQueue
		order := rand.New(rand.NewPCG(seed, 1)).Perm(len(sizes))
		if several == 0 {
			slices.Sort(order)
		}
		for n, i := range order {
			if several > 0 && n == several-1 {
				q.largestFirst()
			}
			q.push(job{entry: i, e: &Entry{Size: sizes[i]}})
		}
		for {
			j, ok := q.first()
			if !ok {
				return got
			}
			first := j.entry
			if got = append(got, q.pop().entry); got[len(got)-1] != first {
				t.Fatalf("first is %d, and then %d comes", first, got[len(got)-1])
			}
		}
	}
	if got, want := run(0, 0), []int{0, 1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("one connection: %v", got)
	}
	for seed := range uint64(50) {
		got, want := run(1+int(seed)%len(sizes), seed), []int{3, 8, 6, 1, 2, 7, 0, 4, 5}
		if !slices.Equal(got, want) {
			t.Fatalf("several, seed %d: %v, want %v", seed, got, want)
		}
	}
}

// The feeder reads in that order: the file that is listed last, and is the largest,
// first, and small files share a buffer at the end.
func TestFeederOrder(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	for i := range 6 {
		n := 100 // shares a buffer
		if i%2 == 1 {
			n = (i + 1) * treehash.GroupSize / 2
		}
		write(t, fmt.Sprintf("%s/%d", tree, i), pattern(n+i), 0o644, old)
	}
	src, err := NewSource([]string{tree}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for several, want := range map[bool][]string{
		false: {"0", "1", "2", "3", "4", "5"},
		true:  {"5", "3", "1", "4", "2", "0"},
	} {
		f := newFeeder(src)
		var entries []Entry
		f.sent, f.warn = func(fileEnd) {}, func(*Entry, string) {}
		var began []string
		f.emit = func(_ context.Context, b batch) error {
			for _, m := range b.moved {
				if n := path.Base(entries[m.entry].Path); !slices.Contains(began, n) {
					began = append(began, n)
				}
			}
			return nil
		}
		err := src.walk(func(e Entry) error { entries = append(entries, e); return nil }, func(p string, err error) { t.Error(p, err) })
		if err != nil {
			t.Fatal(err)
		}
		if several {
			f.largestFirst()
		}
		for i := range entries {
			if entries[i].Kind == File {
				f.push(job{entry: i, e: &entries[i]})
			}
		}
		f.close()
		if err := f.run(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(began, want) {
			t.Errorf("several connections: %v: %v, want %v", several, began, want)
		}
	}
}

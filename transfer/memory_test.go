package transfer

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// heapOf is how many bytes are in use because of what f returns.
func heapOf[T any](f func() T) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(v)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// What each end remembers of a transfer of 100,000 files. With the buffers for
// content (about 8 MiB), what the collector leaves lying, and the program itself
// (10 MiB), an end must stay below 64 MiB.
func TestMemoryOfManyFiles(t *testing.T) {
	const files, perDir, most = 100_000, 1000, 30 << 20
	var list []Entry
	for i := range files {
		if i%perDir == 0 {
			list = append(list, Entry{Path: fmt.Sprintf("many/dir%03d", i/perDir), Kind: Dir, ModTime: old})
		}
		list = append(list, Entry{Path: fmt.Sprintf("many/dir%03d/some-file-name-%06d.txt", i/perDir, i), Kind: File, Size: 100, ModTime: old})
	}
	frames := func(take func([]byte)) {
		top := Entry{Path: "many", Kind: Dir, ModTime: old}
		p := top.append(nil)
		for i := range list {
			if len(p) > maxControl-200 {
				take(p)
				p = p[:0]
			}
			p = list[i].append(p)
		}
		take(p)
	}
	type held struct {
		r    *receiver
		dirs []*Entry
	}
	got := heapOf(func() held {
		h := held{r: &receiver{trace: &Trace{}, memory: newReceiveMemory(true)}}
		m := newManifest("linux", caseSensitive)
		frames(func(p []byte) {
			from := h.r.entries.n
			if err := decodeManifest(p, func(e Entry) error { return h.r.list(m, e) }); err != nil {
				t.Fatal(err)
			}
			for i := from; i < h.r.entries.n; i++ {
				if e := h.r.entry(i); e.Kind == Dir {
					h.dirs = append(h.dirs, e) // as the lander does: it may keep nothing else alive
				}
			}
		})
		for i := range h.r.entries.n {
			if e := h.r.entry(i); e.Kind == File {
				h.r.count(finished{in: newIncoming(i, e, nil), status: statusDone, digest: treehash.Digest{byte(i)}})
			}
		}
		if h.r.result.Files != files {
			t.Fatalf("%d files", h.r.result.Files)
		}
		return h
	})
	t.Logf("the receiver holds %d bytes, %d an entry", got, got/files)
	if got > most {
		t.Errorf("the receiver holds %d bytes, more than %d", got, most)
	}
	got = heapOf(func() *sender {
		s := &sender{trace: &Trace{}, memory: &sendMemory{ends: map[int]sentFile{}, keep: true}, wanted: map[int]bool{}, settled: map[int]bool{}, sent: map[int]fileEnd{}}
		for _, e := range list {
			e.Path = string([]byte(e.Path))
			s.entries.add(e)
		}
		for i := range s.entries.n {
			if s.entries.at(i).Kind != File {
				continue
			}
			end := fileEnd{Entry: i, Size: 100, Sent: 100, Digest: treehash.Digest{byte(i)}}
			s.wanted[i] = true
			s.ended(end)
			if err := s.receipt(receipt{Entry: i, Digest: end.Digest}); err != nil {
				t.Fatal(err)
			}
		}
		return s
	})
	t.Logf("the sender holds %d bytes, %d an entry", got, got/files)
	if got > most {
		t.Errorf("the sender holds %d bytes, more than %d", got, most)
	}
	runtime.KeepAlive(list)
}

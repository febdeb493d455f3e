package transfer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// sparseFile makes a file of size bytes that is a hole but for the given stretches.
func makeSparse(t testing.TB, name string, size int64, data ...groupRun) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		if _, err := f.WriteAt(pattern(int(d.end-d.first)), d.first); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
}

// held is how many bytes of a file its disk holds; ok is false if there is no
// telling whether the file system here makes holes.
func held(t testing.TB, name string) (int64, bool) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size() - holesOf(info), !looksForHoles
}

// A sparse file arrives with the same content and about as sparse as it was: in an
// empty place, over another file, and after an earlier run left something.
func TestSparse(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		size int64
		data []groupRun
	}{
		{"holes between", 15*mib + 777, []groupRun{{0, 100}, {5 * mib, 7*mib + 1}, {10*mib + 4096, 10*mib + 8192}, {15 * mib, 15*mib + 777}}},
		{"all hole", 66*mib + 1, nil},
		{"all hole, one group", mib, nil},
		{"all hole, whole groups", 16 * mib, nil},
		{"a hole at the end", 9 * mib, []groupRun{{mib, 3 * mib}}},
		{"a hole at the beginning", 9*mib + 3, []groupRun{{8 * mib, 9*mib + 3}}},
		{"a little data in every group", 16 * mib, []groupRun{{8192, 9000}, {3 * mib, 3*mib + 1}, {7*mib - 1, 7*mib + 1}, {15 * mib, 15*mib + 5000}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := filepath.Join(t.TempDir(), "d")
			makeSparse(t, src+"/f", c.size, c.data...)
			srcHeld, ok := held(t, src+"/f")
			if ok && srcHeld == c.size {
				ok = false
				t.Log("there are no holes in this file system")
			}
			want := describe(t, filepath.Dir(src))
			check := func(o outcome, dst string, more int64) {
				t.Helper()
				o.mustWork(t)
				sameTree(t, want, describe(t, dst))
				if got, _ := held(t, dst+"/d/f"); ok && got > srcHeld+more+64<<10 {
					t.Errorf("it holds %d bytes, and %d where it came from", got, srcHeld)
				}
				if ok && o.sent.Moved > srcHeld+int64(2*len(c.data))*mib || o.sent.Moved != o.got.Moved {
					t.Errorf("%d bytes were sent, %d came", o.sent.Moved, o.got.Moved)
				}
			}
			dst := t.TempDir()
			check(copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{}), dst, 0)
			o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{})
			check(o, dst, 0)
			if o.got.Had != 1 {
				t.Errorf("%d files were there already", o.got.Had)
			}
			for _, over := range []Overwrite{OverwriteAlways, OverwriteResume} {
				dst = t.TempDir()
				write(t, dst+"/d/f", pattern(int(min(c.size+5*mib, 30*mib))), 0o600, old)
				check(copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{Overwrite: over}), dst, 0)
			}
			// What an earlier run left is of another file, but for one group.
			dst = t.TempDir()
			part := pattern(int(min(c.size, 9*mib)))
			journal := binary.BigEndian.AppendUint64([]byte(journalMagic), uint64(c.size))
			if c.size > 7*mib {
				f, err := os.Open(src + "/f")
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				group := part[6*mib : 7*mib]
				if _, err := f.ReadAt(group, 6*mib); err != nil {
					t.Fatal(err)
				}
				journal = journalRecord{6, treehash.Group(group, 6)}.append(journal)
			}
			write(t, dst+"/d/f"+partSuffix, part, 0o600, old)
			write(t, dst+"/d/f"+journalSuffix, journal, 0o600, old)
			check(copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{}), dst, mib)
		})
	}
}

// Either end may be one that knows nothing of holes, as a pipe does.
func TestSparseToPipe(t *testing.T) {
	src := filepath.Join(t.TempDir(), "f")
	makeSparse(t, src, 6<<20+5, groupRun{1 << 20, 1<<20 + 7})
	want, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	copyTree(t, []string{src}, SourceOptions{}, "", ReceiveOptions{Output: &got}).mustWork(t)
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, and they are others", got.Len())
	}
}

func (w *wire) hole(entry int, offset, length int64) *wire {
	w.b = appendHole(w.b, entry, offset, length)
	return w
}

// Holes that cannot be.
func TestHostileHoles(t *testing.T) {
	const mib = treehash.GroupSize
	a := Entry{Path: "a", Kind: File, Mode: 0o644, Size: 100*mib + 5}
	small := Entry{Path: "a", Kind: File, Mode: 0o644, Size: 3*mib + 5} // leaves no journal
	protocol, entry := wantError[*ProtocolError], wantError[*EntryError]
	scattered := new(wire)
	for i := range int64(maxRuns + 1) {
		scattered.hole(0, 2*i*mib, mib)
	}
	cvs := make([]treehash.CV, 101)
	for i := range cvs {
		cvs[i] = zeroCV(int64(i), min(mib, int(a.Size-int64(i)*mib)), false)
	}
	zeros := fileEnd{Size: a.Size, Sent: a.Size, Digest: treehash.Root(cvs)}
	for name, c := range map[string]struct {
		e    Entry
		then *wire
		want func(testing.TB, error)
	}{
		"of a file that was not asked for": {a, new(wire).hole(1, 0, mib), protocol},
		"of entry 2^32-1":                  {a, new(wire).hole(-1, 0, mib), protocol},
		"empty":                            {a, new(wire).hole(0, 0, 0), protocol},
		"negative":                         {a, new(wire).hole(0, 0, -mib), protocol},
		"of 2^62 bytes":                    {a, new(wire).hole(0, 0, 1<<62), protocol},
		"a byte over the bound":            {Entry{Path: "a", Kind: File, Size: 1 << 40, Holes: 1 << 40}, new(wire).hole(0, 0, maxHole+1), protocol},
		"at 2^62":                          {a, new(wire).hole(0, 1<<62, mib), protocol},
		"at a negative offset":             {a, new(wire).hole(0, -mib, mib), protocol},
		"at the highest offset":            {a, new(wire).hole(0, math.MaxInt64-mib+1, mib), protocol},
		"within a group":                   {a, new(wire).hole(0, 5, mib), protocol},
		"behind the end":                   {a, new(wire).hole(0, 101*mib, mib), entry},
		"over the end":                     {a, new(wire).hole(0, 99*mib, 2*mib), entry},
		"twice":                            {a, new(wire).hole(0, 0, 3*mib).hole(0, 0, 3*mib), protocol},
		"over another":                     {a, new(wire).hole(0, 0, 3*mib).hole(0, 2*mib, 3*mib), protocol},
		"over content":                     {small, new(wire).data(0, mib, pattern(mib)).hole(0, 0, 2*mib), protocol},
		"under content":                    {small, new(wire).hole(0, 0, 2*mib).data(0, mib, pattern(mib)), protocol},
		"two that end within a group":      {a, new(wire).hole(0, 0, 5).hole(0, mib, 5), protocol},
		"in a pipe":                        {Entry{Path: "a", Kind: File, Size: UnknownSize}, new(wire).hole(0, 0, mib), protocol},
		"more than the end tells":          {a, new(wire).end(fileEnd{Size: 5, Sent: 5}).hole(0, 0, mib), protocol},
		"scattered":                        {Entry{Path: "a", Kind: File, Size: 1 << 50, Holes: 1 << 50}, scattered, protocol},
		"a frame cut short":                {a, new(wire).frame(frameHole, make([]byte, holeHeader-1)), protocol},
		"a frame too long":                 {a, new(wire).frame(frameHole, make([]byte, holeHeader+1)), protocol},
		"all of it, with another digest":   {a, new(wire).hole(0, 0, 64*mib).hole(0, 64*mib, 36*mib+5).end(fileEnd{Size: a.Size, Sent: a.Size}).frame(frameFinish, nil), wantError[*VerifyError]},
		"too little of it":                 {a, new(wire).hole(0, 0, 64*mib).end(fileEnd{Size: a.Size, Sent: 64 * mib, Digest: zeros.Digest}).frame(frameFinish, nil), wantError[*VerifyError]},
		"all of it, as it should be": {a, new(wire).hole(0, 64*mib, 36*mib+5).end(zeros).hole(0, 0, 64*mib).frame(frameFinish, nil), func(t testing.TB, err error) {
			if err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			w := newWire()
			h := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Features: featureRanges | featureHoles}
			w.b = appendFrame([]byte(preface.Magic+string(rune(preface.Hello))), frameHello, h.encode())
			v.asked(t, w.list(c.e), c.then, ReceiveOptions{}, func(t testing.TB, err error) {
				c.want(t, err)
				if _, statErr := os.Stat(v.dir + "/a"); err != nil && statErr == nil && name != "more than the end tells" {
					t.Error("it has its final name")
				}
			})
		})
	}
	for name, e := range map[string]Entry{
		"more holes than there is": {Path: "a", Kind: File, Size: 5 * mib, Holes: 6 * mib},
		"holes of a pipe":          {Path: "a", Kind: File, Size: UnknownSize, Holes: mib},
		"holes of a small file":    {Path: "a", Kind: File, Size: 100, Holes: 50},
		"2^61 bytes of holes":      {Path: "a", Kind: File, Size: maxSize, Holes: 1 << 61},
	} {
		t.Run(name, func(t *testing.T) {
			err, _ := newVictim(t).attack(t, newWire().list(e), ReceiveOptions{})
			if err == nil {
				t.Error("it was taken")
			}
		})
	}
}

func FuzzHole(f *testing.F) {
	f.Add(appendHole(nil, 7, treehash.GroupSize, maxHole)[frameHeader:])
	f.Add(appendHole(nil, -1, -1, -1)[frameHeader:])
	f.Add(appendHole(nil, 0, maxSize, 1)[frameHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeHole(b)
		if err != nil {
			return
		}
		if p.offset < 0 || p.offset > maxSize || p.length <= 0 || p.length > maxHole || p.offset%treehash.GroupSize != 0 || !p.hole {
			t.Fatalf("%+v is out of bounds", p)
		}
		if again := appendHole(nil, p.entry, p.offset, int64(p.length))[frameHeader:]; !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func TestWriteSparse(t *testing.T) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 20000, 1 << 20} {
		for k := range 5 {
			p := make([]byte, n)
			for i := k; i < n; i += 1 + k*k*4000 {
				if k > 0 {
					p[i] = 1
				}
			}
			got := make([]byte, n)
			written := 0
			if err := writeSparse(p, 77, func(b []byte, offset int64) error {
				written += len(b)
				copy(got[offset-77:], b)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, p) || k == 0 && written != 0 {
				t.Error(fmt.Sprint(n, k, written))
			}
		}
	}
}

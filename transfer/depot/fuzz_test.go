package depot

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

func FuzzHeader(f *testing.F) {
	h := header{Version: version, Shared: true, Offer: offerID{1}, Created: time.Unix(1e9, 0), KeepFor: time.Hour, Entries: 3, Manifest: 99, Content: 1 << 40}
	f.Add(h.append(nil))
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v", err)
			}
			return
		}
		if got := h.append(nil); !bytes.Equal(got, b[:headerSize]) {
			t.Errorf("%x is read and written as %x", b, got)
		}
		if h.size() <= 0 || h.stored() < h.size() {
			t.Errorf("%+v ends at %d", h, h.size())
		}
	})
}

func FuzzMessage(f *testing.F) {
	k := testKey(f)
	aead := newAEAD(&k.content)
	offer := offerID{7}
	f.Add([]byte("plain"), int64(3), []byte(nil))
	f.Add([]byte{}, int64(0), make([]byte, 40))
	f.Fuzz(func(t *testing.T, plain []byte, n int64, strange []byte) {
		if _, err := open(aead, strange, &offer); err == nil {
			t.Error("a message of nobody's was opened")
		}
		if n < 0 || n > mark || len(plain) > ChunkSize {
			return
		}
		s := sealer{aead: aead, run: random16(), offer: offer}
		msg := s.seal(n, append(newBuffer(), plain...))
		if Number(msg) != n || len(msg) != len(plain)+Overhead {
			t.Fatalf("message %d has number %d and %d bytes", n, Number(msg), len(msg))
		}
		bad := append([]byte(nil), msg...)
		bad[int(uint64(n)%uint64(len(bad)))] ^= 1
		if _, err := open(aead, bad, &offer); err == nil {
			t.Error("a changed message was opened")
		}
		if n != 0 && n != mark {
			if _, err := open(aead, append([]byte(nil), msg...), &offerID{8}); err == nil {
				t.Error("a message of another offer was opened")
			}
		}
		if got, err := open(aead, msg, &offer); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%x, %v", got, err)
		}
	})
}

// What a holder of the code has made up is refused, and what is read is within its
// bounds.
func FuzzLog(f *testing.F) {
	k := testKey(f)
	e := transfer.Entry{Path: "a", Kind: transfer.File, Mode: 0o644, Size: 5, ModTime: time.Unix(1, 0)}
	entry := transfer.AppendEntry(nil, &e)
	list := append([]byte{0, 0, 0, byte(len(entry))}, entry...)
	h := header{Version: version, Entries: 1, Manifest: int64(len(list)), Content: span(&e), List: treehash.Sum(list)}
	good := append(h.append(nil), list...)
	good = append(good, "hello"...)
	d := treehash.Sum([]byte("hello"))
	good = append(append(good, 0), d[:]...)
	f.Add(good, false)
	f.Add(good[:len(good)-20], false)
	f.Add(good, true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= headerSize { // so that the list is looked at
			if h, err := decodeHeader(b); err == nil && int64(len(b))-headerSize >= h.Manifest {
				h.List = treehash.Sum(b[headerSize : headerSize+h.Manifest])
				copy(b, h.append(nil))
			}
		}
		log := &Memory{}
		w := writer{log: log, sealer: sealer{aead: newAEAD(&k.content)}, buf: newBuffer()}
		if len(b) >= 18 {
			copy(w.sealer.offer[:], b[2:])
		}
		if err := w.write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if err := w.last(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		o, err := Open(ctx, k, log.Cursor(), testAddr, ReadOptions{Timeout: time.Microsecond})
		if err != nil {
			return
		}
		n := 0
		var size []int64
		if _, err := o.List(ctx, func(e transfer.Entry) error { n++; size = append(size, e.Size); return nil }); err != nil {
			return
		}
		if int64(n) != o.header.Entries {
			t.Fatalf("%d entries", n)
		}
		for i := range min(n, 8) {
			var got int64
			if size[i] > 8<<20 {
				continue
			}
			_, err := o.Content(ctx, i, nil, func(offset int64, p []byte) error {
				if offset != got {
					t.Errorf("offset %d after %d bytes", offset, got)
				}
				got += int64(len(p))
				return nil
			})
			if err == nil && got != size[i] {
				t.Errorf("%d of %d bytes", got, size[i])
			}
			_, _ = o.Digest(ctx, i)
		}
	})
}

// Whatever the log of steps has, each portion has one holder, and all who read it come
// to the same.
func FuzzSteps(f *testing.F) {
	f.Add([]byte{2, 1, 1, 0, 0, 2, 2, 1, 0, 0, 4, 1, 2, 0, 0}, []byte(nil))
	f.Add([]byte{2, 1, 1, 3, 0, 1, 2, 1, 0, 0, 2, 2, 2, 3, 0x11, 3, 2, 3, 3, 0, 4, 2, 4, 3, 0}, make([]byte, stepSize+Overhead))
	k := testKey(f)
	f.Fuzz(func(t *testing.T, b []byte, strange []byte) {
		if _, err := openStep(k, strange); err == nil {
			t.Error("a step of nobody's was opened")
		}
		const portions = 5
		a, other := newLedger(offerID{1}, [16]byte{1}, runID{1}, portions), newLedger(offerID{1}, [16]byte{2}, runID{2}, portions)
		for ; len(b) >= 5; b = b[5:] {
			s := step{Kind: b[0]%4 + 1, Offer: offerID{1}, Run: runID{b[1] % 4}, Receiver: [16]byte{b[1] % 4}, Seq: uint64(b[2]), Portion: int(b[3] % 8), From: runID{b[4] >> 4}, FromSeq: uint64(b[4] & 15), Files: 3, Bytes: 4}
			if s.Portion >= portions { // of another version's portions
				if a.apply(&s) {
					t.Errorf("%+v counts", s)
				}
				continue
			}
			got, err := openStep(k, s.seal(k))
			if err != nil || got != s {
				t.Fatalf("%+v, %v, want %+v", got, err, s)
			}
			if counts := a.apply(&s); counts && s.Run == (runID{}) {
				t.Errorf("%+v counts", s)
			}
			other.apply(&s)
			landed := 0
			for p := range portions {
				h, o := a.holder[p], other.holder[p]
				if a.state[p] != other.state[p] || (h == nil) != (o == nil) || h != nil && h.run != o.run {
					t.Fatalf("they differ about portion %d", p)
				}
				if (h != nil) != (a.state[p] == portionHeld) {
					t.Fatalf("portion %d is %d and has holder %v", p, a.state[p], h)
				}
				if a.state[p] == portionLanded {
					landed++
				}
			}
			if landed != a.landed {
				t.Fatalf("%d have landed, and %d are counted", landed, a.landed)
			}
			if c, ok := a.choose(-1, func(int) int { return 0 }); ok && (a.state[c.Portion] == portionLanded || a.holds(c.Portion)) {
				t.Fatalf("it would take %+v", c)
			}
		}
	})
}

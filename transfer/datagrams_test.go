package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A datagramWire carries datagrams in memory. fate says how often number n arrives.
type datagramWire struct {
	ch       chan []byte
	size     int
	n        uint64
	fate     func(n uint64) int
	expected uint64
}

func newDatagramWire(fate func(n uint64) int) *datagramWire {
	return &datagramWire{ch: make(chan []byte, 100_000), size: 1000, fate: fate}
}

func (w *datagramWire) MaxDatagramPayload() int              { return w.size }
func (w *datagramWire) FlushDatagrams(context.Context) error { return nil }
func (w *datagramWire) ExpectDatagrams(n uint64)             { w.expected = n }
func (w *datagramWire) SendDatagram(_ context.Context, b []byte) error {
	w.n++
	for range w.fate(w.n) {
		w.ch <- bytes.Clone(b)
	}
	return nil
}

func (w *datagramWire) ReadDatagram(ctx context.Context, b []byte) (int, uint64, error) {
	select {
	case d := <-w.ch:
		return copy(b, d), 0, nil
	default:
	}
	select {
	case d := <-w.ch:
		return copy(b, d), 0, nil
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

// sendOnce sends files over a wire.
func sendOnce(t *testing.T, w *datagramWire, files map[string][]byte, dir string, so SendOptions, ro ReceiveOptions) outcome {
	t.Helper()
	from := t.TempDir()
	var paths []string
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(from, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, filepath.Join(from, name))
	}
	slices.Sort(paths)
	src, err := NewSource(paths, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ro.Dir, ro.NoSync = root, true
	so.Timeout, ro.Timeout = calmTimeout, calmTimeout
	if w != nil {
		so.Datagrams, ro.Datagrams = w, w
	}
	var o outcome
	a, b := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.got, o.getErr = Receive(t.Context(), b, ro)
	}()
	o.sent, o.sendErr = Send(t.Context(), a, src, so)
	<-done
	return o
}

// TestDatagrams: content that is sent once arrives where it belongs, and what
// does not is told of to the byte.
func TestDatagrams(t *testing.T) {
	big, small := pattern(5<<20+123), pattern(700)
	files := map[string][]byte{"big": big, "small": small, "empty": nil}
	room := int64(1000 - datagramHeader)

	t.Run("whole", func(t *testing.T) {
		dir := t.TempDir()
		o := sendOnce(t, newDatagramWire(func(uint64) int { return 1 }), files, dir, SendOptions{}, ReceiveOptions{})
		o.mustWork(t)
		for name, want := range files {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		if o.got.Files != 3 || o.sent.Files != 3 || o.sent.DatagramsLost != 0 || o.sent.DatagramsSent == 0 {
			t.Errorf("%+v %+v", o.got, o.sent)
		}
	})

	// Datagrams 3 and 4 of big are lost, 5 comes twice.
	fate := func(n uint64) int {
		switch n {
		case 3, 4:
			return 0
		case 5:
			return 2
		}
		return 1
	}
	t.Run("holes", func(t *testing.T) {
		dir := t.TempDir()
		var told []Range
		w := newDatagramWire(fate)
		o := sendOnce(t, w, files, dir, SendOptions{}, ReceiveOptions{Trace: &Trace{
			Missing: func(e *Entry, holes []Range) { told = append(told, holes...) }}})
		var e *MissingError
		if !errors.As(o.getErr, &e) || e.Files != 1 {
			t.Errorf("receive: %v", o.getErr)
		}
		if !errors.As(o.sendErr, &e) || e.Files != 1 {
			t.Errorf("send: %v", o.sendErr)
		}
		if want := []Range{{2 * room, 4 * room}}; !slices.Equal(told, want) {
			t.Errorf("told of %v, want %v", told, want)
		}
		if o.got.Missing != 2*room || o.got.Holes != 1 || o.got.Files != 2 || w.expected != o.sent.DatagramsSent {
			t.Errorf("%+v, expected %d", o.got, w.expected)
		}
		if _, err := os.Stat(filepath.Join(dir, "big")); err == nil {
			t.Error("a file with holes has its final name")
		}
		part, err := os.ReadFile(filepath.Join(dir, "big.wherry-part"))
		if err != nil || !bytes.Equal(part[4*room:], big[4*room:]) || bytes.Contains(part[2*room:4*room], []byte{1}) {
			t.Errorf("what is kept is not what came: %v", err)
		}
		// The rest comes over the stream.
		o = sendOnce(t, nil, files, dir, SendOptions{}, ReceiveOptions{})
		o.mustWork(t)
		if got, err := os.ReadFile(filepath.Join(dir, "big")); err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if o.got.Moved != 1<<20 || o.got.Resumed != int64(len(big)-1<<20+len(small)) {
			t.Errorf("continued with %+v", o.got)
		}
	})

	t.Run("delivered", func(t *testing.T) {
		dir := t.TempDir()
		o := sendOnce(t, newDatagramWire(fate), files, dir, SendOptions{AllowMissing: true}, ReceiveOptions{AllowMissing: true})
		o.mustWork(t)
		want := bytes.Clone(big)
		clear(want[2*room : 4*room])
		if got, err := os.ReadFile(filepath.Join(dir, "big")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*wherry*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})

	t.Run("nothing", func(t *testing.T) {
		dir := t.TempDir()
		o := sendOnce(t, newDatagramWire(func(uint64) int { return 0 }), files, dir, SendOptions{AllowMissing: true}, ReceiveOptions{AllowMissing: true})
		o.mustWork(t)
		if got, err := os.ReadFile(filepath.Join(dir, "big")); err != nil || !bytes.Equal(got, make([]byte, len(big))) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if o.got.Missing != int64(len(big)+len(small)) || o.sent.DatagramsLost != o.sent.DatagramsSent {
			t.Errorf("%+v %+v", o.got, o.sent)
		}
	})
}

// TestDatagramsHostile: datagrams that no honest sender sends change nothing.
func TestDatagramsHostile(t *testing.T) {
	w := newDatagramWire(func(uint64) int { return 1 })
	datagram := func(entry uint32, offset uint64, n int) {
		b := binary.BigEndian.AppendUint32(nil, entry)
		b = binary.BigEndian.AppendUint64(b, offset)
		w.ch <- append(b, make([]byte, n)...)
	}
	datagram(0, 1<<62, 10)
	datagram(0, 1<<64-1, 10)
	datagram(0, 3_000_000, 1)
	datagram(0, 2_999_999, 2)
	datagram(77, 0, 10)
	datagram(1<<32-1, 0, 10)
	datagram(0, 5, 0)
	w.ch <- []byte{1, 2, 3}
	w.ch <- nil
	dir := t.TempDir()
	want := pattern(3_000_000)
	o := sendOnce(t, w, map[string][]byte{"a": want}, dir, SendOptions{}, ReceiveOptions{})
	o.mustWork(t)
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestDatagramsOneSided: an end that has datagrams does not talk to one that has
// none.
func TestDatagramsOneSided(t *testing.T) {
	src, err := NewSource([]string{t.TempDir()}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, sends := range []bool{true, false} {
		a, b := pair(t)
		w := newDatagramWire(func(uint64) int { return 1 })
		so, ro := SendOptions{Timeout: calmTimeout}, ReceiveOptions{Dir: root, Timeout: calmTimeout}
		if sends {
			so.Datagrams = w
		} else {
			ro.Datagrams = w
		}
		done := make(chan error)
		go func() { _, err := Receive(t.Context(), b, ro); done <- err }()
		_, serr := Send(t.Context(), a, src, so)
		if rerr := <-done; serr == nil || rerr == nil {
			t.Errorf("send: %v, receive: %v", serr, rerr)
		}
	}
}

// FuzzRanges compares a set of ranges with a bit a byte.
func FuzzRanges(f *testing.F) {
	f.Add([]byte{0, 5, 10, 5, 3, 9, 200, 1, 4, 250})
	f.Add([]byte{0, 10, 10, 10, 30, 10, 20, 10})
	rng := rand.New(rand.NewPCG(1, 1))
	long := make([]byte, 300)
	for i := range long {
		long[i] = byte(rng.IntN(256))
	}
	f.Add(long)
	f.Fuzz(func(t *testing.T, steps []byte) {
		var s ranges
		var bits [600]bool
		for ; len(steps) >= 2; steps = steps[2:] {
			lo, n := int64(steps[0]), int64(steps[1])
			fresh := int64(0)
			for i := lo; i < lo+n; i++ {
				if !bits[i] {
					fresh++
				}
				bits[i] = true
			}
			if got := s.add(Range{lo, lo + n}); got != fresh {
				t.Fatalf("[%d, %d) into %v: %d new, want %d", lo, lo+n, s, got, fresh)
			}
			for i, r := range s {
				if r.Start >= r.End || i > 0 && s[i-1].End >= r.Start {
					t.Fatalf("%v", s)
				}
			}
		}
		size := int64(len(bits))
		for _, h := range s.holes(size) {
			for i := h.Start; i < h.End; i++ {
				if bits[i] {
					t.Fatalf("%d is here, and in the hole %v of %v", i, h, s)
				}
				bits[i] = true
			}
		}
		if i := slices.Index(bits[:], false); i >= 0 {
			t.Fatalf("%d is in no hole of %v", i, s)
		}
	})
}

package arq

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// reencode writes a decoded frame again.
func reencode(f *frame, padding int) []byte {
	switch f.typ {
	case framePad:
		return make([]byte, padding)
	case frameData:
		b := make([]byte, dataFrameLen, dataFrameLen+len(f.data))
		putDataFrame(b, f.offset, len(f.data), f.fin)
		return append(b, f.data...)
	case frameWindow:
		return appendWindow(nil, f.offset)
	case framePing:
		return []byte{byte(framePing)}
	case frameChallenge, frameResponse:
		return appendToken(nil, f.typ, f.token)
	case frameSender:
		return appendSender(nil, f.floor, f.ackEvery, f.ackDelay)
	case frameDatagram:
		b := binary.BigEndian.AppendUint64([]byte{byte(frameDatagram)}, f.number)
		b = binary.BigEndian.AppendUint64(b, f.stamp)
		return append(binary.BigEndian.AppendUint16(b, uint16(len(f.data))), f.data...)
	case frameClose:
		return appendClose(nil, f.code, f.remote, string(f.reason))
	}
	return nil
}

// FuzzFrames: whatever decodes, encodes to the same bytes; nothing panics.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0})
	f.Add(append([]byte{1, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9}, "abc"...))
	f.Add(appendWindow(nil, 77))
	f.Add([]byte{4, 4, 4})
	f.Add(appendToken(nil, frameChallenge, 12345))
	f.Add(appendSender(nil, 7, 64, 3*time.Millisecond))
	f.Add(appendClose(nil, 3, true, "gone\x1b[31m"))
	f.Add([]byte{9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 'a', 'b', 'c'})
	var a ackState
	a.init()
	for _, n := range []uint64{0, 1, 2, 5, 9, 10, 400} {
		a.record(0, n, CE, true)
	}
	f.Add(a.append(nil, time.Second, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fr frame
		var spans []span
		for len(b) > 0 {
			rest, err := nextFrame(b, &fr)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			used := b[:len(b)-len(rest)]
			if fr.typ == frameAck {
				spans, err = ackSpans(spans, &fr.ack)
				if err == nil {
					checkSpans(t, spans, fr.ack.largest)
				}
			} else if again := reencode(&fr, len(used)); !bytes.Equal(again, used) {
				t.Fatalf("%x encodes to %x", used, again)
			}
			b = rest
		}
	})
}

func checkSpans(t *testing.T, spans []span, largest uint64) {
	t.Helper()
	if len(spans) == 0 || spans[0].hi != largest+1 {
		t.Fatalf("spans %v do not begin at %d", spans, largest)
	}
	for i, s := range spans {
		if s.lo >= s.hi || i > 0 && s.hi >= spans[i-1].lo {
			t.Fatalf("spans %v", spans)
		}
	}
}

// FuzzAck: an ACK tells of exactly the numbers that arrived, from the floor up
// or, where there is no room, of the largest among them.
func FuzzAck(f *testing.F) {
	f.Add(uint64(1), uint16(1000), byte(10), uint16(500), uint64(0))
	f.Add(uint64(2), uint16(60000), byte(128), uint16(1400), uint64(1<<40))
	f.Add(uint64(3), uint16(3000), byte(1), uint16(60), uint64(70))
	f.Add(uint64(4), uint16(50000), byte(250), uint16(300), uint64(1<<50-3))
	f.Fuzz(func(t *testing.T, seed uint64, count uint16, density byte, room uint16, base uint64) {
		base %= 1 << 60
		rng := rand.New(rand.NewPCG(seed, 1))
		var a ackState
		a.init()
		got := map[uint64]bool{}
		a.floor = base
		for i := range uint64(count) {
			n := base + i
			if rng.IntN(256) >= int(density) {
				continue
			}
			if rng.IntN(8) == 0 && i > 3 {
				n -= uint64(rng.IntN(3))
			}
			dup, old := a.status(n)
			if dup != got[n] || old != (n < base || a.any && a.largest >= recvWindow && n <= a.largest-recvWindow) {
				t.Fatalf("status of %d: dup %v old %v", n, dup, old)
			}
			if dup || old {
				continue
			}
			a.record(0, n, NotECT, true)
			got[n] = true
		}
		b := a.append(nil, 0, int(room))
		if len(b) == 0 {
			return
		}
		if len(b) > int(room) {
			t.Fatalf("%d bytes in room for %d", len(b), room)
		}
		var fr frame
		rest, err := nextFrame(b, &fr)
		if err != nil || len(rest) > 0 {
			t.Fatalf("%x: %v", b, err)
		}
		spans, err := ackSpans(nil, &fr.ack)
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
		checkSpans(t, spans, a.largest)
		told := 0
		for _, s := range spans {
			for n := s.lo; n < s.hi; n++ {
				if !got[n] {
					t.Fatalf("%d never arrived", n)
				}
				told++
			}
		}
		low := spans[len(spans)-1].lo
		for n := range got {
			if n > low && n >= a.bottom() {
				told--
			}
		}
		if told > 1 { // low itself is counted on one side only
			t.Fatalf("%d numbers are off", told)
		}
		if told < 0 {
			t.Fatalf("%d numbers above %d are missing", -told, low)
		}
	})
}

func TestHeader(t *testing.T) {
	b := make([]byte, headerLen+10)
	putHeader(b, header{version: Version, typ: typeData, dest: 7, number: 9})
	seal(b)
	h, err := parseHeader(b)
	if err != nil || h.dest != 7 || h.number != 9 || h.typ != typeData {
		t.Fatal(h, err)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := parseHeader(b); err == nil {
				t.Fatalf("byte %d bit %d flipped unnoticed", i, bit)
			}
			b[i] ^= 1 << bit
		}
	}
	for n := range headerLen {
		if _, err := parseHeader(b[:n]); err != errTruncated {
			t.Fatal(n, err)
		}
	}
}

// TestRangeSet compares with a set of numbers.
func TestRangeSet(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var r rangeSet
		want := map[uint64]bool{}
		for step := range 300 {
			lo := uint64(rng.IntN(200))
			hi := lo + uint64(rng.IntN(12))
			switch rng.IntN(7) {
			case 0, 1, 2, 3:
				r.add(lo, hi)
				for n := lo; n < hi; n++ {
					want[n] = true
				}
			case 4, 5:
				r.remove(lo, hi)
				for n := lo; n < hi; n++ {
					delete(want, n)
				}
			case 6:
				lo /= 8
				r.removeBelow(lo)
				for n := range lo {
					delete(want, n)
				}
			}
			for i, s := range r.spans() {
				if s.lo >= s.hi || i > 0 && r.spans()[i-1].hi >= s.lo {
					t.Fatalf("seed %d step %d: %v", seed, step, r.spans())
				}
			}
			for n := range uint64(215) {
				if r.contains(n) != want[n] {
					t.Fatalf("seed %d step %d: %d in %v: %v", seed, step, n, r.spans(), want[n])
				}
			}
			if got := r.within(lo, hi); got > hi-lo {
				t.Fatalf("within [%d, %d): %d", lo, hi, got)
			}
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := 1; i <= 10000; i++ {
		h.add(time.Duration(i) * 10 * time.Microsecond)
	}
	for _, q := range []float64{.5, .99} {
		got, want := h.quantile(q), time.Duration(q*1e5)*time.Microsecond
		if d := float64(got-want) / float64(want); d > .03 || d < -.03 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

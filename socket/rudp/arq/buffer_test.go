package arq

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// size is the memory behind a buffer, in bytes.
func (r *blocks) size() (n int) {
	for _, p := range append(r.held[:len(r.held):len(r.held)], r.spare...) {
		if p != nil {
			n += blockSize
		}
	}
	return n
}

// TestBlocks writes and releases at random and compares with one long slice.
func TestBlocks(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		const total = 4 << 20
		want := make([]byte, total)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(want)
		var b blocks
		lo, hi, most := 0, 0, 0
		for lo < total {
			switch rng.IntN(3) {
			case 0, 1:
				n := min(rng.IntN(40000), total-hi)
				// The second half first, as what overtakes does.
				b.write(uint64(hi+n/2), want[hi+n/2:hi+n])
				b.write(uint64(hi), want[hi:hi+n/2])
				hi += n
			case 2:
				n := rng.IntN(60000)
				if hi == total {
					n = total
				}
				n = min(n, hi-lo)
				got := make([]byte, n)
				b.read(uint64(lo), got)
				if !bytes.Equal(got, want[lo:lo+n]) {
					t.Fatalf("seed %d: [%d, %d) differs", seed, lo, lo+n)
				}
				if s := b.slice(uint64(lo), uint64(hi)); n > 0 && !bytes.Equal(s, want[lo:lo+len(s)]) {
					t.Fatalf("seed %d: slice at %d differs", seed, lo)
				}
				lo += n
				b.release(uint64(lo))
			}
			most = max(most, hi-lo)
			if got := b.size(); got > 2*(most+3*blockSize) {
				t.Fatalf("seed %d: %d bytes are held for at most %d", seed, got, most)
			}
		}
	}
}

// TestBlocksSparse: what overtakes by far takes memory for itself alone.
func TestBlocksSparse(t *testing.T) {
	var b blocks
	b.write(100*blockSize+5, []byte("far"))
	b.write(blockSize-1, []byte("near"))
	if got := b.size(); got != 3*blockSize {
		t.Errorf("%d bytes are held", got)
	}
	b.release(50 * blockSize)
	got := make([]byte, 3)
	if b.read(100*blockSize+5, got); string(got) != "far" {
		t.Errorf("read %q", got)
	}
	b.release(1000 * blockSize)
	b.write(1000*blockSize, got)
	if b.read(1000*blockSize, got); string(got) != "far" {
		t.Errorf("read %q behind a gap", got)
	}
}

// TestWindowGrows: who does not read grants half a MiB and no more; who does is
// granted more long before a sender that doubles its flight could use it.
func TestWindowGrows(t *testing.T) {
	var f flowControl
	var r recvBuffer
	f.init(24 << 20)
	r.limit = f.window
	if f.window != firstWindow {
		t.Fatalf("first window %d", f.window)
	}
	flight := uint64(initialWindowMax * 1472)
	for f.window < 24<<20 {
		if left := r.limit - r.read; left < flight {
			t.Fatalf("%d bytes are granted before a flight of %d", left, flight)
		}
		for n := uint64(0); n < flight; n += 1472 {
			r.read += 1472
			f.consumed(&r)
			if r.limit != r.read+f.window {
				t.Fatalf("limit %d at %d, window %d", r.limit, r.read, f.window)
			}
		}
		flight *= 2
	}
	f.init(100 << 10)
	for r.read = 0; r.read < 10<<20; r.read += 1000 {
		f.consumed(&r)
	}
	if f.window != 100<<10 {
		t.Errorf("window %d beyond the bound", f.window)
	}
}

// TestTrain: at a high pace packets wait for a train to fill, at a low one and for
// what was lost they do not.
func TestTrain(t *testing.T) {
	p := newCouple(t, Config{Congestion: Fixed, Rate: 1e9}, Config{})
	c := p.c
	if _, err := c.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	const size = MinDatagram
	for _, x := range []struct {
		rate float64
		want int
	}{{1e4, size}, {12.5e6, size}, {125e6, 8000}, {1e9, 64000}, {1e10, 64 << 10}, {0, 64 << 10}} {
		c.pacer.rate = x.rate
		if got := c.train(size); got != x.want {
			t.Errorf("at %g bytes/s a train of %d bytes, want %d", x.rate, got, x.want)
		}
	}
	c.pacer.rate = 1e9
	c.cc.(*fixed).rate = 1e5 // a window of thirty packets and so
	if got, most := c.train(size), c.cc.window()/trainShare; got > most {
		t.Errorf("a train of %d bytes takes more than an eighth of the window, %d", got, most)
	}
	c.cc.(*fixed).rate = 1e9
	c.send.lost.add(0, 100)
	if got := c.train(size); got != size {
		t.Errorf("a train of %d bytes while something is lost", got)
	}
}

// TestHeldBack: what waits for a train leaves as soon as the pacer has filled it,
// without any event but the timer.
func TestHeldBack(t *testing.T) {
	p := newCouple(t, Config{Congestion: Fixed, Rate: 1e9}, Config{})
	c := p.c
	if _, err := c.Write(make([]byte, 400<<10)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	now, sent, calls := p.now, 0, 0
	for end := now + 2*time.Second; now < end && c.send.nxt < c.send.end; {
		c.HandleTimeout(now)
		for {
			x := c.PollTransmit(now, buf)
			if x.N == 0 {
				break
			}
			sent += x.N
			calls++
		}
		if now = c.NextTimeout(); now == Never {
			t.Fatal("nothing is planned")
		}
	}
	if c.send.nxt < c.send.end {
		t.Fatalf("%d of %d bytes left", c.send.nxt, c.send.end)
	}
	if mean := sent / calls; mean < 48<<10 {
		t.Errorf("%d bytes in %d calls", sent, calls)
	}
}

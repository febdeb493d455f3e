package arq

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestEndTurn: on a path that loses packets, what is in flight at the end of a turn
// is sent more than once, and what is followed by more is not.
func TestEndTurn(t *testing.T) {
	run := func(loss float64, end bool) (copies uint64, took time.Duration) {
		p := newCouple(t, Config{}, Config{})
		rng := rand.New(rand.NewPCG(3, 4))
		buf := make([]byte, 64<<10)
		const delay = 20 * time.Millisecond
		type packet struct {
			at time.Duration
			b  []byte
			to *Conn
		}
		var wire []packet
		left := 600_000
		start := p.now
		for !(left == 0 && p.c.Unacked() == 0) {
			if p.now > start+time.Minute {
				t.Fatal("it never ends")
			}
			if left > 0 {
				n, err := p.c.Write(make([]byte, min(left, 50_000)))
				if err != nil {
					t.Fatal(err)
				}
				if left -= n; left == 0 && end {
					p.c.EndTurn()
				}
			}
			p.now += time.Millisecond
			for len(wire) > 0 && wire[0].at <= p.now {
				from := addrC
				if wire[0].to == p.c {
					from = addrS
				}
				wire[0].to.HandleDatagram(p.now, wire[0].b, from, NotECT)
				wire = wire[1:]
			}
			p.s.Discard(1 << 20)
			for _, e := range []*Conn{p.c, p.s} {
				to := p.s
				if e == p.s {
					to = p.c
				}
				e.HandleTimeout(p.now)
				for x := e.PollTransmit(p.now, buf); x.N > 0; x = e.PollTransmit(p.now, buf) {
					for off := 0; off < x.N; off += x.SegmentSize {
						if rng.Float64() >= loss {
							wire = append(wire, packet{p.now + delay, append([]byte(nil), buf[off:min(off+x.SegmentSize, x.N)]...), to})
						}
					}
				}
			}
		}
		if got := p.s.Stats().StreamReceived; got != 600_000 {
			t.Fatalf("%d bytes arrived", got)
		}
		return p.c.Stats().TailCopies, p.now - start
	}
	clean, _ := run(0, true)
	without, slow := run(.2, false)
	with, fast := run(.2, true)
	t.Logf("copies: %d without loss, %d without the end of a turn, %d with it; %v and %v", clean, without, with, slow, fast)
	if clean > 20 {
		t.Errorf("%d copies where nothing is lost", clean)
	}
	if with < without+20 {
		t.Errorf("%d copies at the end of a turn, %d without", with, without)
	}
	if fast >= slow {
		t.Errorf("it took %v, and %v without", fast, slow)
	}
}

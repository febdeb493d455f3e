package arq

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// TestGather: two connections of one seed, of which one gathers, send the same.
func TestGather(t *testing.T) {
	for seed := range uint64(4) {
		a, b := newCouple(t, Config{}, Config{}), newCouple(t, Config{}, Config{})
		rng := rand.New(rand.NewPCG(seed, 7))
		data := make([]byte, 3<<20)
		rand.NewChaCha8([32]byte{byte(seed)}).Read(data)
		flat, head := make([]byte, 64<<10), make([]byte, 64<<10)
		var parts [][]byte
		var left = data
		var split bool
		now := a.now
		for step := 0; !a.c.Flushed() || len(left) > 0; step++ {
			if step > 1e5 {
				t.Fatal("it never ends")
			}
			if n := min(rng.IntN(200_000), len(left)); n > 0 {
				k, err := a.c.Write(left[:n])
				if m, err2 := b.c.Write(left[:n]); m != k || err != nil || err2 != nil {
					t.Fatalf("wrote %d and %d bytes: %v, %v", k, m, err, err2)
				}
				if left = left[k:]; len(left) == 0 {
					a.c.CloseWrite()
					b.c.CloseWrite()
				}
			}
			now += time.Duration(rng.IntN(int(time.Millisecond)))
			a.c.HandleTimeout(now)
			b.c.HandleTimeout(now)
			for {
				x := a.c.PollTransmit(now, flat)
				var y Transmit
				y, parts = b.c.PollGather(now, head, parts)
				if got := bytes.Join(parts, nil); x != y || !bytes.Equal(flat[:x.N], got) {
					t.Fatalf("seed %d, step %d: %+v and %+v of %d bytes differ", seed, step, x, y, len(got))
				}
				if x.N == 0 {
					break
				}
				split = split || len(parts) > 2
				for off := 0; off < x.N; off += x.SegmentSize {
					if rng.IntN(40) == 0 {
						continue // lost
					}
					d := flat[off:min(off+x.SegmentSize, x.N)]
					a.s.HandleDatagram(now, d, addrC, x.ECN)
					b.s.HandleDatagram(now, d, addrC, x.ECN)
				}
			}
			for _, p := range []*couple{a, b} {
				p.s.HandleTimeout(now)
				p.s.Discard(1 << 30)
				for {
					x := p.s.PollTransmit(now, flat)
					if x.N == 0 {
						break
					}
					p.c.HandleDatagram(now, flat[:x.N], addrS, x.ECN)
				}
			}
		}
		if !split {
			t.Error("nothing was sent in parts")
		}
	}
}

// TestGatherOpening: so they do before the server has said anything, when each
// packet is an OPEN, and the server takes them.
func TestGatherOpening(t *testing.T) {
	acc := NewAcceptor([32]byte{9}, Config{})
	var ends [2]*Conn
	flat, head, reply := make([]byte, 64<<10), make([]byte, 64<<10), make([]byte, 128)
	for i := range ends {
		ends[i] = Dial(0, Config{Seed: [32]byte{1}}, addrS)
		x := ends[i].PollTransmit(0, flat)
		v := acc.Examine(0, addrC, flat[:x.N], reply)
		ends[i].HandleDatagram(50*time.Millisecond, reply[:v.Reply], addrS, NotECT)
		if _, err := ends[i].Write(make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
	}
	var server *Conn
	var parts [][]byte
	split := false
	for now := 50 * time.Millisecond; now < 70*time.Millisecond; now += time.Millisecond {
		for {
			x := ends[0].PollTransmit(now, flat)
			var y Transmit
			y, parts = ends[1].PollGather(now, head, parts)
			got := bytes.Join(parts, nil)
			if x != y || !bytes.Equal(flat[:x.N], got) {
				t.Fatalf("%+v and %+v of %d bytes differ", x, y, len(got))
			}
			if x.N == 0 {
				break
			}
			split = split || len(parts) > 1
			for off := 0; off < x.N; off += x.SegmentSize {
				d := got[off:min(off+x.SegmentSize, x.N)]
				if server == nil {
					v := acc.Examine(now, addrC, d, reply)
					if v.ID == 0 {
						t.Fatalf("dropped: %v", v.Drop)
					}
					server = acc.Accept(now, Config{}, v)
				}
				server.HandleDatagram(now, d, addrC, x.ECN)
			}
		}
	}
	if !split {
		t.Error("nothing was sent in parts")
	}
	if n := server.Stats().Dropped[DropChecksum]; n > 0 || server.Stats().StreamReceived != 3000 {
		t.Errorf("%d bytes arrived, %d packets were dropped for their checksum", server.Stats().StreamReceived, n)
	}
}

// TestGatherKeeps: parts stay what they are while the peer acknowledges them and
// more is written.
func TestGatherKeeps(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	buf, reply := make([]byte, 64<<10), make([]byte, 64<<10)
	data := make([]byte, 512<<10)
	var parts [][]byte
	kept := 0
	for round := 0; kept < 20; round++ {
		if round > 1000 {
			t.Fatalf("a block was let go of %d times", kept)
		}
		for i := range data {
			data[i] = byte(round)
		}
		p.c.Write(data)
		p.now += time.Millisecond
		p.c.HandleTimeout(p.now)
		var x Transmit
		x, parts = p.c.PollGather(p.now, buf, parts)
		want := bytes.Join(parts, nil)
		for off := 0; off < x.N; off += x.SegmentSize {
			p.s.HandleDatagram(p.now, want[off:min(off+x.SegmentSize, x.N)], addrC, x.ECN)
		}
		p.s.Discard(1 << 30)
		p.now += 100 * time.Millisecond // whatever ACK is due
		p.s.HandleTimeout(p.now)
		for {
			y := p.s.PollTransmit(p.now, reply)
			if y.N == 0 {
				break
			}
			p.c.HandleDatagram(p.now, reply[:y.N], addrS, y.ECN)
		}
		if len(p.c.send.limbo) > 0 {
			kept++
		}
		p.c.Write(data)
		if !bytes.Equal(bytes.Join(parts, nil), want) {
			t.Fatal("what is being sent has changed")
		}
	}
}

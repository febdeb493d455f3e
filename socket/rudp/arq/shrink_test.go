package arq

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// holePath is a link each way without a limit to its rate, that loses what is longer
// than it carries without a word.
type holePath struct {
	*couple
	delay  time.Duration
	most   int
	flying [2][]flyingDatagram // to the server, to the client
}

type flyingDatagram struct {
	at time.Duration
	b  []byte
}

// step lets a quarter of a millisecond pass.
func (p *holePath) step() {
	const tick = 250 * time.Microsecond
	p.now += tick
	buf := make([]byte, MaxDatagram)
	for i, e := range []*Conn{p.c, p.s} {
		q := p.flying[1-i]
		for len(q) > 0 && q[0].at <= p.now {
			e.HandleDatagram(p.now, q[0].b, []netip.AddrPort{addrS, addrC}[i], NotECT)
			q = q[1:]
		}
		p.flying[1-i] = q
		e.HandleTimeout(p.now)
		for {
			x := e.PollTransmit(p.now, buf)
			if x.N == 0 {
				break
			}
			for off := 0; off < x.N; off += x.SegmentSize {
				if b := buf[off:min(off+x.SegmentSize, x.N)]; len(b) <= p.most {
					p.flying[i] = append(p.flying[i], flyingDatagram{p.now + p.delay, bytes.Clone(b)})
				}
			}
		}
		if err := e.Check(); err != nil {
			p.t.Fatal(err)
		}
	}
}

// TestPathShrinks: when a path under way stops carrying datagrams as long as the
// connection uses, without a word, the transfer goes on after a second or two,
// with what the path still carries.
func TestPathShrinks(t *testing.T) {
	data := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(data)
	sink := make([]byte, 1<<20)
	for _, c := range []struct {
		before, after int
		delay         time.Duration
	}{
		{8972, 1472, 10 * time.Millisecond}, {8972, 4000, 20 * time.Millisecond}, {1472, 1300, 10 * time.Millisecond},
		{1472, 1200, 50 * time.Millisecond}, {65507, 8972, time.Millisecond},
	} {
		cfg := Config{MaxDatagram: c.before, Rate: 4e6}
		p := &holePath{couple: newCouple(t, cfg, cfg), delay: c.delay, most: c.before}
		// The handshake took no time; forget how short the path was.
		p.c.cc, p.c.rtt = newController(&p.c.cfg, p.c.rng.Uint64), rttEstimator{}
		sent, got := 0, 0
		step := func() {
			n, err := p.c.Write(data[sent%len(data):])
			if err != nil {
				t.Fatal(err)
			}
			sent += n
			p.step()
			if n, err = p.s.Read(sink[:len(data)-got%len(data)]); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(sink[:n], data[got%len(data):][:n]) {
				t.Fatalf("%+v: bytes from %d on differ", c, got)
			}
			got += n
		}
		for end := p.now + 2*time.Second; p.now < end; {
			step()
		}
		if size := p.c.Stats().Datagram; size != c.before {
			t.Errorf("%+v: datagrams of %d bytes before", c, size)
		}
		p.most = c.after
		from, mark, halt := p.now, got, time.Duration(0)
		for p.now < from+8*time.Second {
			step()
			if halt == 0 && got > mark+500_000 {
				halt = p.now - from
			}
		}
		if halt == 0 || halt > 3*time.Second {
			t.Errorf("%+v: went on after %v", c, halt)
		}
		if size := p.c.Stats().Datagram; size < c.after-100 || size > c.after {
			t.Errorf("%+v: datagrams of %d bytes in the end", c, size)
		}
		t.Logf("%+v: half a megabyte had arrived after %v, %d bytes a datagram, %.1f MB in 8 s", c, halt, p.c.Stats().Datagram, float64(got-mark)/1e6)
	}
}

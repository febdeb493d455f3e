package arq

import "time"

// pmtu is Datagram Packetization Layer Path MTU Discovery (RFC 8899) in UDP
// payload bytes. Instead of one size after the other, a round of probes asks
// for several at once: the answer to the largest that arrives settles it.
//
//	BASE (1200) --probe acked--> SEARCHING --bounds close--> COMPLETE
//	     ^                                                      |
//	     +---- black hole: large packets lost, small arrive ----+
type pmtu struct {
	size   int // current datagram size
	max    int // never larger
	low    int // known to work
	high   int // known or thought not to work, exclusive
	probes [4]int
	n      int // probes of this round to be sent
	open   int // sent, fate unknown
	round  int
	fails  int // rounds in which nothing arrived
	done   bool
	fixed  bool
	timer  time.Duration // of the next search, or never

	// black hole detection
	lostRun int // full-size packets lost since one arrived
	since   time.Duration
}

const (
	// pmtuStep ends the search: what is left is not worth a probe.
	pmtuStep = 24
	// pmtuRaise is when to look for a larger one again (RFC 8899, 5.1.1).
	pmtuRaise = 600 * time.Second
	// blackHole is how many full-size packets in a row must be lost, over
	// at least blackHoleTime, to fall back to the base.
	blackHole     = 12
	blackHoleTime = 500 * time.Millisecond
)

func (p *pmtu) init(cfg *Config) {
	p.max = cfg.MaxDatagram
	p.fixed = cfg.NoDiscovery
	p.size, p.low = MinDatagram, MinDatagram
	if p.fixed {
		p.size = p.max
	}
	p.timer = never
}

// sizeAfter is the size to send after so many probe timeouts: when nothing comes
// back any more, small datagrams find out whether it is their length (RFC 8899,
// 4.3).
func (p *pmtu) sizeAfter(timeouts int) int {
	if timeouts >= 2 && !p.fixed {
		return MinDatagram
	}
	return p.size
}

// limit applies what the peer can receive.
func (p *pmtu) limit(n int) {
	p.max = min(p.max, max(n, MinDatagram))
	p.size = min(p.size, p.max)
}

func (p *pmtu) start(now time.Duration) {
	p.high = p.max + 1
	p.done = p.fixed || p.max <= p.low
	if !p.done {
		p.plan()
	}
}

func (p *pmtu) restart(now time.Duration) {
	if p.fixed {
		return
	}
	p.size, p.low = MinDatagram, MinDatagram
	p.round, p.fails, p.open, p.n, p.lostRun = 0, 0, 0, 0, 0
	p.timer = never
	p.start(now)
}

// plan picks the sizes of the next round: first the likely ones, then a
// division of what is left.
func (p *pmtu) plan() {
	p.n = 0
	add := func(s int) {
		if s > p.low && s < p.high && s <= p.max && p.n < len(p.probes) {
			for _, q := range p.probes[:p.n] {
				if q == s {
					return
				}
			}
			p.probes[p.n] = s
			p.n++
		}
	}
	if p.round == 0 {
		// The interface's own, jumbo frames, Ethernet over IPv4 and IPv6.
		add(p.max)
		add(8972)
		add(1472)
		add(1452)
	} else {
		gap := (p.high - p.low) / 4
		for i := 3; i >= 1; i-- {
			add(p.low + i*max(gap, 1))
		}
	}
	p.round++
}

// wantProbe returns the size of a probe to send now, or 0.
func (p *pmtu) wantProbe(now time.Duration, inFlight int, c *Conn) int {
	if p.n == 0 || p.done {
		return 0
	}
	// A probe must not be what fills the window, nor go out on a
	// connection that has shown nothing yet.
	if inFlight > c.cc.window() || c.sent.full() {
		return 0
	}
	return p.probes[p.n-1]
}

func (p *pmtu) onSent() {
	p.n--
	p.open++
}

func (p *pmtu) onAcked(now time.Duration, size int, probe bool, c *Conn) {
	if size >= p.size {
		p.lostRun = 0
	}
	if !probe {
		return
	}
	p.open--
	p.fails = 0
	if size > p.low {
		p.low = size
	}
	if size > p.size {
		p.size = size
		if t := c.cfg.Trace; t != nil && t.MTU != nil {
			t.MTU(now, size)
		}
	}
	p.next(now)
}

func (p *pmtu) onProbeLost(now time.Duration, size int) {
	p.open--
	p.next(now)
}

// next ends a round when all its probes are accounted for.
func (p *pmtu) next(now time.Duration) {
	if p.low >= p.max {
		p.n, p.done = 0, true
		p.timer = now + pmtuRaise
		return
	}
	if p.open > 0 || p.n > 0 {
		return
	}
	// The smallest size of this round that failed is a bound once it failed
	// twice: a probe may just have been unlucky.
	bound := p.high
	for _, s := range p.probes {
		if s > p.low && s < bound {
			bound = s
		}
	}
	if bound < p.high {
		if p.fails++; p.fails >= 3 {
			p.high, p.fails = bound, 0
		} else {
			p.again()
			return
		}
	}
	if p.high-p.low <= pmtuStep {
		p.done = true
		p.timer = now + pmtuRaise
		return
	}
	p.plan()
	if p.n == 0 {
		p.done = true
		p.timer = now + pmtuRaise
	}
}

// again repeats those of the round that are still open questions.
func (p *pmtu) again() {
	old := p.probes
	p.n = 0
	for _, s := range old {
		if s > p.low && s < p.high {
			p.probes[p.n] = s
			p.n++
		}
	}
	for i := p.n; i < len(p.probes); i++ {
		p.probes[i] = 0
	}
}

// onLost watches for a path that stopped carrying large datagrams.
func (p *pmtu) onLost(now time.Duration, size int) {
	if size < p.size || p.size <= MinDatagram || p.fixed {
		return
	}
	if p.lostRun++; p.lostRun == 1 {
		p.since = now
	}
	if p.lostRun >= blackHole && now-p.since >= blackHoleTime {
		p.high = p.size
		p.size, p.low = MinDatagram, MinDatagram
		p.lostRun, p.open, p.n, p.fails = 0, 0, 0, 0
		p.done = true
		p.timer = now + 5*time.Second
	}
}

func (p *pmtu) onTimer(now time.Duration) {
	if now < p.timer {
		return
	}
	p.timer = never
	p.done, p.round, p.fails, p.open = false, 0, 0, 0
	p.high = p.max + 1
	p.plan()
	if p.n == 0 {
		p.done = true
	}
}

// writeMTUProbe writes a PING padded to the size of b.
func (c *Conn) writeMTUProbe(now time.Duration, b []byte) int {
	number := c.sent.next
	p := c.sent.push()
	p.time = now
	p.state = packetInFlight
	p.flags = isMTUProbe
	p.size = uint16(len(b))
	putHeader(b, header{version: Version, typ: typeData, dest: c.remote, number: number})
	b[headerLen] = byte(framePing)
	clear(b[headerLen+1:])
	seal(b)
	c.pmtu.onSent()
	c.noteSent(now, p)
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(b))
	c.traceSent(PacketEvent{Now: now, Type: "data", Number: number, Size: len(b), MTUProbe: true, Eliciting: true})
	return len(b)
}

package arq

import (
	"net/netip"
	"time"
)

// path validates a peer's new address (RFC 9000, 8.2) after its NAT gave it
// another one: data goes on to the old address until a token that was sent to
// the new one comes back from there.
type path struct {
	candidate netip.AddrPort
	token     uint64
	tries     int
	sendAt    time.Duration // of the next challenge, or never
	active    bool

	reply      uint64 // token to send back
	replyTo    netip.AddrPort
	replyDue   bool
	migrations int
}

const (
	pathTries = 5
	pathRetry = 250 * time.Millisecond
)

func (p *path) timer() time.Duration {
	if p.active {
		return p.sendAt
	}
	return never
}

func (p *path) onTimer(now time.Duration) {
	if p.active && p.tries >= pathTries && now >= p.sendAt {
		p.active = false
	}
}

// probe starts to validate a new address. One candidate at a time: who sends
// from many addresses gets one answer every few tries.
func (p *path) probe(now time.Duration, from netip.AddrPort, rnd func() uint64) {
	if p.active {
		return
	}
	*p = path{candidate: from, token: rnd(), active: true, sendAt: now,
		reply: p.reply, replyTo: p.replyTo, replyDue: p.replyDue, migrations: p.migrations}
}

func (p *path) answer(token uint64, to netip.AddrPort) {
	p.reply, p.replyTo, p.replyDue = token, to, true
}

func (p *path) validated(token uint64, from netip.AddrPort) bool {
	return p.active && token == p.token && from == p.candidate
}

// migrate moves the connection to a validated address.
func (c *Conn) migrate(now time.Duration, to netip.AddrPort) {
	samePath := to.Addr() == c.addr.Addr()
	c.addr = to
	c.path.active = false
	c.path.migrations++
	if samePath {
		return // a NAT's new port: the same links (RFC 9000, 9.4)
	}
	c.cc = newController(&c.cfg, c.rng.Uint64)
	hist := c.rtt.hist
	c.rtt = rttEstimator{hist: hist}
	c.pmtu.restart(now)
	c.updatePace()
}

// pollPath writes a packet with a challenge or a response.
func (c *Conn) pollPath(now time.Duration, buf []byte) (int, netip.AddrPort) {
	p := &c.path
	switch {
	case p.replyDue:
		p.replyDue = false
		return c.writeToken(now, buf, frameResponse, p.reply), p.replyTo
	case p.active && now >= p.sendAt && p.tries < pathTries:
		p.tries++
		p.sendAt = now + pathRetry
		return c.writeToken(now, buf, frameChallenge, p.token), p.candidate
	}
	return 0, netip.AddrPort{}
}

func (c *Conn) writeToken(now time.Duration, buf []byte, t frameType, token uint64) int {
	number := c.sent.next
	p := c.sent.push()
	p.time = now
	b := c.complete(appendToken(c.begin(buf, number), t, token))
	seal(b)
	p.size = uint16(len(b))
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(b))
	c.traceSent(PacketEvent{Now: now, Type: "data", Number: number, Size: len(b)})
	return len(b)
}

package arq

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// polls lets the server send what it wants to now, and returns how many packets that
// was and the last of them.
func (p *couple) polls() (n int, last []byte) {
	buf := make([]byte, MaxDatagram)
	for {
		x := p.s.PollTransmit(p.now, buf)
		if x.N == 0 {
			return n, last
		}
		n++
		last = append([]byte(nil), buf[:x.N]...)
	}
}

// TestAckTimes: an ACK leaves with every 64th packet or after the delay that the
// sender asked for, and at once where a number is missing, with a congestion mark
// and with the end of the stream.
func TestAckTimes(t *testing.T) {
	const delay = 6 * time.Millisecond
	fixed := Config{NoDiscovery: true, MaxDatagram: 1200}
	p := newCouple(t, fixed, fixed)
	number := uint64(1000)
	send := func(ecn ECN, frames ...[]byte) {
		p.s.HandleDatagram(p.now, p.packet(number, frames...), addrC, ecn)
		number++
	}
	ping := []byte{byte(framePing)}
	send(NotECT, appendSender(nil, 0, 64, delay), ping)
	p.polls()
	silent := func(why string) {
		t.Helper()
		if n, b := p.polls(); n > 0 {
			t.Fatalf("%s: %x is sent", why, b)
		}
	}
	told := func(why string) {
		t.Helper()
		n, b := p.polls()
		var f frame
		if n != 1 {
			t.Fatalf("%s: %d packets", why, n)
		}
		if _, err := nextFrame(b[headerLen:], &f); err != nil || f.typ != frameAck || f.ack.largest != number-1 {
			t.Fatalf("%s: %x, %v", why, b, err)
		}
	}

	for range 63 {
		p.now += time.Microsecond
		send(NotECT, ping)
		silent("before the 64th packet")
	}
	send(NotECT, ping)
	told("the 64th packet")

	p.now += time.Second
	send(NotECT, ping)
	arrived := p.now
	silent("one packet")
	if at := p.s.NextTimeout(); at != arrived+delay {
		t.Fatalf("a lonely packet is acknowledged after %v, want %v", at-arrived, delay)
	}
	p.now = arrived + delay
	p.s.HandleTimeout(p.now)
	told("the delay is over")

	number++ // one is lost
	send(NotECT, ping)
	told("a gap")
	send(NotECT, ping)
	silent("after a gap that was told of")
	send(CE, ping)
	told("a congestion mark")
	send(NotECT, dataFrame(0, "the end", true))
	told("the end of the stream")

	// And what a sender asks for is 64 packets, or an eighth of the round trip.
	for _, c := range []struct{ rtt, want time.Duration }{
		{80 * time.Millisecond, 10 * time.Millisecond}, {8 * time.Millisecond, time.Millisecond},
		{100 * time.Microsecond, minAckDelay}, {10 * time.Second, maxAckDelay},
	} {
		p.c.rtt.smoothed = c.rtt
		if every, d := p.c.ackWish(); every != 64 || d != c.want {
			t.Errorf("round trip %v: every %d packets, after %v; want 64, %v", c.rtt, every, d, c.want)
		}
	}
}

// TestAckForm: of ranges and bitmap the shorter is sent, to within two ranges.
func TestAckForm(t *testing.T) {
	for _, c := range []struct {
		name  string
		count uint64
		lost  func(n uint64) bool
		form  byte
	}{
		{"all arrived", 5000, func(uint64) bool { return false }, ackFormRanges},
		{"one of a thousand lost", 5000, func(n uint64) bool { return n%1000 == 1 }, ackFormRanges},
		{"every other lost", 2000, func(n uint64) bool { return n%2 == 1 }, ackFormBitmap},
		{"one in ten lost", 3000, func(n uint64) bool { return n%10 == 1 }, ackFormBitmap},
	} {
		var a ackState
		a.init()
		ranges := 1
		for n := range c.count {
			if c.lost(n) {
				if n > 0 && !c.lost(n-1) {
					ranges++
				}
				continue
			}
			a.record(0, n, NotECT, true)
		}
		b := a.append(nil, 0, 1400)
		body, best := len(b)-ackFrameLen, min(4*ranges, int(a.largest/8+1))
		if b[1] != c.form || body > best+8 {
			t.Errorf("%s: form %d of %d bytes; %d ranges, or a bitmap of %d bytes", c.name, b[1], body, ranges, a.largest/8+1)
		}
		var f frame
		if _, err := nextFrame(b, &f); err != nil || int(binary.BigEndian.Uint64(b[4:])) != int(a.largest) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestWindowShrinks: a window that shrinks is old news and changes nothing; the peer
// goes on under the one that it was given.
func TestWindowShrinks(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.run(50 * time.Millisecond)
	before := p.s.peerLimit
	for i, limit := range []uint64{0, 1, before - 1, before} {
		p.s.HandleDatagram(p.now, p.packet(1000+uint64(i), appendWindow(nil, limit)), addrC, NotECT)
		if p.s.peerLimit != before {
			t.Fatalf("a window of %d: %d may be sent, before it was %d", limit, p.s.peerLimit, before)
		}
	}
	want := make([]byte, 200_000)
	p.s.Write(want)
	got := 0
	for range 1000 {
		p.run(time.Millisecond)
		n, err := p.c.Read(want)
		if err != nil {
			t.Fatal(err)
		}
		if got += n; got == len(want) {
			break
		}
	}
	if got != len(want) || p.s.State() != StateEstablished {
		t.Fatalf("%d of %d bytes, server %v", got, len(want), p.s.State())
	}
}

// TestVersions: a client that is told of other versions only ends and says so. It is
// not deceived by somebody who lists its own, or who does not know its ID.
func TestVersions(t *testing.T) {
	answer := func(c *Conn, dest uint64, versions ...byte) []byte {
		b := make([]byte, headerLen, 64)
		putHeader(b, header{version: 77, typ: typeVersion, dest: dest, number: 1})
		b = append(b, versions...)
		seal(b)
		return b
	}
	for _, c := range []struct {
		name     string
		versions []byte
		id       uint64 // added to the client's
		from     netip.AddrPort
		ends     bool
		reason   DropReason
	}{
		{"another version", []byte{77, 78}, 0, addrS, true, 0},
		{"none at all", nil, 0, addrS, true, 0},
		{"ours among them", []byte{77, Version}, 0, addrS, false, DropVersion},
		{"another client's", []byte{77}, 1, addrS, false, DropUnknown},
		{"from elsewhere", []byte{77}, 0, addrC, false, DropUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := Dial(0, Config{}, addrS)
			buf := make([]byte, MaxDatagram)
			if conn.PollTransmit(0, buf).N == 0 {
				t.Fatal("no INIT")
			}
			conn.HandleDatagram(time.Millisecond, answer(conn, conn.LocalID()+c.id, c.versions...), c.from, NotECT)
			if c.ends {
				if !errors.Is(conn.Err(), ErrVersion) || !conn.Done() {
					t.Fatalf("%v, %v", conn.State(), conn.Err())
				}
				return
			}
			if conn.Err() != nil || conn.State() != StateHandshake || conn.Stats().Dropped[c.reason] != 1 {
				t.Fatalf("%v, %v, dropped %v", conn.State(), conn.Err(), conn.Stats().Dropped)
			}
		})
	}
	// Once there is a connection nobody ends it by that.
	p := newCouple(t, Config{}, Config{})
	p.c.HandleDatagram(p.now, answer(p.c, p.c.LocalID(), 77), addrS, NotECT)
	if p.c.State() != StateEstablished {
		t.Fatal(p.c.State(), p.c.Err())
	}
}

// TestKeepAlive: a connection with nothing to say stays, at a few packets a minute,
// and one whose peer has gone ends.
func TestKeepAlive(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.run(time.Second)
	before := p.c.Stats().PacketsSent + p.s.Stats().PacketsSent
	p.run(time.Minute)
	if p.c.State() != StateEstablished || p.s.State() != StateEstablished {
		t.Fatalf("client %v, %v; server %v, %v", p.c.State(), p.c.Err(), p.s.State(), p.s.Err())
	}
	if n := p.c.Stats().PacketsSent + p.s.Stats().PacketsSent - before; n < 10 || n > 80 {
		t.Errorf("%d packets in a minute of silence", n)
	}
	p.hook = func(bool, []byte) [][]byte { return nil }
	gone := p.now
	for !p.c.Done() && p.now < gone+15*time.Second {
		p.run(100 * time.Millisecond)
	}
	if !errors.Is(p.c.Err(), ErrIdleTimeout) {
		t.Errorf("after %v: %v, %v", p.now-gone, p.c.State(), p.c.Err())
	}
}

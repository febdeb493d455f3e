package arq

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	addrC = netip.MustParseAddrPort("10.0.0.1:1")
	addrS = netip.MustParseAddrPort("10.0.0.2:2")
)

// couple is two ends with a perfect wire between them.
type couple struct {
	t    testing.TB
	c, s *Conn
	acc  *Acceptor
	now  time.Duration
	// hook sees every datagram and returns what arrives.
	hook func(toServer bool, b []byte) [][]byte
	from netip.AddrPort // client's address as the server sees it
}

func newCouple(t testing.TB, client, server Config) *couple {
	p := newPair(t, client, server)
	if !p.c.Established() || !p.s.Established() {
		t.Fatalf("client %v, server %v", p.c.State(), p.s.State())
	}
	return p
}

// newPair is newCouple where there may be no agreement.
func newPair(t testing.TB, client, server Config) *couple {
	client.Seed[0], server.Seed[0] = 1, 2
	p := &couple{t: t, acc: NewAcceptor([32]byte{9}, server), from: addrC}
	p.c = Dial(0, client, addrS)
	buf, reply := make([]byte, MaxDatagram), make([]byte, 128)
	for p.s == nil {
		p.now += time.Millisecond
		x := p.c.PollTransmit(p.now, buf)
		if x.N == 0 {
			t.Fatal("nothing sent")
		}
		v := p.acc.Examine(p.now, addrC, buf[:x.N], reply)
		if v.Reply >= x.N {
			t.Fatalf("%d bytes answer %d", v.Reply, x.N)
		}
		if v.ID == 0 {
			p.c.HandleDatagram(p.now, reply[:v.Reply], addrS, NotECT)
			continue
		}
		p.s = p.acc.Accept(p.now, server, v)
		p.s.HandleDatagram(p.now, buf[:x.N], addrC, NotECT)
	}
	p.run(10 * time.Millisecond)
	return p
}

// run lets time pass, a millisecond at a time.
func (p *couple) run(d time.Duration) {
	buf := make([]byte, MaxDatagram)
	for end := p.now + d; p.now < end; {
		p.now += time.Millisecond
		for i, e := range []*Conn{p.c, p.s} {
			e.HandleTimeout(p.now)
			for {
				x := e.PollTransmit(p.now, buf)
				if x.N == 0 {
					break
				}
				for off := 0; off < x.N; off += x.SegmentSize {
					b := buf[off:min(off+x.SegmentSize, x.N)]
					in := [][]byte{b}
					if p.hook != nil {
						in = p.hook(i == 0, append([]byte(nil), b...))
					}
					for _, b := range in {
						if i == 0 {
							p.s.HandleDatagram(p.now, b, p.from, x.ECN)
						} else if x.To == p.from {
							p.c.HandleDatagram(p.now, b, addrS, x.ECN)
						}
					}
				}
			}
			if err := e.Check(); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// packet builds a packet to the server as a client with any numbers would.
func (p *couple) packet(number uint64, frames ...[]byte) []byte {
	b := make([]byte, headerLen)
	putHeader(b, header{version: Version, typ: typeData, dest: p.s.local, number: number})
	for _, f := range frames {
		b = append(b, f...)
	}
	seal(b)
	return b
}

func dataFrame(off uint64, data string, fin bool) []byte {
	b := make([]byte, dataFrameLen)
	putDataFrame(b, off, len(data), fin)
	return append(b, data...)
}

func ackOf(largest uint64, pairs ...uint16) []byte {
	b := []byte{byte(frameAck), ackFormRanges, 0, byte(len(pairs) / 2)}
	b = binary.BigEndian.AppendUint64(b, largest)
	b = append(b, make([]byte, 16)...)
	for _, x := range pairs {
		b = binary.BigEndian.AppendUint16(b, x)
	}
	return b
}

// TestBadPackets: packets with a good checksum that no honest peer sends end
// the connection with a reason, and the peer is told.
func TestBadPackets(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   uint32
		frames [][]byte
	}{
		{"unknown frame", CodeBadFrame, [][]byte{{99}}},
		{"truncated frame", CodeBadFrame, [][]byte{{byte(frameData), 0, 0}}},
		{"data longer than packet", CodeBadFrame, [][]byte{dataFrame(0, "abc", false)[:13]}},
		{"padding with contents", CodeBadFrame, [][]byte{{0, 0, 1}}},
		{"empty data", CodeBadFrame, [][]byte{dataFrame(0, "", false)}},
		{"beyond the window", CodeFlowControl, [][]byte{dataFrame(1<<30, "x", false)}},
		{"offset wraps", CodeBadFrame, [][]byte{dataFrame(1<<64-2, "xyz", false)}},
		{"end moves back", CodeFinalSize, [][]byte{dataFrame(0, "abc", true), dataFrame(0, "a", true)}},
		{"data after the end", CodeFinalSize, [][]byte{dataFrame(0, "abc", true), dataFrame(3, "d", false)}},
		{"ack of the future", CodeBadAck, [][]byte{ackOf(1<<40, 0, 1)}},
		{"ack below zero", CodeBadAck, [][]byte{ackOf(0, 0, 9)}},
		{"ack of nothing", CodeBadFrame, [][]byte{ackOf(0)}},
		{"datagram in a stream's connection", CodeBadFrame, [][]byte{append([]byte{byte(frameDatagram), 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 10)...)}},
		{"datagram number 0", CodeBadFrame, [][]byte{append([]byte{byte(frameDatagram)}, make([]byte, 18)...)}},
		{"datagram longer than packet", CodeBadFrame, [][]byte{append([]byte{byte(frameDatagram), 0, 0, 0, 0, 0, 0, 0, 1}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1)}},
		{"window of everything", CodeBadFrame, [][]byte{appendWindow(nil, 1<<63)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newCouple(t, Config{}, Config{})
			p.s.HandleDatagram(p.now, p.packet(1000, c.frames...), addrC, NotECT)
			var e *CloseError
			if !errors.As(p.s.Err(), &e) || e.Remote || e.Application || e.Code != c.code {
				t.Fatalf("%v, want code %d", p.s.Err(), c.code)
			}
			p.run(50 * time.Millisecond)
			if !errors.As(p.c.Err(), &e) || !e.Remote || e.Code != c.code {
				t.Fatalf("client: %v", p.c.Err())
			}
			p.run(5 * time.Second)
			if !p.s.Done() || !p.c.Done() {
				t.Fatalf("server %v, client %v", p.s.State(), p.c.State())
			}
		})
	}
}

// TestIgnored: what anybody could send is dropped and counted, and changes
// nothing.
func TestIgnored(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	good := p.packet(500, dataFrame(0, "hello", false))
	p.s.HandleDatagram(p.now, good, addrC, NotECT)
	send := func(reason DropReason, b []byte, from netip.AddrPort) {
		t.Helper()
		before := p.s.Stats().Dropped[reason]
		p.s.HandleDatagram(p.now, b, from, NotECT)
		if p.s.Stats().Dropped[reason] != before+1 {
			t.Errorf("not counted as %v: %v", reason, p.s.Stats().Dropped)
		}
	}
	send(DropDuplicate, good, addrC) // replayed
	send(DropDuplicate, good, addrS) // reflected
	for n := range headerLen {
		send(DropMalformed, good[:n], addrC)
	}
	bad := append([]byte(nil), good...)
	bad[len(bad)-1]++
	send(DropChecksum, bad, addrC)
	other := append([]byte(nil), good...)
	other[8]++
	seal(other)
	send(DropUnknown, other, addrC) // another connection's
	other = append([]byte(nil), good...)
	other[1] = 77
	seal(other)
	send(DropVersion, other, addrC)
	reset := make([]byte, headerLen+resetTokenLen)
	putHeader(reset, header{version: Version, typ: typeReset, number: p.s.remote})
	seal(reset)
	send(DropUnknown, reset, addrC) // a RESET without the token
	b := make([]byte, 100)
	if n, err := p.s.Read(b); string(b[:n]) != "hello" || err != nil {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if p.s.State() != StateEstablished {
		t.Fatal(p.s.State(), p.s.Err())
	}
	// A packet from far ahead makes those far behind too old to tell.
	p.s.HandleDatagram(p.now, p.packet(1<<61, []byte{byte(framePing)}), addrC, NotECT)
	send(DropOld, p.packet(600, []byte{byte(framePing)}), addrC)
	p.s.HandleDatagram(p.now, p.packet(1<<63, []byte{byte(framePing)}), addrC, NotECT)
	if p.s.State() != StateEstablished {
		t.Fatal(p.s.State(), p.s.Err())
	}
}

// TestHoles: a peer that sends every other byte costs bounded memory.
func TestHoles(t *testing.T) {
	p := newCouple(t, Config{}, Config{RecvBuffer: 1 << 20})
	n := uint64(500)
	for off := uint64(1); off < 200000; off += 2 {
		p.s.HandleDatagram(p.now, p.packet(n, dataFrame(off, "x", false)), addrC, NotECT)
		n++
	}
	if got := p.s.recv.above.len(); got > maxHoles {
		t.Fatalf("%d holes", got)
	}
	if p.s.Stats().Dropped[DropNoRoom] == 0 {
		t.Fatal("nothing was dropped")
	}
	if n := p.s.recv.size(); n > 1<<20 {
		t.Fatalf("%d bytes of buffer", n)
	}
}

// TestCookie: cookies are good for one address, one client, and ten seconds.
func TestCookie(t *testing.T) {
	a := NewAcceptor([32]byte{1}, Config{})
	c := Dial(0, Config{}, addrS)
	buf, reply := make([]byte, 2000), make([]byte, 128)
	x := c.PollTransmit(0, buf)
	init := append([]byte(nil), buf[:x.N]...)
	v := a.Examine(time.Second, addrC, init, reply)
	c.HandleDatagram(time.Second, reply[:v.Reply], addrS, NotECT)
	c.Write([]byte("the first flight"))
	x = c.PollTransmit(time.Second, buf)
	open := buf[:x.N]
	if v := a.Examine(2*time.Second, addrC, open, reply); v.ID == 0 {
		t.Fatal("a good cookie is refused")
	} else if w := a.Examine(3*time.Second, addrC, open, reply); w.ID != v.ID {
		t.Fatal("the same OPEN asks for another connection")
	}
	// The cookie is for one connection ID, which nobody can choose.
	other := append([]byte(nil), open...)
	other[8]++
	seal(other)
	if v := a.Examine(2*time.Second, addrC, other, reply); v.ID != 0 {
		t.Error("an ID of the client's choice")
	}
	other = append([]byte(nil), open...)
	other[headerLen]++ // the client's own ID
	seal(other)
	if v := a.Examine(2*time.Second, addrC, other, reply); v.ID != 0 {
		t.Error("a cookie of another client")
	}
	for _, c := range []struct {
		now  time.Duration
		from netip.AddrPort
		a    *Acceptor
	}{
		{2 * time.Second, addrS, a},
		{2 * time.Second, netip.AddrPortFrom(addrC.Addr(), 7), a},
		{12 * time.Second, addrC, a},
		{0, addrC, a}, // from the future
		{2 * time.Second, addrC, NewAcceptor([32]byte{2}, Config{})},
	} {
		if v := c.a.Examine(c.now, c.from, open, reply); v.ID != 0 || v.Reply == 0 || v.Reply >= len(open) {
			t.Errorf("%v %v: %+v", c.now, c.from, v)
		}
	}
	// Too short to deserve an answer.
	for _, b := range [][]byte{init[:MinDatagram-1], open[:minOpen-1]} {
		short := append([]byte(nil), b...)
		seal(short)
		if v := a.Examine(2*time.Second, addrC, short, reply); v.ID != 0 || v.Reply != 0 {
			t.Errorf("%+v", v)
		}
	}
	// Another version is told which one there is; garbage is told nothing.
	old := append([]byte(nil), init...)
	old[1] = 200
	seal(old)
	v = a.Examine(2*time.Second, addrC, old, reply)
	if v.Reply == 0 {
		t.Error("no version negotiation")
	}
	if v := a.Examine(0, addrC, []byte("GET / HTTP/1.1\r\n"), reply); v.Reply != 0 || v.ID != 0 {
		t.Errorf("%+v", v)
	}
}

// TestOpen: the first flight carries data, and brings the connection into being
// in whatever order and however often its packets come; it does so once.
func TestOpen(t *testing.T) {
	acc := NewAcceptor([32]byte{1}, Config{})
	c := Dial(0, Config{}, addrS)
	buf, reply := make([]byte, MaxDatagram), make([]byte, 128)
	x := c.PollTransmit(0, buf)
	v := acc.Examine(0, addrC, buf[:x.N], reply)
	now := 20 * time.Millisecond
	c.HandleDatagram(now, reply[:v.Reply], addrS, NotECT)
	if !c.Established() {
		t.Fatal("a RETRY is all that a client needs")
	}
	data := make([]byte, 3000)
	c.Write(data)
	var flight [][]byte
	for end := now + 20*time.Millisecond; now < end; now += time.Millisecond {
		for {
			x := c.PollTransmit(now, buf)
			if x.N == 0 {
				break
			}
			for off := 0; off < x.N; off += x.SegmentSize {
				b := buf[off:min(off+x.SegmentSize, x.N)]
				if packetType(b[2]) != typeOpen || len(b) < minOpen {
					t.Fatalf("%v of %d bytes before the server has answered", packetType(b[2]), len(b))
				}
				flight = append(flight, append([]byte(nil), b...))
			}
		}
	}
	if len(flight) < 3 {
		t.Fatalf("%d packets", len(flight))
	}
	var s *Conn
	for i := len(flight) - 1; i >= 0; i-- {
		v := acc.Examine(now, addrC, flight[i], reply)
		if v.ID == 0 || s != nil && v.ID != s.LocalID() {
			t.Fatalf("packet %d: %+v", i, v)
		}
		if s == nil {
			s = acc.Accept(now, Config{}, v)
		}
		s.HandleDatagram(now, flight[i], addrC, NotECT)
		s.HandleDatagram(now, flight[i], addrC, NotECT)
	}
	if n := s.ReadAvailable(); n != len(data) {
		t.Fatalf("%d of %d bytes", n, len(data))
	}
	// Somebody else's cookie and IDs change nothing of a connection that is there.
	before := s.Stats().Dropped[DropUnknown]
	other := append([]byte(nil), flight[0]...)
	other[headerLen]++
	seal(other)
	s.HandleDatagram(now, other, addrC, NotECT)
	c.HandleDatagram(now, flight[0], addrS, NotECT) // reflected
	if s.Stats().Dropped[DropUnknown] != before+1 || c.Stats().Dropped[DropUnknown] != 1 {
		t.Error("an OPEN of another client, or one that came back, was taken")
	}
	x = s.PollTransmit(now, buf)
	c.HandleDatagram(now, buf[:x.N], addrS, NotECT)
	c.Write(data)
	now += 10 * time.Millisecond
	if x = c.PollTransmit(now, buf); x.N == 0 || packetType(buf[2]) != typeData {
		t.Error("the cookie is sent on, although the server has answered")
	}
}

// TestOpenUnanswered: a client that got a cookie and nothing else tries again, with
// a newer cookie if it is given one, and gives up in time.
func TestOpenUnanswered(t *testing.T) {
	acc := NewAcceptor([32]byte{1}, Config{})
	c := Dial(0, Config{}, addrS)
	buf, reply := make([]byte, MaxDatagram), make([]byte, 128)
	x := c.PollTransmit(0, buf)
	v := acc.Examine(0, addrC, buf[:x.N], reply)
	c.HandleDatagram(time.Millisecond, reply[:v.Reply], addrS, NotECT)
	acc = NewAcceptor([32]byte{2}, Config{}) // it was started anew meanwhile
	last := 0
	for now := time.Millisecond; !c.Done(); now = max(c.NextTimeout(), now+time.Millisecond) {
		if now > 11*time.Second {
			t.Fatal("it never gives up")
		}
		c.HandleTimeout(now)
		if x := c.PollTransmit(now, buf); x.N > 0 {
			v := acc.Examine(now, addrC, buf[:x.N], reply)
			if v.ID != 0 {
				last++ // and nothing arrives
				continue
			}
			c.HandleDatagram(now, reply[:v.Reply], addrS, NotECT)
		}
	}
	if c.Err() != ErrHandshakeTimeout || last < 5 {
		t.Fatalf("%v after %d with a good cookie", c.Err(), last)
	}
}

// TestReset: a server that forgot a connection says so in a way that only the
// real one can.
func TestReset(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.c.Write([]byte("are you there?"))
	buf, reply := make([]byte, MaxDatagram), make([]byte, 128)
	p.now += time.Second
	x := p.c.PollTransmit(p.now, buf)
	v := p.acc.Examine(p.now, addrC, buf[:x.N], reply)
	if v.Reply == 0 {
		t.Fatal("no RESET")
	}
	forged := append([]byte(nil), reply[:v.Reply]...)
	forged[len(forged)-1]++
	seal(forged)
	p.c.HandleDatagram(p.now, forged, addrS, NotECT)
	if p.c.Err() != nil {
		t.Fatal("a forged RESET counts")
	}
	p.c.HandleDatagram(p.now, reply[:v.Reply], addrS, NotECT)
	if p.c.Err() != ErrReset || !p.c.Done() {
		t.Fatal(p.c.Err(), p.c.State())
	}
}

func TestAbort(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.c.Write(make([]byte, 100000))
	p.c.Abort(p.now, 42, "changed my mind\x1b[2J")
	p.run(3 * time.Second)
	var e *CloseError
	if !errors.As(p.s.Err(), &e) || !e.Remote || !e.Application || e.Code != 42 || e.Reason != "changed my mind\x1b[2J" {
		t.Fatal(p.s.Err())
	}
	for _, r := range e.Error() {
		if r < ' ' {
			t.Fatalf("unescaped: %q", e.Error())
		}
	}
	if _, err := p.s.Write([]byte("x")); !errors.As(err, &e) {
		t.Fatal(err)
	}
	if !p.c.Done() || !p.s.Done() {
		t.Fatal(p.c.State(), p.s.State())
	}
}

// TestHalfClose: one direction ends, the other goes on.
func TestHalfClose(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.c.Write([]byte("question"))
	p.c.CloseWrite()
	p.run(100 * time.Millisecond)
	b := make([]byte, 100)
	n, _ := p.s.Read(b)
	if _, err := p.s.Read(b[n:]); string(b[:n]) != "question" || err != io.EOF {
		t.Fatal(string(b[:n]), err)
	}
	p.run(20 * time.Second) // silence, kept alive
	p.s.Write([]byte("answer"))
	p.s.CloseWrite()
	p.run(time.Second)
	n, _ = p.c.Read(b)
	if _, err := p.c.Read(b[n:]); string(b[:n]) != "answer" || err != io.EOF {
		t.Fatal(string(b[:n]), err)
	}
	p.c.Close()
	p.run(5 * time.Second)
	if !p.c.Done() || !p.s.Done() || p.c.Err() != nil || p.s.Err() != nil {
		t.Fatal(p.c.State(), p.s.State(), p.c.Err(), p.s.Err())
	}
}

// TestShortFlight: what is all that there is to say for now goes twice, so that a
// packet lost of it costs no timeout; and the stream goes on behind it.
func TestShortFlight(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	b := make([]byte, 100_000)
	for i := range 20 {
		dropped := false
		p.hook = func(toServer bool, b []byte) [][]byte {
			if toServer && !dropped && len(b) > 800 {
				dropped = true
				return nil
			}
			return [][]byte{b}
		}
		p.c.Write(make([]byte, 3000))
		p.run(5 * time.Millisecond)
		if n, err := p.s.Read(b); !dropped || n != 3000 || err != nil {
			t.Fatalf("flight %d, with a loss: %v: %d bytes, %v", i, dropped, n, err)
		}
	}
	if n := p.c.Stats().ProbeTimeouts; n > 0 {
		t.Errorf("%d probe timeouts", n)
	}
}

// TestConclude: an end that knows that all is well sends the end of its stream and
// of the connection in one packet, some copies of it, and is done at once; any of
// them ends the peer in good order. What is too much for one packet is delivered
// first.
func TestConclude(t *testing.T) {
	for _, size := range []int{0, 24, lastWords, 100_000} {
		p := newCouple(t, Config{}, Config{})
		p.s.Write([]byte("all is well"))
		p.s.CloseWrite()
		p.run(50 * time.Millisecond)
		b := make([]byte, 200_000)
		if n, _ := p.c.Read(b); string(b[:n]) != "all is well" {
			t.Fatalf("%q", b[:n])
		}
		p.c.Write(make([]byte, size))
		p.c.Conclude()
		lost := 0
		p.hook = func(toServer bool, b []byte) [][]byte {
			if size <= lastWords && toServer && lost == 0 {
				lost++
				return nil
			}
			return [][]byte{b}
		}
		p.run(time.Millisecond)
		if size <= lastWords && (!p.c.Done() || lost != 1) {
			t.Errorf("%d bytes: the client is %v", size, p.c.State())
		}
		p.run(3 * time.Second)
		n, _ := p.s.Read(b)
		if _, err := p.s.Read(b); n != size || err != io.EOF || p.s.Err() != nil || !p.s.Done() || p.c.Err() != nil || !p.c.Done() {
			t.Errorf("%d of %d bytes, then %v; server %v %v, client %v %v", n, size, err, p.s.State(), p.s.Err(), p.c.State(), p.c.Err())
		}
	}
}

// TestMigration: a client whose NAT gives it another address is followed, once
// it answered from there; somebody who replays its packets is not.
func TestMigration(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	p.c.Write([]byte("before"))
	p.run(100 * time.Millisecond)
	p.from = netip.MustParseAddrPort("10.9.9.9:999")
	p.c.Write([]byte(" after"))
	p.run(3 * time.Second)
	if p.s.RemoteAddr() != p.from {
		t.Fatalf("still at %v", p.s.RemoteAddr())
	}
	b := make([]byte, 100)
	if n, _ := p.s.Read(b); string(b[:n]) != "before after" {
		t.Fatalf("%q", b[:n])
	}
	// An attacker sends a newer packet from his own address: he gets one
	// small challenge now and then, and the connection stays.
	here := p.from
	p.s.HandleDatagram(p.now, p.packet(p.c.sent.next+10, []byte{byte(framePing)}), netip.MustParseAddrPort("6.6.6.6:6"), NotECT)
	sent := 0
	buf := make([]byte, MaxDatagram)
	for range 4000 {
		p.now += time.Millisecond
		p.s.HandleTimeout(p.now)
		for {
			x := p.s.PollTransmit(p.now, buf)
			if x.N == 0 {
				break
			}
			if x.To != here {
				sent += x.N
			}
		}
	}
	if p.s.RemoteAddr() != here || sent == 0 || sent > 300 {
		t.Fatalf("at %v, %d bytes to the attacker", p.s.RemoteAddr(), sent)
	}
}

// TestCongestionMarks: marks slow a flow down as losses would.
func TestCongestionMarks(t *testing.T) {
	p := newCouple(t, Config{Congestion: Cubic}, Config{})
	sink := make([]byte, 1<<20)
	for range 4 {
		p.c.Write(make([]byte, 1<<20))
		p.run(5 * time.Millisecond)
		p.s.Read(sink)
	}
	before := p.c.cc.window()
	// What arrives from now on is marked.
	buf := make([]byte, MaxDatagram)
	for range 10 {
		p.c.Write(make([]byte, 1<<20))
		p.now += time.Millisecond
		x := p.c.PollTransmit(p.now, buf)
		if x.N > 0 && x.ECN != ECT0 {
			t.Fatal("not marked ECT(0)")
		}
		for off := 0; off < x.N; off += x.SegmentSize {
			p.s.HandleDatagram(p.now, buf[off:min(off+x.SegmentSize, x.N)], addrC, CE)
		}
		if x.N > 0 {
			x = p.s.PollTransmit(p.now, buf)
			if x.N == 0 {
				t.Fatal("a mark is not reported at once")
			}
			p.c.HandleDatagram(p.now, buf[:x.N], addrS, NotECT)
		}
	}
	if p.c.Stats().PacketsLost > 0 || p.c.cc.window() >= before {
		t.Fatalf("window %d, was %d", p.c.cc.window(), before)
	}
}

// FuzzSchedule takes bytes as the fate of packets: it delivers, drops,
// duplicates, holds back and corrupts them. Whatever happens, what arrives is
// a prefix of what was sent, and when the trouble is over everything does,
// whichever protocol runs.
func FuzzSchedule(f *testing.F) {
	f.Add([]byte{}, byte(0))
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, byte(1))
	f.Add([]byte{2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 3, 3, 3, 1, 1, 1, 2, 2, 4, 4, 4}, byte(2))
	rng := rand.New(rand.NewPCG(1, 2))
	long := make([]byte, 600)
	for i := range long {
		long[i] = byte(rng.IntN(256))
	}
	for proto := range byte(5) {
		f.Add(long, proto)
	}
	f.Fuzz(func(t *testing.T, fate []byte, proto byte) {
		if len(fate) > 2000 {
			fate = fate[:2000]
		}
		p := newCouple(t, Config{ARQ: ModelARQ + ARQ(proto%5), Window: 1 + int(proto/5), RTO: 30 * time.Millisecond}, Config{ARQ: ModelARQ + ARQ(proto%5), RecvBuffer: 128 << 10})
		data := make([]byte, 300<<10)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		var held [][]byte
		p.hook = func(toServer bool, b []byte) [][]byte {
			if len(fate) == 0 {
				out := append(held, b)
				held = nil
				return out
			}
			x := fate[0]
			fate = fate[1:]
			switch x % 8 {
			case 1, 5:
				return nil
			case 2:
				return [][]byte{b, b}
			case 3:
				if toServer {
					held = append(held, b)
					return nil
				}
			case 4:
				b[int(x)*len(b)/256] ^= 1 << (x >> 5)
			case 6:
				if toServer {
					out := append([][]byte{b}, held...)
					held = nil
					return out
				}
			}
			return [][]byte{b}
		}
		left, got := data, 0
		buf := make([]byte, 64<<10)
		for range 60000 {
			n, err := p.c.Write(left)
			if err != nil && len(left) > 0 {
				t.Fatal(err)
			}
			if left = left[n:]; len(left) == 0 {
				p.c.CloseWrite()
			}
			p.run(time.Millisecond)
			n, err = p.s.Read(buf)
			for i := range n {
				if buf[i] != data[got+i] {
					t.Fatalf("byte %d is wrong", got+i)
				}
			}
			if got += n; err == io.EOF {
				if got != len(data) {
					t.Fatalf("%d of %d bytes", got, len(data))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Fatalf("no end: %d of %d bytes, client %v, server %v", got, len(data), p.c.State(), p.s.State())
	})
}

// FuzzDatagram throws bytes, sealed so that they get past the checksum, at an
// established connection and at an acceptor.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte{byte(framePing)}, uint64(500), byte(0))
	f.Add(dataFrame(0, "abc", true), uint64(501), byte(0))
	f.Add(ackOf(0, 0, 1), uint64(502), byte(0))
	f.Add(make([]byte, 1300), uint64(1), byte(1))
	f.Add([]byte{9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 'a', 'b', 'c'}, uint64(503), byte(0))
	f.Fuzz(func(t *testing.T, body []byte, number uint64, typ byte) {
		if len(body) > 3000 {
			body = body[:3000]
		}
		// The protocol follows from the number, so that old cases stay what
		// they were.
		proto := ModelARQ + ARQ(number>>16%5)
		p := newCouple(t, Config{ARQ: proto}, Config{ARQ: proto})
		b := p.packet(number, body)
		b[2] = typ
		if typ == byte(typeInit) {
			clear(b[8:16])
		}
		seal(b)
		reply := make([]byte, 128)
		if v := p.acc.Examine(p.now, addrC, b, reply); v.Reply >= len(b) {
			t.Fatalf("%d bytes answer %d", v.Reply, len(b))
		}
		p.s.HandleDatagram(p.now, b, addrC, ECT0)
		p.run(20 * time.Millisecond)
		p.c.Write([]byte("still there?"))
		p.run(100 * time.Millisecond)
	})
}

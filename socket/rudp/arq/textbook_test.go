package arq

import (
	"errors"
	"testing"
	"time"
)

// TestARQNegotiation: a server that was told nothing follows its client, but
// not into losing data; where both insist, both learn why.
func TestARQNegotiation(t *testing.T) {
	for _, c := range []struct{ client, server, want ARQ }{ // want 0: they disagree
		{ARQDefault, ARQDefault, ModelARQ},
		{ModelARQ, ARQDefault, ModelARQ},
		{GoBackN, ARQDefault, GoBackN},
		{StopAndWait, StopAndWait, StopAndWait},
		{SelectiveRepeat, ARQDefault, SelectiveRepeat},
		{NoARQ, NoARQ, NoARQ},
		{NoARQ, ARQDefault, 0},
		{ARQDefault, NoARQ, 0},
		{GoBackN, ModelARQ, 0},
		{ARQDefault, StopAndWait, 0},
		{GoBackN, SelectiveRepeat, 0},
	} {
		p := newPair(t, Config{ARQ: c.client}, Config{ARQ: c.server})
		p.run(time.Second)
		if c.want != 0 {
			if !p.c.Established() || !p.s.Established() || p.c.ARQ() != c.want || p.s.ARQ() != c.want {
				t.Errorf("%v, %v: client %v runs %v, server %v runs %v", c.client, c.server, p.c.State(), p.c.ARQ(), p.s.State(), p.s.ARQ())
			}
			continue
		}
		var a, b *ARQError
		if !errors.As(p.c.Err(), &a) || !errors.As(p.s.Err(), &b) {
			t.Errorf("%v, %v: client: %v, server: %v", c.client, c.server, p.c.Err(), p.s.Err())
			continue
		}
		if a.Ours != b.Theirs || a.Theirs != b.Ours || a.Ours == a.Theirs {
			t.Errorf("%v, %v: client: %v, server: %v", c.client, c.server, a, b)
		}
		p.run(5 * time.Second)
		if !p.c.Done() || !p.s.Done() {
			t.Errorf("%v, %v: not over", c.client, c.server)
		}
	}
}

// TestWindowEdges follows UNA, NXT and WND of a window of three frames.
func TestWindowEdges(t *testing.T) {
	for _, proto := range []ARQ{StopAndWait, GoBackN, SelectiveRepeat} {
		var got []FrameWindow
		var lost []LossTrigger
		p := newCouple(t, Config{ARQ: proto, Window: 3, RTO: 50 * time.Millisecond, Trace: &Trace{
			FrameWindow: func(_ time.Duration, w FrameWindow) { got = append(got, w) },
			PacketLost:  func(_ time.Duration, _ uint64, why LossTrigger) { lost = append(lost, why) },
		}}, Config{})
		n := uint64(3)
		if proto == StopAndWait {
			n = 1
		}
		// The second frame is lost once; five are sent.
		seen := 0
		p.hook = func(toServer bool, b []byte) [][]byte {
			if toServer && frameType(b[headerLen]) == frameData || toServer && frameType(b[headerLen]) == frameSender {
				if seen++; seen == 2 {
					return nil
				}
			}
			return [][]byte{b}
		}
		p.c.Write(make([]byte, 5*FramePayload(MinDatagram)))
		p.run(time.Second)
		var last FrameWindow
		for _, w := range got {
			if w.WND != w.UNA+n || w.NXT > w.WND || w.UNA > w.NXT || w.UNA < last.UNA || w.NXT < last.NXT {
				t.Errorf("%v: %+v after %+v", proto, w, last)
			}
			last = w
		}
		if last != (FrameWindow{5, 5, 5 + n}) || p.s.Stats().StreamReceived != uint64(5*FramePayload(MinDatagram)) {
			t.Errorf("%v: ends at %+v", proto, last)
		}
		s := p.c.Stats()
		want := map[ARQ]uint64{StopAndWait: 1, SelectiveRepeat: 1, GoBackN: 3}[proto]
		if s.Retransmits != want || s.Timeouts != 1 || len(lost) != int(want) || lost[0] != LossTimeout || want > 1 && lost[1] != LossGoBack {
			t.Errorf("%v: %d retransmits, %d timeouts, lost by %v", proto, s.Retransmits, s.Timeouts, lost)
		}
		if d := p.s.Stats().Dropped[DropOutOfOrder]; (d == 2) != (proto == GoBackN) {
			t.Errorf("%v: the receiver dropped %d frames", proto, d)
		}
	}
}

// TestRTO: RFC 6298, section 2, and the backoff of section 5.5.
func TestRTO(t *testing.T) {
	b := newTextbook(&Config{ARQ: GoBackN, Window: 4, MaxDatagram: MinDatagram})
	var r rttEstimator
	if got := b.rto(&r, 0); got != time.Second { // 2.1
		t.Error(got)
	}
	r.update(100*time.Millisecond, 0)
	if got := b.rto(&r, 0); got != 300*time.Millisecond { // 2.2: R + 4·R/2
		t.Error(got)
	}
	r.update(100*time.Millisecond, 0)
	if got := b.rto(&r, 0); got != 250*time.Millisecond { // 2.3: RTTVAR is 3/4 of 50 ms
		t.Error(got)
	}
	if got := b.rto(&r, 1); got != 500*time.Millisecond {
		t.Error(got)
	}
	if got := b.rto(&r, 200); got != 1250*time.Millisecond {
		t.Error(got)
	}
	for range 100 {
		r.update(time.Millisecond, 0)
	}
	if got := b.rto(&r, 0); got != minRTO {
		t.Error(got)
	}
	b.fixed = 7 * time.Millisecond
	if b.rto(&r, 0) != b.fixed || b.rto(&r, 9) != b.fixed {
		t.Error("a fixed timeout moves")
	}
}

// TestSmallPeer: a peer that takes only small datagrams gets small frames.
func TestSmallPeer(t *testing.T) {
	p := newCouple(t, Config{ARQ: SelectiveRepeat, MaxDatagram: 9000, NoDiscovery: true}, Config{})
	p.c.pmtu.size = MinDatagram
	p.c.establish(p.now, params{window: 1 << 20, maxDatagram: MinDatagram})
	p.c.Write(make([]byte, 50000))
	p.run(time.Second)
	if got := p.s.Stats().StreamReceived; got != 50000 {
		t.Fatalf("%d bytes", got)
	}
}

// TestDatagrams: each arrives at most once, as it was sent, and in the report.
func TestDatagrams(t *testing.T) {
	p := newCouple(t, Config{ARQ: NoARQ, Epoch: time.Hour, DatagramRate: 1e8}, Config{ARQ: NoARQ, Epoch: time.Hour})
	var held []byte
	n := 0
	p.hook = func(toServer bool, b []byte) [][]byte {
		k, ok := DatagramNumber(b)
		if !ok {
			return [][]byte{b}
		}
		n++
		switch k {
		case 3, 4, 10: // lost
			return nil
		case 5: // twice
			return [][]byte{b, b}
		case 6: // late by two
			held = b
			return nil
		case 8:
			return [][]byte{b, held}
		}
		return [][]byte{b}
	}
	if _, err := p.c.SendDatagram(make([]byte, p.c.MaxDatagramPayload()+1)); err != ErrTooLarge {
		t.Fatal(err)
	}
	for i := range byte(10) {
		if ok, err := p.c.SendDatagram([]byte{i + 1, 'x'}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	p.run(100 * time.Millisecond)
	buf := make([]byte, 2000)
	var got []byte
	for {
		d, ok := p.s.ReceiveDatagram(buf)
		if !ok {
			break
		}
		if len(d.Data) != 2 || d.Data[0] != byte(d.Number) || d.Sent < time.Hour || d.Arrived < d.Sent || d.Arrived > d.Sent+time.Second {
			t.Fatalf("%+v", d)
		}
		got = append(got, byte(d.Number))
	}
	if string(got) != "\x01\x02\x05\x07\x08\x06\x09" {
		t.Fatalf("%v", got)
	}
	p.s.ExpectDatagrams(10)
	r := p.s.Datagrams()
	if n != 10 || r.Sent != 10 || r.Received != 7 || r.Lost != 3 || r.Duplicates != 1 || r.Reordered != 1 || r.MaxExtent != 2 ||
		r.Bursts[0] != 1 || r.Bursts[1] != 1 || r.LongestBurst != 2 || r.MeanBurst() != 1.5 || r.LossRatio() != .3 {
		t.Fatalf("%d sent, %+v", n, r)
	}
	// The stream goes on beside them.
	p.c.Write([]byte("reliable"))
	p.run(100 * time.Millisecond)
	if k, _ := p.s.Read(buf); string(buf[:k]) != "reliable" {
		t.Fatalf("%q", buf[:k])
	}
	// Whoever does not read loses, and memory stays bounded.
	for range 1000 {
		for ok := true; ok; {
			var err error
			if ok, err = p.c.SendDatagram(buf[:1000]); err != nil {
				t.Fatal(err)
			}
		}
		p.run(time.Millisecond)
	}
	if r = p.s.Datagrams(); r.Overflowed == 0 || p.s.datagrams.in.bytes > datagramRecvQueue {
		t.Fatalf("%+v, %d bytes", r, p.s.datagrams.in.bytes)
	}
}

// TestDatagramsUninvited: a model connection has none.
func TestDatagramsUninvited(t *testing.T) {
	p := newCouple(t, Config{}, Config{})
	if _, err := p.c.SendDatagram([]byte("x")); err != ErrNoDatagrams {
		t.Fatal(err)
	}
	b := make([]byte, datagramFrameLen)
	b[0], b[8] = byte(frameDatagram), 1
	p.s.HandleDatagram(p.now, p.packet(1000, b), addrC, NotECT)
	var e *CloseError
	if !errors.As(p.s.Err(), &e) || e.Code != CodeBadFrame {
		t.Fatal(p.s.Err())
	}
}

// TestMeterHostile: numbers and stamps that no honest peer sends cost no more
// than others.
func TestMeterHostile(t *testing.T) {
	var m meter
	for i := range uint64(1000) {
		n := 1 + i*(maxNumber/1000)
		m.arrived(n, time.Duration(n%7)<<50, time.Duration(i))
		m.arrived(1, 0, 0)
	}
	r := m.report()
	if r.Received != 1000 || r.Old != 999 || r.Duplicates != 1 || r.Lost != r.Sent-r.Received || r.LongestBurst < 1<<40 {
		t.Fatalf("%+v", r)
	}
}

// FuzzMeter compares with a count of what a set holds.
func FuzzMeter(f *testing.F) {
	f.Add([]byte{1, 2, 3, 5, 4, 4, 9}, uint16(10))
	f.Add([]byte{255, 255, 255, 1, 0, 7}, uint16(3))
	f.Fuzz(func(t *testing.T, steps []byte, more uint16) {
		var m meter
		seen := map[uint64]bool{}
		n, top, dups := uint64(1), uint64(0), uint64(0)
		for i, s := range steps {
			// Within the window of each other, so that nothing is old.
			n = max(1, n+uint64(s%64)-min(n, 20))
			if s > 250 {
				n += 70
			}
			if seen[n] {
				dups++
			} else {
				top = max(top, n)
			}
			seen[n] = true
			m.arrived(n, 0, time.Duration(i))
		}
		if len(steps) == 0 {
			return
		}
		m.expect(top + uint64(more))
		r := m.report()
		runs, run, longest := uint64(0), uint64(0), uint64(0)
		for k := uint64(1); k <= top+uint64(more); k++ {
			if !seen[k] {
				if run++; run == 1 {
					runs++
				}
				longest = max(longest, run)
			} else {
				run = 0
			}
		}
		if r.Received != uint64(len(seen)) || r.Duplicates != dups || r.Sent != top+uint64(more) || r.Lost != r.Sent-r.Received ||
			r.BurstCount != runs || r.LongestBurst != longest || r.Old != 0 {
			t.Fatalf("%+v, want %d seen, %d duplicates, %d runs, longest %d", r, len(seen), dups, runs, longest)
		}
	})
}

package bulk

import (
	"testing"
)

// tick does what the run does every 5 ms when no packet comes.
func (te *testEngine) tick(step int64) (sent int) {
	te.now += step
	te.e.expire(te.now, &te.h.out)
	for {
		te.h.tx.reset()
		te.e.fill(te.now, te.sk, te.h.tx, &te.h.out)
		if len(te.h.tx.pkts) == 0 {
			break
		}
		sent += len(te.h.tx.pkts)
	}
	te.h.print()
	te.r.stage.buf = te.r.stage.buf[:0]
	te.r.stage.pending.Store(0)
	return sent
}

// TestSilence: a server counts as silent when it has said nothing for 15 s, or
// for 3 s when its host says that nobody is there, and not before.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refused int
		after   int64
	}{{"silent", 0, silentAfter}, {"one refusal", 1, silentAfter}, {"refused", refusedLeast, refusedAfter}} {
		t.Run(tt.name, func(t *testing.T) {
			te := newEngineForTest(false)
			te.tick(1)
			te.e.servers[0].refused = tt.refused
			for !te.e.dead && te.now < 100e9 {
				te.tick(5e6)
			}
			// It is noticed when an attempt ends without an answer.
			if te.now < tt.after || te.now > tt.after+1e9 {
				t.Errorf("given up after %d ms", te.now/1e6)
			}
		})
	}
}

// TestStopped stops the process for an hour with queries on their way: the
// answers that come after it, or to what is sent again, are as good.
func TestStopped(t *testing.T) {
	for _, before := range []int64{5e6, 2e9, 14e9} { // of which all but the first have timeouts
		te := newEngineForTest(false)
		te.tick(1)
		for te.now < before {
			te.tick(5e6)
		}
		te.tick(3600e9)
		if te.e.dead {
			t.Fatalf("stopped after %d ms: the server counts as silent", before/1e6)
		}
		te.tick(5e6)
		// Answers to all that is in flight.
		answered := te.e.stats.Answered
		for id, n := range te.sk.ids {
			if n == 0 {
				continue
			}
			s := &te.e.slots[n-1]
			if s.id != uint16(id) || s.sock != te.sk.index {
				continue // the attempt before
			}
			q := appendQuery(nil, s.id, 0, s.wire(), s.qtype, 0, false)
			q[2], q[7] = 0x84, 1
			q = append(q, 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 192, 0, 2, 1)
			if te.h.out.full() {
				te.h.print()
			}
			if !te.e.receive(te.now, te.sk, 0, q, &te.h.out) {
				t.Fatal("an answer was not taken")
			}
		}
		te.h.print()
		if n := te.e.stats.Answered - answered; n < windowMin {
			t.Errorf("stopped after %d ms: %d answers", before/1e6, n)
		}
		if te.tick(5e6) == 0 {
			t.Errorf("stopped after %d ms: nothing more is asked", before/1e6)
		}
		// From here on silence is silence.
		begin := te.now
		for !te.e.dead && te.now < begin+100e9 {
			te.tick(5e6)
		}
		if took := te.now - begin; took < silentAfter || took > silentAfter+4e9 {
			t.Errorf("stopped after %d ms: given up %d ms later", before/1e6, took/1e6)
		}
	}
}

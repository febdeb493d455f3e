package pairing

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"
)

var t0 = time.Unix(1_000_000, 0)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// guess makes one wrong guess and says what Admit or Charge refused with.
func guess(g *Guard, now time.Time, from netip.Addr) error {
	a, err := g.Admit(now, from)
	if err != nil {
		return err
	}
	defer a.End()
	return a.Charge(now)
}

func TestGuardBurns(t *testing.T) {
	g := NewGuard(GuardConfig{})
	for i := range 3 {
		if g.Burnt() || g.Wrong() != i {
			t.Fatalf("burnt %v after %d wrong guesses (counted %d)", g.Burnt(), i, g.Wrong())
		}
		if err := guess(g, t0, addr("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	if !g.Burnt() {
		t.Error("three wrong guesses did not burn the code")
	}
	if err := guess(g, t0.Add(time.Hour), addr("192.0.2.2")); !errors.Is(err, ErrBurnt) {
		t.Errorf("a fourth guess: %v", err)
	}
}

// Guesses in parallel: what is under way counts as wrong until it is proved.
func TestGuardParallelGuesses(t *testing.T) {
	g := NewGuard(GuardConfig{})
	var under []*Attempt
	for range 10 {
		a, err := g.Admit(t0, addr("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		err = a.Charge(t0)
		if len(under) < 3 && err != nil || len(under) == 3 && !errors.Is(err, ErrBusy) {
			t.Fatalf("with %d guesses under way: %v", len(under), err)
		}
		if err != nil {
			if a.End() {
				t.Error("a guess that was not taken counts")
			}
			continue
		}
		under = append(under, a)
	}
	under[0].Succeed(t0)
	for range 2 {
		if under[0].End() {
			t.Error("a proof counts as a wrong guess")
		}
	}
	for i := range 2 {
		if wrong := under[1].End(); wrong != (i == 0) {
			t.Errorf("an abandoned guess, ended for the %d. time, counts: %v", i+1, wrong)
		}
	}
	if g.Wrong() != 1 || g.Burnt() {
		t.Errorf("%d wrong", g.Wrong())
	}
	if err := under[2].Charge(t0); err == nil {
		t.Error("charged twice")
	}
}

func TestGuardPending(t *testing.T) {
	g := NewGuard(GuardConfig{MaxPending: 5, MaxPendingPerSource: 2})
	admit := func(from string, want error) *Attempt {
		t.Helper()
		a, err := g.Admit(t0, addr(from))
		if !errors.Is(err, want) {
			t.Errorf("Admit(%s) = %v, want %v", from, err, want)
		}
		return a
	}
	a := admit("192.0.2.1", nil)
	admit("::ffff:192.0.2.1", nil) // the same source
	admit("192.0.2.1", ErrBusy)
	admit("2001:db8::1", nil)
	admit("2001:db8::ffff", nil)  // the same /64
	admit("2001:db8::2", ErrBusy) // the same /64
	admit("2001:db8:0:1::1", nil) // another
	admit("192.0.2.9", ErrBusy)   // over all
	a.End()
	admit("192.0.2.1", nil)
	if _, err := g.Admit(t0, netip.Addr{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a source without address: %v", err)
	}
	if len(g.pending) > 5 {
		t.Errorf("%d sources pending", len(g.pending))
	}
}

// A connection that has guessed nothing for a second makes room; one that is
// younger, is guessing, or has proved the code does not.
func TestGuardEvicts(t *testing.T) {
	g := NewGuard(GuardConfig{MaxPending: 4, MaxPendingPerSource: 3})
	src, other := addr("192.0.2.1"), addr("192.0.2.2")
	var closed []string
	admit := func(name string, now time.Time, from netip.Addr) *Attempt {
		t.Helper()
		a, err := g.Admit(now, from)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a.OnEvict(func() { closed = append(closed, name) })
		return a
	}
	guessing := admit("guessing", t0, src)
	if err := guessing.Charge(t0); err != nil {
		t.Fatal(err)
	}
	proved := admit("proved", t0, src)
	proved.Charge(t0)
	proved.Succeed(t0)
	idle := admit("idle", t0, src)
	if _, err := g.Admit(t0.Add(time.Second-1), src); !errors.Is(err, ErrBusy) {
		t.Errorf("within the grace: %v", err)
	}
	young := admit("young", t0.Add(time.Second), src) // in idle's place
	if len(closed) != 1 || closed[0] != "idle" || !idle.Evicted() {
		t.Errorf("evicted %v", closed)
	}
	if err := idle.Charge(t0); !errors.Is(err, ErrBusy) || idle.End() {
		t.Errorf("an evicted attempt guesses: %v", err)
	}
	late := false
	if idle.OnEvict(func() { late = true }); !late {
		t.Error("an evicted attempt's connection stays open")
	}
	if _, err := g.Admit(t0.Add(2*time.Second-1), src); !errors.Is(err, ErrBusy) {
		t.Errorf("with nobody to evict: %v", err)
	}
	admit("other", t0.Add(time.Second), other)
	admit("other 2", t0.Add(time.Hour), other) // over all: the oldest idle one goes
	if len(closed) != 2 || closed[1] != "young" || !young.Evicted() || guessing.Evicted() || proved.Evicted() {
		t.Errorf("evicted %v", closed)
	}
	if guessing.End() != true || proved.End() != false || g.Wrong() != 1 {
		t.Errorf("%d wrong guesses", g.Wrong())
	}
}

func TestGuardKeepDelays(t *testing.T) {
	g := NewGuard(GuardConfig{Keep: true, Burst: 1000})
	now, from := t0, addr("192.0.2.1")
	var waits []time.Duration
	for range 12 {
		if err := guess(g, now, from); err != nil {
			t.Fatal(err)
		}
		var d *DelayError
		if err := guess(g, now, from); errors.As(err, &d) {
			waits = append(waits, d.Wait)
			if err := guess(g, now.Add(d.Wait-1), from); err == nil {
				t.Error("a guess before its time")
			}
			now = now.Add(d.Wait)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	want := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60}
	for i, w := range want {
		if i >= len(waits) || waits[i] != w*time.Second {
			t.Fatalf("waits %v, want %v s", waits, want)
		}
	}
	// Others are not held up.
	if err := guess(g, now, addr("192.0.2.2")); err != nil {
		t.Errorf("another source: %v", err)
	}
	// A proof ends the delays.
	a, err := g.Admit(now.Add(time.Minute), from)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Charge(now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	a.Succeed(now.Add(time.Minute))
	a.End()
	for range 3 {
		if err := guess(g, now.Add(time.Minute), from); err != nil {
			t.Errorf("after a proof: %v", err)
		}
	}
	// So does a quarter of an hour.
	if err := guess(g, now.Add(time.Hour), from); err != nil {
		t.Errorf("after an hour: %v", err)
	}
	if g.Burnt() {
		t.Error("burnt under Keep")
	}
}

// However many sources guess, all together get no more than the bucket gives,
// and no more are remembered than are configured.
func TestGuardKeepManySources(t *testing.T) {
	g := NewGuard(GuardConfig{Keep: true, MaxSources: 100})
	taken := 0
	const day = 24 * time.Hour
	var i uint32
	for now := t0; now.Before(t0.Add(day)); now = now.Add(2 * time.Second) {
		i++
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], i)
		if guess(g, now, netip.AddrFrom4(b)) == nil {
			taken++
		}
		if len(g.sources) > 100 {
			t.Fatalf("%d sources remembered", len(g.sources))
		}
	}
	if most := 32 + int(day/(10*time.Second)); taken > most || taken < most-2 {
		t.Errorf("%d guesses in a day, want %d", taken, most)
	}
}

// FuzzGuard drives a guard with any sequence of calls and holds it to its bounds.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 0, 1, 3, 0, 1, 3, 0, 1, 3}, true)
	f.Add([]byte{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3}, false)
	f.Fuzz(func(t *testing.T, ops []byte, keep bool) {
		g := NewGuard(GuardConfig{Keep: keep, MaxPending: 8, MaxPendingPerSource: 4, MaxSources: 4})
		now := t0
		var live []*Attempt
		proved, charged := 0, 0
		for _, op := range ops {
			who := int(op >> 3)
			switch op & 3 {
			case 0:
				a, err := g.Admit(now, netip.AddrFrom4([4]byte{10, 0, 0, byte(who)}))
				if err == nil {
					// Whoever was evicted for it is still held, and must do no harm.
					live = append(live, a)
				}
			case 1:
				if len(live) > 0 && live[who%len(live)].Charge(now) == nil {
					charged++
				}
			case 2:
				if len(live) > 0 {
					a := live[who%len(live)]
					if a.state == attemptCharged {
						proved++
					}
					a.Succeed(now)
				}
			case 3:
				if len(live) > 0 {
					live[who%len(live)].End()
					live = append(live[:who%len(live)], live[who%len(live)+1:]...)
				}
			}
			if op&4 != 0 {
				now = now.Add(time.Duration(op) * time.Second)
			}
			held := 0
			for _, a := range live {
				if !a.Evicted() {
					held++
				}
			}
			if len(g.live) != held || held > 8 || len(g.pending) > 8 || len(g.sources) > 4 || g.charged < 0 || g.tokens < 0 {
				t.Fatalf("live %d (held %d), pending %d, sources %d, charged %d, tokens %d", len(g.live), held, len(g.pending), len(g.sources), g.charged, g.tokens)
			}
			if !keep && charged-proved > 3 {
				t.Fatalf("%d guesses taken of a one-time code", charged-proved)
			}
		}
		for _, a := range live {
			a.End()
		}
		if len(g.live) != 0 || len(g.pending) != 0 || g.charged != 0 || g.wrong != charged-proved {
			t.Fatalf("left over: live %d, charged %d, wrong %d of %d", len(g.live), g.charged, g.wrong, charged-proved)
		}
	})
}

package arq_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/units"
)

// TestRepeats: the same seed gives the same datagrams at the same times.
func TestRepeats(t *testing.T) {
	run := func(seed uint64) uint64 {
		cfg := link(20, 30*time.Millisecond, .05, 1)
		cfg.Seed = seed
		cfg.Forward.Jitter, cfg.Forward.Duplicate, cfg.Reverse.Reorder = time.Millisecond, .01, .02
		cfg.Flows = []sim.Flow{{Bytes: 2e6}, {Bytes: 1e6, Start: 100 * time.Millisecond, Client: arq.Config{Congestion: arq.Cubic}}}
		r, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r.Hash
	}
	if a, b, c := run(1), run(1), run(2); a != b || a == c {
		t.Fatalf("hashes %x %x of one seed, %x of another", a, b, c)
	}
}

// TestImpairments: what a path does beside losing costs no more than a tenth
// beyond the loss itself.
func TestImpairments(t *testing.T) {
	base := 0.0
	for _, c := range []struct {
		name string
		loss float64 // of the mean, which is allowed for
		set  func(*netem.Config)
	}{
		{"clean", 0, func(*netem.Config) {}},
		{"gilbert-elliott", .02, func(c *netem.Config) {
			c.Gilbert = &netem.GilbertElliott{P: .002, R: .1, LossBad: 1}
		}},
		{"jitter", 0, func(c *netem.Config) { c.Jitter = 5 * time.Millisecond }},
		{"jitter-in-order", 0, func(c *netem.Config) { c.Jitter, c.KeepOrder = 5*time.Millisecond, true }},
		{"reorder", 0, func(c *netem.Config) { c.Reorder = .01 }},
		{"duplicate", 0, func(c *netem.Config) { c.Duplicate = .01 }},
		{"corrupt", .01, func(c *netem.Config) { c.Corrupt = .01 }},
		{"everything", .03, func(c *netem.Config) {
			c.Gilbert = &netem.GilbertElliott{P: .002, R: .1, LossBad: 1}
			c.Jitter, c.Reorder, c.Duplicate, c.Corrupt = 2*time.Millisecond, .01, .01, .01
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := link(50, 50*time.Millisecond, 0, 1)
			c.set(&cfg.Forward)
			c.set(&cfg.Reverse)
			cfg.Flows = []sim.Flow{{Bytes: 50e6}}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Flows[0].Goodput * 8 / 1e6
			if base == 0 {
				base = got
			}
			s := r.Flows[0].Client
			t.Logf("%.1f Mbit/s, %+v, lost %d (late %d), retransmits %d, dropped %v, queue median %v", got, r.Forward, s.PacketsLost, s.PacketsSpurious, s.Retransmits, r.Flows[0].Server.Dropped, r.QueueMedian)
			if want := base * (1 - c.loss) * .9; got < want {
				t.Errorf("%.1f Mbit/s, want %.1f", got, want)
			}
			if c.set != nil && cfg.Forward.Corrupt > 0 && r.Flows[0].Server.Dropped[arq.DropChecksum] == 0 {
				t.Error("no corrupted packet was noticed")
			}
		})
	}
}

// TestInvariants checks every connection at every step, with everything
// going wrong at once and many connections.
func TestInvariants(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		cfg := sim.Config{Seed: seed, Check: true}
		l := netem.Config{Rate: 10e6, Delay: 10 * time.Millisecond, Loss: units.Probability(float64(seed%5) * .08), Queue: 30e3,
			Jitter: time.Duration(seed%3) * 4 * time.Millisecond, Reorder: .03, Duplicate: .03, Corrupt: .02, Overhead: 28}
		cfg.Forward, cfg.Reverse = l, l
		for i := range 6 {
			cfg.Flows = append(cfg.Flows, sim.Flow{Bytes: 1 + int64(i)*60000, Start: time.Duration(i) * 20 * time.Millisecond,
				Client: arq.Config{Congestion: arq.Congestion(i % 2), SendBuffer: 70000 * (1 + i%3), HandshakeTimeout: time.Minute},
				Server: arq.Config{RecvBuffer: 64 << 10}})
		}
		r, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range r.Flows {
			if f.Err != nil || f.Delivered != cfg.Flows[i].Bytes {
				t.Errorf("seed %d flow %d: %d of %d bytes, %v", seed, i, f.Delivered, cfg.Flows[i].Bytes, f.Err)
			}
		}
	}
}

// TestSilence: a peer that is gone is noticed, in the handshake and later.
func TestSilence(t *testing.T) {
	cfg := link(10, 20*time.Millisecond, 1, 1)
	cfg.Flows = []sim.Flow{{Bytes: 1000}}
	r, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Flows[0]; !errors.Is(f.Err, arq.ErrHandshakeTimeout) || f.Done > 15*time.Second {
		t.Fatalf("%v after %v", f.Err, f.Done)
	}

	cfg = link(10, 20*time.Millisecond, 0, 1)
	for n := uint64(300); n < 20000; n++ {
		cfg.Forward.Drop = append(cfg.Forward.Drop, n)
	}
	cfg.Flows = []sim.Flow{{Bytes: 10e6}}
	r, err = sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if f := r.Flows[0]; !errors.Is(f.Err, arq.ErrIdleTimeout) || f.Done > 15*time.Second {
		t.Fatalf("%v after %v", f.Err, f.Done)
	}
}

// TestPathMTU: the size is found quickly, and given up when the path
// shrinks.
func TestPathMTU(t *testing.T) {
	for _, c := range []struct{ iface, path, min int }{
		{1472, 0, 1472}, {8972, 0, 8972}, {65507, 0, 65507}, {8972, 1472, 1472}, {8972, 4000, 3900}, {1472, 1300, 1270}, {1472, 1200, 1200},
	} {
		t.Run(fmt.Sprintf("%d-%d", c.iface, c.path), func(t *testing.T) {
			cfg := link(100, 20*time.Millisecond, .005, 4)
			cfg.Forward.MTU, cfg.Reverse.MTU = c.path, c.path
			mtu := 0
			var when time.Duration
			cfg.Flows = []sim.Flow{{Bytes: 20e6, Client: arq.Config{MaxDatagram: c.iface, Trace: &arq.Trace{
				MTU: func(now time.Duration, n int) { mtu, when = n, now }}}}}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := r.Flows[0].Client.Datagram
			t.Logf("%d after %v, %.1f Mbit/s", mtu, when, r.Flows[0].Goodput*8/1e6)
			if got < c.min || c.path > 0 && got > c.path {
				t.Errorf("size %d, want at least %d", got, c.min)
			}
		})
	}
}

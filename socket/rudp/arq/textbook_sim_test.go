package arq_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/units"
)

// frameTime is what a frame takes on the line in the tests of the formulas.
const frameTime = time.Millisecond

// utilisation runs a textbook protocol for a number of frame times, so that
// the assumptions of the formulas hold (see sim's theory.go):
//
//   - All frames have 1200 bytes, and there is always one to send.
//   - A frame takes frameTime on the line. That is done by the pacer, and the
//     link adds it to the propagation delay, so that whoever goes back can
//     leave off in the midst of a frame, which on a real link it cannot.
//   - ACKs take no time and are not lost: the way back has neither rate nor
//     loss. The timeout is the round trip.
//   - pace is how much of the line the sender uses. For go-back-N the formula
//     spreads a window that does not fill the round trip evenly over it. If it
//     leaves in one burst instead, a loss at its end costs less than one at
//     its start, and the protocol does better than the formula.
func utilisation(t *testing.T, proto arq.ARQ, a, p float64, w, times int, pace float64) float64 {
	t.Helper()
	const size = arq.MinDatagram
	tau := time.Duration(a * float64(frameTime))
	cfg := sim.Config{Seed: 11, From: time.Second}
	cfg.Until = cfg.From + time.Duration(times)*frameTime
	cfg.Forward.Delay, cfg.Forward.Loss = frameTime+tau, units.Probability(p)
	cfg.Reverse.Delay = tau
	cfg.Flows = []sim.Flow{{Client: arq.Config{ARQ: proto, Window: w, RTO: frameTime + 2*tau, Rate: pace * size / frameTime.Seconds()}}}
	r, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Flows[0]
	if f.Err != nil {
		t.Fatal(f.Err)
	}
	if f.Server.ARQ != proto {
		t.Fatalf("the server runs %v", f.Server.ARQ)
	}
	return f.Share / float64(arq.FramePayload(size)) * frameTime.Seconds()
}

// TestClosedForm holds the textbook protocols to the textbooks' utilisation,
// within 3%.
func TestClosedForm(t *testing.T) {
	check := func(proto arq.ARQ, a, p float64, w int, pace, want, cost float64) {
		t.Helper()
		// As many frames as bring the standard deviation of the mean to
		// 0.8%: a loss costs cost frame times, and the number of losses of
		// a frame is geometric.
		sd := cost * math.Sqrt(p) / (1 - p) * want
		frames := max(2000, 100*float64(w), sd*sd/(.008*.008))
		got := utilisation(t, proto, a, p, w, int(frames/want), pace)
		err := got/want - 1
		t.Logf("%-16v a=%-4v p=%-4v W=%-3d %6.0f frames: %.4f, theory %.4f, %+.2f%%", proto, a, p, w, frames, got, want, 100*err)
		if math.Abs(err) > .03 {
			t.Errorf("%v, a=%v, p=%v, W=%d: utilisation %.4f, theory %.4f", proto, a, p, w, got, want)
		}
	}
	for _, a := range []float64{.1, .5, 1, 2.3, 5, 10} {
		trip := 1 + 2*a
		for _, p := range []float64{0, .01, .05, .1} {
			check(arq.StopAndWait, a, p, 1, 1, sim.StopAndWaitUtilisation(a, p), trip)
			for _, w := range []int{2, 7, 32} {
				check(arq.GoBackN, a, p, w, min(1, float64(w)/trip), sim.GoBackNUtilisation(a, p, w), trip)
			}
			check(arq.SelectiveRepeat, a, p, 1, 1, sim.SelectiveRepeatUtilisation(a, p, 1), trip)
			if p > 0 {
				// Wide enough not to stand still behind a loss.
				w := 8 * int(math.Ceil(trip))
				check(arq.SelectiveRepeat, a, p, w, 1, sim.SelectiveRepeatUtilisation(a, p, w), 1)
				continue
			}
			for _, w := range []int{2, 7, 32} {
				check(arq.SelectiveRepeat, a, p, w, 1, sim.SelectiveRepeatUtilisation(a, p, w), trip)
			}
		}
	}
}

// TestSelectiveRepeatStalls: where losses hold the window of selective repeat
// up, there is no closed form. A model of a few lines, which knows nothing but
// the rules, takes its place; the formula is a bound.
func TestSelectiveRepeatStalls(t *testing.T) {
	for _, c := range []struct {
		a    int // whole, so that the model can count in frame times
		p    float64
		w    int
		less float64 // of the formula, at most
	}{
		{1, .1, 2, .95}, {1, .1, 3, .95}, {2, .05, 5, .95}, {5, .05, 7, .9}, {5, .1, 11, .7}, {10, .1, 10, .75}, {10, .1, 21, .7}, {10, .01, 30, 1.01},
	} {
		trip := 2*c.a + 1
		const frames = 30000
		rng := rand.New(rand.NewPCG(1, uint64(c.w)))
		acked := make([]bool, frames+c.w)
		type event struct{ at, frame int }
		var line []event // frames on their way, by when their fate is known
		una, nxt, now := 0, 0, 0
		for ; una < frames; now++ {
			resend := -1
			if len(line) > 0 && line[0].at == now {
				f := line[0].frame
				line = line[1:]
				if rng.Float64() < c.p {
					resend = f
				} else {
					acked[f] = true
				}
			}
			for una < frames && acked[una] {
				una++
			}
			if resend < 0 && nxt < una+c.w && nxt < frames {
				resend = nxt
				nxt++
			}
			if resend >= 0 {
				line = append(line, event{now + trip, resend})
			}
		}
		want := frames / float64(now)
		got := utilisation(t, arq.SelectiveRepeat, float64(c.a), c.p, c.w, now, 1)
		bound := sim.SelectiveRepeatUtilisation(float64(c.a), c.p, c.w)
		t.Logf("a=%d p=%v W=%d: %.4f, model %.4f, formula %.4f", c.a, c.p, c.w, got, want, bound)
		if math.Abs(got/want-1) > .03 || got > bound*c.less {
			t.Errorf("a=%d, p=%v, W=%d: utilisation %.4f, model %.4f, formula %.4f", c.a, c.p, c.w, got, want, bound)
		}
	}
}

// TestTextbookInvariants checks every step of the textbook protocols and of
// datagrams with everything going wrong at once: what arrives is what was sent,
// everything moves on, and ends.
func TestTextbookInvariants(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		for _, proto := range []arq.ARQ{arq.StopAndWait, arq.GoBackN, arq.SelectiveRepeat, arq.NoARQ} {
			cfg := sim.Config{Seed: seed, Check: true}
			l := netem.Config{Rate: 10e6, Delay: 4 * time.Millisecond, Loss: units.Probability(float64(seed%4) * .08), Queue: 30e3,
				Jitter: time.Duration(seed%3) * 2 * time.Millisecond, Reorder: .03, Duplicate: .03, Corrupt: .02, Overhead: 28}
			cfg.Forward, cfg.Reverse = l, l
			for i := range 4 {
				rto := time.Duration(i%2) * 15 * time.Millisecond // by RFC 6298, or less than the round trip can be
				f := sim.Flow{Bytes: 1 + int64(i)*30000, Start: time.Duration(i) * 20 * time.Millisecond,
					Client: arq.Config{ARQ: proto, Window: 1 << (2 * i), RTO: rto, SendBuffer: 70000, HandshakeTimeout: time.Minute},
					Server: arq.Config{RecvBuffer: 64 << 10}}
				if proto == arq.NoARQ {
					f.Server.ARQ = proto
				}
				cfg.Flows = append(cfg.Flows, f)
			}
			r, err := sim.Run(cfg)
			if err != nil {
				t.Fatalf("%v: %v", proto, err)
			}
			for i, f := range r.Flows {
				sent := cfg.Flows[i].Bytes
				if proto == arq.NoARQ {
					if d := f.Datagrams; f.Err != nil || d.Sent != uint64((sent+1156)/1157) || d.Lost+d.Received != d.Sent || f.Delivered > sent {
						t.Errorf("seed %d flow %d: %d of %d bytes, %v, %+v", seed, i, f.Delivered, sent, f.Err, d)
					}
					continue
				}
				if f.Err != nil || f.Delivered != sent {
					t.Errorf("seed %d %v flow %d: %d of %d bytes, %v", seed, proto, i, f.Delivered, sent, f.Err)
				}
			}
		}
	}
}

// TestDatagramLoss: which datagrams are lost depends on their numbers alone, not
// on what else was sent or when.
func TestDatagramLoss(t *testing.T) {
	run := func(rate float64, delay time.Duration) arq.DatagramReport {
		cfg := sim.Config{Seed: 7}
		cfg.Forward = netem.Config{Loss: .1, Delay: delay, Index: arq.DatagramNumber, Header: 8}
		cfg.Reverse = netem.Config{Delay: delay, Loss: .2}
		conf := arq.Config{ARQ: arq.NoARQ, DatagramRate: rate}
		cfg.Flows = []sim.Flow{{Bytes: 10e6, Client: conf, Server: conf}}
		r, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return r.Flows[0].Datagrams
	}
	a, b := run(2e6, time.Millisecond), run(3e7, 80*time.Millisecond)
	t.Logf("%+v", a)
	if a.Lost != b.Lost || a.Bursts != b.Bursts || a.LossRatio() < .08 || a.LossRatio() > .12 || a.Reordered != 0 || a.Jitter > time.Microsecond || a.DelayMax-a.DelayMin > time.Microsecond {
		t.Errorf("%+v\n%+v", a, b)
	}
}

package netem

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/units"
)

const ms = time.Millisecond

func mustNew(t testing.TB, cfg Config) *Link {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type got struct {
	at time.Duration
	n  uint32
	b  []byte
}

// run pushes count packets of size bytes, one every gap, each carrying its
// number, and returns what arrives and when.
func run(t testing.TB, l *Link, count, size int, gap time.Duration) []got {
	t.Helper()
	var out []got
	buf := make([]byte, MaxPacket)
	drain := func(until time.Duration) {
		for {
			at, ok := l.Next()
			if !ok || at > until {
				return
			}
			n, ok := l.Pop(at, buf)
			if !ok {
				t.Fatalf("Next says %v, Pop has nothing", at)
			}
			b := bytes.Clone(buf[:n])
			out = append(out, got{at, binary.BigEndian.Uint32(b), b})
		}
	}
	for i := range count {
		now := time.Duration(i) * gap
		drain(now)
		p := make([]byte, max(4, size))
		binary.BigEndian.PutUint32(p, uint32(i+1))
		l.Push(now, p)
	}
	drain(math.MaxInt64)
	if l.Len() != 0 || l.held != 0 {
		t.Errorf("after everything has arrived %d packets and %d bytes are held", l.Len(), l.held)
	}
	return out
}

func TestPerfectWire(t *testing.T) {
	out := run(t, mustNew(t, Config{}), 1000, 100, ms)
	if len(out) != 1000 {
		t.Fatalf("%d of 1000 arrived", len(out))
	}
	for i, g := range out {
		if g.n != uint32(i+1) || g.at != time.Duration(i)*ms || len(g.b) != 100 {
			t.Fatalf("packet %d: number %d, %d bytes, at %v", i+1, g.n, len(g.b), g.at)
		}
	}
}

func TestLossRatios(t *testing.T) {
	const n = 200000
	for _, tc := range []struct {
		name string
		cfg  Config
		want float64
	}{
		{"none", Config{}, 0},
		{"Bernoulli 1%", Config{Loss: .01}, .01},
		{"Bernoulli 20%", Config{Loss: .2}, .2},
		{"everything", Config{Loss: 1}, 1},
		{"Gilbert–Elliott", Config{Gilbert: &GilbertElliott{P: .01, R: .25, LossBad: 1}}, .01 / .26},
		{"Gilbert–Elliott, soft", Config{Gilbert: &GilbertElliott{P: .05, R: .2, LossBad: .5, LossGood: .01}}, (.05*.5 + .2*.01) / .25},
		{"p alone is Bernoulli", Config{Gilbert: &GilbertElliott{P: .1, R: .9, LossBad: 1}}, .1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.cfg.Seed = 7
			l := mustNew(t, tc.cfg)
			out := run(t, l, n, 4, time.Microsecond)
			ratio := 1 - float64(len(out))/n
			// Four sigma of a Bernoulli count, widened threefold for bursts.
			tolerance := 12 * math.Sqrt(tc.want*(1-tc.want)/n)
			if math.Abs(ratio-tc.want) > tolerance {
				t.Errorf("lost %.4f, want %.4f ± %.4f", ratio, tc.want, tolerance)
			}
			if s := l.Stats(); s.Lost+s.Delivered != n || s.Lost != uint64(n-len(out)) {
				t.Errorf("stats do not add up: %+v", s)
			}
			if g := tc.cfg.Gilbert; g != nil && math.Abs(float64(g.Mean())-tc.want) > 1e-12 {
				t.Errorf("Mean() = %v, want %v", g.Mean(), tc.want)
			}
		})
	}
}

// The bursts of a Gilbert–Elliott link that loses everything when bad are
// geometric with mean 1/R.
func TestGilbertBursts(t *testing.T) {
	l := mustNew(t, Config{Seed: 3, Gilbert: &GilbertElliott{P: .01, R: .25, LossBad: 1}})
	out := run(t, l, 200000, 4, time.Microsecond)
	var bursts, lost uint32
	last := uint32(0)
	for _, g := range out {
		if d := g.n - last - 1; d > 0 {
			bursts++
			lost += d
		}
		last = g.n
	}
	if mean := float64(lost) / float64(bursts); math.Abs(mean-4) > .3 {
		t.Errorf("mean burst %.2f packets, want 4", mean)
	}
}

func TestDropList(t *testing.T) {
	out := run(t, mustNew(t, Config{Drop: []uint64{5, 1, 3, 3}}), 6, 10, ms)
	var nums []uint32
	for _, g := range out {
		nums = append(nums, g.n)
	}
	if !slices.Equal(nums, []uint32{2, 4, 6}) {
		t.Errorf("arrived %v, want 2 4 6", nums)
	}
}

// The fate of a packet depends on its number and the seed alone: not on
// timing, the queue, or which other impairments there are.
func TestFateIsIndependent(t *testing.T) {
	fates := func(cfg Config, gap time.Duration) map[uint64]bool {
		lost := map[uint64]bool{}
		cfg.Trace = &Trace{Packet: func(d Decision) {
			if d.Fate == Lost {
				lost[d.Index] = true
			}
		}}
		run(t, mustNew(t, cfg), 5000, 200, gap)
		return lost
	}
	base := Config{Seed: 42, Loss: .05, Gilbert: &GilbertElliott{P: .01, R: .3, LossBad: 1}}
	want := fates(base, ms)
	if len(want) < 100 {
		t.Fatalf("only %d lost", len(want))
	}
	other := base
	other.Jitter, other.Delay, other.Duplicate, other.Reorder, other.Corrupt = 3*ms, 10*ms, .1, .1, .1
	if got := fates(other, 17*time.Microsecond); !equalSets(got, want) {
		t.Error("timing or other impairments changed what was lost")
	}
	// With a queue that drops, what gets past it is lost as before.
	narrow := base
	narrow.Rate, narrow.Queue = units.Mbit, 5000
	for i := range fates(narrow, ms) {
		if !want[i] {
			t.Errorf("packet %d was lost only behind a narrow queue", i)
		}
	}
	for _, change := range []func(*Config){func(c *Config) { c.Seed++ }, func(c *Config) { c.Direction++ }} {
		c := base
		change(&c)
		if equalSets(fates(c, ms), want) {
			t.Error("another seed or direction loses the same packets")
		}
	}
}

func equalSets(a, b map[uint64]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

func TestRepeats(t *testing.T) {
	hash := func() uint64 {
		l := mustNew(t, Config{Seed: 9, Loss: .02, Delay: 20 * ms, Jitter: 5 * ms, Distribution: Normal, Reorder: .01, Duplicate: .01, Corrupt: .01, Rate: 10 * units.Mbit})
		h := fnv.New64a()
		for _, g := range run(t, l, 3000, 1200, ms) {
			binary.Write(h, binary.BigEndian, int64(g.at))
			h.Write(g.b)
		}
		return h.Sum64()
	}
	// The constant holds every platform and every later version to the same
	// draws: results in the field name a seed.
	const want = 0xfb3740df2ed925fa
	if a, b := hash(), hash(); a != b {
		t.Errorf("two runs differ: %#x, %#x", a, b)
	} else if a != want {
		t.Errorf("trace hash %#x, want %#x", a, uint64(want))
	}
}

func TestRate(t *testing.T) {
	for _, rate := range []units.Rate{units.Mbit, 100 * units.Mbit, units.Gbit, 10 * units.Gbit} {
		l := mustNew(t, Config{Rate: rate, Queue: 1 << 30, Limit: 1 << 30, Overhead: 28})
		const n, size = 5000, 1472
		out := run(t, l, n, size, 0)
		if len(out) != n {
			t.Fatalf("%v: %d of %d arrived", rate, len(out), n)
		}
		want := float64(n) * (size + 28) * 8 / float64(rate)
		if got := out[n-1].at.Seconds(); math.Abs(got/want-1) > 1e-6 {
			t.Errorf("%v: the last packet arrives after %.9f s, want %.9f", rate, got, want)
		}
	}
}

func TestTailDrop(t *testing.T) {
	// Room for ten packets; a burst of a hundred at once: ten get through.
	l := mustNew(t, Config{Rate: 8 * units.Mbit, Queue: 10000})
	out := run(t, l, 100, 1000, 0)
	if s := l.Stats(); len(out) != 10 || s.TailDrops != 90 || s.MaxQueue != 10000 {
		t.Errorf("%d arrived, %+v; want 10, 90 tail drops and a queue of 10000", len(out), s)
	}
	for i, g := range out {
		if want := time.Duration(i+1) * ms; g.at != want {
			t.Errorf("packet %d at %v, want %v", g.n, g.at, want)
		}
	}
	if l.Queued(time.Hour) != 0 {
		t.Error("the queue does not drain")
	}
	if l.Push(time.Hour, make([]byte, 20000)) {
		t.Error("a packet longer than the queue was taken")
	}
}

func TestDelayAndJitter(t *testing.T) {
	for _, dist := range []Distribution{Uniform, Normal} {
		l := mustNew(t, Config{Seed: 1, Delay: 50 * ms, Jitter: 10 * ms, Distribution: dist})
		const n = 50000
		var sum, sq float64
		lo, hi := math.Inf(1), math.Inf(-1)
		overtakes, last := 0, uint32(0)
		for _, g := range run(t, l, n, 4, ms) {
			d := (g.at - time.Duration(g.n-1)*ms).Seconds() * 1000
			sum += d
			sq += d * d
			lo, hi = min(lo, d), max(hi, d)
			if g.n < last {
				overtakes++
			}
			last = g.n
		}
		mean := sum / n
		sd := math.Sqrt(sq/n - mean*mean)
		want := 10 / math.Sqrt(3)
		if dist == Normal {
			want = 10
		}
		if math.Abs(mean-50) > .2 || math.Abs(sd-want) > .1 {
			t.Errorf("%v: mean %.2f ms, deviation %.2f ms; want 50 and %.2f", dist, mean, sd, want)
		}
		if dist == Uniform && (lo < 40 || hi > 60) {
			t.Errorf("uniform: %v to %v ms, want 40 to 60", lo, hi)
		}
		if overtakes == 0 {
			t.Errorf("%v: jitter never reorders", dist)
		}
	}
}

func TestKeepOrder(t *testing.T) {
	l := mustNew(t, Config{Seed: 1, Delay: 5 * ms, Jitter: 20 * ms, Distribution: Normal, KeepOrder: true})
	var last got
	for _, g := range run(t, l, 10000, 4, ms) {
		if g.n < last.n || g.at < last.at {
			t.Fatalf("packet %d (%v) came after %d (%v)", g.n, g.at, last.n, last.at)
		}
		last = g
	}
}

func TestReorder(t *testing.T) {
	for name, cfg := range map[string]Config{
		"skips the delay": {Seed: 1, Reorder: .01, Delay: 20 * ms},
		"is held back":    {Seed: 1, Reorder: .01, HoldBack: 5 * ms},
	} {
		l := mustNew(t, cfg)
		late, last := 0, uint32(0)
		out := run(t, l, 20000, 4, ms/4)
		for _, g := range out {
			if g.n < last {
				late++
			}
			last = max(last, g.n)
		}
		if s := l.Stats(); len(out) != 20000 || s.Reordered < 150 || s.Reordered > 250 || late < int(s.Reordered)/2 {
			t.Errorf("%s: %d arrived, %d late, %+v", name, len(out), late, s)
		}
	}
}

func TestDuplicateAndCorrupt(t *testing.T) {
	flips := map[uint64]int{}
	l := mustNew(t, Config{Seed: 1, Duplicate: .05, Corrupt: .05, Header: 4, Trace: &Trace{Packet: func(d Decision) {
		if d.Corrupted {
			flips[d.Index] = d.FlippedBit
		}
	}}})
	seen := map[uint32]int{}
	for _, g := range run(t, l, 20000, 64, ms) {
		seen[g.n]++
		bit := -1
		for i, b := range g.b[4:] {
			for k := range 8 {
				if b>>k&1 == 1 {
					if bit >= 0 {
						t.Fatal("two bits flipped")
					}
					bit = i*8 + k
				}
			}
		}
		want, flipped := flips[uint64(g.n)]
		if !flipped {
			want = -1
		}
		if bit != want {
			t.Fatalf("packet %d: bit %d flipped, the trace says %d", g.n, bit, want)
		}
	}
	twice := 0
	for _, n := range seen {
		if n == 2 {
			twice++
		}
	}
	s := l.Stats()
	if len(seen) != 20000 || twice != int(s.Duplicated) || twice < 850 || twice > 1150 || s.Corrupted < 850 || s.Corrupted > 1150 || len(flips) != int(s.Corrupted) {
		t.Errorf("%d seen, %d twice, %+v", len(seen), twice, s)
	}
	if s.Bytes != 20000*60 {
		t.Errorf("%d bytes counted, want them without the header", s.Bytes)
	}
}

func TestMTUAndLimit(t *testing.T) {
	l := mustNew(t, Config{MTU: 1400})
	if !l.Push(0, make([]byte, 1401)) || !l.Push(0, make([]byte, 1400)) || l.Len() != 1 || l.Stats().TooBig != 1 {
		t.Errorf("MTU: %d held, %+v", l.Len(), l.Stats())
	}
	l = mustNew(t, Config{Delay: time.Second, Limit: 1 << 20})
	for range 10000 {
		l.Push(0, make([]byte, 1500))
	}
	if s := l.Stats(); l.held > 1<<20 || s.Overflows == 0 || uint64(l.Len())+s.Overflows != 10000 {
		t.Errorf("limit: %d bytes held, %+v", l.held, s)
	}
	if l.Push(0, make([]byte, MaxPacket+1)); l.Stats().TooBig != 1 {
		t.Error("a packet that cannot exist was taken")
	}
}

func TestIndex(t *testing.T) {
	// Even packets carry numbers, odd ones are control traffic in between.
	numbered := func(control int) []uint64 {
		var lost []uint64
		l := mustNew(t, Config{Seed: 5, Loss: .1,
			Index: func(p []byte) (uint64, bool) { return binary.BigEndian.Uint64(p), p[8] == 0 },
			Trace: &Trace{Packet: func(d Decision) {
				if d.Fate == Lost && d.Index < 1<<63 {
					lost = append(lost, d.Index)
				}
			}}})
		var p [9]byte
		for i := range 1000 {
			binary.BigEndian.PutUint64(p[:], uint64(i))
			p[8] = 0
			l.Push(0, p[:])
			p[8] = 1
			for range control {
				l.Push(0, p[:])
			}
		}
		return lost
	}
	if a, b := numbered(0), numbered(3); len(a) < 50 || !slices.Equal(a, b) {
		t.Errorf("control packets change the fate of numbered ones: %v, %v", a, b)
	}
}

func TestSchedule(t *testing.T) {
	s, err := ParseSchedule(strings.NewReader("# a trace\n0\n10\n10\n\n30\n"))
	if err != nil {
		t.Fatal(err)
	}
	push := func(l *Link, now time.Duration, size int) time.Duration {
		var at time.Duration
		l.cfg.Trace = &Trace{Packet: func(d Decision) { at = d.Departs }}
		l.Push(now, make([]byte, size))
		return at
	}
	l := mustNew(t, Config{Schedule: s, Queue: 1 << 20})
	for i, tc := range []struct {
		now  time.Duration
		size int
		want time.Duration
	}{
		{0, 1504, 0},                                // takes the first moment whole
		{0, 752, 10 * ms},                           // shares the second
		{0, 752, 10 * ms},                           //
		{5 * ms, 1505, 30 * ms},                     // takes the third and a byte of the fourth
		{40 * ms, 100, 40 * ms},                     // second round: 30+10
		{41 * ms, 100, 60 * ms},                     // 30+30
		{600 * ms, 10, 600 * ms},                    // many rounds of silence: the end of one
		{3601 * time.Second, 1, 3601 * time.Second}, // 10 ms into round 120033, which is a moment
	} {
		if got := push(l, tc.now, tc.size); got != tc.want {
			t.Errorf("step %d: %d bytes at %v leave at %v, want %v", i, tc.size, tc.now, got, tc.want)
		}
	}
	for _, bad := range []string{"", "0\n", "5\n4\n", "x\n", "-1\n", "1.5\n", "99999999999\n"} {
		if _, err := ParseSchedule(strings.NewReader(bad)); err == nil {
			t.Errorf("trace %q was taken", bad)
		}
	}
	// 12 Mbit/s, as mahimahi's documentation has it: one line a millisecond.
	s, _ = ParseSchedule(strings.NewReader("1\n"))
	out := run(t, mustNew(t, Config{Schedule: s, Queue: 1 << 24}), 1000, 1504, 0)
	if len(out) != 1000 || out[999].at != 1000*ms {
		t.Errorf("%d packets, the last at %v", len(out), out[len(out)-1].at)
	}
}

func TestValidate(t *testing.T) {
	sched := &Schedule{at: []time.Duration{ms}, period: ms}
	for want, cfg := range map[string]Config{
		"loss": {Loss: 1.5}, "reorder": {Reorder: -1}, "duplicate": {Duplicate: units.Probability(math.NaN())}, "corrupt": {Corrupt: 2},
		"gemodel p": {Gilbert: &GilbertElliott{P: 3}}, "delay": {Delay: -1}, "jitter": {Jitter: 2 * time.Hour}, "rate": {Rate: -1},
		"delivery trace": {Rate: 1, Schedule: sched}, "queue": {Queue: 5}, "overhead": {Overhead: -1}, "header": {Header: 1000},
		"mtu": {MTU: -1}, "limit": {Limit: -1}, "distribution": {Distribution: 9}, "hold-back": {HoldBack: -1},
	} {
		if _, err := New(cfg); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want an error about %s", cfg, err, want)
		}
	}
	if (&Config{Seed: 1}).Impairs() || !(&Config{MTU: 1400}).Impairs() {
		t.Error("Impairs is wrong")
	}
}

func TestParseGilbertElliott(t *testing.T) {
	for in, want := range map[string]GilbertElliott{
		"1%": {P: .01, R: .99, LossBad: 1}, "1% 25%": {P: .01, R: .25, LossBad: 1},
		"1%,25%,70%,0.1%": {P: .01, R: .25, LossBad: .7, LossGood: .001},
	} {
		if g, err := ParseGilbertElliott(in); err != nil || *g != want {
			t.Errorf("%q: %+v, %v; want %+v", in, g, err, want)
		}
	}
	for _, in := range []string{"", "1% 2% 3% 4% 5%", "lots"} {
		if _, err := ParseGilbertElliott(in); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}

// FuzzLink drives a link by a schedule of pushes and pops and holds it to its
// books: what went in is delivered, lost, dropped or still there; nothing
// arrives before its time or out of thin air.
func FuzzLink(f *testing.F) {
	f.Add(uint64(1), byte(0), byte(0), []byte{1, 2, 3, 250, 4})
	f.Add(uint64(7), byte(0xff), byte(40), bytes.Repeat([]byte{9, 200, 255, 0}, 50))
	f.Fuzz(func(t *testing.T, seed uint64, flags, mbit byte, script []byte) {
		cfg := Config{Seed: seed, Rate: units.Rate(mbit) * units.Mbit, Limit: 1 << 20}
		for i, on := range []func(){
			func() { cfg.Loss = .1 }, func() { cfg.Jitter = 3 * ms }, func() { cfg.Delay = 2 * ms }, func() { cfg.Reorder = .2 },
			func() { cfg.Duplicate = .2 }, func() { cfg.Corrupt = .2 }, func() { cfg.KeepOrder = true },
			func() { cfg.Gilbert = &GilbertElliott{P: .2, R: .2, LossBad: 1} },
		} {
			if flags>>i&1 == 1 {
				on()
			}
		}
		l, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var now time.Duration
		buf := make([]byte, MaxPacket)
		for _, b := range script {
			now += time.Duration(b%8) * ms / 4
			if b >= 128 {
				for {
					at, any := l.Next()
					n, ok := l.Pop(now, buf)
					if ok != (any && at <= now) {
						t.Fatalf("Next %v %v, now %v, Pop %v", at, any, now, ok)
					}
					if !ok {
						break
					}
					if n > 128*20 {
						t.Fatalf("%d bytes were never pushed", n)
					}
				}
			} else {
				l.Push(now, buf[:int(b)*20])
			}
			s := l.Stats()
			if s.Packets+s.Duplicated != s.Delivered+s.Lost+s.TailDrops+s.Overflows+s.TooBig+uint64(l.Len()) {
				t.Fatalf("the books do not balance: %+v and %d held", s, l.Len())
			}
			if l.held > 1<<20 || l.Queued(now) < 0 || l.Queued(now) > s.MaxQueue {
				t.Fatalf("%d bytes held, %d queued, %+v", l.held, l.Queued(now), s)
			}
		}
	})
}

// FuzzSchedule holds the reader of delivery traces to its bounds, and what it
// accepts to deliver in order.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"1\n", "0\n10\n10\n30\n", "# x\n\n5", "4294967295\n", "2\n1\n"} {
		f.Add(s, uint16(100))
	}
	f.Fuzz(func(t *testing.T, text string, gap uint16) {
		s, err := ParseSchedule(strings.NewReader(text))
		if err != nil {
			return
		}
		c := cursor{Schedule: s}
		var now, last time.Duration
		for range 50 {
			now += time.Duration(gap) * ms / 16
			at := c.send(now, 1000)
			if at < now || at < last {
				t.Fatalf("ready at %v, leaves at %v, the one before at %v", now, at, last)
			}
			last = at
		}
	})
}

func BenchmarkLink(b *testing.B) {
	for name, cfg := range map[string]Config{
		"perfect": {},
		"all":     {Seed: 1, Loss: .01, Gilbert: &GilbertElliott{P: .001, R: .2, LossBad: 1}, Delay: 25 * ms, Jitter: ms, Distribution: Normal, Reorder: .01, Duplicate: .01, Corrupt: .01, Rate: 10 * units.Gbit},
	} {
		b.Run(name, func(b *testing.B) {
			l := mustNew(b, cfg)
			pkt, buf := make([]byte, 1400), make([]byte, 2048)
			b.SetBytes(int64(len(pkt)))
			b.ReportAllocs()
			for i := range b.N {
				now := time.Duration(i) * 1200
				l.Push(now, pkt)
				for {
					if _, ok := l.Pop(now, buf); !ok {
						break
					}
				}
			}
		})
	}
}

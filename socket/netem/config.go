package netem

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wherry-net/wherry/socket/units"
)

// ErrConfig is what the errors of [Config.Validate] wrap.
var ErrConfig = errors.New("impossible impairment")

// MaxPacket is the largest packet that a Link carries, in bytes. It is above
// the largest IP datagram, so that nothing real is ever refused.
const MaxPacket = 1 << 16

// Defaults of the fields of Config that are zero.
const (
	DefaultLimit    = 64 << 20         // Config.Limit, bytes
	DefaultHoldBack = time.Millisecond // Config.HoldBack
	// DefaultQueueTime sizes the queue of a link that has a rate and no
	// Config.Queue: what the rate carries in this time, but at least
	// DefaultQueueMin bytes. 50 ms is the bandwidth-delay product of a path
	// across a continent, the textbook size for a router's buffer.
	DefaultQueueTime = 50 * time.Millisecond
	DefaultQueueMin  = 16 << 10
)

// Jitter distributions.
type Distribution uint8

const (
	Uniform Distribution = iota // evenly within ±Jitter
	Normal                      // bell-shaped, Jitter is the standard deviation
)

func (d Distribution) String() string {
	if d == Normal {
		return "normal"
	}
	return "uniform"
}

// Config says what a Link does to packets. The zero value does nothing.
type Config struct {
	// Seed makes the draws. Links with equal seeds and directions lose the
	// same packets.
	Seed uint64
	// Direction tells the two ways of a duplex link apart, which share a seed.
	Direction uint64

	// Loss is the share of packets that are lost, each by itself (Bernoulli).
	Loss units.Probability
	// Gilbert loses packets in bursts.
	Gilbert *GilbertElliott
	// Drop lists packets to lose by number; the first packet is number 1.
	Drop []uint64

	// Delay is the one-way propagation time.
	Delay time.Duration
	// Jitter varies Delay, by Distribution.
	Jitter       time.Duration
	Distribution Distribution
	// KeepOrder holds a packet that jitter would let overtake another until
	// that one has arrived. Reorder reorders nevertheless.
	KeepOrder bool

	// Reorder is the share of packets that arrive out of turn: they skip the
	// delay, or are held back by HoldBack (default DefaultHoldBack) where
	// there is no delay to skip.
	Reorder  units.Probability
	HoldBack time.Duration
	// Duplicate is the share of packets that arrive twice.
	Duplicate units.Probability
	// Corrupt is the share of packets in which one bit is flipped.
	Corrupt units.Probability

	// Rate is the bottleneck's; zero has no bottleneck.
	Rate units.Rate
	// Schedule replaces Rate by a recorded one. Setting both is an error.
	Schedule *Schedule
	// Queue is the room before the bottleneck in bytes, for everything that
	// has not left it. Zero means DefaultQueueTime's worth. A queue too small
	// for a packet loses it even when it is empty.
	Queue units.Size
	// Overhead is what lower layers add to each packet on the wire, in bytes:
	// 28 for UDP over IPv4, 48 for UDP over IPv6. It counts for Rate, Schedule
	// and Queue.
	Overhead int
	// MTU drops packets longer than this many bytes, without Overhead,
	// silently: a black hole for path MTU discovery. Zero means no limit.
	MTU int

	// Limit bounds the packet memory of the Link in bytes (default
	// DefaultLimit); what comes beyond is lost and counted in
	// [Stats.Overflows]. It has to hold the bandwidth-delay product.
	Limit int

	// Header is a number of bytes at the front of every packet that are the
	// caller's own, such as an address: they travel with the packet but count
	// nowhere and are never corrupted.
	Header int

	// Index, when not nil, numbers the packets in place of counting them, for
	// example by a sequence number that they carry: then what else shares the
	// link does not change their fate. It returns false for packets that it
	// leaves to be counted, in a space of numbers of their own. It gets the
	// packet without Header and must not keep it.
	Index func(pkt []byte) (uint64, bool)

	// Trace hears of every decision; nil is silent.
	Trace *Trace
}

// GilbertElliott is the two-state loss model of tc-netem(8)'s gemodel. The
// zero value of a field is literally zero; [ParseGilbertElliott] knows tc's
// defaults. The mean loss is (P·LossBad + R·LossGood)/(P + R) and bursts have a
// mean length of 1/R packets.
type GilbertElliott struct {
	P        units.Probability // from good to bad, each packet
	R        units.Probability // from bad to good, each packet
	LossBad  units.Probability // 1−h: loss in the bad state
	LossGood units.Probability // 1−k: loss in the good state
}

// Mean is the share of packets that the model loses in the long run.
func (g GilbertElliott) Mean() units.Probability {
	if g.P+g.R == 0 {
		return g.LossGood
	}
	return (g.P*g.LossBad + g.R*g.LossGood) / (g.P + g.R)
}

// Impairs reports whether a link with this Config does anything at all to
// packets: where it does not, the caller can leave the Link out.
func (c *Config) Impairs() bool {
	return c.Loss > 0 || c.Gilbert != nil || len(c.Drop) > 0 || c.Delay > 0 || c.Jitter > 0 ||
		c.Reorder > 0 || c.Duplicate > 0 || c.Corrupt > 0 || c.Rate > 0 || c.Schedule != nil || c.MTU > 0
}

// Validate reports the first field that no link can have. Errors wrap
// [ErrConfig] and name the field as flags and plans do.
func (c *Config) Validate() error {
	bad := func(name string, v any, why string) error {
		return fmt.Errorf("%s %v: %w: %s", name, v, ErrConfig, why)
	}
	type share struct {
		name string
		p    units.Probability
	}
	shares := []share{{"loss", c.Loss}, {"reorder", c.Reorder}, {"duplicate", c.Duplicate}, {"corrupt", c.Corrupt}}
	if g := c.Gilbert; g != nil {
		shares = append(shares, share{"gemodel p", g.P}, share{"gemodel r", g.R}, share{"gemodel 1-h", g.LossBad}, share{"gemodel 1-k", g.LossGood})
	}
	for _, s := range shares {
		if !(s.p >= 0 && s.p <= 1) { // also refuses NaN
			return bad(s.name, s.p, "want 0% to 100%")
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{{"delay", c.Delay}, {"jitter", c.Jitter}, {"hold-back", c.HoldBack}} {
		// An hour is far above any wire and far below where sums overflow.
		if d.d < 0 || d.d > time.Hour {
			return bad(d.name, d.d, "want 0 to 1h")
		}
	}
	switch {
	case c.Rate < 0 || c.Rate > 10000*units.Gbit:
		return bad("rate", c.Rate, "want at most 10Tbit")
	case c.Rate > 0 && c.Schedule != nil:
		return bad("rate", c.Rate, "a delivery trace is given as well")
	case c.Queue < 0:
		return bad("queue", int64(c.Queue), "negative")
	case c.Queue > 0 && c.Rate == 0 && c.Schedule == nil:
		return bad("queue", c.Queue, "there is no rate for it to wait for")
	case c.Overhead < 0 || c.Overhead > MaxPacket:
		return bad("overhead", c.Overhead, "want 0 to 64KiB")
	case c.MTU < 0:
		return bad("mtu", c.MTU, "negative")
	case c.Limit < 0:
		return bad("limit", c.Limit, "negative")
	case c.Header < 0 || c.Header > 256:
		return bad("header", c.Header, "want 0 to 256")
	case c.Distribution > Normal:
		return bad("jitter distribution", uint8(c.Distribution), "want uniform or normal")
	}
	return nil
}

// queueBytes is the room before the bottleneck.
func (c *Config) queueBytes() int64 {
	if c.Queue > 0 {
		return int64(c.Queue)
	}
	rate := c.Rate.Bytes()
	if c.Schedule != nil {
		rate = c.Schedule.rate().Bytes()
	}
	return max(DefaultQueueMin, int64(rate*DefaultQueueTime.Seconds()))
}

// dropList returns c.Drop sorted, so that Push can search it.
func (c *Config) dropList() []uint64 {
	d := slices.Clone(c.Drop)
	slices.Sort(d)
	return slices.Compact(d)
}

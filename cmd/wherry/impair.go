package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/units"
)

// linkFlags are the impairments of a link that is made for an experiment, in the
// words of 'send'; what is only here needs a link of its own.
func linkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "rate", Usage: "the link's `RATE`, as 20Mbit (default: none)"},
		&cli.StringFlag{Name: "delay", Usage: "deliver `D` later, as 20ms: one way, in each direction"},
		&cli.StringFlag{Name: "jitter", Usage: "vary the delay by `D`"},
		&cli.StringFlag{Name: "distribution", Usage: "draw jitter from `NAME`: uniform or normal", Value: "uniform"},
		&cli.BoolFlag{Name: "keep-order", Usage: "let jitter overtake nothing"},
		&cli.StringFlag{Name: "loss", Usage: "lose this share `P` of the packets, as 1%"},
		&cli.StringFlag{Name: "gemodel", Usage: "lose in bursts by Gilbert and Elliott's `MODEL` 'p [r [1-h [1-k]]]', as tc has it"},
		&cli.StringFlag{Name: "drop", Usage: "lose the packets with these `NUMBERS`, as 3,7,10-12; the first is 1"},
		&cli.StringFlag{Name: "reorder", Usage: "deliver this share `P` out of turn"},
		&cli.StringFlag{Name: "duplicate", Usage: "deliver this share `P` twice"},
		&cli.StringFlag{Name: "corrupt", Usage: "flip a bit in this share `P`"},
		&cli.StringFlag{Name: "queue", Usage: "room before the bottleneck in `BYTES`, as 64KiB (default: 50 ms of the rate)"},
		&cli.StringFlag{Name: "delivery-trace", Usage: "deliver as recorded in `FILE`, in mahimahi's format, in place of a rate"},
		&cli.Uint64Flag{Name: "seed", Usage: "draw from seed `N`; the same seed loses the same packets"},
	}
}

// linkConfig reads the flags above. What it cannot read is wrong usage; what it
// can read and no link can do, such as a rate of nothing, is a failure.
func linkConfig(c *cli.Context) (netem.Config, error) {
	link := netem.Config{Seed: c.Uint64("seed"), KeepOrder: c.Bool("keep-order")}
	err := readImpairments(c, &link,
		impairment{"gemodel", func(s string) (err error) { link.Gilbert, err = netem.ParseGilbertElliott(s); return err }},
		impairment{"drop", func(s string) (err error) { link.Drop, err = packetNumbers(s); return err }},
	)
	if err != nil {
		return link, err
	}
	switch d := c.String("distribution"); d {
	case "uniform":
	case "normal":
		link.Distribution = netem.Normal
	default:
		return link, usagef("--distribution is uniform or normal, not %s", quoteArg(d))
	}
	if s := c.String("rate"); s != "" {
		below := strings.HasPrefix(s, "-")
		rate, err := units.ParseRate(strings.TrimPrefix(s, "-"))
		if err != nil {
			return link, usagef("--rate: %w", err)
		}
		if rate == 0 || below {
			return link, withHint(&impossibleError{"a link at a rate of " + s + " carries nothing"}, "without --rate there is no limit")
		}
		link.Rate = rate
	}
	if name := c.String("delivery-trace"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			return link, pathError("read", name, err)
		}
		link.Schedule, err = netem.ParseSchedule(f)
		f.Close()
		if err != nil {
			return link, usagef("--delivery-trace %s: %w", quoteArg(name), err)
		}
	}
	return link, link.Validate()
}

// An impairment is a flag and what reads it.
type impairment struct {
	flag string
	set  func(string) error
}

// readImpairments reads into link the flags that every command with a bad link has,
// and those that only this one has.
func readImpairments(c *cli.Context, link *netem.Config, more ...impairment) error {
	for _, f := range append([]impairment{
		{"loss", probability(&link.Loss)},
		{"reorder", probability(&link.Reorder)},
		{"duplicate", probability(&link.Duplicate)},
		{"corrupt", probability(&link.Corrupt)},
		{"delay", duration(&link.Delay)},
		{"jitter", duration(&link.Jitter)},
		{"queue", func(s string) (err error) { link.Queue, err = units.ParseSize(s); return err }},
	}, more...) {
		if s := c.String(f.flag); s != "" {
			if err := f.set(s); err != nil {
				return usagef("--%s: %w", f.flag, err)
			}
		}
	}
	return nil
}

func probability(p *units.Probability) func(string) error {
	return func(s string) (err error) { *p, err = units.ParseProbability(s); return err }
}

func duration(d *time.Duration) func(string) error {
	return func(s string) (err error) { *d, err = units.ParseDuration(s); return err }
}

// impossibleError is a quantity that can be read and not be had.
type impossibleError struct{ text string }

func (e *impossibleError) Error() string { return e.text }

// maxDropped bounds what a list of packet numbers may come to.
const maxDropped = 1 << 20

// packetNumbers reads 3,7,10-12.
func packetNumbers(s string) ([]uint64, error) {
	var all []uint64
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 63)
		to, err2 := strconv.ParseUint(last, 10, 63)
		switch {
		case err1 != nil || err2 != nil || from == 0 || to < from:
			return nil, usagef("want packet numbers from 1 on, as 3,7,10-12, not %s", quoteArg(part))
		case to-from >= maxDropped || uint64(len(all))+to-from >= maxDropped:
			return nil, usagef("more than %d packets", maxDropped)
		}
		for ; from <= to; from++ {
			all = append(all, from)
		}
	}
	return all, nil
}

// linkEvent is one direction of a link in JSON. Bytes are those of IP packets for
// a link, of UDP payload for a relay.
type linkEvent struct {
	Packets        uint64 `json:"packets"`
	Bytes          uint64 `json:"bytes"`
	Delivered      uint64 `json:"delivered"`
	DeliveredBytes uint64 `json:"delivered_bytes"`
	Lost           uint64 `json:"lost"`
	TailDrops      uint64 `json:"tail_drops"`
	QueueHighWater int    `json:"queue_high_water"`
	Duplicated     uint64 `json:"duplicated"`
	Reordered      uint64 `json:"reordered"`
	Corrupted      uint64 `json:"corrupted"`
	Overflows      uint64 `json:"overflows"`
}

func linkEventOf(s netem.Stats) linkEvent {
	return linkEvent{
		Packets: s.Packets, Bytes: s.Bytes, Delivered: s.Delivered, DeliveredBytes: s.DeliveredBytes,
		Lost: s.Lost, TailDrops: s.TailDrops, QueueHighWater: s.MaxQueue,
		Duplicated: s.Duplicated, Reordered: s.Reordered, Corrupted: s.Corrupted, Overflows: s.Overflows,
	}
}

// linkText is the same in a line for people: what did not happen is left out, but
// for losses.
func linkText(s netem.Stats) string {
	var b strings.Builder
	b.WriteString(count(int(s.Packets), "packet") + ", " + strconv.FormatUint(s.Lost, 10) + " lost, " + count(int(s.TailDrops), "tail drop"))
	if s.MaxQueue > 0 {
		b.WriteString(", queue up to " + units.Size(s.MaxQueue).String())
	}
	for _, o := range []struct {
		n    uint64
		what string
	}{{s.Duplicated, "duplicated"}, {s.Reordered, "reordered"}, {s.Corrupted, "corrupted"}, {s.Overflows, "beyond its memory"}} {
		if o.n > 0 {
			b.WriteString(", " + strconv.FormatUint(o.n, 10) + " " + o.what)
		}
	}
	return b.String()
}

package datagram

import "math"

// A Comparison finds out whether a path loses segmented trains far more often
// than single datagrams, as some drivers, tunnels and virtual switches do
// without an error. It is a state machine without a clock for whoever knows the
// fate of what was sent; it costs nothing while nothing is lost.
//
//	            loss above 2%                   trains fare far worse
//	watching ------------------> comparing ------------------------> off
//	   ^                            |
//	   +----------------------------+ they do not: the next comparison has to
//	                                  wait twice as long as the last
//
// While comparing, every other train leaves as single datagrams. The zero value
// is ready for use.
type Comparison struct {
	comparing, off bool
	turn           bool // of the trains sent while comparing
	watch          tally
	trains, single tally
	patience       uint64 // packets to watch before the next comparison
	next           uint64 // packets of each kind until the next look
}

// tally counts packets whose fate is known.
type tally struct{ acked, lost uint64 }

func (t tally) total() uint64  { return t.acked + t.lost }
func (t tally) ratio() float64 { return float64(t.lost) / float64(max(1, t.total())) }

const (
	watchFirst   = 500  // packets before the first look
	watchMost    = 1e6  // and at most between two
	suspectRatio = .02  // loss that makes trains suspect
	compareStep  = 1000 // packets of each kind between looks at a comparison
	compareMost  = 8000
	// farWorse is by how much more trains have to be lost, besides being lost
	// three times as often. Congestion hits trains somewhat harder than what
	// is spread out, and is no reason.
	farWorse = .05
	// A train is lost as a whole, so that its packets are one observation:
	// the ratio is uncertain as if there were that much fewer of them.
	trainLength = 45
)

// verdict reports whether trains fare far worse, by a margin of three standard
// errors: early where it is obvious.
func (c *Comparison) verdict() bool {
	p, q := c.trains.ratio(), c.single.ratio()
	margin := 3 * math.Sqrt(p*(1-p)*trainLength/float64(c.trains.total()))
	return p > 3*q && p-q > farWorse+margin
}

// Segment reports whether the next train may be left to the kernel to cut.
func (c *Comparison) Segment() bool {
	if c.off {
		return false
	}
	if !c.comparing {
		return true
	}
	c.turn = !c.turn
	return c.turn
}

// Off reports whether trains were found to fare far worse.
func (c *Comparison) Off() bool { return c.off }

// Comparing reports whether both ways are in use, so that it matters which one
// a packet went.
func (c *Comparison) Comparing() bool { return c.comparing }

// Settled takes in the fate of a packet: whether it was lost, and whether it
// was part of a segmented train. While comparing, the fates of packets that were
// sent before that began must be left out.
func (c *Comparison) Settled(segmented, lost bool) {
	if c.off {
		return
	}
	t := &c.watch
	if c.comparing {
		t = &c.single
		if segmented {
			t = &c.trains
		}
	}
	if lost {
		t.lost++
	} else {
		t.acked++
	}
	if c.patience == 0 {
		c.patience = watchFirst
	}
	switch {
	case !c.comparing && c.watch.total() >= c.patience:
		c.comparing = c.watch.ratio() > suspectRatio
		c.next = compareStep
		c.watch = tally{}
	case c.comparing && min(c.trains.total(), c.single.total()) >= c.next:
		c.next += compareStep
		c.off = c.verdict()
		if !c.off && c.next <= compareMost {
			break
		}
		c.next = compareStep
		c.comparing = false
		c.trains, c.single = tally{}, tally{}
		c.patience = min(2*c.patience, watchMost)
	}
}

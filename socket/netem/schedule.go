package netem

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/wherry-net/wherry/socket/units"
)

// OpportunityBytes is what one line of a mahimahi trace can carry: a packet of
// 1500 bytes and mahimahi's four bytes of TUN header.
const OpportunityBytes = 1504

// maxScheduleLines bounds the memory of a trace: eight bytes a line. The
// traces that come with mahimahi have up to two million lines.
const maxScheduleLines = 4 << 20

// A Schedule says when a link can send, as mahimahi's mm-link(1) has it: a
// series of moments, each an opportunity to send OpportunityBytes. Packets that
// wait share an opportunity or take several; what nobody uses is lost. After
// its last moment the series starts over.
type Schedule struct {
	at     []time.Duration // in order
	period time.Duration   // the last moment
}

// ParseSchedule reads a mahimahi trace: a line for each opportunity, with the
// milliseconds since the start as a whole number, in order, the last one above
// zero. Blank lines and lines that start with # are skipped.
func ParseSchedule(r io.Reader) (*Schedule, error) {
	var s Schedule
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		ms, err := strconv.ParseUint(line, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("delivery trace, line %d: %w: want milliseconds as a whole number", n, ErrConfig)
		}
		at := time.Duration(ms) * time.Millisecond
		if at < s.period {
			return nil, fmt.Errorf("delivery trace, line %d: %w: time runs backwards", n, ErrConfig)
		}
		if len(s.at) == maxScheduleLines {
			return nil, fmt.Errorf("delivery trace, line %d: %w: more than %d lines", n, ErrConfig, maxScheduleLines)
		}
		s.at = append(s.at, at)
		s.period = at
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("delivery trace: %w", err)
	}
	if s.period == 0 {
		return nil, fmt.Errorf("delivery trace: %w: it never delivers", ErrConfig)
	}
	return &s, nil
}

// rate is the mean rate of the whole series.
func (s *Schedule) rate() units.Rate {
	return units.Rate(float64(len(s.at)) * OpportunityBytes * 8 / s.period.Seconds())
}

// A cursor walks through a Schedule for one Link.
type cursor struct {
	*Schedule
	i    int           // index of the current opportunity
	base time.Duration // when this round of the series started
	left int64         // bytes that the current opportunity still has
	init bool
}

// send returns when size bytes that are ready at ready have left, after
// everything that was sent before.
func (c *cursor) send(ready time.Duration, size int64) time.Duration {
	if !c.init {
		c.left, c.init = OpportunityBytes, true
	}
	// Opportunities that passed before the packet came are gone. Whole rounds
	// are skipped in one step: an hour of silence must not cost a walk.
	if behind := ready - c.base; behind > c.period {
		// A moment that is the last of one round is kept in that round.
		rounds := (behind - 1) / c.period
		if rounds > 0 {
			c.base += rounds * c.period
			c.i, c.left = 0, OpportunityBytes
		}
	}
	for c.base+c.at[c.i] < ready {
		c.next()
	}
	for {
		if c.left == 0 {
			c.next()
		}
		n := min(c.left, size)
		c.left -= n
		if size -= n; size == 0 {
			return c.base + c.at[c.i]
		}
	}
}

func (c *cursor) next() {
	c.left = OpportunityBytes
	if c.i++; c.i == len(c.at) {
		c.i = 0
		c.base += c.period
	}
}

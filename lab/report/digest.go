package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/socket/safetext"
)

// A data is the results in the shape that both forms of the report print.
type data struct {
	Plan     *lab.Plan
	Info     Info
	Whole    bool
	Done     int
	Wanted   int
	Links    []*linkData
	Failures []string
	Versions []string // of wherry, where rows have several
	recorded func(key string) (*lab.Recording, error)
}

// linkData is everything over one link.
type linkData struct {
	Number int // from 1
	Link   lab.Link
	Cells  []*cell
}

// A cell is the repeats of one transport over one link.
type cell struct {
	Link      *linkData
	Transport lab.Transport
	Slot      int // of its colour: the transport's place in the plan
	Rows      []lab.Row
	Failed    int
	Missing   int64 // bytes, the mean of those that are incomplete
	Limiter   string

	Goodput lab.Summary // Mbit/s
	Use     lab.Summary // percent of the link's rate
	Seconds lab.Summary
	Again   lab.Summary // percent of the packets that were sent again
	Drops   lab.Summary // true losses of the link and its queue, percent of packets
	Queue   lab.Summary // 99th percentile, ms
	RTT     lab.Summary // median, ms
}

// digest groups the rows. A failed run is counted and takes part in no mean.
func digest(res *lab.Results, info Info) (*data, error) {
	p := res.Plan
	d := &data{Plan: p, Info: info, Whole: res.Whole(), Done: len(res.Rows), Wanted: len(p.Links) * len(p.Transports) * p.Repeat, recorded: res.Recording}
	rows := map[string]lab.Row{}
	for _, r := range res.Rows {
		rows[r.Key] = r
		if !slices.Contains(d.Versions, r.Version) {
			d.Versions = append(d.Versions, r.Version)
		}
	}
	for i, l := range p.Links {
		ld := &linkData{Number: i + 1, Link: l}
		for j, t := range p.Transports {
			ld.Cells = append(ld.Cells, &cell{Link: ld, Transport: t, Slot: j})
		}
		d.Links = append(d.Links, ld)
	}
	for _, run := range p.Runs() {
		c := d.Links[run.Cell/len(p.Transports)].Cells[run.Cell%len(p.Transports)]
		if row, ok := rows[run.Key()]; ok {
			c.Rows = append(c.Rows, row)
			if row.Error != "" {
				d.Failures = append(d.Failures, fmt.Sprintf("%s over %s, repeat %d: %s", row.Transport, row.Link, row.Repeat, safetext.Clean(row.Error)))
			}
		}
	}
	for _, l := range d.Links {
		for _, c := range l.Cells {
			c.summarise()
		}
	}
	return d, nil
}

func (c *cell) summarise() {
	column := func(of func(r *lab.Row) float64) lab.Summary {
		var v []float64
		for i := range c.Rows {
			if c.Rows[i].Status != lab.Failed {
				v = append(v, of(&c.Rows[i]))
			}
		}
		return lab.Summarise(v)
	}
	share := func(part, whole *int64) float64 {
		if part == nil || whole == nil || *whole == 0 {
			return math.NaN()
		}
		return 100 * float64(*part) / float64(*whole)
	}
	value := func(p *float64, scale float64) float64 {
		if p == nil {
			return math.NaN()
		}
		return *p * scale
	}
	c.Goodput = column(func(r *lab.Row) float64 { return r.GoodputBPS / 1e6 })
	c.Use = column(func(r *lab.Row) float64 { return value(r.Utilisation, 100) })
	c.Seconds = column(func(r *lab.Row) float64 { return r.Seconds })
	c.Again = column(func(r *lab.Row) float64 { return share(r.Retransmits, r.PacketsSent) })
	c.Drops = column(func(r *lab.Row) float64 {
		return share(r.LinkLost, r.LinkPackets) + share(r.LinkTailDrops, r.LinkPackets)
	})
	c.Queue = column(func(r *lab.Row) float64 { return value(r.QueueP99MS, 1) })
	c.RTT = column(func(r *lab.Row) float64 { return value(r.RTTMedianMS, 1) })
	most := map[string]int{}
	short := 0
	for _, r := range c.Rows {
		switch r.Status {
		case lab.Failed:
			c.Failed++
			continue
		case lab.Incomplete:
			c.Missing += r.Missing
			short++
		}
		if most[r.Limiter]++; most[r.Limiter] > most[c.Limiter] || c.Limiter == "" {
			c.Limiter = r.Limiter
		}
	}
	if short > 0 {
		c.Missing /= int64(short)
	}
}

// limiters says what held the sender back in words.
var limiters = map[string]string{
	"app": "source", "rwnd": "receive window", "cwnd": "congestion window", "pacing": "pacing", "host": "cpu",
}

// Limit is the limiter in words.
func (c *cell) Limit() string {
	if c.Transport.IsTextbook() && c.Limiter == "cwnd" {
		return "window"
	}
	if s, ok := limiters[c.Limiter]; ok {
		return s
	}
	return c.Limiter
}

// Runs is how many runs the means are of.
func (c *cell) Runs() string {
	if c.Failed > 0 {
		return fmt.Sprintf("%d of %d", c.Goodput.N, len(c.Rows))
	}
	return fmt.Sprint(len(c.Rows))
}

// figure prints a mean and the half width of its interval with as many decimals
// as the interval makes sense of, and at most five digits.
func figure(s lab.Summary) string {
	switch {
	case s.N == 0:
		return "–"
	case s.N == 1 || math.IsNaN(s.Half):
		return digits(s.Mean, 3, s.Mean)
	case s.Half <= math.Abs(s.Mean)*1e-9:
		return digits(s.Mean, 4, s.Mean) + " ± 0"
	}
	decimals := min(decimalsFor(2, s.Half), decimalsFor(4, s.Mean))
	if s.Half < .5*math.Pow10(-decimals) {
		return fmt.Sprintf("%.*f ± <%.*f", decimals, s.Mean, decimals, math.Pow10(-decimals))
	}
	return fmt.Sprintf("%.*f ± %.*f", decimals, s.Mean, decimals, s.Half)
}

// mean prints a mean alone, where the interval stands elsewhere in other units.
func mean(s lab.Summary) string {
	if s.N == 0 {
		return "–"
	}
	return digits(s.Mean, 3, s.Mean)
}

// digits prints v with n digits from the first of scale on.
func digits(v float64, n int, scale float64) string {
	return fmt.Sprintf("%.*f", decimalsFor(n, scale), v)
}

func decimalsFor(n int, scale float64) int {
	if scale == 0 || math.IsNaN(scale) || math.IsInf(scale, 0) {
		return 2
	}
	return min(max(n-1-int(math.Floor(math.Log10(math.Abs(scale))+1e-9)), 0), 6)
}

// Shape says how many runs of what the plan is.
func (d *data) Shape() string {
	p := d.Plan
	return fmt.Sprintf("%s × %s × %s, a file of %v each", count(len(p.Links), "link"), count(len(p.Transports), "transport"), count(p.Repeat, "repeat"), p.File.Size)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Findings says in a few sentences who was fastest, and by how much: a sentence a
// link, or a transport where links are many.
func (d *data) Findings() []string {
	const few = 4
	var out []string
	wins := map[lab.Transport]int{}
	lead := map[lab.Transport]string{} // the clearest of its wins
	ratio := map[lab.Transport]float64{}
	for _, l := range d.Links {
		best := l.fastest()
		if best == nil || len(l.Cells) < 2 {
			continue
		}
		for _, c := range l.Cells {
			if c == best || c.Goodput.N > 0 && c.Missing == 0 && near(best.Goodput, c.Goodput) {
				wins[c.Transport]++
			}
		}
		var rest []string
		for _, c := range l.Cells {
			switch {
			case c == best || c.Goodput.N == 0:
			case c.Missing > 0:
				rest = append(rest, fmt.Sprintf("%s leaves %.2g%% of the file missing", c.Transport, 100*float64(c.Missing)/float64(d.Plan.File.Size)))
			case near(best.Goodput, c.Goodput):
				rest = append(rest, fmt.Sprintf("%s cannot be told from it", c.Transport))
			default:
				rest = append(rest, fmt.Sprintf("%s reaches %.3g%% of that", c.Transport, 100*c.Goodput.Mean/best.Goodput.Mean))
			}
			if c != best && c.Missing == 0 && c.Goodput.Mean > 0 && !near(best.Goodput, c.Goodput) && best.Goodput.Mean/c.Goodput.Mean > ratio[best.Transport] {
				ratio[best.Transport] = best.Goodput.Mean / c.Goodput.Mean
				lead[best.Transport] = fmt.Sprintf("%s has %.3g times the goodput of %s over %s", best.Transport, ratio[best.Transport], c.Transport, l.Link)
			}
		}
		if len(rest) > 0 {
			out = append(out, fmt.Sprintf("%s: %s is fastest with %s Mbit/s; %s.", l.Link, best.Transport, digits(best.Goodput.Mean, 3, best.Goodput.Mean), strings.Join(rest, ", ")))
		}
	}
	if len(out) <= few {
		return out
	}
	out = nil
	for _, t := range d.Plan.Transports {
		if wins[t] > 0 {
			s := fmt.Sprintf("%s is the fastest, or cannot be told from it, over %d of %d links.", t, wins[t], len(d.Links))
			if lead[t] != "" {
				s += " At the most, " + lead[t] + "."
			}
			out = append(out, s)
		}
	}
	return out
}

// fastest is the cell with the highest mean of those that deliver everything.
func (l *linkData) fastest() *cell {
	var best *cell
	for _, c := range l.Cells {
		if c.Goodput.N > 0 && c.Missing == 0 && (best == nil || c.Goodput.Mean > best.Goodput.Mean) {
			best = c
		}
	}
	return best
}

// near tells whether the intervals of two means overlap, or the means are within
// a percent where there are none.
func near(a, b lab.Summary) bool {
	if math.IsNaN(a.Half) || math.IsNaN(b.Half) {
		return math.Abs(a.Mean-b.Mean) < .01*math.Abs(a.Mean)
	}
	return math.Abs(a.Mean-b.Mean) <= max(a.Half+b.Half, .001*math.Abs(a.Mean))
}

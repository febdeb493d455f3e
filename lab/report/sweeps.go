package report

import (
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/lab/plot"
	"github.com/wherry-net/wherry/socket/units"
)

// A figure is a drawing with its caption.
type figureData struct {
	SVG     template.HTML
	Caption string
}

// maxSweeps bounds the charts of goodput against one property of the links.
const maxSweeps = 12

// A sweep is one property of links that a chart can have on its axis.
type sweep struct {
	title, label string
	of           func(lab.Link) float64   // its value
	without      func(lab.Link) lab.Link  // the link with the property taken out
	with         func(*lab.Link, float64) // the link with another value of it
}

var sweeps = []sweep{
	{
		title: "Goodput against loss", label: "loss each way, %",
		of:      func(l lab.Link) float64 { return 100 * l.MeanLoss() },
		without: func(l lab.Link) lab.Link { l.Loss, l.Gilbert = 0, nil; return l },
		with:    func(l *lab.Link, v float64) { l.Loss, l.Gilbert = units.Probability(v/100), nil },
	},
	{
		title: "Goodput against round-trip time", label: "round-trip time of the empty link, ms",
		of:      func(l lab.Link) float64 { return float64(l.RTT()) / 1e6 },
		without: func(l lab.Link) lab.Link { l.Delay = 0; return l },
		with:    func(l *lab.Link, v float64) { l.Delay = time.Duration(v * 1e6 / 2) },
	},
	{
		title: "Goodput against rate", label: "rate of the bottleneck, Mbit/s",
		of:      func(l lab.Link) float64 { return float64(l.Rate) / 1e6 },
		without: func(l lab.Link) lab.Link { l.Rate = 0; return l },
		with:    func(l *lab.Link, v float64) { l.Rate = units.Rate(v * 1e6) },
	},
	{
		title: "Goodput against the queue", label: "queue, KiB",
		of:      func(l lab.Link) float64 { return float64(l.Queue) / 1024 },
		without: func(l lab.Link) lab.Link { l.Queue = 0; return l },
		with:    func(l *lab.Link, v float64) { l.Queue = units.Size(v * 1024) },
	},
}

// sweepCharts draws goodput against everything that the links differ in.
func (d *data) sweepCharts() (figures []figureData, left int) {
	for i := range sweeps {
		s := &sweeps[i]
		for _, group := range s.groups(d.Links) {
			if len(figures) == maxSweeps {
				left++
				continue
			}
			figures = append(figures, d.sweepChart(s, group))
		}
	}
	return figures, left
}

// groups are the links that differ in nothing else, two values or more of it
// each, in the order of the values.
func (s *sweep) groups(links []*linkData) [][]*linkData {
	var names []string
	by := map[string][]*linkData{}
	for _, l := range links {
		name := s.without(l.Link).String()
		if by[name] == nil {
			names = append(names, name)
		}
		by[name] = append(by[name], l)
	}
	var groups [][]*linkData
	for _, n := range names {
		g := by[n]
		slices.SortStableFunc(g, func(a, b *linkData) int {
			switch x, y := s.of(a.Link), s.of(b.Link); {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
		if s.of(g[0].Link) < s.of(g[len(g)-1].Link) {
			groups = append(groups, g)
		}
	}
	return groups
}

func (d *data) sweepChart(s *sweep, group []*linkData) figureData {
	rest := s.without(group[0].Link).String()
	c := plot.Chart{Title: s.title, X: plot.Axis{Label: s.label}, Y: plot.Axis{Label: "goodput, Mbit/s", From0: true}, Tips: true}
	lo, hi := math.Inf(1), 0.0
	least, most, zero := math.Inf(1), 0.0, false
	for _, l := range group {
		v := s.of(l.Link)
		if v > 0 {
			lo = min(lo, v)
		}
		zero = zero || v == 0
		hi = max(hi, v)
		for _, cell := range l.Cells {
			if g := cell.Goodput.Mean; g > 0 {
				least, most = min(least, g), max(most, g)
			}
		}
	}
	// Values over more than a decade and a half need a logarithmic axis to be
	// seen.
	if hi/lo > 30 {
		c.X.Scale = plot.Log
	}
	if most/least > 50 {
		c.Y.Scale = plot.Log
	}
	for i := range d.Plan.Transports {
		series := plot.Series{Name: string(d.Plan.Transports[i]), Slot: i, Kind: plot.Points}
		for _, l := range group {
			g := l.Cells[i].Goodput
			if g.N == 0 || c.Y.Scale == plot.Log && g.Mean <= 0 {
				continue
			}
			series.X, series.Y = append(series.X, s.of(l.Link)), append(series.Y, g.Mean)
			low, high := g.Mean-g.Half, g.Mean+g.Half
			if c.Y.Scale == plot.Log && low <= 0 {
				low = g.Mean / 10
			}
			series.Lo, series.Hi = append(series.Lo, low), append(series.Hi, high)
		}
		c.Series = append(c.Series, series)
	}
	for _, t := range theoriesFor(d.Plan) {
		curve := plot.Series{Name: t.name, Slot: t.slot, Kind: plot.Theory}
		for _, x := range curvePoints(lo, hi, zero, c.X.Scale == plot.Log) {
			l := group[0].Link
			s.with(&l, x)
			if v := t.of(l); v > 0 && !math.IsInf(v, 0) {
				curve.X, curve.Y = append(curve.X, x), append(curve.Y, v/1e6)
			}
		}
		if len(curve.X) > 1 {
			c.Series = append(c.Series, curve)
		}
	}
	caption := "Links: " + rest + "."
	if rest == "perfect" {
		caption = ""
	}
	if d.Plan.Repeat > 1 {
		caption = strings.TrimSpace(caption + " Bars: 95% confidence intervals.")
	}
	return figureData{c.SVG(), caption}
}

// curvePoints are where a curve is computed.
func curvePoints(lo, hi float64, zero, log bool) []float64 {
	const n = 60
	var xs []float64
	if zero {
		xs = append(xs, 0)
	}
	for i := range n + 1 {
		t := float64(i) / n
		switch {
		case log:
			xs = append(xs, lo*math.Pow(hi/lo, t))
		case zero:
			if i > 0 {
				xs = append(xs, hi*t)
			}
		default:
			xs = append(xs, lo+(hi-lo)*t)
		}
	}
	return xs
}

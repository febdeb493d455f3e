package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/lab/plot"
)

// maxDetails is how many cells get charts of their own; a page with more would be
// slow to open.
const maxDetails = 24

// A detail is what happened in one run.
type detail struct {
	Title   string
	Cell    *cell
	Figures []figureData
}

// A comparison sets the transports over one link side by side.
type comparison struct {
	Link    lab.Link
	Figures []figureData
	Details []detail
}

// comparisons reads the recordings and draws them.
func (d *data) comparisons() (out []comparison, left int, err error) {
	drawn := 0
	for _, l := range d.Links {
		recs := make([]*lab.Recording, len(l.Cells))
		any := false
		for i, c := range l.Cells {
			if len(c.Rows) == 0 || c.Rows[0].Repeat != 1 {
				continue
			}
			if recs[i], err = d.recorded(c.Rows[0].Key); err != nil {
				return nil, 0, err
			}
			any = any || recs[i] != nil
		}
		if !any {
			continue
		}
		if drawn >= maxDetails {
			left += len(l.Cells)
			continue
		}
		cmp := comparison{Link: l.Link}
		cmp.Figures = append(cmp.Figures, progressChart(l, recs), ecdfChart(l, recs))
		for i, c := range l.Cells {
			if recs[i] == nil {
				continue
			}
			drawn++
			cmp.Details = append(cmp.Details, detail{
				Title: d.detailTitle(c.Transport), Cell: c,
				Figures: figuresOf(recs[i], l.Link),
			})
		}
		out = append(out, cmp)
	}
	return out, left, nil
}

// detailTitle says what is looked at, and how closely.
func (d *data) detailTitle(t lab.Transport) string {
	if t.IsTCP() && d.Plan.Engine != lab.Sim {
		return string(t) + " as the kernel tells every 10 ms"
	}
	return string(t) + " packet by packet"
}

// figuresOf draws what there is something to draw of.
func figuresOf(r *lab.Recording, l lab.Link) []figureData {
	var f []figureData
	if len(r.Sent.T) > 0 {
		f = append(f, sequenceChart(r))
	}
	// The kernel tells of no packets, only of edges.
	if slices.ContainsFunc(r.CloseUp, func(e lab.Event) bool { return e.Kind == lab.EventSend || e.Kind == lab.EventAgain }) {
		f = append(f, closeUpChart(r))
	}
	if len(r.InFlight.T) > 0 && highest(r.InFlight.Y, r.Outstanding.Y) > 0 {
		f = append(f, windowChart(r))
	}
	if len(r.Queue.T)+len(r.Lost.T) > 0 {
		f = append(f, queueChart(r, l))
	}
	if len(r.Ladder) > 0 {
		f = append(f, ladderChart(r))
	}
	return f
}

// Units of the axes of bytes.
func byteUnit(most float64) (scale float64, name string) {
	switch {
	case most >= 2e9:
		return 1e-9, "GB"
	case most >= 2e6:
		return 1e-6, "MB"
	case most >= 2e3:
		return 1e-3, "kB"
	}
	return 1, "bytes"
}

// timeUnit is for an axis that ends after most seconds.
func timeUnit(most float64) (scale float64, name string) {
	if most < 2 {
		return 1e3, "ms"
	}
	return 1, "s"
}

func highest(lines ...[]float64) float64 {
	most := 0.0
	for _, l := range lines {
		for _, v := range l {
			most = max(most, v)
		}
	}
	return most
}

// short prints three digits, or all those before the point.
func short(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// lowest leaves NaN out.
func lowest(line []float64) float64 {
	least := math.Inf(1)
	for _, v := range line {
		if v < least {
			least = v
		}
	}
	return least
}

func scaled(v []float64, by float64) []float64 {
	out := make([]float64, len(v))
	for i := range v {
		out[i] = v[i] * by
	}
	return out
}

// progressChart is what had been acknowledged when.
func progressChart(l *linkData, recs []*lab.Recording) figureData {
	var ends, tops []float64
	lines := make([]lab.Line, len(recs))
	for i, r := range recs {
		if r == nil {
			continue
		}
		lines[i] = r.UNA
		if l.Cells[i].Transport == lab.None { // nobody acknowledges
			lines[i] = r.Sent
		}
		if len(lines[i].T) > 0 {
			ends, tops = append(ends, highest(lines[i].T)), append(tops, highest(lines[i].Y))
		}
	}
	ts, tn := timeUnit(highest(ends))
	ys, yn := byteUnit(highest(tops))
	c := plot.Chart{Title: "Acknowledged over time", X: plot.Axis{Label: "time since the dial, " + tn, From0: true}, Y: plot.Axis{Label: "acknowledged, " + yn, From0: true}}
	if len(ends) > 0 && slices.Max(ends) > 30*slices.Min(ends) && slices.Min(ends) > 0 {
		c.X.Scale, c.X.From0 = plot.Log, false
	}
	caption := "UNA, the oldest unacknowledged byte, in the first repeat."
	for i, line := range lines {
		if len(line.T) == 0 {
			continue
		}
		name := string(l.Cells[i].Transport)
		if l.Cells[i].Transport == lab.None {
			name += " (sent)"
		}
		c.Series = append(c.Series, plot.Series{Name: name, Slot: i, Kind: plot.Lines, X: scaled(line.T, ts), Y: scaled(line.Y, ys)})
	}
	return figureData{c.SVG(), caption}
}

// ecdfChart is the distribution of the round-trip times.
func ecdfChart(l *linkData, recs []*lab.Recording) figureData {
	c := plot.Chart{Title: "Distribution of round-trip times", X: plot.Axis{Label: "round-trip time, ms"}, Y: plot.Axis{Label: "share of samples not above", From0: true, Max: 1}}
	lo, hi := math.Inf(1), 0.0
	for i, r := range recs {
		if r == nil || len(r.RTT) == 0 {
			continue
		}
		v := slices.Clone(r.RTT)
		slices.Sort(v)
		lo, hi = min(lo, v[0]), max(hi, v[len(v)-1])
		s := plot.Series{Name: string(l.Cells[i].Transport), Slot: i, Kind: plot.Steps, X: []float64{v[0]}, Y: []float64{0}}
		// Two hundred steps are as smooth as the eye can tell.
		every := max(1, len(v)/200)
		for k := 0; k < len(v); k++ {
			if k%every == 0 || k == len(v)-1 {
				s.X, s.Y = append(s.X, v[k]), append(s.Y, float64(k+1)/float64(len(v)))
			}
		}
		c.Series = append(c.Series, s)
	}
	if lo > 0 && hi/lo > 30 {
		c.X.Scale = plot.Log
	}
	return figureData{c.SVG(), "Empirical distribution of the sender's samples, first repeat."}
}

// Slots of what is drawn of one run.
const (
	slotSend  = 0 // blue
	slotAgain = 1 // vermilion
	slotSACK  = 3 // reddish purple
	slotAck   = 2 // green
	slotWnd   = 6 // ink
	slotLost  = 6 // ink, a cross
)

// sequenceChart is tcptrace's time–sequence graph of the whole run.
func sequenceChart(r *lab.Recording) figureData {
	top := highest(r.Sent.Y, r.UNA.Y)
	ts, tn := timeUnit(highest(r.UNA.T, r.Sent.T))
	ys, yn := byteUnit(top)
	mark := func(l lab.Line, name string, slot int, kind plot.Kind) plot.Series {
		return plot.Series{Name: name, Slot: slot, Kind: kind, X: scaled(l.T, ts), Y: scaled(l.Y, ys)}
	}
	c := plot.Chart{
		Title: "Time–sequence graph", X: plot.Axis{Label: "time since the dial, " + tn, From0: true}, Y: plot.Axis{Label: "sequence, " + yn, From0: true, Max: top * ys},
		Series: []plot.Series{mark(r.WND, "window edge", slotWnd, plot.Steps), mark(r.Sent, "sent", slotSend, plot.Marks), mark(r.SACKed, "SACKed", slotSACK, plot.Marks), mark(r.Again, "sent again", slotAgain, plot.Marks), mark(r.UNA, "acknowledged (UNA)", slotAck, plot.Steps)},
	}
	if lowest(r.WND.Y) > top { // far above all that is drawn
		c.Series = c.Series[1:]
	}
	return figureData{c.SVG(), "The whole transfer, thinned out to what can be drawn."}
}

// closeUpChart is the same around the first loss, with every event.
func closeUpChart(r *lab.Recording) figureData {
	title, caption := "Close-up of the beginning", "Every event of the beginning; nothing was lost."
	from, to := math.Inf(1), 0.0
	low, high := math.Inf(1), 0.0
	for _, e := range r.CloseUp {
		if e.Kind == lab.EventLost {
			title, caption = "Close-up of the first loss", "Every event around the first packet that the sender took for lost."
		}
		from, to = min(from, e.T), max(to, e.T)
		if e.Kind == lab.EventSend || e.Kind == lab.EventAgain {
			low, high = min(low, float64(e.From)), max(high, float64(e.To))
		}
	}
	ts, tn := timeUnit(to - from)
	if tn == "ms" && to > 20 {
		ts, tn = 1, "s"
	}
	ys, yn := byteUnit(high)
	series := []plot.Series{
		{Name: "window edge", Slot: slotWnd, Kind: plot.Steps},
		{Name: "sent", Slot: slotSend, Kind: plot.Segs},
		{Name: "deemed lost", Slot: slotLost, Kind: plot.Marks},
		{Name: "sent again", Slot: slotAgain, Kind: plot.Segs},
		{Name: "SACKed", Slot: slotSACK, Kind: plot.Segs},
		{Name: "acknowledged (UNA)", Slot: slotAck, Kind: plot.Steps},
	}
	at := map[lab.EventKind]int{lab.EventWND: 0, lab.EventSend: 1, lab.EventLost: 2, lab.EventAgain: 3, lab.EventSACK: 4, lab.EventUNA: 5}
	for _, e := range r.CloseUp {
		i, ok := at[e.Kind]
		if !ok {
			continue
		}
		s := &series[i]
		s.X, s.Y = append(s.X, e.T*ts), append(s.Y, float64(e.To)*ys)
		if s.Kind == plot.Segs {
			s.Lo, s.Hi = append(s.Lo, float64(e.From)*ys), append(s.Hi, float64(e.To)*ys)
		}
	}
	// The window's edge may be far off: it is drawn where it can be seen, and
	// does not widen the axis.
	for i := range series[0].Y {
		if series[0].Y[i] > (high+.2*(high-low))*ys {
			series[0].Y[i] = math.NaN()
		}
	}
	series = slices.DeleteFunc(series, func(s plot.Series) bool {
		return !slices.ContainsFunc(s.Y, func(v float64) bool { return !math.IsNaN(v) })
	})
	c := plot.Chart{Title: title, X: plot.Axis{Label: "time since the dial, " + tn}, Y: plot.Axis{Label: "sequence, " + yn}, Series: series}
	return figureData{c.SVG(), caption}
}

// windowChart is what the sender had under way, and what it was allowed.
func windowChart(r *lab.Recording) figureData {
	allowed := make([]float64, len(r.UNA.Y))
	for i := range allowed {
		if allowed[i] = math.NaN(); i < len(r.WND.Y) {
			allowed[i] = r.WND.Y[i] - r.UNA.Y[i]
		}
	}
	ts, tn := timeUnit(highest(r.UNA.T))
	top := 1.1 * highest(r.InFlight.Y, r.Window.Y, r.Outstanding.Y)
	ys, yn := byteUnit(top)
	line := func(t, y []float64, name string, slot int) plot.Series {
		return plot.Series{Name: name, Slot: slot, Kind: plot.Steps, X: scaled(t, ts), Y: scaled(y, ys)}
	}
	c := plot.Chart{
		Title: "Windows", X: plot.Axis{Label: "time since the dial, " + tn, From0: true}, Y: plot.Axis{Label: yn, From0: true, Max: top * ys},
		Series: []plot.Series{
			line(r.UNA.T, allowed, "window (WND−UNA)", slotWnd),
			line(r.Outstanding.T, r.Outstanding.Y, "outstanding (NXT−UNA)", slotAck),
			line(r.Window.T, r.Window.Y, "congestion window", slotSACK),
			line(r.InFlight.T, r.InFlight.Y, "in flight", slotSend),
		},
	}
	caption := "What was under way, and what it was allowed to be."
	if least := lowest(allowed); least > top {
		c.Series = c.Series[1:]
		ls, ln := byteUnit(least)
		caption += fmt.Sprintf(" The receiver's window (WND−UNA) lies above: it is never below %s %s.", short(least*ls), ln)
	}
	c.Series = slices.DeleteFunc(c.Series, func(s plot.Series) bool { return len(s.X) == 0 })
	return figureData{c.SVG(), caption}
}

// queueChart is what the link knows and the ends do not.
func queueChart(r *lab.Recording, l lab.Link) figureData {
	ts, tn := timeUnit(highest(r.UNA.T, r.Queue.T))
	ys, yn := byteUnit(highest(r.Queue.Y))
	c := plot.Chart{
		Title: "Queue and true losses", X: plot.Axis{Label: "time since the dial, " + tn, From0: true}, Y: plot.Axis{Label: "queue, " + yn, From0: true},
		Series: []plot.Series{
			{Name: "before the bottleneck", Slot: slotSend, Kind: plot.Lines, X: scaled(r.Queue.T, ts), Y: scaled(r.Queue.Y, ys)},
			{Name: "lost by the link", Slot: slotSACK, Kind: plot.Marks, X: scaled(r.Lost.T, ts), Y: scaled(r.Lost.Y, ys)},
			{Name: "dropped by the full queue", Slot: slotLost, Kind: plot.Marks, X: scaled(r.TailDrops.T, ts), Y: scaled(r.TailDrops.Y, ys)},
		},
	}
	c.Series = slices.DeleteFunc(c.Series, func(s plot.Series) bool { return len(s.X) == 0 })
	caption := "As the emulator saw it, from sender to receiver."
	if l.Rate > 0 {
		caption += fmt.Sprintf(" %s %s take %s ms to leave.", short(highest(r.Queue.Y)*ys), yn, short(highest(r.Queue.Y)*8/float64(l.Rate)*1e3))
	}
	return figureData{c.SVG(), caption}
}

// ladderChart is the first datagrams.
func ladderChart(r *lab.Recording) figureData {
	l := plot.Ladder{Title: "The first datagrams", Left: "sender", Right: "receiver", Format: func(t float64) string { return fmt.Sprintf("%.1f ms", t*1e3) }}
	for _, a := range r.Ladder {
		arrow := plot.Arrow{Back: a.Back, Label: a.Label, Slot: slotSend, Sent: a.Sent, Arrived: a.Arrived, Lost: "lost"}
		switch {
		case a.Queue:
			arrow.Lost = "dropped by the queue"
		}
		switch {
		case a.Back:
			arrow.Slot = slotAck
		case a.Again:
			arrow.Slot = slotAgain
		}
		l.Arrows = append(l.Arrows, arrow)
	}
	return figureData{l.SVG(), "Numbered as on the wire; a row an event, the times beside it."}
}

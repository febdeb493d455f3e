package plot

import (
	"cmp"
	"html/template"
	"slices"
	"strconv"
)

// Arrow is a datagram in a ladder diagram.
type Arrow struct {
	Back    bool // from right to left
	Label   string
	Slot    int     // its colour
	Sent    float64 // when
	Arrived float64 // when; negative where it did not
	Lost    string  // why it did not arrive
}

// Ladder is a message sequence chart of datagrams between two hosts: time runs
// downwards, one row an event, so that nothing hides behind anything; the times
// stand at the sides.
type Ladder struct {
	Title       string
	Left, Right string // the hosts
	Arrows      []Arrow
	Format      func(t float64) string // of the times
}

// SVG draws the diagram.
func (l *Ladder) SVG() template.HTML {
	type event struct {
		at      float64
		arrow   int
		arrival bool
	}
	var events []event
	for i, a := range l.Arrows {
		events = append(events, event{a.Sent, i, false})
		if a.Arrived >= 0 {
			events = append(events, event{a.Arrived, i, true})
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	const (
		top   = 46.0
		step  = 14.0
		x0    = 70.0
		x1    = width - 70
		label = 11.0
	)
	sent, arrived := make([]float64, len(l.Arrows)), make([]float64, len(l.Arrows))
	y := top + step
	for _, e := range events {
		if e.arrival {
			arrived[e.arrow] = y
		} else {
			sent[e.arrow] = y
		}
		y += step
	}
	height := y + 6
	d := new(drawing)
	d.begin(width, height, l.Title)
	d.text(12, 14, "start", "plot-title", l.Title)
	d.text(x0, top-10, "middle", "", l.Left)
	d.text(x1, top-10, "middle", "", l.Right)
	d.path("plot-axis", "", "M"+num(x0)+" "+num(top)+"V"+num(height)+"M"+num(x1)+" "+num(top)+"V"+num(height))
	last := map[bool]float64{false: -100, true: -100}
	stamp := func(right bool, at, y float64) {
		if y-last[right] < 10 { // no room
			return
		}
		last[right] = y
		if right {
			d.text(x1+6, y+4, "start", "plot-minor", l.Format(at))
		} else {
			d.text(x0-6, y+4, "end", "plot-minor", l.Format(at))
		}
	}
	labels := new(drawing) // above all arrows
	for _, e := range events {
		a := l.Arrows[e.arrow]
		if e.arrival {
			stamp(!a.Back, e.at, arrived[e.arrow])
			continue
		}
		stamp(a.Back, e.at, sent[e.arrow])
		from, to, y0, y1 := x0, x1, sent[e.arrow], arrived[e.arrow]
		way := 1.0
		if a.Back {
			from, to, way = x1, x0, -1
		}
		d.WriteString(`<g class="plot-s` + strconv.Itoa(a.Slot%Slots) + `">`)
		if a.Arrived >= 0 {
			d.path("plot-line", "", "M"+num(from)+" "+num(y0)+"L"+num(to)+" "+num(y1))
			d.path("plot-mark", "", "M"+num(to)+" "+num(y1)+"l"+num(-way*7)+" -4v6z")
		} else {
			to = from + (to-from)*.62
			y1 = y0 + step*1.1
			d.path("plot-line", "4 3", "M"+num(from)+" "+num(y0)+"L"+num(to)+" "+num(y1))
			d.path("plot-line", "", "M"+num(to-4)+" "+num(y1-4)+"l8 8m0 -8l-8 8")
			anchor := "start"
			if a.Back {
				anchor = "end"
			}
			labels.text(to+way*8, y1+4, anchor, "plot-minor plot-halo", a.Lost)
		}
		// The label lies where the arrow leaves, above it.
		anchor := "start"
		if a.Back {
			anchor = "end"
		}
		slope := (y1 - y0) / (to - from)
		labels.text(from+way*label, y0+slope*way*label-2, anchor, "plot-halo", a.Label)
		d.WriteString("</g>")
	}
	d.WriteString(labels.String())
	d.end()
	return template.HTML(d.String())
}

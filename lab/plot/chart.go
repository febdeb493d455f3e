package plot

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Kind is how the points of a series are drawn.
type Kind int

// Kinds of series.
const (
	Points Kind = iota // markers, joined by a line; with bars where Lo and Hi are given
	Lines              // a line
	Steps              // a line that keeps its value until the next point
	Marks              // small markers, not joined
	Segs               // each point a stroke from Lo to Hi
	Theory             // a thin dashed line
)

// Series is some points. X and Y, and Lo and Hi where given, are of one length;
// points with NaN are left out and interrupt a line.
type Series struct {
	Name   string
	Slot   int // from 0 to Slots-1: see the package documentation
	Kind   Kind
	X, Y   []float64
	Lo, Hi []float64 // the ends of a bar at each point
}

// Chart is a line chart.
type Chart struct {
	Title  string
	X, Y   Axis
	Series []Series
	// Height in units, without the legend; 0 means 300.
	Height float64
	// Tips has each point of Points series tell its values where the mouse rests.
	Tips bool
}

const (
	width   = 480.0
	leftPad = 56.0
	right   = 12.0
	row     = 16.0 // of the legend
)

// SVG draws the chart.
func (c *Chart) SVG() template.HTML {
	var xs, ys []float64
	for i := range c.Series {
		s := &c.Series[i]
		xs, ys = append(xs, s.X...), append(ys, s.Y...)
		if s.Kind != Theory {
			ys = append(ys, s.Hi...)
			for _, v := range s.Lo {
				if !c.Y.From0 || v > 0 { // an interval may end below what there can be
					ys = append(ys, v)
				}
			}
		}
	}
	height := c.Height
	if height == 0 {
		height = 300
	}
	top, bottom := 26.0, height-42
	x := newRuler(c.X, xs, leftPad, width-right, 6)
	y := newRuler(c.Y, ys, bottom, top, 5)

	places, legend := c.legend()
	d := new(drawing)
	d.begin(width, height+legend, c.Title)
	d.text(leftPad-44, 14, "start", "plot-title", c.Title)
	var grid strings.Builder
	for _, t := range y.ticks {
		fmt.Fprintf(&grid, "M%s %sH%s", num(leftPad), num(t.at), num(width-right))
		d.text(leftPad-6, t.at+4, "end", "plot-minor", t.label)
	}
	room := math.Inf(-1)
	for _, t := range x.ticks {
		fmt.Fprintf(&grid, "M%s %sV%s", num(t.at), num(top), num(bottom))
		if half := textWidth(t.label) / 2; t.at-half > room { // labels that would touch are left out
			d.text(t.at, bottom+16, "middle", "plot-minor", t.label)
			room = t.at + half + 4
		}
	}
	d.path("plot-grid", "", grid.String())
	d.path("plot-axis", "", fmt.Sprintf("M%s %sV%sH%s", num(leftPad), num(top), num(bottom), num(width-right)))
	if x.zero {
		at := leftPad + (width-right-leftPad)*zeroRoom*.75
		d.path("plot-axis", "", fmt.Sprintf("M%s %sl4 -8m4 0l-4 8", num(at), num(bottom+4)))
	}
	d.text((leftPad+width-right)/2, bottom+34, "middle", "", c.X.Label)
	d.WriteString(`<g transform="translate(13 ` + num((top+bottom)/2) + `) rotate(-90)">`)
	d.text(0, 0, "middle", "", c.Y.Label)
	d.WriteString("</g>")

	b := box{leftPad, top, width - right, bottom}
	for i := range c.Series {
		c.series(d, &c.Series[i], x, y, b)
	}
	for i, p := range places {
		s := &c.Series[i]
		if s.Name == "" {
			continue
		}
		px, py := p[0], height+p[1]
		d.WriteString(`<g class="plot-s` + strconv.Itoa(s.Slot%Slots) + `">`)
		class, dash := s.stroke()
		switch s.Kind {
		case Marks:
			d.path("plot-dots", "", dot(s.Slot, px+5, py-4)+dot(s.Slot, px+10, py-4)+dot(s.Slot, px+15, py-4))
		case Segs:
			d.path(class, "", "M"+num(px+10)+" "+num(py-9)+"v10")
		default:
			d.path(class, dash, "M"+num(px)+" "+num(py-4)+"h20")
			if s.Kind == Points {
				d.path(markClass(s.Slot), "", marker(s.Slot, px+10, py-4, 3.2))
			}
		}
		d.text(px+25, py, "start", "", s.Name)
		d.WriteString("</g>")
	}
	d.end()
	return template.HTML(d.String())
}

// legend is where each entry goes, below the chart, and how high they are
// together.
func (c *Chart) legend() (places [][2]float64, height float64) {
	x, y := leftPad-44, 9.0
	for i := range c.Series {
		if c.Series[i].Name == "" {
			places = append(places, [2]float64{})
			continue
		}
		w := 25 + textWidth(c.Series[i].Name) + 12
		if x+w > width && x > leftPad-44 {
			x, y = leftPad-44, y+row
		}
		places = append(places, [2]float64{x, y})
		x += w
		height = y + 8
	}
	return places, height
}

// stroke is the class and the dashes of the series' line.
func (s *Series) stroke() (class, dash string) {
	switch s.Kind {
	case Theory:
		return "plot-theory", "4 3"
	case Segs:
		return "plot-segs", ""
	}
	return "plot-line", dashes[s.Slot%Slots]
}

// markClass is filled, but for markers that are strokes.
func markClass(slot int) string {
	if slot%Slots >= 5 {
		return "plot-open"
	}
	return "plot-mark"
}

func (c *Chart) series(d *drawing, s *Series, x, y *ruler, b box) {
	d.WriteString(`<g class="plot-s` + strconv.Itoa(s.Slot%Slots) + `">`)
	defer d.WriteString("</g>")
	class, dash := s.stroke()
	var line, marks, bars strings.Builder
	px, py := math.NaN(), math.NaN()
	pen := point{math.NaN(), math.NaN()} // where the path ends
	stroke := func(x1, y1, x2, y2 float64) {
		from, to, ok := b.clip(point{x1, y1}, point{x2, y2})
		if !ok {
			return
		}
		if from != pen {
			line.WriteString("M" + num(from.x) + " " + num(from.y))
		}
		line.WriteString("L" + num(to.x) + " " + num(to.y))
		pen = to
	}
	for i := range s.X {
		cx, cy := x.place(s.X[i]), y.place(s.Y[i])
		if math.IsNaN(cx) || math.IsNaN(cy) {
			px, py = math.NaN(), math.NaN()
			continue
		}
		if s.Kind != Marks && s.Kind != Segs && !math.IsNaN(px) {
			if s.Kind == Steps {
				stroke(px, py, cx, py)
				stroke(cx, py, cx, cy)
			} else {
				stroke(px, py, cx, cy)
			}
		}
		px, py = cx, cy
		if i < len(s.Lo) && i < len(s.Hi) {
			lo, hi := y.place(max(s.Lo[i], y.floor())), y.place(s.Hi[i])
			if !math.IsNaN(lo) && !math.IsNaN(hi) {
				if s.Kind == Segs {
					if b.has(point{cx, lo}) || b.has(point{cx, hi}) {
						bars.WriteString("M" + num(cx) + " " + num(min(max(lo, b.y0), b.y1)) + "V" + num(min(max(hi, b.y0), b.y1)))
					}
				} else {
					if from, to, ok := b.clip(point{cx, lo}, point{cx, hi}); ok {
						bars.WriteString("M" + num(from.x) + " " + num(from.y) + "V" + num(to.y))
					}
					for _, end := range []float64{lo, hi} {
						if b.has(point{cx, end}) {
							bars.WriteString("M" + num(cx-3) + " " + num(end) + "h6")
						}
					}
				}
			}
		}
		if !b.has(point{cx, cy}) {
			continue
		}
		switch s.Kind {
		case Points:
			if c.Tips {
				tip := fmt.Sprintf("%s: %.4g, %.4g", s.Name, s.X[i], s.Y[i])
				if i < len(s.Lo) && i < len(s.Hi) && !math.IsNaN(s.Lo[i]) {
					tip += fmt.Sprintf(" (%.4g to %.4g)", s.Lo[i], s.Hi[i])
				}
				marks.WriteString(`<path class="` + markClass(s.Slot) + `" d="` + marker(s.Slot, cx, cy, 3.4) + `"><title>` + html.EscapeString(tip) + `</title></path>`)
			} else {
				marks.WriteString(`<path class="` + markClass(s.Slot) + `" d="` + marker(s.Slot, cx, cy, 3.4) + `"/>`)
			}
		case Marks:
			bars.WriteString(dot(s.Slot, cx, cy))
		}
	}
	d.path(class, dash, line.String())
	switch s.Kind {
	case Marks:
		d.path("plot-dots", "", bars.String())
	case Segs:
		d.path("plot-segs", "", bars.String())
	default:
		d.path("plot-bar", "", bars.String())
	}
	d.WriteString(marks.String())
}

// floor is the lowest value that has a place.
func (r *ruler) floor() float64 {
	if r.scale == Log {
		return r.lo
	}
	return math.Inf(-1)
}

type point struct{ x, y float64 }

// box is the part of the drawing that the axes enclose.
type box struct{ x0, y0, x1, y1 float64 }

func (b box) has(p point) bool {
	const e = .05
	return p.x >= b.x0-e && p.x <= b.x1+e && p.y >= b.y0-e && p.y <= b.y1+e
}

// clip is the part of the segment inside the box (Liang and Barsky 1984).
func (b box) clip(p, q point) (point, point, bool) {
	t0, t1 := 0.0, 1.0
	dx, dy := q.x-p.x, q.y-p.y
	for _, e := range [...][2]float64{{-dx, p.x - b.x0}, {dx, b.x1 - p.x}, {-dy, p.y - b.y0}, {dy, b.y1 - p.y}} {
		den, d := e[0], e[1]
		switch {
		case den == 0 && d < 0:
			return p, q, false
		case den < 0:
			t0 = max(t0, d/den)
		case den > 0:
			t1 = min(t1, d/den)
		}
	}
	if t0 > t1 {
		return p, q, false
	}
	at := func(t float64) point { return point{p.x + t*dx, p.y + t*dy} }
	// What comes from very far may be rounded to beyond an edge.
	from, to := b.into(at(t0)), b.into(at(t1))
	if t0 <= 0 {
		from = b.into(p)
	}
	if t1 >= 1 {
		to = b.into(q)
	}
	if math.IsNaN(from.x+from.y) || math.IsNaN(to.x+to.y) {
		return p, q, false
	}
	return from, to, true
}

func (b box) into(p point) point {
	return point{min(max(p.x, b.x0), b.x1), min(max(p.y, b.y0), b.y1)}
}

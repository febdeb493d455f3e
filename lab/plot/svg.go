package plot

import (
	"html"
	"math"
	"strconv"
	"strings"
)

// A drawing is SVG in the making.
type drawing struct{ strings.Builder }

func num(v float64) string {
	s := strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
	if s == "-0" {
		return "0"
	}
	return s
}

func (d *drawing) begin(width, height float64, title string) {
	d.WriteString(`<svg class="plot" viewBox="0 0 ` + num(width) + " " + num(height) + `" role="img" aria-label="` + html.EscapeString(title) + `">`)
}

func (d *drawing) end() { d.WriteString("</svg>") }

// text anchors s at its start, middle or end.
func (d *drawing) text(x, y float64, anchor, class, s string) {
	d.WriteString(`<text x="` + num(x) + `" y="` + num(y) + `"`)
	if anchor != "start" {
		d.WriteString(` text-anchor="` + anchor + `"`)
	}
	if class != "" {
		d.WriteString(` class="` + class + `"`)
	}
	d.WriteString(">" + html.EscapeString(s) + "</text>")
}

func (d *drawing) path(class, dash, data string) {
	if data == "" {
		return
	}
	d.WriteString(`<path class="` + class + `"`)
	if dash != "" {
		d.WriteString(` stroke-dasharray="` + dash + `"`)
	}
	d.WriteString(` d="` + data + `"/>`)
}

// textWidth guesses how wide s is at 12 units of height; a little too much is
// better than too little.
func textWidth(s string) float64 { return 6.9 * float64(len([]rune(s))) }

// The look of each slot beside its colour.
var dashes = [...]string{"", "7 3", "2 2.5", "9 3 2 3", "5 2.5", "1.5 3", "10 4", "4 2 1 2 1 2"}

// Slots is how many series can be told apart.
const Slots = len(dashes)

// marker is a path around x, y for a slot.
func marker(slot int, x, y, r float64) string {
	m := func(dx, dy float64) string { return "M" + num(x+dx) + " " + num(y+dy) }
	l := func(dx, dy float64) string { return "l" + num(dx) + " " + num(dy) }
	switch slot % Slots {
	case 0: // circle
		return m(-r, 0) + "a" + num(r) + " " + num(r) + " 0 1 0 " + num(2*r) + " 0a" + num(r) + " " + num(r) + " 0 1 0 " + num(-2*r) + " 0z"
	case 1: // square
		return m(-r, -r) + l(2*r, 0) + l(0, 2*r) + l(-2*r, 0) + "z"
	case 2: // triangle
		return m(0, -1.3*r) + l(1.3*r, 2.3*r) + l(-2.6*r, 0) + "z"
	case 3: // diamond
		return m(0, -1.4*r) + l(1.4*r, 1.4*r) + l(-1.4*r, 1.4*r) + l(-1.4*r, -1.4*r) + "z"
	case 4: // triangle upside down
		return m(0, 1.3*r) + l(1.3*r, -2.3*r) + l(-2.6*r, 0) + "z"
	case 5: // plus
		return m(-1.4*r, 0) + l(2.8*r, 0) + m(0, -1.4*r) + l(0, 2.8*r)
	case 6: // cross
		return m(-1.1*r, -1.1*r) + l(2.2*r, 2.2*r) + m(-1.1*r, 1.1*r) + l(2.2*r, -2.2*r)
	}
	// star
	return m(-1.3*r, 0) + l(2.6*r, 0) + m(-.7*r, -1.2*r) + l(1.4*r, 2.4*r) + m(-.7*r, 1.2*r) + l(1.4*r, -2.4*r)
}

// dot is a small mark, of which there are many: a dot drawn by a round pen, or a
// cross or a bar where the slot's marker is made of strokes.
func dot(slot int, x, y float64) string {
	switch slot % Slots {
	case 5, 7:
		return "M" + num(x) + " " + num(y-2) + "v4"
	case 6:
		return "M" + num(x-1.7) + " " + num(y-1.7) + "l3.4 3.4m0-3.4l-3.4 3.4"
	}
	return "M" + num(x) + " " + num(y) + "h0"
}

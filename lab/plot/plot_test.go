package plot

import (
	"encoding/binary"
	"encoding/xml"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("a number that is none: %s", svg)
	}
}

func labels(r *ruler) (s []string) {
	for _, t := range r.ticks {
		s = append(s, t.label)
	}
	return s
}

func TestRuler(t *testing.T) {
	for _, c := range []struct {
		name   string
		axis   Axis
		values []float64
		want   string
	}{
		{"from zero", Axis{From0: true}, []float64{3, 17}, "0 5 10 15 20"},
		{"tenths", Axis{}, []float64{.12, .58}, "0.1 0.2 0.3 0.4 0.5 0.6"},
		{"not from zero", Axis{}, []float64{50, 99}, "50 60 70 80 90 100"},
		{"below zero", Axis{}, []float64{-3, 3}, "-4 -2 0 2 4"},
		{"one value", Axis{}, []float64{8}, "4 6 8 10 12"},
		{"only zero", Axis{}, []float64{0}, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{"nothing", Axis{}, nil, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{"what is none", Axis{}, []float64{math.NaN(), math.Inf(1), 0, 10}, "0 2 4 6 8 10"},
		{"given end", Axis{From0: true, Max: 1}, []float64{.3}, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{"large", Axis{From0: true}, []float64{8e6}, "0 2000000 4000000 6000000 8000000"},
		{"logarithmic", Axis{Scale: Log}, []float64{.3, 90}, "0.2 0.5 1 2 5 10 20 50 100"},
		{"decades", Axis{Scale: Log}, []float64{.003, 900}, "0.001 0.01 0.1 1 10 100 1000"},
		{"with zero", Axis{Scale: Log}, []float64{0, .1, 5}, "0 0.1 0.2 0.5 1 2 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRuler(c.axis, c.values, 0, 100, 5)
			if got := strings.Join(labels(r), " "); got != c.want {
				t.Errorf("ticks %s, want %s", got, c.want)
			}
			last := math.Inf(-1)
			for _, k := range r.ticks {
				if k.at < -1e-9 || k.at > 100+1e-9 || k.at <= last {
					t.Errorf("tick %s at %v", k.label, k.at)
				}
				last = k.at
			}
			for _, v := range c.values {
				if p := r.place(v); !math.IsNaN(p) && !math.IsInf(p, 0) && (p < -1e-9 || p > 100+1e-9) {
					t.Errorf("%v stands at %v", v, p)
				}
			}
		})
	}
}

func TestClip(t *testing.T) {
	b := box{0, 0, 10, 10}
	for _, c := range []struct {
		p, q, from, to point
		ok             bool
	}{
		{point{1, 1}, point{9, 9}, point{1, 1}, point{9, 9}, true},
		{point{-5, 5}, point{15, 5}, point{0, 5}, point{10, 5}, true},
		{point{-5, -5}, point{15, 15}, point{0, 0}, point{10, 10}, true},
		{point{5, 5}, point{5, 25}, point{5, 5}, point{5, 10}, true},
		{point{-5, 11}, point{15, 11}, point{}, point{}, false},
		{point{-5, 0}, point{0, -5}, point{}, point{}, false},
	} {
		from, to, ok := b.clip(c.p, c.q)
		if ok != c.ok || ok && (from != c.from || to != c.to) {
			t.Errorf("%v to %v: %v to %v, %v", c.p, c.q, from, to, ok)
		}
	}
}

func TestChart(t *testing.T) {
	nan := math.NaN()
	c := Chart{Title: `<goodput> & "loss"`, X: Axis{Label: "p, %", Scale: Log}, Y: Axis{Label: "Mbit/s", From0: true, Max: 10}, Tips: true}
	for slot := range Slots {
		for kind := Points; kind <= Theory; kind++ {
			c.Series = append(c.Series, Series{Name: "a<b", Slot: slot, Kind: kind, X: []float64{0, .1, 1, nan, 5}, Y: []float64{1, 2, 30, 4, nan}, Lo: []float64{-1, 1, nan, 3, 4}, Hi: []float64{2, 3, nan, 50, 5}})
		}
	}
	svg := string(c.SVG())
	wellFormed(t, svg)
	for _, want := range []string{"&lt;goodput&gt;", "p, %", "Mbit/s", `class="plot-s7"`, "<title>"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in %s", want, svg)
		}
	}
	// An empty chart is a frame.
	wellFormed(t, string((&Chart{}).SVG()))
	wellFormed(t, string((&Chart{Y: Axis{Scale: Log}, Series: []Series{{Name: "x", X: []float64{0}, Y: []float64{0}}}}).SVG()))
}

// What is beyond the end of an axis is cut off there.
func TestChartClips(t *testing.T) {
	c := Chart{Y: Axis{From0: true, Max: 10}, Series: []Series{{Kind: Lines, X: []float64{0, 1, 2}, Y: []float64{0, 1000, 0}}}}
	m := regexp.MustCompile(`class="plot-line"[^>]* d="([^"]*)"`).FindStringSubmatch(string(c.SVG()))
	if m == nil {
		t.Fatal("no line")
	}
	for _, n := range regexp.MustCompile(`[ML]-?[0-9.]+ (-?[0-9.]+)`).FindAllStringSubmatch(m[1], -1) {
		if y, err := strconv.ParseFloat(n[1], 64); err != nil || y < 25.9 || y > 300 {
			t.Errorf("the line goes to %s in %s", n[1], m[1])
		}
	}
}

func TestLadder(t *testing.T) {
	l := Ladder{Title: "x", Left: "a", Right: "b", Format: func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }, Arrows: []Arrow{
		{Label: "0: <data>", Sent: 0, Arrived: 10}, {Label: "1", Slot: 1, Sent: 0, Arrived: -1, Lost: "lost"}, {Back: true, Label: "ACK 0", Slot: 2, Sent: 10, Arrived: 20},
		{Back: true, Sent: 30, Arrived: -1, Lost: "dropped"},
	}}
	svg := string(l.SVG())
	wellFormed(t, svg)
	for _, want := range []string{"0: &lt;data&gt;", "ACK 0", ">lost<", ">dropped<", ">20.0<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q", want)
		}
	}
	wellFormed(t, string((&Ladder{}).SVG()))
}

// Every colour of a series can be seen on its ground: WCAG 2.2 asks for 3:1 of
// what must be told apart in a drawing, and 4.5:1 of writing.
func TestContrast(t *testing.T) {
	themes := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(Style, -1)
	if len(themes) != 3 {
		t.Fatalf("%d themes", len(themes))
	}
	for i, theme := range themes {
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z0-9]+): #([0-9a-f]+)`).FindAllStringSubmatch(theme[1], -1) {
			colours[m[1]] = m[2]
		}
		page := luminance(t, colours["page"])
		for name, c := range colours {
			want := 0.0
			switch {
			case name == "ink" || name == "muted" || name == "bad" || name == "good":
				want = 4.5
			case regexp.MustCompile(`^s\d$`).MatchString(name):
				want = 3
			}
			a, b := luminance(t, c), page
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < want {
				t.Errorf("theme %d: %s has a contrast of %.2f, want %.1f", i, name, ratio, want)
			}
		}
		for slot := range Slots {
			if colours["s"+strconv.Itoa(slot)] == "" {
				t.Errorf("theme %d has no colour for slot %d", i, slot)
			}
		}
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	v, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	part := func(shift int) float64 {
		c := float64(v>>shift&255) / 255
		if c <= .04045 {
			return c / 12.92
		}
		return math.Pow((c+.055)/1.055, 2.4)
	}
	return .2126*part(16) + .7152*part(8) + .0722*part(0)
}

// Whatever numbers come, a chart is well-formed and draws inside its frame.
func FuzzChart(f *testing.F) {
	add := func(kind int, log bool, v ...float64) {
		var b []byte
		for _, x := range v {
			b = binary.BigEndian.AppendUint64(b, math.Float64bits(x))
		}
		f.Add(b, kind, log)
	}
	add(0, false, 0, 1, 2, 3, 4, 5, 6, 7)
	add(3, true, 0, 1e-9, 1e9, math.Inf(1), math.NaN(), -1)
	add(1, false, -1e308, 1e308, 5e-324, 1e300)
	add(5, true, 1, 1, 1, 1)
	f.Fuzz(func(t *testing.T, b []byte, kind int, log bool) {
		if len(b) > 1<<12 {
			return
		}
		var v []float64
		for ; len(b) >= 8; b = b[8:] {
			v = append(v, math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		n := len(v) / 4
		s := Series{Kind: Kind(kind & 7), Slot: kind & 7, Name: "x", X: v[:n], Y: v[n : 2*n], Lo: v[2*n : 3*n], Hi: v[3*n : 4*n]}
		c := Chart{Series: []Series{s}}
		if log {
			c.X.Scale, c.Y.Scale = Log, Log
		}
		svg := string(c.SVG())
		wellFormed(t, svg)
		for _, m := range regexp.MustCompile(`[ML](-?[0-9.]+) (-?[0-9.]+)`).FindAllStringSubmatch(svg, -1) {
			x, _ := strconv.ParseFloat(m[1], 64)
			y, _ := strconv.ParseFloat(m[2], 64)
			if x < -20 || x > width+20 || y < -20 || y > 400 {
				t.Fatalf("%s of %s", m[0], svg)
			}
		}
	})
}

package report

import (
	_ "embed"
	"html/template"
	"io"
	"strings"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/lab/plot"
	"github.com/wherry-net/wherry/socket/safetext"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// page is what the template is given.
type page struct {
	*data
	Style       template.CSS
	Sweeps      []figureData
	SweepsLeft  int
	Comparisons []comparison
	DetailsLeft int
	Command     string
	Source      string
	Scale       float64 // Mbit/s that are a whole bar
	Mathis      bool    // is drawn
	Textbook    bool    // protocols are
}

func writeHTML(w io.Writer, d *data) error {
	// Parsed when it is needed and not at the start of every command.
	t, err := template.New("page").Funcs(template.FuncMap{
		"figure": figure,
		"mean":   mean,
		"percent": func(part, whole float64) float64 {
			if whole <= 0 || !(part > 0) {
				return 0
			}
			return min(100, 100*part/whole)
		},
		"minus": func(a, b float64) float64 { return a - b },
		"plus":  func(a, b float64) float64 { return a + b },
	}).Parse(pageText)
	if err != nil {
		return err
	}
	p := page{data: d, Style: template.CSS(plot.Style + pageStyle), Command: commandLine(d.Info.Command), Source: cleanLines(d.Plan.Source)}
	for _, x := range d.Plan.Transports {
		p.Mathis = p.Mathis || x.IsTCP() || x == lab.UDPCubic
		p.Textbook = p.Textbook || x.IsTextbook()
	}
	p.Sweeps, p.SweepsLeft = d.sweepCharts()
	if p.Comparisons, p.DetailsLeft, err = d.comparisons(); err != nil {
		return err
	}
	for _, l := range d.Links {
		p.Scale = max(p.Scale, float64(l.Link.Rate)/1e6)
		for _, c := range l.Cells {
			if c.Goodput.N > 0 {
				p.Scale = max(p.Scale, c.Goodput.Mean)
			}
		}
	}
	return t.Execute(w, p)
}

// commandLine writes arguments as a shell would read them.
func commandLine(args []string) string {
	s := make([]string, len(args))
	for i, a := range args {
		s[i] = safetext.Clean(a)
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$`*?[]{}()<>|&;#~!") {
			s[i] = "'" + strings.ReplaceAll(s[i], "'", `'\''`) + "'"
		}
	}
	return strings.Join(s, " ")
}

// cleanLines is a text of several lines without what a terminal or a browser
// would obey.
func cleanLines(s string) string {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(safetext.Clean(strings.ReplaceAll(l, "\t", "    ")), `\\`, `\`)
	}
	return strings.Join(lines, "\n")
}

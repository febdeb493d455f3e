package report

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/units"
)

const samplePlan = `name: A <b>small</b> plan & "more"
seed: 7
repeat: 2
file: {size: 512KiB}
links:
  - {rate: 10Mbit, delay: [5ms, 20ms], loss: [0, 2%]}
transports: [udp, tcp:cubic, tcp:bbr]
`

// sample simulates a small plan.
func sample(t testing.TB) *lab.Results {
	t.Helper()
	p, err := lab.ReadPlan(strings.NewReader(samplePlan), "plan.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	res, err := lab.Execute(t.Context(), p, lab.Options{Dir: t.TempDir(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

var update = flag.Bool("update", false, "write what the report of the sample is now to testdata")

// golden is the sample with rows that were simulated once: what is tested is the
// report, and not how the engines do today.
func golden(t testing.TB) *lab.Results {
	t.Helper()
	const rows = "testdata/small.jsonl"
	if *update {
		f, err := os.Create(rows)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		res := sample(t)
		for i := range res.Rows {
			res.Rows[i].SecondsWall = 0.125
		}
		if err := lab.WriteJSONL(f, res.Rows); err != nil {
			t.Fatal(err)
		}
	}
	p, err := lab.ReadPlan(strings.NewReader(samplePlan), "plan.yaml", "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(rows)
	if err != nil {
		t.Fatal(err)
	}
	res := &lab.Results{Plan: p, Dir: t.TempDir()}
	for line := range strings.Lines(string(b)) {
		var row lab.Row
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		res.Rows = append(res.Rows, row)
	}
	return res
}

var fixed = Info{Version: "v1.2.3", Command: []string{"wherry", "lab", "run", "my plan.yaml"}, System: []Fact{{"system", "linux/amd64"}, {"processors", "2"}}}

func written(t testing.TB, res *lab.Results, info Info) (md, html string) {
	t.Helper()
	if err := Write(res, info); err != nil {
		t.Fatal(err)
	}
	var out [2]string
	for i, name := range []string{Markdown, HTML} {
		b, err := os.ReadFile(filepath.Join(res.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(b)
	}
	return out[0], out[1]
}

// The report of a small plan, to the byte. 'go test ./lab/report -update' writes
// it anew.
func TestGoldenMarkdown(t *testing.T) {
	md, _ := written(t, golden(t), fixed)
	const file = "testdata/small.md"
	if *update {
		if err := os.WriteFile(file, []byte(md), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if md != string(want) {
		t.Errorf("the report is\n%s\nwant\n%s", md, want)
	}
}

// Two simulations of a plan make the same report to the byte.
func TestReportRepeats(t *testing.T) {
	md1, html1 := written(t, sample(t), fixed)
	md2, html2 := written(t, sample(t), fixed)
	if md1 != md2 || html1 != html2 {
		t.Error("two reports of the same simulation differ")
	}
}

// The page is whole by itself, and what a plan says cannot become markup.
func TestHTML(t *testing.T) {
	res := sample(t)
	res.Rows[3].Status, res.Rows[3].Error = lab.Failed, `<script>alert("x")</script>`
	_, page := written(t, res, Info{Version: "<v>", Command: []string{"wherry", "lab", "run", "a'b</code>.yaml"}, System: []Fact{{"<i>", "&"}}})
	for _, bad := range []string{"<b>", "<script", "<i>", "<v>", "http://", "https://", "url(", "@import", " src=", " href=", "NaN", "Inf", "{{"} {
		if i := strings.Index(page, bad); i >= 0 {
			t.Errorf("%q in the page: …%s…", bad, page[max(0, i-80):min(len(page), i+80)])
		}
	}
	for _, want := range []string{
		"A &lt;b&gt;small&lt;/b&gt; plan", "1 of 2", "&lt;script&gt;", "C(1−p)", "Mathis", "Goodput against loss", "Goodput against round-trip time",
		"Time–sequence graph", "Distribution of round-trip times", "Queue and true losses", "Windows", "The first datagrams", "prefers-color-scheme", "models", "95% confidence",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	// Every drawing is well-formed by itself.
	drawings := strings.Split(page, `<svg class="plot"`)[1:]
	for i, rest := range drawings {
		text, _, _ := strings.Cut(rest, "</svg>")
		for d := xml.NewDecoder(strings.NewReader("<svg" + text + "</svg>")); ; {
			_, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("drawing %d: %v", i, err)
			}
		}
	}
	if len(drawings) < 20 {
		t.Errorf("%d drawings", len(drawings))
	}
}

// What was begun and not finished has a report as well.
func TestUnfinished(t *testing.T) {
	res := golden(t)
	res.Rows = res.Rows[:3]
	md, page := written(t, res, fixed)
	for _, s := range []string{md, page} {
		if !strings.Contains(s, "Not finished: 3 of 24 runs") {
			t.Error("the report does not say that it is unfinished")
		}
	}
	if strings.Contains(md, "NaN") || !strings.Contains(page, "not run yet") {
		t.Error(md)
	}
	res.Rows = nil
	written(t, res, fixed)
}

func TestFigure(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		mean, half float64
		n          int
		want       string
	}{
		{16.9213, .128, 2, "16.92 ± 0.13"}, {16.48660, 0, 3, "16.49 ± 0"}, {3.08, 3.24, 2, "3.1 ± 3.2"},
		{16.928395, .0018, 2, "16.93 ± <0.01"}, {15.4, 16.2, 2, "15 ± 16"}, {10.2, 114, 2, "10 ± 114"},
		{16.9213, nan, 1, "16.9"}, {nan, nan, 0, "–"}, {0, 0, 3, "0.00 ± 0"}, {941.23, 1.7, 5, "941.2 ± 1.7"}, {0.00123, .0004, 3, "0.00123 ± 0.00040"},
	} {
		if got := figure(lab.Summary{N: c.n, Mean: c.mean, Half: c.half}); got != c.want {
			t.Errorf("%v ± %v of %d: %s, want %s", c.mean, c.half, c.n, got, c.want)
		}
	}
}

// The theory, against figures worked out by hand.
func TestTheory(t *testing.T) {
	l := lab.Link{Rate: 10 * units.Mbit, Delay: 25 * time.Millisecond, Loss: .01}
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"C(1−p)", capacity(l), 9.9e6},
		{"Mathis", mathis(l), 1448 * 8 / .05 * math.Sqrt(150)}, // sqrt(3/2)/sqrt(p)
		{"stop-and-wait", textbook(&lab.Plan{Payload: 1472}, sim.StopAndWaitUtilisation)(l), 10e6 / (1 + 2*25e-3/1.2e-3) * .99 * 1436 / 1500},
		{"Mathis without loss", mathis(lab.Link{Rate: 10 * units.Mbit, Delay: 25 * time.Millisecond}), 10e6},
		{"Mathis above the rate", mathis(lab.Link{Rate: units.Mbit, Delay: time.Millisecond, Loss: .01}), .99e6},
	} {
		if math.Abs(c.got/c.want-1) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	if got, want := commandLine([]string{"wherry", "a b", "", "it's", "\x1b"}), `wherry 'a b' '' 'it'\''s' \x1b`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

package lab

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const smallPlan = `name: small
seed: 7
repeat: 2
file: {size: 128KiB}
links:
  - {rate: 10Mbit, delay: 5ms, loss: [0, 2%]}
transports: [udp, tcp:cubic, tcp:bbr]
`

func mustRead(t testing.TB, text string) *Plan {
	t.Helper()
	p, err := read(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// files reads a directory, the wall clock's columns taken out.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		name, _ := filepath.Rel(dir, p)
		out[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A plan of 2 links, 3 transports and 2 repeats has 12 rows, and two runs of it
// differ in nothing but the columns that are named so.
func TestSimulationRepeats(t *testing.T) {
	var seen []map[string]string
	var tables [][][]string
	for range 2 {
		dir := t.TempDir()
		res, err := Execute(t.Context(), mustRead(t, smallPlan), Options{Dir: dir, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Rows) != 12 || !res.Whole() || res.Kept != 0 {
			t.Fatalf("%d rows, %d kept", len(res.Rows), res.Kept)
		}
		f := files(t, dir)
		table, err := csv.NewReader(strings.NewReader(f[ResultsCSV])).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(table) != 13 || !reflect.DeepEqual(table[0], Columns()) {
			t.Fatalf("%d lines of CSV, header %q", len(table), table[0])
		}
		if n := strings.Count(f[ResultsJSONL], "\n"); n != 12 {
			t.Errorf("%d lines of JSON", n)
		}
		for i, name := range table[0] {
			if strings.Contains(name, "_wall") {
				for _, row := range table[1:] {
					row[i] = ""
				}
			}
		}
		tables = append(tables, table)
		delete(f, ResultsCSV)
		delete(f, ResultsJSONL) // which has the same columns
		seen = append(seen, f)
	}
	if !reflect.DeepEqual(tables[0], tables[1]) {
		t.Errorf("%q\n%q", tables[0], tables[1])
	}
	if len(seen[0]) != 6 || !reflect.DeepEqual(seen[0], seen[1]) {
		t.Errorf("recordings differ, or are not one a cell: %d and %d", len(seen[0]), len(seen[1]))
	}
	column := func(name string) (v []string) {
		i := slices.Index(tables[0][0], name)
		for _, row := range tables[0][1:] {
			v = append(v, row[i])
		}
		return v
	}
	if want := []string{"udp", "udp", "tcp:cubic", "tcp:cubic", "tcp:bbr", "tcp:bbr", "udp", "udp", "tcp:cubic", "tcp:cubic", "tcp:bbr", "tcp:bbr"}; !reflect.DeepEqual(column("transport"), want) {
		t.Errorf("transports %q", column("transport"))
	}
	for i, s := range column("status") {
		if s != "ok" {
			t.Errorf("row %d: %s, %s", i, s, column("error")[i])
		}
	}
	// The link of the second half loses something, and the first's nothing.
	for i, s := range column("link_lost") {
		if (s == "0") != (i < 6) {
			t.Errorf("row %d: %s lost", i, s)
		}
	}
}

// An interrupted plan continues where it was, keeps what it has, and ends as one
// that was not interrupted.
func TestResume(t *testing.T) {
	whole, dir := t.TempDir(), t.TempDir()
	if _, err := Execute(t.Context(), mustRead(t, smallPlan), Options{Dir: whole, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	finished := 0
	o := Options{Dir: dir, Version: "test", Trace: &Trace{Finished: func(Row, Progress) {
		if finished++; finished == 3 {
			cancel()
		}
	}}}
	res, err := Execute(ctx, mustRead(t, smallPlan), o)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := len(res.Rows); n < 3 || n == 12 || res.Whole() {
		t.Fatalf("%d rows after the third was the last to be begun", n)
	}
	before := map[string]float64{}
	for _, r := range res.Rows {
		before[r.Key] = r.SecondsWall
	}
	// Whoever was killed has left half a line.
	f, err := os.OpenFile(filepath.Join(dir, ResultsJSONL), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"key":"half`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var begun [2]int
	var progress []Progress
	o.Trace = &Trace{
		Begun:    func(runs, kept int) { begun = [2]int{runs, kept} },
		Finished: func(_ Row, p Progress) { progress = append(progress, p) },
	}
	res, err = Execute(t.Context(), mustRead(t, smallPlan), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := [2]int{12 - len(before), len(before)}; begun != want || res.Kept != len(before) || !res.Whole() {
		t.Errorf("begun with %v, want %v", begun, want)
	}
	if last := progress[len(progress)-1]; len(progress) != 12-len(before) || last.Done != 12 || last.Total != 12 || last.Left != 0 {
		t.Errorf("progress %+v", progress)
	}
	for _, r := range res.Rows {
		if was, ok := before[r.Key]; ok && was != r.SecondsWall {
			t.Errorf("%s over %s was run again", r.Transport, r.Link)
		}
	}
	a, b := files(t, whole), files(t, dir)
	for name := range a {
		if !strings.HasPrefix(name, "results") && a[name] != b[name] {
			t.Errorf("%s is not as it would be without the interruption", name)
		}
	}
	if len(a) != len(b) {
		t.Errorf("%d files, %d without the interruption", len(b), len(a))
	}
}

// A plan may grow. One that has changed is refused and touches nothing, unless it
// is told to begin anew.
func TestChangedPlan(t *testing.T) {
	dir := t.TempDir()
	run := func(plan string, fresh bool) (*Results, error) {
		return Execute(t.Context(), mustRead(t, plan), Options{Dir: dir, Fresh: fresh, Version: "test"})
	}
	if _, err := run(smallPlan, false); err != nil {
		t.Fatal(err)
	}
	grown := strings.NewReplacer("repeat: 2", "repeat: 3", "loss: [0, 2%]", "loss: [1%, 0, 2%]", "name: small", "name: larger").Replace(smallPlan)
	res, err := run(grown, false)
	if err != nil || len(res.Rows) != 27 || res.Kept != 12 {
		t.Fatalf("%v, %+v", err, res)
	}
	for _, r := range res.Rows {
		if r.Name != "larger" {
			t.Errorf("a row is named %q", r.Name)
		}
	}
	before := files(t, dir)
	var changed *ChangedError
	for _, other := range []string{smallPlan, strings.Replace(grown, "seed: 7", "seed: 8", 1), strings.Replace(grown, "128KiB", "64KiB", 1), strings.Replace(grown, "10Mbit", "11Mbit", 1)} {
		if _, err := run(other, false); !errors.As(err, &changed) || changed.Rows == 0 {
			t.Errorf("%v, want a ChangedError", err)
		}
		if !reflect.DeepEqual(before, files(t, dir)) {
			t.Error("files were touched")
		}
	}
	if res, err = run(smallPlan, true); err != nil || len(res.Rows) != 12 || res.Kept != 0 {
		t.Fatalf("%v, %+v", err, res)
	}
	if f := files(t, dir); len(f) != 2+6 {
		t.Errorf("%d files after a restart", len(f))
	}
	if err := os.WriteFile(filepath.Join(dir, ResultsJSONL), []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := run(smallPlan, false); err == nil || !strings.Contains(err.Error(), ":1: not a row of results") {
		t.Errorf("%v", err)
	}
}

// A run that ends badly is a row that says so.
func TestFailedRun(t *testing.T) {
	e := engineFunc(func(_ context.Context, r Run, row *Row, _ *recorder) error {
		if r.Repeat == 2 {
			row.Error = "the wire was cut"
		}
		row.timed(int64(r.Plan.File.Size), 1e9)
		return nil
	})
	p := mustRead(t, smallPlan)
	s, err := openStore(t.TempDir(), p.Runs(), false)
	if err != nil {
		t.Fatal(err)
	}
	x := &execution{engine: e, options: Options{Dir: s.dir}, store: s, total: 12}
	if err := x.all(t.Context(), p.Runs()); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.inOrder() {
		if want := map[int]Status{1: OK, 2: Failed}[r.Repeat]; r.Status != want {
			t.Errorf("repeat %d: %s", r.Repeat, r.Status)
		}
	}
	// The row says why, and the run is made again the next time.
	if !bytes.Contains([]byte(files(t, s.dir)[ResultsCSV]), []byte("the wire was cut")) {
		t.Error("the CSV does not say why")
	}
	if s, err = openStore(s.dir, p.Runs(), false); err != nil || len(s.rows) != 6 {
		t.Fatalf("%v, %d rows are kept", err, len(s.rows))
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// A run that does not end in its time, by the engine's clock, is a failed one.
func TestTimeout(t *testing.T) {
	p := mustRead(t, "timeout: 2s\nfile: {size: 1MiB}\nlinks: [{rate: 100kbit}]\ntransports: udp\n")
	res, err := Execute(t.Context(), p, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if r := res.Rows[0]; r.Status != Failed || r.Error != "not done within 2s of simulated time" {
		t.Errorf("%s: %s", r.Status, r.Error)
	}
}

// Whatever is in results.jsonl is read as rows, which are written as they were, or
// refused.
func FuzzResults(f *testing.F) {
	p := mustRead(f, smallPlan)
	row := newRow(p.Runs()[3], "test")
	row.Error, row.Utilisation, row.PacketsLost = "cut\n\"off\"", ptr(.5), ptr(int64(3))
	row.timed(100, 1e9)
	b, err := json.Marshal(&row)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b) + "\n")
	f.Add(string(b) + "\n" + string(b)[:40])
	f.Add("{}\n\n[]\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ResultsJSONL), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(dir, p.Runs(), false)
		if err != nil {
			return
		}
		before := maps.Clone(s.rows)
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range s.inOrder() {
			if n := len(r.record()); n != len(Columns()) {
				t.Errorf("%d cells of %d", n, len(Columns()))
			}
		}
		if s, err = openStore(dir, p.Runs(), false); err != nil {
			t.Fatal(err)
		}
		for key, r := range before {
			r.Name = p.Name
			if again := s.rows[key]; !reflect.DeepEqual(r, again) {
				t.Errorf("%+v\nread again\n%+v", r, again)
			}
		}
		s.file.Close()
	})
}

type engineFunc func(ctx context.Context, r Run, row *Row, rec *recorder) error

func (engineFunc) check(*Plan) error { return nil }
func (engineFunc) parallel() int     { return 1 }
func (f engineFunc) run(ctx context.Context, r Run, row *Row, rec *recorder) error {
	return f(ctx, r, row, rec)
}

// An engine that cannot go on ends the plan.
func TestEngineFails(t *testing.T) {
	cut := errors.New("no rights")
	p := mustRead(t, smallPlan)
	s, err := openStore(t.TempDir(), p.Runs(), false)
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	x := &execution{engine: engineFunc(func(context.Context, Run, *Row, *recorder) error { runs++; return cut }), options: Options{Dir: s.dir}, store: s, total: 12}
	if err := x.all(t.Context(), p.Runs()); !errors.Is(err, cut) || runs > 2 {
		t.Errorf("%v after %d runs", err, runs)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

func TestSampler(t *testing.T) {
	for _, peaks := range []bool{false, true} {
		s := sampler{most: 64, peaks: peaks}
		for i := range 100000 {
			y := 1.0
			if i == 77777 {
				y = 9
			}
			s.add(float64(i), y)
		}
		if n := len(s.t); n < 32 || n > 64 || s.t[0] != 0 {
			t.Errorf("%d points of 64, from %v", n, s.t[0])
		}
		if !slices.IsSorted(s.t) {
			t.Error("out of order")
		}
		if s.t[len(s.t)-1] < 90000 {
			t.Errorf("the last point is at %v", s.t[len(s.t)-1])
		}
		if slices.Contains(s.y, 9) != peaks {
			t.Errorf("peaks %v, kept %v", peaks, slices.Contains(s.y, 9))
		}
	}
}

// The names of plans end up in spreadsheets.
func TestUnformula(t *testing.T) {
	p := mustRead(t, smallPlan)
	p.Name = "=HYPERLINK(1)"
	row := newRow(p.Runs()[0], "test")
	if got := row.record()[1]; got != "'=HYPERLINK(1)" {
		t.Errorf("%q", got)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/lab"
	labreport "github.com/wherry-net/wherry/lab/report"
	"github.com/wherry-net/wherry/socket/safetext"
)

func labRunFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "put results and report into `DIR` (default: the plan's name without .yaml)"},
		&cli.BoolFlag{Name: "restart", Usage: "forget the results that DIR holds"},
		&cli.BoolFlag{Name: "check", Usage: "check the plan, say how many runs it has, and run nothing"},
		jsonFlag(), quietFlag(),
	}
}

func labRunCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "carry out a plan of transfers and write a report with figures and plots",
		ArgsUsage: "PLAN.yaml",
		Description: "A plan says which transports go over which links, and how often:\n\n" +
			"   name: CUBIC and UDP under loss\n" +
			"   seed: 7\n" +
			"   repeat: 5\n" +
			"   engine: sim            # or link (a real kernel in namespaces), or loopback\n" +
			"   file: {size: 8MiB}\n" +
			"   links:\n" +
			"     - {rate: 50Mbit, delay: 25ms, loss: [0, 0.1%, 1%, 5%]}\n" +
			"   transports: [udp, tcp:cubic, tcp:bbr]\n\n" +
			"Lists multiply out. 'go doc ./lab' tells every key. DIR gets results.jsonl, results.csv,\n" +
			"report.md and report.html, which opens without a network. Ctrl-C stops; the same command\n" +
			"continues. A plan may grow by links, transports and repeats and keeps what it has; another\n" +
			"plan's results are not touched without --restart. With 'engine: sim' the same plan and seed\n" +
			"give the same bytes; only columns named *_wall* differ.",
		Flags:  labRunFlags(),
		Action: func(c *cli.Context) error { return labRun(c, io, "") },
	}
}

func labSimCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:        "sim",
		Usage:       "carry out a plan in the simulator, whatever engine it names",
		ArgsUsage:   "PLAN.yaml",
		Description: "The same as run with 'engine: sim': simulated time, no rights needed, the same to the byte\nevery time.",
		Flags:       labRunFlags(),
		Action:      func(c *cli.Context) error { return labRun(c, io, lab.Sim) },
	}
}

func labRun(c *cli.Context, io stdio, engine lab.EngineName) error {
	p := printerFor(c, io)
	if c.NArg() != 1 {
		return usagef("lab %s takes one plan, not %d arguments", c.Command.Name, c.NArg()).hint("wherry lab " + c.Command.Name + " PLAN.yaml --out DIR")
	}
	name := c.Args().First()
	plan, err := readPlan(name, engine)
	if err != nil {
		return failPlan(p, err)
	}
	job := labJob{out: p, plan: plan, options: lab.Options{Dir: c.String("out"), Fresh: c.Bool("restart"), Version: version()}}
	if job.options.Dir == "" {
		job.options.Dir = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".yaml"), ".yml") + "-results"
	}
	if job.options.Program, err = os.Executable(); err != nil {
		return p.fail(fmt.Errorf("find wherry's own program: %w", err))
	}
	if err := lab.Check(plan, job.options); err != nil {
		return p.fail(err)
	}
	if c.Bool("check") {
		job.started(len(plan.Runs()), 0)
		return nil
	}
	job.command = []string{"wherry", "lab", c.Command.Name, name}
	return p.fail(job.run(c.Context))
}

func readPlan(name string, engine lab.EngineName) (*lab.Plan, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, pathError("read the plan", name, err)
	}
	defer f.Close()
	return lab.ReadPlan(f, filepath.Base(name), engine)
}

// failPlan shows every mistake in a plan in a line of its own.
func failPlan(p *printer, err error) error {
	var mistakes lab.PlanErrors
	if !errors.As(err, &mistakes) {
		return p.fail(err)
	}
	for i, m := range mistakes {
		f := classify(m)
		if i < len(mistakes)-1 {
			f.hint = ""
		}
		p.Error(f)
	}
	return &shownError{err}
}

// labJob carries out a plan and tells of it.
type labJob struct {
	out     *printer
	plan    *lab.Plan
	options lab.Options
	command []string
	bar     *progressbar.ProgressBar
	shown   time.Time
}

type labStart struct {
	Event      string   `json:"event"`
	Role       string   `json:"role"`
	Name       string   `json:"name"`
	Engine     string   `json:"engine"`
	Seed       uint64   `json:"seed"`
	Links      int      `json:"links"`
	Transports []string `json:"transports"`
	Repeat     int      `json:"repeat"`
	Runs       int      `json:"runs"`
	Kept       int      `json:"kept"`
}

type labRunEvent struct {
	Event       string  `json:"event"`
	Run         int     `json:"run"`
	Runs        int     `json:"runs"`
	Link        string  `json:"link"`
	Transport   string  `json:"transport"`
	Repeat      int     `json:"repeat"`
	Status      string  `json:"status"`
	Error       string  `json:"error,omitempty"`
	Seconds     float64 `json:"seconds"`
	GoodputBPS  float64 `json:"goodput_bps"`
	SecondsLeft float64 `json:"seconds_left"`
}

type labDone struct {
	Event   string  `json:"event"`
	Role    string  `json:"role"`
	Runs    int     `json:"runs"`
	Kept    int     `json:"kept"`
	Failed  int     `json:"failed"`
	Seconds float64 `json:"seconds"`
	Report  string  `json:"report"`
	Results string  `json:"results"`
}

func (j *labJob) run(ctx context.Context) error {
	begin := time.Now()
	j.options.Trace = &lab.Trace{
		Begun:    func(runs, kept int) { j.started(runs+kept, kept) },
		Finished: j.finished,
	}
	res, err := lab.Execute(ctx, j.plan, j.options)
	if j.bar != nil {
		_ = j.bar.Clear()
	}
	if res == nil {
		return labError(err, j.options.Dir)
	}
	info := labreport.Info{Version: version(), Command: j.command, System: labreport.System()}
	if j.plan.Engine != lab.Sim {
		info.Began = begin.UTC().Format("2006-01-02 15:04 UTC")
	}
	if len(res.Rows) > 0 { // of nothing there is nothing to report
		if writing := labreport.Write(res, info); err == nil {
			err = writing
		}
	}
	if err != nil {
		return labError(err, j.options.Dir)
	}
	e := labDone{Event: "done", Role: "lab", Runs: len(res.Rows), Kept: res.Kept, Seconds: time.Since(begin).Seconds(), Report: filepath.Join(res.Dir, labreport.HTML), Results: filepath.Join(res.Dir, lab.ResultsCSV)}
	failed := ""
	for _, r := range res.Rows {
		if r.Status == lab.Failed {
			e.Failed++
			failed = r.Error
		}
	}
	j.out.Event(e)
	j.out.Say("%s in %s: %s and %s", count(e.Runs-e.Kept, "run"), formatDuration(time.Since(begin)), quotePath(e.Report), quotePath(e.Results))
	if e.Failed > 0 {
		return fmt.Errorf("%d of %d runs failed, the last with: %s", e.Failed, e.Runs, safetext.Clean(failed))
	}
	return nil
}

// labError adds what to do next.
func labError(err error, dir string) error {
	var changed *lab.ChangedError
	switch {
	case errors.As(err, &changed):
		return withHint(err, "name another directory with --out, or forget what is there with --restart")
	case errors.Is(err, context.Canceled):
		return withHint(err, "the same command continues; what there is so far stands in "+quoteArg(dir))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return pathError("write results to", dir, err)
	}
	return err
}

func (j *labJob) started(runs, kept int) {
	p := j.plan
	e := labStart{Event: "start", Role: "lab", Name: p.Name, Engine: string(p.Engine), Seed: p.Seed, Links: len(p.Links), Repeat: p.Repeat, Runs: runs, Kept: kept}
	for _, t := range p.Transports {
		e.Transports = append(e.Transports, string(t))
	}
	j.out.Event(e)
	line := fmt.Sprintf("%s: %s × %s × %s = %s, engine %s", safetext.Clean(p.Name), count(e.Links, "link"), count(len(p.Transports), "transport"), count(p.Repeat, "repeat"), count(runs, "run"), p.Engine)
	if kept > 0 {
		line += fmt.Sprintf("; %d are there already", kept)
	}
	j.out.Say("%s", line)
	if j.out.live && runs > kept {
		j.bar = progressbar.NewOptions(runs,
			progressbar.OptionSetWriter(j.out.io.Err), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(barEvery), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionEnableColorCodes(false))
		_ = j.bar.Set(kept)
	}
	j.shown = time.Now()
}

// finished tells of a run: on a terminal by the bar, as JSON by an event, else by
// a line, but not more than one a second where runs are many and quick.
func (j *labJob) finished(r lab.Row, p lab.Progress) {
	j.out.Event(labRunEvent{
		Event: "run", Run: p.Done, Runs: p.Total, Link: r.Link, Transport: string(r.Transport), Repeat: r.Repeat,
		Status: string(r.Status), Error: r.Error, Seconds: r.Seconds, GoodputBPS: r.GoodputBPS, SecondsLeft: p.Left.Seconds(),
	})
	if j.bar != nil {
		j.bar.Describe(string(r.Transport))
		_ = j.bar.Set(p.Done)
		return
	}
	if now := time.Now(); r.Status == lab.Failed || p.Total <= 50 || now.Sub(j.shown) >= eventEvery || p.Done == p.Total {
		j.shown = now
		result := formatRate(r.GoodputBPS / 8)
		if r.Status != lab.OK {
			result = string(r.Status) + " " + safetext.Clean(r.Error)
		}
		left := ""
		if p.Done < p.Total {
			left = fmt.Sprintf(", %v left", p.Left.Round(100*time.Millisecond))
		}
		j.out.Say("%d of %d: %s over %s, repeat %d: %s%s", p.Done, p.Total, r.Transport, r.Link, r.Repeat, result, left)
	}
}

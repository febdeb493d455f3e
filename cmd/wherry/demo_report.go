package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/wherry-net/wherry/lab"
	labreport "github.com/wherry-net/wherry/lab/report"
)

// demoPlan sets UDP beside TCP on the link of the demo's second part, and on one
// that loses nothing. It is simulated: that takes a moment, and needs no rights.
const demoPlan = `name: A lossy link, UDP beside TCP
seed: 7
repeat: 5
engine: sim
file: {size: 4MiB}
links:
  - {rate: 50Mbit, delay: 10ms, loss: [0, 1%, 5%]}
transports: [udp, tcp:cubic, tcp:bbr]
`

// demoReport carries the plan out and leaves its report in dir; empty means a new
// directory, which is named.
func demoReport(ctx context.Context, io stdio, dir string) error {
	plan, err := lab.ReadPlan(strings.NewReader(demoPlan), "demo", "")
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "wherry-report-"); err != nil {
			return fmt.Errorf("make a place for the report: %w", err)
		}
	}
	res, err := lab.Execute(ctx, plan, lab.Options{Dir: dir, Version: version()})
	if err != nil {
		return labError(err, dir)
	}
	if err := labreport.Write(res, labreport.Info{Version: version(), Command: []string{"wherry", "demo"}, System: labreport.System()}); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "   %-28s %-12s %s\n", "link", "transport", "goodput, Mbit/s (mean of 5, 95% interval)")
	for i := 0; i < len(res.Rows); i += plan.Repeat {
		var goodput []float64
		for _, r := range res.Rows[i:min(i+plan.Repeat, len(res.Rows))] {
			goodput = append(goodput, r.GoodputBPS/1e6)
		}
		s := lab.Summarise(goodput)
		fmt.Fprintf(io.Out, "   %-28s %-12s %5.1f ± %.1f\n", res.Rows[i].Link, res.Rows[i].Transport, s.Mean, s.Half)
	}
	fmt.Fprintln(io.Out, "   TCP is modelled by our own controllers here; 'wherry lab run' with engine link measures the kernel's")
	fmt.Fprintf(io.Out, "   the report, with plots: %s\n", quotePath(filepath.Join(dir, labreport.HTML)))
	return nil
}

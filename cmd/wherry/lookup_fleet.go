package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/resolve/fleet"
	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/zmtp"
)

// passwordVariable has the broker's password, so that it need not stand on the
// command line, where everybody sees it.
const passwordVariable = "WHERRY_VIA_PASSWORD"

// --via and --worker: a list that many machines ask for.
func workerMode() lookupMode {
	return lookupMode{
		flag: "worker",
		flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "worker", Usage: "with --via: ask for the names of whoever gives them out, until stopped"},
			&cli.StringFlag{Name: "via", Usage: "with --file: have workers ask for the list, through the broker `URL`, as amqp://USER@HOST/ (" + passwordVariable + " has the password), or without one, as zmq+tcp://*:5555, where --worker gives zmq+tcp://HOST:5555 and the code"},
			rejoinFlag(),
		}, codeFlags()...),
		run: func(c *cli.Context, l *lookup) error {
			if c.IsSet("file") {
				return usagef("--worker takes its names from --via, and --file gives names out").hint("run one of them here, and the other on another machine")
			}
			via, err := viaFlag(c, l.io, true)
			if err != nil {
				return err
			}
			b, err := l.bulk(c)
			if err != nil {
				return err
			}
			for _, s := range b.Servers {
				if x, ok := s.Exchanger.(*clientExchanger); ok {
					defer x.client.Close()
				}
			}
			w := fleetWorker{io: l.io, quiet: l.quiet, ask: b.Options}
			return w.run(c.Context, via)
		},
	}
}

// A fleetVia is what --via names: how batches and results get to the other end.
type fleetVia interface {
	String() string
	// worker connects one that holds up to prefetch batches, 0 being the default.
	worker(ctx context.Context, name string, prefetch int, say func(string, ...any)) (fleetCarrier, error)
	// coordinator connects, or listens as, the one that gives out a list.
	coordinator(ctx context.Context, job string, say func(string, ...any)) (fleetCarrier, error)
}

type fleetCarrier interface {
	fleet.Carrier
	// Finish, by a coordinator, says that nobody waits for results any more.
	Finish(ctx context.Context) error
}

func viaFlag(c *cli.Context, io stdio, worker bool) (fleetVia, error) {
	via := c.String("via")
	if via == "" {
		return nil, usagef("--worker needs --via URL, where names come from")
	}
	if strings.HasPrefix(via, zmtp.Scheme) {
		return zeroMQFlag(c, io, worker)
	}
	u, err := broker.Parse(via)
	if err != nil {
		return nil, usagef("--via: %w", err).hint("write amqp://USER@HOST:PORT/VHOST; several hosts of a cluster are separated by commas; or zmq+tcp://HOST:PORT")
	}
	return rabbitVia{u}, nil
}

// rabbitVia is RabbitMQ.
type rabbitVia struct{ *broker.URL }

func (v rabbitVia) worker(ctx context.Context, name string, prefetch int, say func(string, ...any)) (fleetCarrier, error) {
	o := rabbitOptions("wherry worker "+name, brokerAway(say))
	o.Prefetch = prefetch
	return fleet.DialRabbit(ctx, v.URL, "", o)
}

func (v rabbitVia) coordinator(ctx context.Context, job string, say func(string, ...any)) (fleetCarrier, error) {
	return fleet.DialRabbit(ctx, v.URL, job, rabbitOptions("wherry coordinator", brokerAway(say)))
}

func brokerAway(say func(string, ...any)) func(error) {
	return func(err error) {
		if err != nil {
			say("%s; trying again", oneLine(err))
		} else {
			say("the broker is back")
		}
	}
}

func rabbitOptions(name string, away func(error)) fleet.RabbitOptions {
	return fleet.RabbitOptions{
		Options: broker.Options{Password: os.Getenv(passwordVariable), Name: name},
		Away:    away,
	}
}

// fleetWorker is `lookup --worker`.
type fleetWorker struct {
	io    stdio
	quiet bool
	ask   bulk.Options
}

// run works until ctx ends, which is how it is meant to end: that is no error.
func (w *fleetWorker) run(ctx context.Context, via fleetVia) error {
	host, _ := os.Hostname() // without one it is called worker
	name := fleet.DefaultName(host, os.Getpid())
	prefetch := 0
	if w.ask.QPS > 0 {
		// No more than about two seconds' work ahead: what lies here, nobody else does.
		prefetch = min(max(int(2*w.ask.QPS)/fleetLines, 1), 8)
	}
	r, err := via.worker(ctx, name, prefetch, w.say)
	if err != nil {
		return err
	}
	defer r.Close()
	w.say("%s: working for %s", name, via)
	var names int64
	begin := time.Now()
	err = fleet.Work(ctx, r, fleet.WorkerOptions{Name: name, Ask: w.ask, Trace: &fleet.WorkerTrace{
		Answered: func(n int, _ time.Duration) { names += int64(n) },
		Strange:  func(err error) { w.say("warning: a message is dropped: %s", oneLine(err)) },
	}})
	w.say("%s: %s names in %.0f s", name, thousands(names), time.Since(begin).Seconds())
	if ctx.Err() != nil || errors.Is(err, fleet.ErrFinished) {
		return nil
	}
	if errors.Is(err, bulk.ErrSilent) {
		return withHint(silentError{err}, "the names go to other workers; is the server's address right, and does a firewall let UDP port 53 through?")
	}
	return err
}

func (w *fleetWorker) say(format string, args ...any) {
	if !w.quiet {
		fmt.Fprintf(w.io.Err, format+"\n", args...)
	}
}

// fleetLines is how many names a batch has.
const fleetLines = 1000

// runFleetLookup is `lookup --file --via`: it gives the list out and collects.
func runFleetLookup(ctx context.Context, io stdio, b bulkLookup, via fleetVia) error {
	f, err := b.open(io)
	if err != nil {
		return err
	}
	defer f.close()
	if io.parsed != nil {
		io.parsed()
	}
	job := rand.Text()
	view := &fleetView{bulkView: newBulkView(io, b.quiet, f.size, b.Options.Resume)}
	r, err := via.coordinator(ctx, job, view.say)
	if err != nil {
		return err
	}
	defer r.Close()
	stats, err := fleet.Coordinate(ctx, r, f.list, f.out, fleet.Options{
		Job: job, Type: b.Type, Format: b.Format, Ordered: b.Ordered, Lines: fleetLines, Resume: b.Options.Resume, Progress: view.progress,
	})
	view.done(stats)
	if cerr := f.close(); err == nil {
		err = cerr
	}
	if err == nil || !zmtpCarrier(r) {
		// Even if it was interrupted nobody waits for results any more.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if ferr := r.Finish(end); err == nil && ferr != nil {
			view.say("warning: the broker keeps an empty queue for a day: %s", oneLine(ferr))
		}
	}
	return b.explain(err)
}

// fleetView shows how far a list is, and who asks for it.
type fleetView struct {
	*bulkView
	past []fleet.Stats // one each bulkPlainEvery, the latest last
}

// fleetWindow is over how many of these a rate is taken: a slow worker brings a batch
// only now and then.
const fleetWindow = 3

// fleetNamed is how many workers are named each with its rate.
const fleetNamed = 8

func (v *fleetView) progress(s fleet.Stats) {
	before := fleet.Stats{}
	if len(v.past) > 0 {
		before = v.past[0]
	}
	names, each := fleetRates(before, s)
	text := fmt.Sprintf("%s names; no worker answers", thousands(s.Names))
	if len(each) > 0 {
		workers := fmt.Sprintf("%d workers", len(each))
		if len(each) == 1 {
			workers = "1 worker"
		}
		text = fmt.Sprintf("%s names, %s/s by %s", thousands(s.Names), thousands(int64(names)), workers)
	}
	if v.bar != nil && !v.quiet {
		v.bar.Describe(text + shortRates(each))
		_ = v.bar.Set64(answeredBytes(s))
	}
	if s.Elapsed-v.shown < bulkPlainEvery {
		return
	}
	v.shown = s.Elapsed
	if v.past = append(v.past, s); len(v.past) > fleetWindow {
		v.past = v.past[1:]
	}
	if v.bar == nil && !v.quiet {
		if at := answeredBytes(s); v.size > 0 && at > 0 {
			text += fmt.Sprintf(", %d%%", 100*at/v.size)
			if recent := at - answeredBytes(before); recent > 0 {
				left := time.Duration(float64(s.Elapsed-before.Elapsed) * float64(v.size-at) / float64(recent))
				text += fmt.Sprintf(", %v left", left.Round(time.Second))
			}
		}
		for i, w := range each {
			if i == fleetNamed {
				text += fmt.Sprintf(", and %d more", len(each)-i)
				break
			}
			text += []string{": ", ", "}[min(i, 1)] + fmt.Sprintf("%s %s/s", w.name, thousands(int64(w.rate)))
		}
		fmt.Fprintln(v.err, text)
	}
}

// answeredBytes is how much of the list is, in bytes, which are the measure of what is to
// come: what is out is not done.
func answeredBytes(s fleet.Stats) int64 {
	if seen := s.Names + s.Given; seen > 0 {
		return int64(float64(s.InputBytes) * float64(s.Names) / float64(seen))
	}
	return 0
}

type workerRate struct {
	name string
	rate float64 // names/s
}

// fleetRates is what was answered a second between two moments, in all and by whom,
// the fastest first. Who has answered nothing is left out.
func fleetRates(before, now fleet.Stats) (all float64, each []workerRate) {
	seconds := max((now.Elapsed - before.Elapsed).Seconds(), 1e-3)
	had := map[string]int64{}
	for _, w := range before.Workers {
		had[w.Name] = w.Names
	}
	for _, w := range now.Workers {
		if n := w.Names - had[w.Name]; n > 0 {
			each = append(each, workerRate{w.Name, float64(n) / seconds})
		}
	}
	slices.SortStableFunc(each, func(a, b workerRate) int { return cmp.Compare(b.rate, a.rate) })
	return float64(now.Names-before.Names) / seconds, each
}

// shortRates is for a bar, where names have no room.
func shortRates(each []workerRate) string {
	if len(each) < 2 {
		return ""
	}
	return fmt.Sprintf(" (%s to %s each)", thousands(int64(each[len(each)-1].rate)), thousands(int64(each[0].rate)))
}

func (v *fleetView) say(format string, args ...any) {
	if v.quiet {
		return
	}
	v.clear()
	fmt.Fprintf(v.err, format+"\n", args...)
}

// done prints the sum, and each worker's part in it.
func (v *fleetView) done(s fleet.Stats) {
	rate := float64(s.Names) / max(s.Elapsed.Seconds(), 1e-3)
	v.say("%s names in %.2f s, %s/s", thousands(s.Names), s.Elapsed.Seconds(), thousands(int64(rate)))
	for _, w := range s.Workers {
		v.say("  %s: %s, %s/s", w.Name, thousands(w.Names), thousands(int64(float64(w.Names)/max(w.Last.Seconds(), 1e-3))))
	}
	var odd []string
	for _, x := range []struct {
		n    int64
		what string
	}{{s.Skipped, "blank lines and comments"}, {s.Resumed, "lines done before"}, {s.Twice, "results came twice and were dropped"}, {s.Strange, "messages were not believed"}} {
		if x.n > 0 {
			odd = append(odd, thousands(x.n)+" "+x.what)
		}
	}
	if len(odd) > 0 {
		v.say("%s", strings.Join(odd, "; "))
	}
}

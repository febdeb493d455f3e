package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
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
}

func (v *fleetView) progress(s fleet.Stats) {
	rate := float64(s.Names) / max(s.Elapsed.Seconds(), 1e-3)
	working := 0
	for _, w := range s.Workers {
		if s.Elapsed-w.Last < 10*time.Second {
			working++
		}
	}
	text := fmt.Sprintf("%s names, %s/s by %d workers", thousands(s.Names), thousands(int64(rate)), working)
	if working == 0 {
		text = fmt.Sprintf("%s names; no worker answers", thousands(s.Names))
	}
	// The list's bytes are the measure of what is to come; what is out is not done.
	at := s.InputBytes
	if seen := s.Names + s.Given; seen > 0 {
		at = s.InputBytes * s.Names / seen
	}
	switch {
	case v.quiet:
	case v.bar != nil:
		v.bar.Describe(text)
		_ = v.bar.Set64(at)
	case s.Elapsed-v.shown >= bulkPlainEvery:
		v.shown = s.Elapsed
		if v.size > 0 && at > 0 {
			left := time.Duration(float64(s.Elapsed) * float64(v.size-at) / float64(at))
			text += fmt.Sprintf(", %d%%, %v left", 100*at/v.size, left.Round(time.Second))
		}
		fmt.Fprintln(v.err, text)
	}
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
		v.say("  %s: %s", w.Name, thousands(w.Names))
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

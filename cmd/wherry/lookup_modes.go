package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/format"
)

// lookupDetails are flags that say how something is done that others ask for. The
// details of asking from the root see to themselves.
var lookupDetails = []struct{ flags, with []string }{
	{[]string{"via", "rejoin", "code-file"}, []string{"file", "worker"}},
	{[]string{"qps", "concurrency"}, []string{"file", "worker"}},
	{[]string{"output", "resume", "ordered"}, []string{"file"}},
	{[]string{"until", "max-wait"}, []string{"wait"}},
}

// strayDetail finds a detail without what it is one of. Passed over in silence,
// --via would have names asked from here that others were to ask for.
func strayDetail(c *cli.Context) error {
	for _, d := range lookupDetails {
		if slices.ContainsFunc(d.with, c.IsSet) {
			continue
		}
		for _, f := range d.flags {
			if c.IsSet(f) {
				return usagef("--%s goes with --%s", f, strings.Join(d.with, " or --"))
			}
		}
	}
	return nil
}

// --list: what a cache file holds.
func cacheListMode() lookupMode {
	return lookupMode{
		flag:  "list",
		flags: []cli.Flag{&cli.BoolFlag{Name: "list", Usage: "print what the --cache file holds, its TTLs counted down"}},
		run: func(c *cli.Context, l *lookup) error {
			if l.cache == nil {
				return usagef("--list needs --cache FILE")
			}
			now := time.Now()
			return format.CacheList(l.io.Out, l.kind, l.cache.Entries(now), now, format.Options{Colour: l.colour})
		},
	}
}

// --compare: servers side by side.
func compareMode() lookupMode {
	return lookupMode{
		flag:  "compare",
		flags: []cli.Flag{&cli.BoolFlag{Name: "compare", Usage: "set the answers of all servers side by side, mark differences, and judge; exits with 9 if they differ"}},
		run: func(c *cli.Context, l *lookup) error {
			if len(l.upstreams) < 2 {
				return usagef("--compare needs two servers or more").hint("wherry lookup --compare NAME @SERVER @SERVER")
			}
			if len(l.names) != 1 {
				return usagef("--compare needs one name")
			}
			return l.compare(c.Context)
		},
	}
}

func (l *lookup) compare(ctx context.Context) error {
	if !l.typeGiven {
		l.types = l.types[:1]
	}
	rs := l.resolvers()
	defer func() {
		for _, r := range rs {
			r.Close()
		}
	}()
	var failed error
	for i, t := range l.types {
		var qs []resolve.Question
		for _, r := range rs {
			qs = append(qs, resolve.Question{Name: l.names[0], Type: t, Class: l.class, Resolver: r})
		}
		var results []*resolve.Result
		rs[0].LookupAll(ctx, qs, 0, func(_ int, r *resolve.Result) bool {
			results = append(results, r)
			return true
		})
		if ctx.Err() != nil {
			return &lookupInterrupted{ctx.Err()}
		}
		if i > 0 && l.kind != format.JSON && l.kind != format.CSV {
			fmt.Fprintln(l.io.Out)
		}
		cmp := resolve.Compare(results[0].Query, results)
		if err := format.Compare(l.io.Out, l.kind, cmp, format.Options{Colour: l.colour}); err != nil {
			return fmt.Errorf("print the comparison: %w", err)
		}
		switch cmp.Verdict() {
		case resolve.Differ:
			failed = &shownError{&compareError{format.VerdictSentence(cmp)}}
		case resolve.Unknown, resolve.SomeDown:
			if failed == nil {
				failed = &shownError{&answerError{results[cmp.Failed[0]]}}
			}
		}
	}
	return failed
}

// compareError is servers that differ.
type compareError struct{ verdict string }

func (e *compareError) Error() string { return e.verdict }

// --wait: until a record appears or changes.
func waitMode() lookupMode {
	return lookupMode{
		flag: "wait",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "wait", Usage: "ask, at a polite pace, until a record appears, or changes if there is one; --timeout bounds each question, Ctrl-C ends it"},
			&cli.StringFlag{Name: "until", Usage: "with --wait: until a record has the data `VALUE`"},
			&cli.DurationFlag{Name: "max-wait", Usage: "with --wait: give up after `DUR` (default: never)"},
		},
		run: func(c *cli.Context, l *lookup) error {
			if len(l.names) != 1 || len(l.upstreams) > 1 || l.typeGiven && len(l.types) != 1 {
				return usagef("--wait needs one name, one type and at most one server")
			}
			return l.wait(c.Context, c.String("until"), c.Duration("max-wait"))
		},
	}
}

func (l *lookup) wait(ctx context.Context, until string, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r := l.resolvers()[0]
	defer r.Close()
	r.RefreshCache = true
	begun := time.Now()
	res, err := r.Wait(ctx, l.names[0], l.types[0], l.class, resolve.WaitOptions{Until: until, Each: func(res *resolve.Result, pause time.Duration) {
		if l.quiet || l.kind == format.JSON || l.kind == format.CSV || pause == 0 {
			return
		}
		what := format.Sentence(res)
		if what == "" {
			what = resolve.Data(res.Records()[0])
			if n := len(res.Records()); n > 1 {
				what += fmt.Sprintf(" and %d more", n-1)
			}
		}
		fmt.Fprintf(l.io.Err, "%8s  %s; asking again in %s\n", time.Since(begun).Round(time.Second), what, pause.Round(100*time.Millisecond))
	}})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && limit > 0:
		if res.Outcome == resolve.Found || res.Outcome == resolve.Failed {
			return withHint(&resolve.TimeoutError{Servers: []resolve.Upstream{res.Server}, After: limit, Tries: 1}, "what --wait waits for has not come to pass; --max-wait waits longer")
		}
	case errors.Is(err, context.Canceled):
		return &lookupInterrupted{err}
	case err != nil:
		return usagef("%w", err)
	}
	p := format.New(l.kind, l.io.Out, format.Options{Colour: l.colour})
	if err := errors.Join(p.Print(res), p.Close()); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	return l.outcome(res)
}

// transfer prints a zone as it comes.
func (l *lookup) transfer(ctx context.Context) error {
	if len(l.types) != 1 || len(l.names) != 1 {
		return usagef("a zone transfer goes alone: one name, one type")
	}
	if len(l.upstreams) != 1 {
		return usagef("a zone transfer needs the one server to get it from").hint("wherry lookup ZONE AXFR @SERVER")
	}
	if l.types[0] == resolve.TypeIXFR && l.serial == nil {
		return usagef("IXFR needs the serial of the copy at hand").hint("wherry lookup ZONE IXFR=SERIAL @SERVER")
	}
	z := &resolve.ZoneTransfer{Zone: l.names[0], Server: l.upstreams[0], Serial: l.serial, Key: l.tsig, Options: &l.options, Idle: l.options.Timeout}
	var st resolve.TransferStats
	p := format.NewRecords(l.kind, l.io.Out)
	for rr, err := range z.Run(ctx, &st) {
		if err == nil {
			if err := p.Record(rr); err != nil {
				return fmt.Errorf("print the zone: %w", err)
			}
			continue
		}
		_ = p.Close() // what came is shown; the failure is what counts
		if ctx.Err() != nil {
			return &lookupInterrupted{ctx.Err()}
		}
		return err
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("print the zone: %w", err)
	}
	if !l.quiet && l.kind != format.JSON {
		what := "the whole zone"
		switch {
		case st.UpToDate:
			what = "nothing new"
		case st.Incremental:
			what = "the changes"
		}
		verified := ""
		if st.Verified {
			verified = ", verified by TSIG"
		}
		fmt.Fprintf(l.io.Err, "%s: %d records in %d messages, %d bytes, serial %d, %s%s\n",
			what, st.Records, st.Messages, st.Bytes, st.Serial, st.Took.Round(time.Millisecond), verified)
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/format"
	"github.com/wherry-net/wherry/resolve/iterate"
	"github.com/wherry-net/wherry/socket"
)

// rootLookup is what lookup's flags say for the ways of asking that start at
// the root: --trace, --all-paths, --check and --dnssec.
type rootLookup struct {
	Name     string // fully qualified
	Type     uint16
	Hints    string        // --root-hints: a file; empty for the built-in list
	Anchor   string        // --trust-anchor: a file; empty for the root's built-in keys
	At       string        // --at: validate as of then; empty for now
	IPv4     bool          // IPv4 only
	IPv6     bool          // IPv6 only
	Timeout  time.Duration // of the whole; 0 for 30 s
	JSON     bool
	SVG      string // --svg: a file for the drawing; "-" for standard output
	AllPaths bool
	Hops     bool // --dnssec and --trace together: hops, then the chain
}

// rootModes are the ways of asking from the root, for lookupModes; the first
// whose flag is given takes the others' flags for details.
func rootModes() []lookupMode {
	mode := func(run func(context.Context, stdio, rootLookup) error, flag string, flags ...cli.Flag) lookupMode {
		return lookupMode{flag: flag, flags: flags, run: func(c *cli.Context, l *lookup) error { return l.fromRoot(c, run) }}
	}
	return []lookupMode{
		mode(lookupCheck, "check",
			&cli.BoolFlag{Name: "check", Usage: "ask all authoritative servers, on all addresses, over UDP and TCP; exits with 9 if they disagree"}),
		mode(lookupDNSSEC, "dnssec",
			&cli.BoolFlag{Name: "dnssec", Usage: "validate from the root and tell the chain of trust; exits with 10 for bogus"},
			&cli.StringFlag{Name: "trust-anchor", Usage: "trust the DS or DNSKEY records in `FILE` (default: the root's keys, built in)"},
			&cli.StringFlag{Name: "at", Usage: "validate as of `TIME`, as 2026-11-21T12:00:00Z"}),
		mode(lookupTrace, "trace",
			&cli.BoolFlag{Name: "trace", Usage: "ask from the root down, a line a hop"},
			&cli.StringFlag{Name: "root-hints", Usage: "begin at the root servers in `FILE` (default: those of the internet, built in)"},
			&cli.StringFlag{Name: "svg", Usage: "draw the path of --trace to `FILE`, - for standard output"}),
		mode(lookupTrace, "all-paths",
			&cli.BoolFlag{Name: "all-paths", Usage: "ask every server at every level, and mark who answers differently or slower"}),
		// A detail without a mode would otherwise be passed over in silence.
		mode(detailOnly("root-hints"), "root-hints"), mode(detailOnly("trust-anchor"), "trust-anchor"),
		mode(detailOnly("at"), "at"), mode(detailOnly("svg"), "svg"),
	}
}

func detailOnly(flag string) func(context.Context, stdio, rootLookup) error {
	return func(context.Context, stdio, rootLookup) error {
		return usagef("--%s goes with --trace, --all-paths, --check or --dnssec", flag)
	}
}

// fromRoot runs one way of asking from the root for all names and types. The
// error is that of the first that failed.
func (l *lookup) fromRoot(c *cli.Context, run func(context.Context, stdio, rootLookup) error) error {
	if len(l.names) == 0 {
		return usagef("look up what? No name was given")
	}
	if len(l.upstreams) > 0 {
		return usagef("asking from the root asks the servers that it finds, not @SERVER").hint("--root-hints FILE names other root servers")
	}
	if !l.typeGiven && l.types[0] == resolve.TypeA {
		l.types = l.types[:1]
	}
	o := rootLookup{
		Hints: c.String("root-hints"), Anchor: c.String("trust-anchor"), At: c.String("at"),
		IPv4: c.Bool("ipv4"), IPv6: c.Bool("ipv6"), Timeout: c.Duration("timeout"),
		JSON: l.kind == format.JSON, SVG: c.String("svg"), AllPaths: c.Bool("all-paths"), Hops: c.Bool("trace"),
	}
	var first error
	for _, n := range l.names {
		name, err := resolve.ParseName(n)
		if err != nil {
			return usagef("%w", err)
		}
		for _, t := range l.types {
			o.Name, o.Type = name, t
			if err := run(c.Context, l.io, o); err != nil && first == nil {
				first = err
			}
			if c.Context.Err() != nil {
				return first
			}
		}
	}
	return first
}

// Ways in which an answer is not what was asked for; each has an exit code.
var (
	errNoSuchRecord = errors.New("no such record")
	errNoSuchName   = errors.New("the name does not exist")
	errServers      = errors.New("the servers failed")
	errDisagree     = errors.New("the servers disagree")
	errBogusAnswer  = errors.New("DNSSEC bogus")
)

// resolver makes the resolver that the flags describe. Without validate no
// signatures are asked for.
func (o rootLookup) resolver(validate bool) (*iterate.Resolver, error) {
	opts := iterate.Options{NoDNSSEC: !validate, NoIPv6: o.IPv4, NoIPv4: o.IPv6}
	if !o.IPv4 && !o.IPv6 {
		opts.NoIPv6 = !hasIPv6()
	}
	if o.Hints != "" {
		f, err := os.Open(o.Hints)
		if err != nil {
			return nil, pathError("read", o.Hints, err)
		}
		defer f.Close()
		if opts.Hints, opts.Port, err = iterate.ParseHints(f, o.Hints); err != nil {
			return nil, err
		}
	}
	if o.Anchor != "" {
		f, err := os.Open(o.Anchor)
		if err != nil {
			return nil, pathError("read", o.Anchor, err)
		}
		defer f.Close()
		if opts.Anchors, err = dnssec.ParseAnchors(f, o.Anchor); err != nil {
			return nil, err
		}
	}
	if o.At != "" {
		at, err := parseAt(o.At)
		if err != nil {
			return nil, err
		}
		// The clock still runs, from there.
		start := time.Now()
		opts.Now = func() time.Time { return at.Add(time.Since(start)) }
	}
	return iterate.New(opts), nil
}

// hasIPv6 says whether there is a route to the IPv6 internet. Without one every
// second server would cost a failure; nothing is sent to find out.
func hasIPv6() bool {
	conn, err := (&socket.Dialer{}).DialContext(context.Background(), "udp6", "[2001:500:2::c]:53")
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// parseAt reads --at: RFC 3339, a date, the form of RRSIG records, or Unix time.
func parseAt(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02", "20060102150405"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<32 {
		return time.Unix(n, 0), nil
	}
	return time.Time{}, usagef("--at takes a time, as 2026-11-21T12:00:00Z, 2026-11-21 or 20261121120000, not %s", quoteArg(s))
}

func (o rootLookup) context(ctx context.Context) (context.Context, context.CancelFunc) {
	d := o.Timeout
	if d <= 0 {
		d = 30 * time.Second
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v: %w", d, socket.ErrTimeout))
}

// lookupError turns what a lookup from the root found, or did not, into the
// error whose exit code says so; nil if there are records.
func lookupError(ctx context.Context, res *iterate.Result, err error) error {
	name := dnssec.Show(res.Name)
	var none *iterate.ServersError
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("look up %s: %w", name, context.Cause(ctx))
	case errors.As(err, &none) && none.Silent:
		return fmt.Errorf("look up %s: %w: %w", name, err, socket.ErrTimeout)
	case err != nil:
		return fmt.Errorf("look up %s: %w: %w", name, errServers, err)
	case res.Verdict.State == dnssec.Bogus:
		return fmt.Errorf("%w: %s", errBogusAnswer, res.Verdict.Reason)
	case res.NXDomain():
		return fmt.Errorf("%s: %w", name, errNoSuchName)
	case res.NoRecords():
		return fmt.Errorf("%s: %w of type %s", name, errNoSuchRecord, res.TypeName())
	case res.Rcode != 0:
		return fmt.Errorf("%s: %w", name, errServers)
	}
	return nil
}

// finish ends a lookup: the failure, if any, goes through the printer.
func finishLookup(io stdio, asJSON bool, err error) error {
	return newPrinter(io, printOptions{JSON: asJSON}).fail(err)
}

func writeJSON(io stdio, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = io.Out.Write(append(b, '\n'))
	return err
}

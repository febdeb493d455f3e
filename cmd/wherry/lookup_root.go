package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/wherry-net/wherry/resolve/dnssec"
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
	SVG      bool // --trace draws instead of writing
	AllPaths bool
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

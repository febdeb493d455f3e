package main

import (
	"context"
	"fmt"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/iterate"
)

// lookupDNSSEC is lookup --dnssec: it validates from the root and tells the
// chain of trust in plain words, then the records.
func lookupDNSSEC(ctx context.Context, io stdio, o rootLookup) error {
	r, err := o.resolver(true)
	if err != nil {
		return err
	}
	ctx, cancel := o.context(ctx)
	defer cancel()
	var lo iterate.LookupOptions
	if o.Hops && !o.JSON {
		lo.Trace = &iterate.Trace{Hop: func(h iterate.Hop) { fmt.Fprintln(io.Out, h) }}
	}
	res, err := r.Lookup(ctx, o.Name, o.Type, lo)
	if o.JSON {
		if werr := writeJSON(io, res); werr != nil {
			return werr
		}
		return finishLookup(io, true, lookupError(ctx, res, err))
	}
	if o.Anchor == "" {
		for _, k := range dnssec.RootKeys() {
			fmt.Fprintf(io.Out, "%-13s the root: key %d (%s), valid from %s; in the zone since %s, trusted by RFC 5011 since %s\n", "anchor",
				k.DS.KeyTag, k.Name, k.ValidFrom.Format("2006-01-02"), k.Published.Format("2006-01-02"), k.Trusted.Format("2006-01-02"))
		}
	} else {
		fmt.Fprintf(io.Out, "%-13s from the file %s\n", "anchor", quoteArg(o.Anchor))
	}
	if res.Verdict.State != dnssec.Unchecked {
		fmt.Fprintln(io.Out, res.Verdict)
	}
	if res.Verdict.State == dnssec.Bogus {
		fmt.Fprintln(io.Out, "what the servers say, and must not be relied on:")
	}
	for _, line := range res.Records() {
		fmt.Fprintln(io.Out, line)
	}
	return finishLookup(io, false, lookupError(ctx, res, err))
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/iterate"
)

// lookupTrace is lookup --trace: the path from the root, a line a hop, then the
// records; with AllPaths every server at every level instead.
func lookupTrace(ctx context.Context, io stdio, o rootLookup) error {
	r, err := o.resolver(false)
	if err != nil {
		return err
	}
	ctx, cancel := o.context(ctx)
	defer cancel()
	if o.AllPaths {
		return finishLookup(io, o.JSON, traceAll(ctx, io, o, r))
	}
	var lo iterate.LookupOptions
	if !o.JSON && o.SVG != "-" {
		// Told as it happens, so that a slow server is seen to be slow.
		lo.Trace = &iterate.Trace{Hop: func(h iterate.Hop) { fmt.Fprintln(io.Out, h) }}
	}
	res, err := r.Lookup(ctx, o.Name, o.Type, lo)
	switch {
	case o.SVG == "-":
		if werr := res.WriteSVG(io.Out); werr != nil {
			return werr
		}
	case o.SVG != "":
		if werr := writeTo(o.SVG, res.WriteSVG); werr != nil {
			return finishLookup(io, o.JSON, werr)
		}
	}
	switch {
	case o.JSON && o.SVG != "-":
		if werr := writeJSON(io, res); werr != nil {
			return werr
		}
	case o.SVG != "-":
		fmt.Fprintln(io.Out, res.Summary())
		for _, line := range res.Records() {
			fmt.Fprintln(io.Out, line)
		}
	}
	return finishLookup(io, o.JSON, lookupError(ctx, res, err))
}

func traceAll(ctx context.Context, io stdio, o rootLookup, r *iterate.Resolver) error {
	levels, err := r.AllPaths(ctx, o.Name, o.Type)
	if o.JSON {
		if werr := writeJSON(io, levels); werr != nil {
			return werr
		}
	} else if werr := iterate.WriteLevels(io.Out, levels); werr != nil {
		return werr
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("look up %s: %w", dnssec.Show(o.Name), context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("look up %s: %w: %w", dnssec.Show(o.Name), errServers, err)
	}
	var differ []error
	for _, lv := range levels {
		if lv.Differ {
			differ = append(differ, fmt.Errorf("%w: those of %s answer differently", errDisagree, dnssec.Show(lv.Zone)))
		}
	}
	return errors.Join(differ...)
}

package main

import (
	"context"
	"fmt"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// lookupCheck is lookup --check: do all authoritative servers of the name's
// zone agree, with each other and with the parent?
func lookupCheck(ctx context.Context, io stdio, o rootLookup) error {
	r, err := o.resolver(false)
	if err != nil {
		return err
	}
	ctx, cancel := o.context(ctx)
	defer cancel()
	a, err := r.Check(ctx, o.Name, o.Type)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return finishLookup(io, o.JSON, fmt.Errorf("check %s: %w: %w", dnssec.Show(o.Name), errServers, err))
	}
	if o.JSON {
		err = writeJSON(io, a)
	} else {
		err = a.WriteText(io.Out)
	}
	if err != nil {
		return err
	}
	if !a.Agree {
		err = fmt.Errorf("%w: %s", errDisagree, a.Problems[0])
		if n := len(a.Problems) - 1; n > 0 {
			err = fmt.Errorf("%w (and %d more)", err, n)
		}
	}
	return finishLookup(io, o.JSON, err)
}

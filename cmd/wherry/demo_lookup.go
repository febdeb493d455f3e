package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/zoneserver"
	"github.com/wherry-net/wherry/testdata"
)

// demoLookup serves the sample zones on loopback and looks up a name from their
// root; dir is a place for files.
func demoLookup(ctx context.Context, io stdio, dir string) error {
	if err := layOutFiles(testdata.Zones, "zones", dir); err != nil {
		return fmt.Errorf("lay out the demo's zones: %w", err)
	}
	h, err := zoneserver.Load(dir)
	if err != nil {
		return err
	}
	if err := h.Sign(time.Now()); err != nil {
		return err
	}
	if err := h.Listen(); err != nil {
		// Only Linux has all of 127.0.0.0/8 on its loopback without set-up.
		fmt.Fprintf(io.Out, "   not here: %s\n", oneLine(err))
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx) }()
	defer func() {
		stop()
		<-served
	}()
	hints, anchor := filepath.Join(dir, "hints"), filepath.Join(dir, "anchor")
	if err := writeTo(hints, h.WriteHints); err != nil {
		return err
	}
	if err := writeTo(anchor, h.WriteAnchors); err != nil {
		return err
	}
	return lookupDNSSEC(ctx, io, rootLookup{Name: "www.example.com.", Type: resolve.TypeA, Hints: hints, Anchor: anchor, Hops: true})
}

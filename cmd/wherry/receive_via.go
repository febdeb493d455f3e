package main

import (
	"context"
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/depot/rabbit"

	"github.com/wherry-net/wherry/socket/units"
)

func receiveVia(c *cli.Context, io stdio, p *printer) error {
	v, err := newVia(c, io, p)
	if err != nil {
		return err
	}
	o, err := receiveOptions(c, io, &meeting{timeout: v.timeout})
	if err != nil {
		return err
	}
	label, name := receiverName(c.String("dir"))
	if c.String("output") != "" {
		if c.Bool("json") {
			return usagef("--output - and --json both want standard output")
		}
		o.Output = io.Out
	} else {
		root, err := openDir(c.String("dir"))
		if err != nil {
			return p.fail(err)
		}
		defer root.Close()
		o.Dir = root
	}
	if err := v.unlock(false); err != nil {
		return err
	}
	r, err := v.dial(c.Context, rabbit.Options{})
	if err != nil {
		return p.fail(err)
	}
	defer r.Close()
	s := v.session("receive")
	o.Trace = s.trace()
	o.Limiter = func(w transfer.Waited, _ string) string { return s.measure.limiter(false, w) }
	offer, err := v.find(c.Context, r)
	if err != nil {
		return v.fail(c.Context, err)
	}
	s.say("left on %s", offer.Created().Format("Mon 2 Jan 2006 at 15:04"))
	result, err := v.land(c.Context, r, offer, name, o)
	if (result.Files > 0 || offer.Shared()) && (err == nil || errors.As(err, new(*transfer.RefusedError)) || errors.As(err, new(*transfer.IncompleteError))) {
		rec := offer.Receipt(result)
		rec.Receiver, rec.Label = v.key.NewReceiver(name), label
		if rerr := v.post(c.Context, r, rec); rerr != nil && err == nil {
			v.warn("the sender gets no receipt: %s", oneLine(rerr))
		}
	}
	return s.done(result, err)
}

// land lands the offer, or of one that is shared what this receiver gets hold of.
func (v *via) land(ctx context.Context, r *rabbit.Rabbit, offer *depot.Offer, name string, o transfer.ReceiveOptions) (transfer.Result, error) {
	if !offer.Shared() {
		return offer.Receive(ctx, o)
	}
	if o.Output != nil {
		return transfer.Result{}, usagef("--output - takes one file, and these are shared out")
	}
	v.p.Say("each file is for one of the receivers")
	return offer.ReceiveShared(ctx, &v.key, r.Receipts(false), v.key.NewReceiver(name), o, depot.ShareOptions{
		Taken: func(files int) {
			v.warn("this end was silent for too long, and another receiver has taken a part of the files; %s of it are here too", count(files, "file"))
		},
		Others: func(portions int) { v.p.Say("waiting for other receivers, which have the rest") },
	})
}

// post leaves a receipt.
func (v *via) post(ctx context.Context, r *rabbit.Rabbit, rec depot.Receipt) error {
	log := r.Receipts(false)
	if err := log.Append(ctx, 0, rec.Seal(&v.key)); err != nil {
		return err
	}
	return log.Flush(ctx)
}

// find opens the offer, and waits --timeout for a sender to begin with it.
func (v *via) find(ctx context.Context, r *rabbit.Rabbit) (*depot.Offer, error) {
	o := depot.ReadOptions{Timeout: v.timeout, Waiting: func(have, of int64) {
		if of > 0 {
			v.p.Say("waiting for the sender, who has left %s of %s", units.FormatBytes(have), units.FormatBytes(of))
		}
	}}
	late := time.NewTimer(v.timeout)
	defer late.Stop()
	for told := false; ; told = true {
		offer, err := depot.Open(ctx, &v.key, r.Content(false), r.Addr(), o)
		if errors.Is(err, depot.ErrOver) {
			if rerr := r.Remove(ctx); rerr != nil {
				v.warn("it could not be removed: %s", oneLine(rerr))
			}
			return nil, err
		}
		if !errors.Is(err, depot.ErrNoOffer) {
			return offer, err
		}
		if !told {
			v.p.Say("there is nothing under this code; waiting %v for a sender", v.timeout)
		}
		select {
		case <-late.C:
			return nil, err
		case <-time.After(min(time.Second, v.timeout)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// fail shows err, or that somebody has stopped this end.
func (v *via) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = transfer.ErrInterrupted
	}
	return v.p.fail(err)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve/fleet"
	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
)

// --via zmq+tcp://: the coordinator listens, workers connect, and both know a code.

func rejoinFlag() cli.Flag {
	return &cli.DurationFlag{Name: "rejoin", Value: 30 * time.Second, DefaultText: "30s, and not at all before it was there", Usage: "with --worker and zmq+tcp: wait for a coordinator that is not there for `DUR`"}
}

// zeroMQVia is ZeroMQ.
type zeroMQVia struct {
	io      stdio
	address string // as given
	addr    string
	words   string
	made    string        // the code, if it was made here, for people to read
	wait    time.Duration // for a coordinator to be there at all
	rejoin  time.Duration
}

func (v *zeroMQVia) String() string { return v.address }

func zeroMQFlag(c *cli.Context, io stdio, worker bool) (fleetVia, error) {
	v := &zeroMQVia{io: io, address: c.String("via"), rejoin: c.Duration("rejoin")}
	if v.rejoin <= 0 {
		v.rejoin = -1
	}
	if c.IsSet("rejoin") {
		v.wait = v.rejoin
	}
	var err error
	if v.addr, err = zeroMQAddress(v.address, worker); err != nil {
		return nil, err
	}
	code, made, err := longCode(c, io, !worker)
	if err != nil {
		return nil, err
	}
	v.words = code.WithNumber(0).Reveal()
	if made {
		v.made = v.words
	}
	return v, nil
}

func (v *zeroMQVia) worker(ctx context.Context, _ string, prefetch int, say func(string, ...any)) (fleetCarrier, error) {
	o := fleet.ZeroMQOptions{Key: fleet.NewZeroMQKey(v.words), Prefetch: prefetch, Timeout: v.rejoin}
	o.Away = func(err error) {
		if err != nil {
			say("%s; trying again for %v", oneLine(err), v.rejoin)
		} else {
			say("the coordinator is back")
		}
	}
	w, err := fleet.DialZeroMQ(ctx, v.addr, o)
	if v.wait > 0 && err != nil {
		say("%s; trying again for %v", oneLine(err), v.wait)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		over := time.After(v.wait)
		for err != nil && !errors.Is(err, psk.ErrSecret) {
			select {
			case <-tick.C:
				w, err = fleet.DialZeroMQ(ctx, v.addr, o)
				continue
			case <-over:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
			break
		}
	}
	if err != nil {
		return nil, nobodyThere(err, "wherry lookup --file FILE")
	}
	return zeroMQWorker{w}, nil
}

// zeroMQWorker has nothing to finish.
type zeroMQWorker struct{ *fleet.ZeroMQWorker }

func (zeroMQWorker) Finish(context.Context) error { return nil }

func (v *zeroMQVia) coordinator(ctx context.Context, _ string, say func(string, ...any)) (fleetCarrier, error) {
	z, err := fleet.ListenZeroMQ(ctx, v.addr, fleet.ZeroMQOptions{Key: fleet.NewZeroMQKey(v.words), Refused: refusals(say)})
	if err != nil {
		return nil, err
	}
	say("listening on %s", z.Addr())
	if v.made != "" {
		fmt.Fprintf(v.io.Err, "code: %s\n", v.made) // --quiet does not silence it: nobody could come
	}
	return z, nil
}

// refusals tells of a few that were not let in, and then no more: whoever can
// connect can do so often.
func refusals(say func(string, ...any)) func(net.Addr, error) {
	left := make(chan struct{}, 5)
	for range cap(left) {
		left <- struct{}{}
	}
	return func(addr net.Addr, err error) {
		if socket.Kind(err) != nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return // it has only gone, or said nothing
		}
		select {
		case <-left:
		default:
			return
		}
		who := "somebody"
		if addr != nil {
			who = addr.String()
		}
		last := ""
		if len(left) == 0 {
			last = "; of others nothing is said"
		}
		say("%s was not let in: %s%s", who, oneLine(err), last)
	}
}

// zmtpCarrier reports whether who is left waiting may be waiting for the same
// coordinator to come again: an interrupted list is gone on with by --resume.
func zmtpCarrier(c fleetCarrier) bool { _, ok := c.(*fleet.ZeroMQ); return ok }

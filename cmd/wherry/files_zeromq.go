package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/socket/zmtp"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/depot/zeromq"
)

// send and receive with --via zmq+tcp://: the sender listens, and stays until everybody
// has everything; receivers connect, when they like.

func overZeroMQ(c *cli.Context) bool { return strings.HasPrefix(c.String("via"), zmtp.Scheme) }

// notZeroMQ are flags that have no meaning without two ends that meet, or a broker.
func notZeroMQ() []string { return append(slices.Clone(notVia), brokerFlags...) }

// zeroMQEnd reads what both ends have: where, and the code.
func zeroMQEnd(c *cli.Context, io stdio, connects bool) (addr string, words string, made bool, key depot.Key, err error) {
	for _, name := range notZeroMQ() {
		if c.IsSet(name) {
			return "", "", false, key, usagef("--%s is not for --via %s", name, zmtp.Scheme)
		}
	}
	if addr, err = zeroMQAddress(c.String("via"), connects); err != nil {
		return "", "", false, key, err
	}
	code, made, err := longCode(c, io, !connects)
	if err != nil {
		return "", "", false, key, err
	}
	key, err = depot.NewKey(code)
	return addr, code.WithNumber(0).Reveal(), made, key, err
}

// sendZeroMQ is `send --via zmq+tcp://`.
func sendZeroMQ(c *cli.Context, io stdio, p *printer) error {
	addr, words, made, key, err := zeroMQEnd(c, io, false)
	if err != nil {
		return err
	}
	receivers := 0 // until it is stopped
	if c.IsSet("count") {
		receivers = c.Int("count")
	}
	so := transfer.SourceOptions{FollowSymlinks: c.Bool("follow-symlinks")}
	if err := applyFilter(c, &so); err != nil {
		return err
	}
	for _, a := range c.Args().Slice() {
		if a == "-" {
			return usagef("standard input can be read once, and --via reads again what a receiver missed")
		}
	}
	src, err := transfer.NewSource(c.Args().Slice(), so)
	if err != nil {
		return p.fail(err)
	}
	defer src.Close()
	spool, remove, err := newSpool()
	if err != nil {
		return p.fail(err)
	}
	defer remove()
	v := &zeroMQSender{p: p, started: time.Now(), want: receivers, all: make(chan struct{}), limited: refusals(p.Say)}
	o := zeromq.SenderOptions{Trace: v.trace()}
	switch {
	case c.Bool("share") && receivers > 0:
		return usagef("--share ends when everything has its receiver, and --count would end sooner or later")
	case c.Bool("share"):
		o.Pattern, v.share = zeromq.Share, true
	case receivers == 1:
		o.Pattern = zeromq.Pair
	}
	s, err := zeromq.Listen(c.Context, addr, zeromq.NewKey(words), spool, o)
	if err != nil {
		return p.fail(err)
	}
	defer s.Close()
	p.listening(s.Addr().String())
	if made {
		fmt.Fprintf(io.Err, "code: %s\n", words) // --quiet cannot silence it either
	}
	err = v.send(c.Context, s, src, &key)
	end, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 2*time.Second)
	defer cancel()
	s.Finish(end)
	return p.fail(err)
}

// newSpool is a file that nobody else sees, where a sender keeps what it sends.
func newSpool() (spool *os.File, remove func(), err error) {
	f, err := os.CreateTemp("", "wherry-spool-*")
	if err != nil {
		return nil, nil, withHint(fmt.Errorf("make a file for what is sent: %w", err), "TMPDIR names the directory; it needs as much room as what is sent")
	}
	// Now, where the system lets that be, so that it goes whatever happens.
	gone := os.Remove(f.Name()) == nil
	return f, func() {
		f.Close()
		if !gone {
			_ = os.Remove(f.Name())
		}
	}, nil
}

// zeroMQSender shows how a sender gets on.
type zeroMQSender struct {
	p       *printer
	started time.Time
	want    int // receivers; 0: until it is stopped
	limited func(net.Addr, error)
	share   bool
	all     chan struct{} // closed when want have everything, or with share when it is everywhere

	mu    sync.Mutex
	done  int // receivers that have everything
	under int // receivers that are connected and have not
}

func (v *zeroMQSender) trace() *zeromq.SenderTrace {
	return &zeromq.SenderTrace{
		Joined: func(addr net.Addr) {
			v.count(+1)
			v.p.Event(startEvent{"start", "send", addr.String(), "zmq", true})
			v.p.Say("connected to %s", addr)
		},
		Left: func(addr net.Addr, err error) {
			v.count(-1)
			v.p.Event(warningEvent{Event: "warning", Peer: addr.String(), Message: oneLine(err)})
			v.p.Say("%s left before it had everything: %s; it may come again", addr, oneLine(err))
		},
		Behind:   func(addr net.Addr) { v.p.Say("%s is slow; the others do not wait for it", addr) },
		Refused:  v.limited,
		Received: v.received,
		Shared:   func() { close(v.all) },
	}
}

func (v *zeroMQSender) count(n int) { v.mu.Lock(); defer v.mu.Unlock(); v.under += n }

func (v *zeroMQSender) received(addr net.Addr, r zeromq.Receipt) {
	seconds := time.Since(v.started).Seconds()
	// Whoever reads this may stop this end at once, which then is no interruption.
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Error != "" || r.Failed > 0 {
		text := r.Error
		if text == "" {
			text = fmt.Sprintf("%d files did not arrive", r.Failed)
		}
		v.p.Event(warningEvent{Event: "warning", Peer: addr.String(), Message: printable(text)})
		v.p.Say("%s has not everything: %s", addr, printable(text))
	} else {
		v.p.Event(doneEvent{Event: "done", Role: "send", Peer: addr.String(), Transport: "zmq", ARQ: "kernel", Encrypted: true,
			Files: r.Files, Bytes: r.Bytes, Seconds: seconds, GoodputBPS: float64(r.Bytes) * 8 / max(seconds, 1e-9), Limiter: "unknown"})
		v.p.Say("%s has %s: %s, %s", addr, v.everything(), count(r.Files, "file"), units.FormatBytes(r.Bytes))
	}
	v.under--
	if r.Error == "" && r.Failed == 0 {
		if v.done++; v.done == v.want {
			close(v.all)
		}
	}
}

func (v *zeroMQSender) everything() string {
	if v.share {
		return "its share"
	}
	return "everything"
}

// printable is one line of what a peer says.
func printable(s string) string { return oneLine(errors.New(s)) }

// send keeps everything for receivers, and returns when as many as are wanted have it.
func (v *zeroMQSender) send(ctx context.Context, s *zeromq.Sender, src *transfer.Source, key *depot.Key) error {
	trace := &transfer.Trace{Warning: func(path string, why error) { v.p.Warn(path, why.Error()) }}
	plan, err := depot.NewPlan(ctx, src, depot.PlanOptions{Trace: trace, Shared: v.share})
	if err != nil {
		return err
	}
	t := plan.Totals()
	until := "this is stopped"
	switch {
	case v.share:
		until = "each has its receiver"
	case v.want > 0:
		until = count(v.want, "receiver") + " have it"
		if v.want == 1 {
			until = "1 receiver has it"
		}
	}
	v.p.Say("%s, %s, to be had until %s", count(t.Files, "file"), units.FormatBytes(t.Bytes), until)
	sum, err := plan.Leave(ctx, key, s, depot.LeaveOptions{Trace: trace})
	if err != nil && !v.enough(ctx) {
		return err
	}
	select {
	case <-v.all:
		if v.share {
			v.farewell(ctx)
		}
	case <-ctx.Done():
		if !v.enough(ctx) {
			return context.Cause(ctx)
		}
	}
	if err == nil && sum.Failed > 0 {
		return errUnread
	}
	return nil
}

// farewell waits a while for the receipts of those that have landed the last of it.
func (v *zeroMQSender) farewell(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	over := time.After(10 * time.Second)
	for {
		v.mu.Lock()
		under := v.under
		v.mu.Unlock()
		if under <= 0 {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
}

// errUnread: warnings have said which.
var errUnread = errors.New("not everything could be read")

// enough reports whether it was stopped as it is meant to be: nobody is half-way, and
// somebody has everything.
func (v *zeroMQSender) enough(ctx context.Context) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return ctx.Err() != nil && v.want == 0 && v.done > 0 && v.under <= 0
}

// receiveZeroMQ is `receive --via zmq+tcp://`.
func receiveZeroMQ(c *cli.Context, io stdio, p *printer) error {
	addr, words, _, key, err := zeroMQEnd(c, io, true)
	if err != nil {
		return err
	}
	timeout := c.Duration("timeout")
	if timeout <= 0 {
		return usagef("--timeout must be longer than 0, not %v", timeout)
	}
	o, err := receiveOptions(c, io, &meeting{timeout: timeout, streams: 1})
	if err != nil {
		return err
	}
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
	r, err := zeromq.Dial(c.Context, addr, zeromq.NewKey(words), zeromq.ReceiverOptions{Timeout: 2 * timeout, Away: func(err error) {
		if err != nil {
			p.Say("%s; trying again", oneLine(err))
		} else {
			p.Say("connected again")
		}
	}})
	if err != nil {
		return p.fail(nobodyThere(err, "wherry send"))
	}
	defer r.Close()
	s := &session{p: p, role: "receive", sealed: true, transport: "zmq", verb: "receiving", peer: r.Addr().String(), measure: startMeasure(nil), started: time.Now()}
	o.Trace = s.trace()
	if r.Pattern() == zeromq.Share && o.Output != nil {
		return p.fail(usagef("--output - takes one file, and the sender shares out many"))
	}
	result, err := receiveOffer(c.Context, r, &key, timeout, o)
	receipt := zeromq.Receipt{Files: result.Files, Bytes: result.Bytes, Failed: result.Failed}
	if err != nil {
		receipt.Error = oneLine(err)
	}
	// The sender waits for it, also where the user has stopped this end.
	told, cancel := context.WithTimeout(context.WithoutCancel(c.Context), 5*time.Second)
	defer cancel()
	if derr := r.Done(told, receipt); derr != nil && err == nil {
		s.say("the sender does not know: %s", oneLine(derr))
	}
	return s.done(result, err)
}

// receiveOffer waits for what the sender sends, however long it reads it first.
func receiveOffer(ctx context.Context, r *zeromq.Receiver, key *depot.Key, timeout time.Duration, o transfer.ReceiveOptions) (transfer.Result, error) {
	offer, err := depot.Open(ctx, key, r, r.Addr(), depot.ReadOptions{Timeout: timeout})
	if err != nil {
		return transfer.Result{}, err
	}
	if r.Pattern() == zeromq.Share {
		return r.Receive(ctx, offer, o)
	}
	return offer.Receive(ctx, o)
}

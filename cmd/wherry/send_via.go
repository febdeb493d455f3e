package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/depot/rabbit"
	"github.com/wherry-net/wherry/transfer/pairing"
)

// send --via and receive --via: files that a broker keeps.

func sendViaFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "keep-for", Value: "7d", Usage: "with --via: the broker keeps the files for `TIME`, as 12h or 7d"},
		&cli.StringFlag{Name: "keep-bytes", Usage: "with --via: the broker keeps at most `SIZE` of them; more is refused (default: whatever they have)"},
	}
}

// notVia are the flags that need the other end at the same time.
var notVia = []string{"to", "from", "listen", "plain", "udp", "arq", "window", "rto", "payload", "streams", "congestion", "rate", "trace", "pcap", "compress", "keep", "allow-missing", "name",
	"loss", "delay", "jitter", "reorder", "duplicate", "corrupt", "bandwidth", "queue", "seed", "ipv4", "ipv6", "source", "dscp", "send-buffer", "receive-buffer"}

// A via is what both ends of --via have.
type via struct {
	c       *cli.Context
	io      stdio
	p       *printer
	url     *broker.URL
	key     depot.Key
	code    pairing.Code
	timeout time.Duration
}

func newVia(c *cli.Context, io stdio, p *printer) (*via, error) {
	for _, name := range notVia {
		if c.IsSet(name) {
			return nil, usagef("--%s is for two ends that meet, and with --via they do not", name)
		}
	}
	v := &via{c: c, io: io, p: p, timeout: c.Duration("timeout")}
	if v.timeout <= 0 {
		return nil, usagef("--timeout must be longer than 0, not %v", v.timeout)
	}
	var err error
	if v.url, err = broker.Parse(c.String("via")); err != nil {
		return nil, usagef("--via: %w", err).hint("write amqp://USER@HOST:PORT/VHOST; several hosts of a cluster are separated by commas; or zmq+tcp://HOST:PORT, without a broker")
	}
	return v, nil
}

// unlock takes the code, or where it may be made, makes one.
func (v *via) unlock(make bool) (err error) {
	made := false
	if v.code, made, err = longCode(v.c, v.io, make); err != nil {
		return err
	}
	if made {
		// The one thing that --quiet cannot silence: without it nobody can come.
		fmt.Fprintf(v.io.Err, "code: %s\n", v.code.Reveal())
	}
	v.key, err = depot.NewKey(v.code)
	return err
}

// dial connects to the broker, which may be away for a while once it was there.
func (v *via) dial(ctx context.Context, o rabbit.Options) (*rabbit.Rabbit, error) {
	o.Options = broker.Options{Password: os.Getenv(passwordVariable), Name: "wherry"}
	o.Timeout = max(v.timeout, 30*time.Second)
	if v.c.IsSet("timeout") {
		o.Timeout = v.timeout
	}
	o.Away = func(err error) {
		if err != nil {
			v.warn("%s; trying again", oneLine(err))
		} else {
			v.p.Say("the broker is back")
		}
	}
	o.Blocked = func(reason string) {
		if reason != "" {
			v.warn("the broker takes nothing (%s); waiting for it", oneLine(errors.New(reason)))
		} else {
			v.p.Say("the broker takes messages again")
		}
	}
	return rabbit.Dial(ctx, v.url, &v.key, o)
}

func (v *via) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	v.p.Event(warningEvent{Event: "warning", Peer: v.url.String(), Message: text})
	v.p.Say("%s", text)
}

// session shows what happens, as between two ends that meet.
func (v *via) session(role string) *session {
	verb := "leaving"
	if role == "receive" {
		verb = "receiving"
	}
	return &session{p: v.p, role: role, sealed: true, transport: "amqp", verb: verb, peer: v.url.String(), measure: startMeasure(nil), started: time.Now()}
}

// receiverName tells receivers apart, and is the same when one is started again.
func receiverName(dir string) (label, name string) {
	label, _ = os.Hostname()
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return label, label + "\x00" + dir
}

func sendVia(c *cli.Context, io stdio, p *printer) error {
	v, err := newVia(c, io, p)
	if err != nil {
		return err
	}
	keepFor, err := parseKeep(c.String("keep-for"))
	if err != nil {
		return err
	}
	var keepBytes units.Size
	if s := c.String("keep-bytes"); s != "" {
		if keepBytes, err = units.ParseSize(s); err != nil || keepBytes < 1 {
			return usagef("--keep-bytes must be a size, as 10GiB, not %s", quoteArg(s))
		}
	}
	for _, a := range c.Args().Slice() {
		if a == "-" {
			return usagef("standard input cannot be left with a broker: its size is not known, and it can be read once")
		}
	}
	so := transfer.SourceOptions{FollowSymlinks: c.Bool("follow-symlinks")}
	if err := applyFilter(c, &so); err != nil {
		return err
	}
	src, err := transfer.NewSource(c.Args().Slice(), so)
	if err != nil {
		return p.fail(err)
	}
	defer src.Close()
	s := v.session("send")
	trace := s.trace()
	plan, err := depot.NewPlan(c.Context, src, depot.PlanOptions{Trace: trace, Shared: c.Bool("share"), KeepFor: keepFor})
	if err != nil {
		return p.fail(err)
	}
	if keepBytes > 0 && plan.Stored() > int64(keepBytes) {
		return p.fail(withHint(&transfer.RefusedError{Reason: fmt.Sprintf("the files need %s at the broker, and --keep-bytes keeps %s", units.FormatBytes(plan.Stored()), units.FormatBytes(int64(keepBytes)))},
			"give a larger --keep-bytes, or leave fewer files"))
	}
	if err := v.unlock(true); err != nil {
		return err
	}
	r, err := v.dial(c.Context, rabbit.Options{KeepFor: keepFor, KeepBytes: int64(keepBytes)})
	if err != nil {
		return p.fail(err)
	}
	defer r.Close()
	return s.left(c.Context, v, r, plan, trace, int64(keepBytes))
}

// parseKeep reads a duration that may be in days.
func parseKeep(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if d, err = time.ParseDuration(days + "h"); err == nil {
			d *= 24
		}
	}
	if err != nil || d < time.Second || d > 10*365*24*time.Hour {
		return 0, usagef("--keep-for must be a time between 1s and 3650d, as 12h or 7d, not %s", quoteArg(s))
	}
	return d, nil
}

// left leaves the plan, and with --count waits for receipts.
func (s *session) left(ctx context.Context, v *via, r *rabbit.Rabbit, plan *depot.Plan, trace *transfer.Trace, keepBytes int64) error {
	s.p.Event(startEvent{"start", s.role, s.peer, s.transport, s.sealed})
	trace.Accepted(plan.Totals())
	begun := time.Now()
	moved := int64(0)
	told := trace.Moved
	trace.Moved = func(e *transfer.Entry, n int) { moved += int64(n); told(e, n) }
	o := depot.LeaveOptions{Trace: trace, Continued: func(stored, of int64) {
		s.say("continuing: %s of %s are there already", units.FormatBytes(stored), units.FormatBytes(of))
	}}
	leave := func() (depot.Summary, error) {
		if err := r.Receipts(true).Make(ctx); err != nil {
			return depot.Summary{}, err
		}
		return plan.Leave(ctx, &v.key, r.Content(true), o)
	}
	sum, err := leave()
	if errors.Is(err, depot.ErrOver) {
		s.say("what was left under this code before is over; removing it")
		if err = r.Remove(ctx); err == nil {
			sum, err = leave()
		}
	}
	s.bar.stop()
	if err != nil {
		return v.fail(ctx, err)
	}
	elapsed := time.Since(begun)
	until := plan.Until().Format("Mon 2 Jan 2006 15:04")
	if keepBytes > 0 {
		until += ", or until there are more than " + units.FormatBytes(keepBytes)
	}
	line := fmt.Sprintf("left %s, %s in %s", count(sum.Files, "file"), units.FormatBytes(sum.Bytes), formatDuration(elapsed))
	if moved > 0 {
		line += fmt.Sprintf(" (%s)", formatRate(float64(moved)/elapsed.Seconds()))
	}
	if v.c.Bool("share") {
		line += ", each for one of the receivers"
	}
	s.say("%s; %s keeps it until %s", line, v.url, until)
	if n := plan.Totals().Skipped; n > 0 {
		s.say("%s skipped", count(n, "entry"))
	}
	if v.c.IsSet("count") {
		if err := v.receipts(ctx, r, plan, sum); err != nil {
			return s.p.fail(err)
		}
	}
	s.p.Event(doneEvent{
		Event: "done", Role: s.role, Peer: s.peer, Transport: s.transport, ARQ: "kernel", Encrypted: true, Files: sum.Files, Bytes: sum.Bytes,
		Seconds: elapsed.Seconds(), GoodputBPS: float64(moved) * 8 / elapsed.Seconds(), Resumed: max(0, sum.Bytes-moved),
		Limiter: "the broker", Skipped: plan.Totals().Skipped, Failed: sum.Failed,
	})
	if sum.Failed > 0 {
		return s.p.fail(&transfer.IncompleteError{Failed: sum.Failed, First: "see the warnings"})
	}
	return nil
}

type receiptEvent struct {
	Event    string `json:"event"`
	Receiver string `json:"receiver"`
	Label    string `json:"label"`
	Files    int    `json:"files"`
	Bytes    int64  `json:"bytes"`
	BLAKE3   string `json:"blake3"`
	Complete bool   `json:"complete"`
}

// receipts waits until --count receivers have told what they have.
func (v *via) receipts(ctx context.Context, r *rabbit.Rabbit, plan *depot.Plan, sum depot.Summary) error {
	want := v.c.Int("count")
	v.p.Say("waiting for %s", count(want, "receipt"))
	log := r.Receipts(true)
	if err := log.Seek(ctx, 0); err != nil {
		return err
	}
	var tally *depot.Tally // with --share
	if v.c.Bool("share") {
		tally = plan.NewTally(&v.key, sum)
	}
	var partly error
	seen := map[[16]byte]bool{}
	for len(seen) < want || tally != nil && !tally.All() {
		m, err := log.Next(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return transfer.ErrInterrupted
			}
			return err
		}
		if tally != nil && tally.Hear(m.Body) {
			continue
		}
		rec, err := depot.OpenReceipt(&v.key, m.Body)
		if err != nil || rec.Offer != plan.Offer() || rec.Count == 0 || seen[rec.Receiver] {
			continue
		}
		seen[rec.Receiver] = true
		whole := rec.Root == sum.Root
		what := "everything"
		if tally != nil { // what it had before it was started again, too
			landed := tally.Of(rec.Receiver)
			rec.Files, rec.Bytes, whole, what = landed.Files, landed.Bytes, landed.Short == 0, "its share"
		}
		id := fmt.Sprintf("%x", rec.Receiver[:4])
		v.p.Event(receiptEvent{"receipt", id, rec.Label, rec.Files, rec.Bytes, fmt.Sprintf("%x", rec.Root[:]), whole})
		if whole {
			v.p.Say("%s (%s) has %s: %s, %s, verified", rec.Label, id, what, count(rec.Files, "file"), units.FormatBytes(rec.Bytes))
			continue
		}
		if tally != nil {
			v.p.Say("%s (%s) has its share but for %s", rec.Label, id, count(tally.Of(rec.Receiver).Short, "file"))
			continue
		}
		v.p.Say("%s (%s) has %d of %s", rec.Label, id, rec.Files, count(sum.Files, "file"))
		partly = &transfer.IncompleteError{Failed: max(1, sum.Files-rec.Files), First: "those that a receiver kept or could not write"}
	}
	if tally != nil && tally.Missing() > 0 {
		return &transfer.IncompleteError{Failed: tally.Missing(), First: "those that a receiver kept or could not write"}
	}
	return partly
}

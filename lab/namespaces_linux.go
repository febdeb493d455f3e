package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wherry-net/wherry/lab/box"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/trace"
)

// wire runs wherry itself on two hosts with a bad link between them.
type wire struct {
	program string // wherry's executable
	material
}

func (*wire) parallel() int { return 1 }

// check finds out before the first run what the machine cannot do.
func (w *wire) check(p *Plan) error {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	for _, t := range p.Transports {
		if err == nil && t.IsTCP() && !slices.Contains(strings.Fields(string(b)), t.Variant()) {
			return p.cannot("this kernel has no %s (it has %s)", t, strings.TrimSpace(string(b)))
		}
	}
	for _, l := range p.Links {
		o := box.Options{AToB: l.Config(), BToA: l.Config()}
		if err := o.Check(); err != nil {
			return p.cannot("link %s: %v", l, err)
		}
	}
	return nil
}

// wirePatience is how long the receiving end may take to listen, and to end when
// the other has.
const wirePatience = 20 * time.Second

// wirePort is where the receiver listens.
const wirePort = "7557"

// queueSample is from how many packets the queue's quantiles are.
const queueSample = 1 << 15

func (w *wire) run(ctx context.Context, r Run, row *Row, rec *recorder) error {
	file, err := w.path(r.Plan)
	if err != nil {
		return err
	}
	inbox, done, err := w.inbox()
	if err != nil {
		return err
	}
	defer done()
	link := r.Link.Config()
	link.Seed = r.Seed
	listener := &linkListener{queue: sampler{most: queueSample}, rec: rec, rate: link.Rate > 0}
	forward := link
	forward.Trace = &netem.Trace{Packet: listener.packet}
	b, err := box.Start(ctx, box.Options{AToB: forward, BToA: link})
	if err != nil {
		return err
	}
	defer b.Close()
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, r.Plan.timeout())
	defer cancel()
	stop := context.AfterFunc(ctx, func() { b.Close() })
	defer stop()

	traced := ""
	if rec != nil {
		traced = filepath.Join(inbox, "trace.csv")
	}
	result, err := w.transfer(b, r, file, inbox, traced)
	switch {
	case outer.Err() != nil:
		return outer.Err()
	case ctx.Err() != nil:
		row.Error = fmt.Sprintf("not done within %v", r.Plan.timeout())
	case err != nil:
		row.Error = err.Error()
	}
	_ = b.Close()
	listener.fill(row, b.Stats()[0].Stats)
	result.fill(row)
	if rec != nil && row.Error == "" {
		if f, err := os.Open(traced); err == nil {
			defer f.Close()
			if err := rec.fromTrace(f); err != nil {
				return fmt.Errorf("read the trace of %s: %w", r.Transport, err)
			}
		}
	}
	return nil
}

// transfer starts the receiver on B and, when it listens, the sender on A, and
// returns what they said at the end.
func (w *wire) transfer(b *box.Box, r Run, file, inbox, traced string) (end, error) {
	common := []string{"--json", "--plain"}
	common = append(common, transportFlags(r)...)
	receive := append([]string{"wherry", "receive", "--listen", ":" + wirePort, "--dir", filepath.Join(inbox, "files"), "--yes", "--no-sync"}, common...)
	send := append([]string{"wherry", "send", "--to", net4(box.B)}, common...)
	if r.Transport.IsTCP() {
		receive = append(receive, "--congestion", r.Transport.Variant())
		send = append(send, "--congestion", r.Transport.Variant())
	}
	if traced != "" {
		send = append(send, "--trace", traced)
	}
	send = append(send, file)
	receiver, err := w.start(b, box.B, receive)
	if err != nil {
		return end{}, err
	}
	if !receiver.waitFor("listening") {
		return end{}, receiver.failed("receiver")
	}
	sender, err := w.start(b, box.A, send)
	if err != nil {
		return end{}, err
	}
	sent, sendErr := sender.wait("sender", 0)
	got, receiveErr := receiver.wait("receiver", wirePatience)
	if r.Transport == None {
		// What arrived is known there, and bytes that are missing are no
		// failure.
		if got.Event == "done" {
			got.Seconds = max(got.Seconds, sent.Seconds)
			// It counts whole files; of this one all counts that has come.
			if d := got.Datagrams; d != nil && d.Missing >= 0 && d.Missing <= int64(r.Plan.File.Size) {
				got.Bytes = int64(r.Plan.File.Size) - d.Missing
			}
			return got, nil
		}
	}
	if sendErr != nil {
		return sent, sendErr
	}
	return sent, receiveErr
}

func net4(h box.Host) string { return h.Addr().String() + ":" + wirePort }

// transportFlags are those that both ends are given.
func transportFlags(r Run) []string {
	if r.Transport.IsTCP() {
		return nil
	}
	p := r.Plan
	flags := []string{"--udp"}
	switch v := r.Transport.Variant(); v {
	case "":
	case "cubic":
		flags = append(flags, "--congestion", v)
	default:
		flags = append(flags, "--arq", v)
	}
	if r.Transport.IsTextbook() {
		if p.Window > 0 && r.Transport != StopAndWait {
			flags = append(flags, "--window", strconv.Itoa(p.Window))
		}
		if p.RTO > 0 {
			flags = append(flags, "--rto", p.RTO.String())
		}
	}
	if p.Payload > 0 {
		flags = append(flags, "--payload", strconv.Itoa(p.Payload))
	}
	return flags
}

// end is the last event of a transfer, as far as rows have use for it.
type end struct {
	Event, Message, Limiter string
	Bytes                   int64
	Seconds                 float64
	Sent                    *int64 `json:"packets_sent"`
	Lost                    *int64 `json:"packets_lost"`
	Again                   *int64 `json:"retransmits"`
	Datagrams               *struct {
		Missing int64 `json:"missing_bytes"`
	}
	RTT *struct {
		Min, Median, P99 *float64
	} `json:"rtt_ms"`
}

func (e end) fill(row *Row) {
	row.PacketsSent, row.PacketsLost, row.Retransmits = e.Sent, e.Lost, e.Again
	if e.RTT != nil && e.RTT.Median != nil && *e.RTT.Median > 0 {
		row.RTTMinMS, row.RTTMedianMS, row.RTTP99MS = e.RTT.Min, e.RTT.Median, e.RTT.P99
	}
	// "pacing 41%": the share is for people.
	row.Limiter, _, _ = strings.Cut(e.Limiter, " ")
	if i := strings.LastIndexByte(e.Limiter, ' '); i > 0 && strings.HasSuffix(e.Limiter, "%") {
		row.Limiter = e.Limiter[:i]
	}
	row.Limiter = safetext.Truncate(row.Limiter, 100)
	row.timed(e.Bytes, time.Duration(e.Seconds*float64(time.Second)))
}

// A program is a wherry that runs in a box.
type program struct {
	p      *box.Process
	events chan end // closed when it has said all
	last   end
}

// start runs wherry with its events on a pipe.
func (w *wire) start(b *box.Box, h box.Host, args []string) (*program, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := b.Run(box.Command{Host: h, Path: w.program, Args: args, Stdout: in})
	in.Close()
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("run wherry on host %v: %w", h, err)
	}
	x := &program{p: p, events: make(chan end, 1024)}
	go func() {
		defer out.Close()
		defer close(x.events)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, maxRow)
		for lines.Scan() {
			var e end
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			if e.Event != "done" && e.Event != "error" && e.Event != "listening" {
				continue
			}
			x.events <- e
		}
	}()
	return x, nil
}

// waitFor waits for an event; false if the program ended or failed before, or
// takes too long.
func (x *program) waitFor(event string) bool {
	late := time.NewTimer(wirePatience)
	defer late.Stop()
	for {
		select {
		case e, ok := <-x.events:
			if !ok {
				return false
			}
			if x.last = e; e.Event == event {
				return true
			}
		case <-late.C:
			return false
		}
	}
}

// wait waits for the end, for at most patience if that is not zero.
func (x *program) wait(who string, patience time.Duration) (end, error) {
	var late <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	for {
		select {
		case e, ok := <-x.events:
			if ok {
				x.last = e
				continue
			}
			status, err := x.p.Wait()
			if err != nil {
				return x.last, fmt.Errorf("the %s: %w", who, err)
			}
			if status.Shell() != 0 || x.last.Event != "done" {
				return x.last, x.failed(who)
			}
			return x.last, nil
		case <-late:
			return x.last, fmt.Errorf("the %s does not end", who)
		}
	}
}

func (x *program) failed(who string) error {
	if x.last.Event == "error" && x.last.Message != "" {
		return fmt.Errorf("the %s: %s", who, safetext.Truncate(x.last.Message, 300))
	}
	return errors.New("the " + who + " ended without a word")
}

// linkListener hears what the link from A to B decides.
type linkListener struct {
	mu    sync.Mutex
	queue sampler
	rate  bool
	rec   *recorder
	first time.Duration // of the first packet, on the link's clock
	begun bool
	tell  func(netem.Decision)
}

func (l *linkListener) packet(d netem.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun {
		l.begun, l.first = true, d.At
		if l.rec != nil {
			l.rec.noLadder = true // nobody says what is in the packets
			l.tell = l.rec.link(0, l.rate).Packet
		}
	}
	if d.Fate != netem.TailDrop {
		l.queue.add(0, float64(d.Queued))
	}
	if l.tell != nil {
		d.At -= l.first
		l.tell(d)
	}
}

// fill takes over the link's counters.
func (l *linkListener) fill(row *Row, s netem.Stats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	row.fromLink(&s, l.rate)
	if v := l.queue.y; l.rate && len(v) > 0 {
		slices.Sort(v)
		at := func(q float64) *float64 {
			return ptr(v[int(q*float64(len(v)-1))] * 8 / float64(row.RateBPS) * 1e3)
		}
		row.QueueMedianMS, row.QueueP99MS = at(.5), at(.99)
	}
}

// fromTrace takes over what the sender wrote down.
func (r *recorder) fromTrace(f *os.File) error {
	in, err := trace.NewReader(f)
	if err != nil {
		return err
	}
	return r.replay(in)
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// simulator runs transfers under simulated time.
type simulator struct{}

// headers is what IPv4 and UDP add to a datagram on the wire.
const headers = 28

func (simulator) parallel() int { return min(runtime.GOMAXPROCS(0), 8) }

func (simulator) check(p *Plan) error {
	for _, t := range p.Transports {
		if _, err := sim.ParseTransport(string(t)); err != nil {
			return err
		}
	}
	return nil
}

func (simulator) run(ctx context.Context, r Run, row *Row, rec *recorder) error {
	t, err := sim.ParseTransport(string(r.Transport))
	if err != nil {
		return err
	}
	p := r.Plan
	link := r.Link.Config()
	link.Overhead = headers
	cfg := sim.TransportConfig{
		Transport: t, Seed: r.Seed, Forward: link, Reverse: link, Bytes: int64(p.File.Size), Payload: p.Payload,
		Stop: func() bool { return ctx.Err() != nil }, Limit: p.timeout(),
	}
	if r.Transport.IsTextbook() {
		cfg.Window, cfg.RTO = p.Window, p.RTO
	}
	if rec != nil {
		cfg.Forward.Trace, cfg.Reverse.Trace = rec.link(0, link.Rate > 0), rec.link(1, link.Rate > 0)
		cfg.Trace, cfg.Receiver = rec.sender(0), rec.receiver(0)
	}
	res, err := sim.RunTransport(cfg)
	if errors.Is(err, sim.ErrStopped) {
		return ctx.Err()
	}
	if errors.Is(err, sim.ErrLimit) {
		err = fmt.Errorf("not done within %v of simulated time", p.timeout())
	}
	if err != nil {
		row.Error = err.Error()
		row.timed(0, 0)
		return nil
	}
	f := res.Flows[0]
	if f.Err != nil {
		row.Error = f.Err.Error()
	}
	row.fromEngine(f.Client)
	if t.ARQ == arq.NoARQ {
		row.fromDatagrams(&f.Datagrams)
	}
	row.fromLink(&res.Forward, link.Rate > 0)
	if link.Rate > 0 {
		row.QueueMedianMS, row.QueueP99MS = ptr(ms(res.QueueMedian)), ptr(ms(res.QueueP99))
	}
	row.timed(f.Delivered, f.Last)
	return nil
}

// fromDatagrams takes over what the receiver of datagrams saw.
func (r *Row) fromDatagrams(d *arq.DatagramReport) {
	r.PacketsSent, r.PacketsLost = counted(d.Sent), counted(d.Lost)
	r.Reordered, r.Duplicates = counted(d.Reordered), counted(d.Duplicates)
	r.LongestBurst, r.MeanBurst = counted(d.LongestBurst), ptr(d.MeanBurst())
	r.JitterSeenMS = ptr(ms(d.Jitter))
}

// fromEngine takes over what the sender's engine counted.
func (r *Row) fromEngine(s arq.Stats) {
	r.PacketsSent, r.PacketsLost = counted(s.PacketsSent), counted(s.PacketsLost)
	r.Retransmits, r.Spurious = counted(s.Retransmits), counted(s.PacketsSpurious)
	if s.RTTSamples > 0 {
		r.RTTMinMS, r.RTTMedianMS, r.RTTP99MS = ptr(ms(s.RTTMin)), ptr(ms(s.RTTMedian)), ptr(ms(s.RTTP99))
	}
	most := arq.LimitApp
	for i, d := range s.Limited {
		if d > s.Limited[most] {
			most = arq.Limiter(i)
		}
	}
	if s.Limited[most] > 0 {
		r.Limiter = most.String()
	}
}

// fromLink takes over what the link from sender to receiver counted.
func (r *Row) fromLink(s *netem.Stats, queue bool) {
	r.LinkPackets, r.LinkLost, r.LinkTailDrops = counted(s.Packets), counted(s.Lost), counted(s.TailDrops)
	if queue {
		r.LinkMaxQueue = counted(s.MaxQueue)
	}
}

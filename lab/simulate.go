package lab

import (
	"context"
	"errors"
	"fmt"
	"runtime"

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
		if _, err := simulated(p, t); err != nil {
			return err
		}
	}
	return nil
}

// simulated is how the simulator plays a transport. TCP's congestion controls
// are those of our own engine: what it has in common with the kernel's is the
// algorithm, and what it has not is every detail around it.
func simulated(p *Plan, t Transport) (arq.Config, error) {
	var c arq.Config
	if p.Payload > 0 {
		c.MaxDatagram, c.NoDiscovery = p.Payload, true
	}
	switch t {
	case UDP:
	case UDPCubic, TCPCubic:
		c.Congestion = arq.Cubic
	case TCPBBR:
		c.Congestion = arq.BBR
	default:
		return c, fmt.Errorf("the simulator does not know %s yet", t)
	}
	return c, nil
}

func (simulator) run(ctx context.Context, r Run, row *Row, rec *recorder) error {
	engine, err := simulated(r.Plan, r.Transport)
	if err != nil {
		return err
	}
	link := r.Link.Config()
	link.Overhead = headers
	cfg := sim.Config{
		Seed: r.Seed, Forward: link, Reverse: link,
		Flows: []sim.Flow{{Client: engine, Server: engine, Bytes: int64(r.Plan.File.Size)}},
		Stop:  func() bool { return ctx.Err() != nil },
	}
	if rec != nil {
		cfg.Forward.Trace, cfg.Reverse.Trace = rec.link(0, link.Rate > 0), rec.link(1, link.Rate > 0)
		cfg.Flows[0].Client.Trace, cfg.Flows[0].Server.Trace = rec.sender(), rec.receiver()
	}
	res, err := sim.Run(cfg)
	if errors.Is(err, sim.ErrStopped) {
		return ctx.Err()
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
	row.LinkPackets, row.LinkLost, row.LinkTailDrops = counted(res.Forward.Packets), counted(res.Forward.Lost), counted(res.Forward.TailDrops)
	if link.Rate > 0 {
		row.LinkMaxQueue = counted(res.Forward.MaxQueue)
		row.QueueMedianMS, row.QueueP99MS = ptr(ms(res.QueueMedian)), ptr(ms(res.QueueP99))
	}
	row.timed(f.Delivered, f.Last)
	return nil
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

package sim_test

import (
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestTransports runs every transport by name, twice with one result, and looks
// at what its trace tells.
func TestTransports(t *testing.T) {
	for _, tr := range sim.Transports() {
		t.Run(tr.Name, func(t *testing.T) {
			if got, err := sim.ParseTransport(tr.Name); err != nil || got != tr {
				t.Fatal(got, err)
			}
			run := func(traced bool) *sim.Result {
				l := netem.Config{Rate: 10e6, Delay: 10 * time.Millisecond, Loss: .02, Overhead: 28}
				cfg := sim.TransportConfig{Transport: tr, Seed: 3, Forward: l, Reverse: l, Bytes: 300_000, Window: 16, Check: true}
				var sent, again, acked, queued, edges int
				var una, nxt, wnd uint64
				if traced {
					cfg.Trace = &arq.Trace{
						PacketSent: func(p arq.PacketEvent) {
							if p.Length > 0 || p.Datagram > 0 {
								sent++
							}
							if p.Retransmit {
								again++
							}
						},
						AckProcessed: func(arq.AckEvent) { acked++ },
						SendWindow: func(_ time.Duration, u, n, w uint64) {
							if u < una || n < nxt || w < wnd || u > n || n > w {
								t.Errorf("window moves from %d %d %d to %d %d %d", una, nxt, wnd, u, n, w)
							}
							una, nxt, wnd = u, n, w
							edges++
						},
					}
					cfg.Link = func(number uint64, d netem.Decision) {
						if d.Queued > 0 {
							queued++
						}
					}
				}
				r, err := sim.RunTransport(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if traced && (sent < 250 || queued < sent/2 || tr.ARQ != arq.NoARQ && (again == 0 || acked == 0 || edges == 0)) {
					t.Errorf("traced %d packets sent, %d again, %d ACKs, %d in the queue, %d edges", sent, again, acked, queued, edges)
				}
				return r
			}
			a, b := run(true), run(false)
			if a.Hash != b.Hash || a.End != b.End {
				t.Error("two runs differ")
			}
			f := a.Flows[0]
			if f.Err != nil || f.Client.ARQ != tr.ARQ || f.Server.ARQ != tr.ARQ {
				t.Fatalf("%v, %v", f.Err, f.Client.ARQ)
			}
			switch {
			case tr.ARQ == arq.NoARQ:
				if d := f.Datagrams; d.Lost == 0 || d.Lost > d.Sent/10 || d.Sent != (300_000+1156)/1157 {
					t.Errorf("%+v", d)
				}
			case f.Delivered != 300_000:
				t.Errorf("%d bytes", f.Delivered)
			}
			t.Logf("%6.2f Mbit/s, %d retransmits, window %+v %s", f.Goodput*8/1e6, f.Client.Retransmits, f.Client.Window, tr.Note)
		})
	}
	if _, err := sim.ParseTransport("tcp:vegas"); err == nil {
		t.Error("tcp:vegas exists")
	}
	if _, err := sim.RunTransport(sim.TransportConfig{}); err == nil {
		t.Error("nothing was sent")
	}
}

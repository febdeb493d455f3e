package lab

import (
	"errors"
	"io"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/trace"
)

// replay tells the recorder what a sender's trace tells.
func (r *recorder) replay(in *trace.Reader) error {
	tell := r.sender(0)
	var first time.Duration
	begun := false
	var una, nxt, wnd int64
	for {
		var e trace.Event
		err := in.Next(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !begun {
			if e.Kind != trace.ConnectionStarted && e.Kind != trace.PacketSent {
				continue
			}
			begun, first = true, e.Time
		}
		now := e.Time - first
		switch e.Kind {
		case trace.PacketSent:
			tell.PacketSent(arq.PacketEvent{
				Now: now, Type: e.Type, Number: uint64(e.Packet), Size: int(e.Size), Offset: uint64(e.Offset), Length: int(e.Length),
				Retransmit: e.Flags&trace.Retransmit != 0, InFlight: int(e.InFlight), Eliciting: e.Has&trace.HasInFlight != 0,
			})
		case trace.PacketsAcked:
			for _, n := range e.Ranges {
				for k := max(n.First, 0); k <= n.Last && k-n.First < openLen; k++ {
					tell.PacketAcked(now, uint64(k), 0)
				}
			}
		case trace.PacketLost:
			tell.PacketLost(now, uint64(e.Packet), arq.LossReorder)
		case trace.TCPInfo:
			if e.Has&trace.HasSRTT != 0 && e.SRTT > 0 {
				tell.RTT(now, e.SRTT, e.SRTT, 0, 0)
			}
		}
		if e.Has&trace.HasRTT != 0 {
			tell.RTT(now, e.RTT, e.SRTT, 0, 0)
		}
		if e.Has&trace.HasUNA != 0 && (e.UNA != una || e.NXT != nxt || e.WND != wnd) {
			una, nxt, wnd = e.UNA, e.NXT, e.WND
			tell.SendWindow(now, uint64(una), uint64(nxt), uint64(max(wnd, una)))
			if e.Kind == trace.TCPInfo {
				r.sample(now, nxt)
			}
		}
		if e.Kind == trace.PacketsAcked || e.Kind == trace.TCPInfo {
			tell.AckProcessed(arq.AckEvent{Now: now, UNA: uint64(e.UNA), Controller: arq.ControllerState{Window: int(e.Cwnd), InFlight: int(e.InFlight)}})
		}
	}
}

// sample notes how far the kernel has sent, of which it tells no packets.
func (r *recorder) sample(now time.Duration, nxt int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent.add(seconds(now), float64(nxt))
}

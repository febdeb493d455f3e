package socket

import (
	"testing"
	"time"
)

func TestExplain(t *testing.T) {
	const s = time.Second
	times := func(busy, rwnd, sndbuf time.Duration) TCPInfo {
		return TCPInfo{HasTimes: true, BusyTime: busy, ReceiveWindow: rwnd, SendBufferFilled: sndbuf, RTT: 20 * time.Millisecond, MinRTT: 20 * time.Millisecond}
	}
	with := func(t TCPInfo, f func(*TCPInfo)) TCPInfo { f(&t); return t }
	before := with(times(5*s, 1*s, 1*s), func(t *TCPInfo) { t.BytesSent, t.BytesRetransmitted = 1e6, 5e5 })
	// since adds to before what happened during ten seconds.
	since := func(busy, rwnd, sndbuf time.Duration, f func(*TCPInfo)) TCPInfo {
		t := times(before.BusyTime+busy, before.ReceiveWindow+rwnd, before.SendBufferFilled+sndbuf)
		t.BytesSent, t.BytesRetransmitted = before.BytesSent+1e8, before.BytesRetransmitted
		if f != nil {
			f(&t)
		}
		return t
	}
	for _, tt := range []struct {
		name  string
		after TCPInfo
		load  Load
		want  Limiter
		share float64
	}{
		{"disk", since(2*s, 0, 0, nil), Load{SourceWait: 7 * s}, LimitSource, .8},
		{"hashing", since(2*s, 0, 0, nil), Load{SourceWait: 1 * s}, LimitCPU, .8},
		{"one processor full", since(10*s, 8*s, 0, nil), Load{CPU: 9500 * time.Millisecond}, LimitCPU, .95},
		{"one of two processors full", since(10*s, 8*s, 0, nil), Load{CPU: 9500 * time.Millisecond, Processors: 2}, LimitReceiveWindow, .8},
		{"slow receiver", since(10*s, 9*s, 0, nil), Load{}, LimitReceiveWindow, .9},
		{"small send buffer", since(10*s, 1*s, 6*s, nil), Load{}, LimitSendBuffer, .6},
		{"clean path", since(10*s, 0, 1*s, nil), Load{}, LimitCongestionWindow, .9},
		{"random loss", since(10*s, 0, 0, func(t *TCPInfo) { t.BytesRetransmitted += 1e6 }), Load{}, LimitLoss, 1},
		{"drops at our own queue", since(10*s, 0, 0, func(t *TCPInfo) { t.BytesRetransmitted += 1e6; t.RTT = 40 * time.Millisecond }), Load{}, LimitCongestionWindow, 1},
		{"very many drops", since(10*s, 0, 0, func(t *TCPInfo) { t.BytesRetransmitted += 1e7; t.RTT = 40 * time.Millisecond }), Load{}, LimitLoss, 1},
		{"rate cap", since(10*s, 0, 0, func(t *TCPInfo) { t.MaxPacingRate, t.DeliveryRate = 1e6, 98e4 }), Load{}, LimitPacing, 1},
		{"rate cap that does not bite", since(10*s, 0, 0, func(t *TCPInfo) { t.MaxPacingRate, t.DeliveryRate = 1e8, 98e4 }), Load{}, LimitCongestionWindow, 1},
		{"bbr", since(10*s, 0, 0, func(t *TCPInfo) {
			t.Congestion, t.PacingRate, t.DeliveryRate, t.InFlight, t.CongestionWindow = "bbr", 1e7, 99e5, 1e5, 2e5
		}), Load{}, LimitPacing, 1},
		{"bbr, read when all has arrived", since(10*s, 0, 0, func(t *TCPInfo) { t.Congestion = "bbr"; t.CongestionWindow = 2e5; t.BytesRetransmitted += 3e6 }), Load{}, LimitPacing, 1},
		{"bbr with its window full", since(10*s, 0, 0, func(t *TCPInfo) { t.Congestion = "bbr"; t.CongestionWindow = 2e5; t.InFlight = 19e4 }), Load{}, LimitCongestionWindow, 1},
		{"rate cap by the mean", since(10*s, 0, 0, func(t *TCPInfo) { t.MaxPacingRate, t.DeliveryRate = 105e5, 98e4 }), Load{}, LimitPacing, 1},
		{"cubic in recovery, below its window", since(10*s, 0, 0, func(t *TCPInfo) {
			t.Congestion, t.PacingRate, t.DeliveryRate, t.InFlight, t.CongestionWindow = "cubic", 12e6, 99e5, 15e4, 2e5
		}), Load{}, LimitCongestionWindow, 1},
		{"no times, in Write", TCPInfo{}, Load{WriteWait: 8 * s}, LimitNetwork, .8},
		{"no times, waiting for the disk", TCPInfo{}, Load{WriteWait: 1 * s, SourceWait: 8 * s}, LimitSource, .9},
	} {
		b := before
		if !tt.after.HasTimes {
			b = TCPInfo{}
		}
		tt.load.Elapsed = 10 * s
		d := Explain(b, tt.after, tt.load)
		if d.Limiter != tt.want || d.Share < tt.share-.001 || d.Share > tt.share+.001 {
			t.Errorf("%s: %v, want %s %.2f (%+v)", tt.name, d, tt.want, tt.share, d)
		}
		if sum := d.Idle + d.ReceiveWindow + d.SendBuffer + d.Congestion; sum < .999 || sum > 1.001 {
			t.Errorf("%s: the shares add up to %v", tt.name, sum)
		}
	}
	if d := Explain(TCPInfo{}, TCPInfo{}, Load{}); d.Limiter != LimitUnknown || d.String() != "unknown" {
		t.Errorf("nothing measured: %v", d)
	}
}

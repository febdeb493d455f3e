package socket

import (
	"fmt"
	"strings"
	"time"
)

// Limiter names what kept a sender from sending faster.
type Limiter string

const (
	LimitUnknown          Limiter = "unknown"           // nothing was measured
	LimitCPU              Limiter = "cpu"               // the program, or the kernel on its behalf, was computing
	LimitSource           Limiter = "source"            // the disk or the program that makes the data
	LimitReceiveWindow    Limiter = "receive window"    // the receiver took no more: its disk, its processor or its buffer
	LimitSendBuffer       Limiter = "send buffer"       // SO_SNDBUF is smaller than the path holds
	LimitCongestionWindow Limiter = "congestion window" // the congestion control held back, filling the path as it saw it
	LimitPacing           Limiter = "pacing"            // the pacing rate, set by the user or by the congestion control's model
	LimitLoss             Limiter = "loss"              // losses kept the congestion window small
	LimitNetwork          Limiter = "network"           // the network or the receiver; this system does not tell which
)

// Load is what the sending program did between two readings of [TCPInfo].
type Load struct {
	// Elapsed is the time between the readings. Zero means that it is taken
	// from the readings.
	Elapsed time.Duration

	// SourceWait is the part of it that the sender spent waiting for data: in
	// reads of the disk, a pipe, or the program that makes them.
	SourceWait time.Duration

	// WriteWait is the part of it spent in the connection's Write
	// ([Counters].WriteTime). It is needed only where the kernel's times are
	// not known.
	WriteWait time.Duration

	// CPU is the processor time that the program used, and Processors how many
	// it could have used; zero means 1. A copy in one goroutine can use one.
	CPU        time.Duration
	Processors int
}

// Diagnosis is what limited a sender between two readings.
type Diagnosis struct {
	Limiter Limiter
	Share   float64 // part of the elapsed time that it did, 0 to 1

	// How the elapsed time divides: nothing to send, stopped by the receiver's
	// window, by the send buffer, and by the congestion control (which is what
	// remains). They add up to 1 where the kernel tells.
	Idle, ReceiveWindow, SendBuffer, Congestion float64

	CPU         float64 // part of the processors' time that the program used
	Retransmits float64 // part of what was sent
}

// String returns the limiter and its share, as "receive window 83%".
func (d Diagnosis) String() string {
	if d.Limiter == LimitUnknown || d.Limiter == "" {
		return string(LimitUnknown)
	}
	return fmt.Sprintf("%s %.0f%%", d.Limiter, 100*d.Share)
}

const (
	// busyCPU is the load from which on a processor counts as the limit. It is
	// below 1 since a blocked system call in between shows as idle time.
	busyCPU = 0.9

	// lossy is the part of segments retransmitted from which on loss is the
	// cause and not a probe of the path's capacity. CUBIC and Reno on a clean
	// path of more than a few segments lose far less: once per epoch of
	// hundreds of segments.
	lossy = 0.005

	// veryLossy is where it is loss whatever the queue does.
	veryLossy = 0.02

	// queueing is the ratio of the smoothed to the smallest RTT from which on
	// the path has a standing queue: its link is full, and losses are drops at
	// that queue. The slack keeps scheduling noise on short paths out of it.
	queueing      = 1.25
	queueingSlack = time.Millisecond
)

// Explain tells what limited a sender between two readings of its connection,
// the zero TCPInfo being the connection's start. Take the second one when the
// last byte has been written, and not after the peer's answer: while nothing is
// in flight the kernel has little to tell. The rules are applied in order:
//
//  1. The program used at least 90% of its processors: cpu.
//  2. The largest of four parts of the time wins: nothing to send; the
//     receiver's window; the send buffer; the rest, which the congestion control
//     accounts for.
//  3. Nothing to send is source, if at least half of it was spent waiting for
//     the source, otherwise cpu (the program hashed, encrypted or was not
//     scheduled).
//  4. Of what the congestion control accounts for: pacing, when the rate is at
//     the cap that was set; with BBR, which is governed by its pacing rate and
//     not by losses, pacing or, if the flight has filled it, the congestion
//     window; loss, when at least 2% was retransmitted, or 0.5% and the RTT shows
//     no standing queue; and otherwise the congestion window.
//
// Where the kernel does not tell the times, a sender that spent most of its time
// in Write was limited by the network, and otherwise rule 3 holds.
func Explain(before, after TCPInfo, load Load) Diagnosis {
	elapsed := load.Elapsed
	if elapsed <= 0 && !before.At.IsZero() {
		elapsed = after.At.Sub(before.At)
	}
	if elapsed <= 0 {
		return Diagnosis{Limiter: LimitUnknown}
	}
	part := func(d time.Duration) float64 {
		return min(1, max(0, float64(d)/float64(elapsed)))
	}
	d := Diagnosis{
		CPU:         float64(load.CPU) / float64(elapsed) / float64(max(1, load.Processors)),
		Retransmits: after.RetransmitRatio(before),
	}
	if after.HasTimes {
		d.ReceiveWindow = part(after.ReceiveWindow - before.ReceiveWindow)
		d.SendBuffer = part(after.SendBufferFilled - before.SendBufferFilled)
		busy := part(after.BusyTime - before.BusyTime)
		d.Idle = 1 - busy
		d.Congestion = max(0, busy-d.ReceiveWindow-d.SendBuffer)
	} else {
		d.Congestion = part(load.WriteWait)
		d.Idle = 1 - d.Congestion
	}

	idle := LimitCPU
	if load.SourceWait*2 >= time.Duration(d.Idle*float64(elapsed)) {
		idle = LimitSource
	}
	if d.CPU >= busyCPU {
		d.Limiter, d.Share = LimitCPU, min(1, d.CPU)
		return d
	}
	d.Limiter, d.Share = idle, d.Idle
	if d.ReceiveWindow > d.Share {
		d.Limiter, d.Share = LimitReceiveWindow, d.ReceiveWindow
	}
	if d.SendBuffer > d.Share {
		d.Limiter, d.Share = LimitSendBuffer, d.SendBuffer
	}
	if d.Congestion > d.Share {
		d.Limiter, d.Share = LimitNetwork, d.Congestion
		if after.HasTimes {
			busy := (after.BusyTime - before.BusyTime).Seconds()
			rate := float64(after.BytesSent-before.BytesSent) / max(busy, 1e-6)
			d.Limiter = congestionLimiter(after, rate, d.Retransmits)
		}
	}
	return d
}

// congestionLimiter is rule 4 of [Explain]; rate is the mean rate of sending, in
// bytes per second, while there was something to send.
func congestionLimiter(t TCPInfo, rate, retransmits float64) Limiter {
	queue := float64(t.RTT) > queueing*float64(t.MinRTT)+float64(queueingSlack)
	switch {
	case t.MaxPacingRate > 0 && max(rate, float64(t.DeliveryRate)) >= 0.9*float64(t.MaxPacingRate):
		return LimitPacing
	case strings.HasPrefix(t.Congestion, "bbr"):
		// Other algorithms are paced also, but at 1.2 times what their window
		// allows, so that the pacing never holds them back.
		if t.InFlight*10 < t.CongestionWindow*8 {
			return LimitPacing
		}
	case retransmits >= veryLossy, retransmits >= lossy && !queue:
		return LimitLoss
	}
	return LimitCongestionWindow
}

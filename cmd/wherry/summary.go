package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
)

// A summary is what a transfer came to, over all its connections.
type summary struct {
	r                       transfer.Result
	streams                 int
	sent, lost, retransmits int64 // packets of this end
	rtt                     rttSummary
	bps                     float64 // of content, while it moved
	limiter                 string
	path                    *pathEvent // --arq none, else nil
}

func (s *session) summary(r transfer.Result) summary {
	u := summary{r: r, streams: s.measure.atOnce(), rtt: s.measure.rtt(), limiter: r.Limiter}
	u.sent, u.lost, u.retransmits = s.measure.packets()
	u.path = s.path(r, &u.sent, &u.lost)
	if u.limiter == "" { // of a peer that tells nothing of it
		u.limiter = s.measure.limiter(s.role == "send", r.Waited)
	}
	if moving := r.Elapsed - r.Waited.Peer; moving > 0 {
		u.bps = float64(r.Moved) * 8 / moving.Seconds()
	}
	return u
}

// event is the summary for a script.
func (u summary) event(s *session) doneEvent {
	return doneEvent{
		Event: "done", Role: s.role, Peer: u.r.Peer, Transport: s.transport, ARQ: s.arq(), Encrypted: s.sealed,
		Files: u.r.Files, Bytes: u.r.Bytes, Seconds: u.r.Elapsed.Seconds(), GoodputBPS: u.bps, Resumed: u.r.Resumed,
		Streams: u.streams, PacketsSent: u.sent, PacketsLost: u.lost, Retransmits: u.retransmits,
		RTT: u.rtt, Limiter: u.limiter, Skipped: u.r.Skipped, Failed: u.r.Failed, Datagrams: u.path,
	}
}

// lines are the summary for a person.
func (u summary) lines(role string) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	r := u.r
	verb := "received"
	if role == "send" {
		verb = "sent"
	}
	first := fmt.Sprintf("%s %s, %s in %s", verb, count(r.Files, "file"), units.FormatBytes(r.Bytes), formatDuration(r.Elapsed))
	if u.streams > 1 {
		first += fmt.Sprintf(" over %d connections", u.streams)
	}
	if r.Moved > 0 {
		first += fmt.Sprintf(" (%s), limited by %s", formatRate(u.bps/8), u.limiter)
	}
	if r.Holes > 0 {
		add("%s; %s with bytes missing, the others verified", first, count(r.Holes, "file"))
	} else {
		add("%s; every file verified", first)
	}
	if r.Resumed > 0 {
		add("%s of it was here already (%s unchanged)", units.FormatBytes(r.Resumed), count(r.Had, "file"))
	}
	if u.retransmits > 0 {
		add("%s sent, %d lost, %d retransmitted; RTT %.3g ms (median)", count(int(u.sent), "packet"), u.lost, u.retransmits, u.rtt.Median)
	}
	if r.Skipped > 0 {
		add("%s skipped", count(r.Skipped, "entry"))
	}
	if r.Kept > 0 {
		add("%s kept as it was there", count(r.Kept, "file"))
	}
	return lines
}

func summarise(rtts []time.Duration) rttSummary {
	if len(rtts) == 0 {
		return rttSummary{}
	}
	sorted := slices.Sorted(slices.Values(rtts))
	at := func(q float64) float64 {
		return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / float64(time.Millisecond)
	}
	return rttSummary{at(0), at(0.5), at(0.99)}
}

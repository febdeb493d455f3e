package main

import (
	"fmt"
	"net"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

// lossy reports whether content is to be sent once, as datagrams.
func (m *meeting) lossy() bool { return m.udp != nil && m.udp.Engine.ARQ == arq.NoARQ }

// datagramsOf is what content goes in over a connection with --arq none, sealed
// if the connection is; nil with any other.
func datagramsOf(conn net.Conn) (transfer.Datagrams, error) {
	u := udpConn(conn)
	if u == nil || u.ARQ() != arq.NoARQ {
		return nil, nil
	}
	if paired, ok := conn.(*pairing.Conn); ok {
		return paired.SealDatagrams(u)
	}
	return u, nil
}

// A pathEvent is what the datagrams of --arq none met on their way, as the end
// that received them saw it. Of the other end only the first three are known.
type pathEvent struct {
	Sent      uint64  `json:"sent"`
	Lost      uint64  `json:"lost"`
	LossRatio float64 `json:"loss_ratio"`

	Received     *uint64   `json:"received,omitempty"`
	MissingBytes *int64    `json:"missing_bytes,omitempty"`
	Duplicates   *uint64   `json:"duplicates,omitempty"`
	Reordered    *uint64   `json:"reordered,omitempty"`
	ReorderRatio *float64  `json:"reorder_ratio,omitempty"`
	MaxExtent    *uint64   `json:"reorder_max_extent,omitempty"`
	Overflowed   *uint64   `json:"overflowed,omitempty"`
	Bursts       *bursts   `json:"bursts,omitempty"`
	Jitter       *float64  `json:"jitter_ms,omitempty"`
	Delay        *delaysMS `json:"one_way_delay_ms,omitempty"`
}

// bursts are runs of lost datagrams: how many of each length, from 1 up; the
// last holds all that were longer.
type bursts struct {
	Count   uint64   `json:"count"`
	Mean    float64  `json:"mean"`
	Longest uint64   `json:"longest"`
	Lengths []uint64 `json:"lengths"`
}

// delaysMS hold the difference between the two hosts' clocks.
type delaysMS struct {
	Min  float64 `json:"min"`
	Mean float64 `json:"mean"`
	Max  float64 `json:"max"`
}

type missingEvent struct {
	Event  string     `json:"event"`
	Peer   string     `json:"peer"`
	Path   string     `json:"path"`
	Size   int64      `json:"size"`
	Bytes  int64      `json:"bytes"`
	Holes  int        `json:"holes"`
	Ranges [][2]int64 `json:"ranges"` // [start, end), at most maxHoles of them
}

// maxHoles bounds an event's length.
const maxHoles = 10_000

func (s *session) missing(e *transfer.Entry, holes []transfer.Range) {
	ev := missingEvent{Event: "missing", Peer: s.peer, Path: jsonName(e.Path), Size: e.Size, Holes: len(holes), Ranges: [][2]int64{}}
	for _, h := range holes {
		ev.Bytes += h.End - h.Start
		if len(ev.Ranges) < maxHoles {
			ev.Ranges = append(ev.Ranges, [2]int64{h.Start, h.End})
		}
	}
	s.p.Event(ev)
	line := ""
	for i, h := range holes[:min(len(holes), 8)] {
		if i > 0 {
			line += ", "
		}
		line += fmt.Sprintf("%d-%d", h.Start, h.End-1)
	}
	if len(holes) > 8 {
		line += fmt.Sprintf(" and %d more", len(holes)-8)
	}
	s.say("missing of %s: bytes %s", quotePath(e.Path), line)
}

// path is what is known of the datagrams; it replaces the counts of packets by
// theirs.
func (s *session) path(r transfer.Result, sent, lost *int64) *pathEvent {
	if s.measure.udp == nil || s.measure.udp.ARQ() != arq.NoARQ {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	p := &pathEvent{Sent: r.DatagramsSent, Lost: r.DatagramsLost}
	if s.role == "receive" {
		d := s.measure.datagrams
		p.Sent, p.Lost = d.Sent, d.Lost
		ratio, jitter := 0.0, ms(d.Jitter)
		if d.Received > 0 {
			ratio = float64(d.Reordered) / float64(d.Received)
		}
		b := bursts{Count: d.BurstCount, Mean: d.MeanBurst(), Longest: d.LongestBurst, Lengths: []uint64{}}
		b.Lengths = append(b.Lengths, d.Bursts[:min(d.LongestBurst, uint64(len(d.Bursts)))]...)
		p.Received, p.MissingBytes, p.Duplicates, p.Reordered, p.ReorderRatio, p.MaxExtent, p.Overflowed = &d.Received, &r.Missing, &d.Duplicates, &d.Reordered, &ratio, &d.MaxExtent, &d.Overflowed
		p.Bursts, p.Jitter, p.Delay = &b, &jitter, &delaysMS{ms(d.DelayMin), ms(d.DelayMean), ms(d.DelayMax)}
	}
	if p.Sent > 0 {
		p.LossRatio = float64(p.Lost) / float64(p.Sent)
	}
	*sent, *lost = int64(p.Sent), int64(p.Lost)
	return p
}

func (s *session) sayPath(r transfer.Result, p *pathEvent) {
	s.say("datagrams: %d sent, %d lost (%.2f%%)", p.Sent, p.Lost, 100*p.LossRatio)
	if p.Bursts == nil {
		return
	}
	s.say("lost in %s, %.2f long on average, the longest %d; %d bytes missing", count(int(p.Bursts.Count), "burst"), p.Bursts.Mean, p.Bursts.Longest, r.Missing)
	s.say("%d reordered (%.2f%%, RFC 4737; extent at most %d), %d duplicates, %d dropped here", *p.Reordered, 100**p.ReorderRatio, *p.MaxExtent, *p.Duplicates, *p.Overflowed)
	s.say("jitter %.3f ms (RFC 3550); one-way delay %.3f to %.3f ms, mean %.3f, plus what the two clocks differ by", *p.Jitter, p.Delay.Min, p.Delay.Max, p.Delay.Mean)
}

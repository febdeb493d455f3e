package main

import (
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
)

// A measure is what is known of a transfer's connections before and after it, to
// tell what limited it.
type measure struct {
	mu    sync.Mutex // the transfer's goroutines call
	start time.Time
	cpu   time.Duration
	open  []*gauge      // TCP connections in use: one, and further streams
	spans []socket.Span // what was read of those that are closed
	most  int           // how many were in use at once
	udp   *rudp.Conn
	stats arq.Stats
	// datagrams is what a receiver saw of --arq none.
	datagrams arq.DatagramReport
	rtts      samples // of the kernel's smoothed RTT, on all connections
}

// A gauge is a TCP connection with what the kernel told of it.
type gauge struct {
	conn *socket.Conn
	span socket.Span
}

// read takes a reading, and reports whether there are two.
func (g *gauge) read() bool {
	if info, ok := g.conn.TCPInfo(); ok {
		g.span.After = info
	}
	return !g.span.Before.At.IsZero() && !g.span.After.At.IsZero()
}

func startMeasure(conn net.Conn) *measure {
	m := &measure{cpu: cpuTime(), start: time.Now(), udp: udpConn(conn)}
	m.add(conn)
	return m
}

// add measures a connection from now on; nil if the kernel knows nothing of it. m.mu
// is held, or nobody else knows m.
func (m *measure) add(conn net.Conn) *gauge {
	c := kernelConn(conn)
	if c == nil {
		return nil
	}
	g := &gauge{conn: c}
	g.span.Before, _ = c.TCPInfo()
	m.open = append(m.open, g)
	m.most = max(m.most, len(m.open))
	return g
}

// next measures the connection that takes the lost one's place; what was counted
// on that is kept.
func (m *measure) next(conn net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.open {
		m.retire(g)
	}
	m.open, m.udp = nil, udpConn(conn)
	m.add(conn)
}

// stream measures a further connection until closing is called.
func (m *measure) stream(conn net.Conn) (closing func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.add(conn)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if i := slices.Index(m.open, g); i >= 0 {
			g.read()
			m.open = slices.Delete(m.open, i, i+1)
			m.retire(g)
		}
	}
}

// retire keeps what was read of a connection that is closed or lost.
func (m *measure) retire(g *gauge) {
	if !g.span.Before.At.IsZero() && !g.span.After.At.IsZero() {
		m.spans = append(m.spans, g.span)
	}
}

// kernelConn finds the connection of the socket layer below encryption.
func kernelConn(conn net.Conn) *socket.Conn {
	for {
		switch c := conn.(type) {
		case *socket.Conn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// sample notes the round-trip times now.
func (m *measure) sample() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, g := range m.open {
		m.note(g)
	}
}

func (m *measure) note(g *gauge) {
	if info, ok := g.conn.TCPInfo(); ok && info.RTT > 0 {
		m.rtts.add(info.RTT)
	}
}

// stop takes the last reading.
func (m *measure) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.udp != nil {
		m.stats, m.datagrams = m.udp.Stats(), m.udp.Datagrams()
	}
	for _, g := range m.open {
		if g.read() {
			m.note(g)
		}
	}
}

// total is what all connections came to; m.mu is held.
func (m *measure) total() socket.Span {
	spans := slices.Clone(m.spans)
	for _, g := range m.open {
		if !g.span.Before.At.IsZero() && !g.span.After.At.IsZero() {
			spans = append(spans, g.span)
		}
	}
	return socket.Combine(spans...)
}

// cpuBusy is the share of the processors' time from which the receiving end
// counts as limited by them.
const cpuBusy = 0.85

// limiter says in a few words what kept the transfer from going faster.
func (m *measure) limiter(sending bool, w transfer.Waited) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	elapsed := time.Since(m.start) - w.Peer
	load := socket.Load{Elapsed: elapsed, SourceWait: w.Disk, WriteWait: w.Network, CPU: cpuTime() - m.cpu, Processors: processors()}
	if sending && m.udp != nil {
		return udpLimiter(m.stats)
	}
	if sending {
		t := m.total()
		return socket.Explain(t.Before, t.After, load).String()
	}
	// The receiving end knows its own side only.
	switch busy := float64(load.CPU) / float64(elapsed) / float64(load.Processors); {
	case busy > cpuBusy:
		return "cpu"
	case w.Disk > w.Network:
		return "disk"
	}
	return "the sender or the network"
}

// bothLimiters is one sentence of what either end thinks. The sender knows the
// network, and the receiver why its window was closed.
func bothLimiters(sender, receiver string) string {
	own, _, _ := strings.Cut(receiver, " ")
	switch {
	case sender == "":
		return receiver
	case strings.HasPrefix(sender, "receive") && (own == "cpu" || own == "disk"):
		return "the receiver's " + receiver
	case strings.HasPrefix(sender, "cpu"), strings.HasPrefix(sender, "source"):
		return "the sender's " + sender
	}
	return sender
}

// packets is what this end's packets came to.
func (m *measure) packets() (sent, lost, retransmits int64) {
	if m.udp != nil {
		return int64(m.stats.PacketsSent), int64(m.stats.PacketsLost), int64(m.stats.Retransmits)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.total()
	n := t.After.Retransmits - t.Before.Retransmits
	return t.After.SegmentsSent - t.Before.SegmentsSent, n, n
}

// atOnce is how many connections carried content at the same time, 1 and more.
func (m *measure) atOnce() int { m.mu.Lock(); defer m.mu.Unlock(); return max(1, m.most) }

// rtt is the spread of round-trip times.
func (m *measure) rtt() rttSummary {
	if m.udp == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return summarise(m.rtts.kept)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return rttSummary{ms(m.stats.RTTMin), ms(m.stats.RTTMedian), ms(m.stats.RTTP99)}
}

// samples keeps every so manieth of as many as come, evenly, in bounded memory.
type samples struct {
	kept  []time.Duration
	every int // of which one is kept; 0 is 1
	skip  int
}

const maxSamples = 1 << 14

func (s *samples) add(d time.Duration) {
	if s.skip > 0 {
		s.skip--
		return
	}
	if len(s.kept) == maxSamples {
		for i := range maxSamples / 2 {
			s.kept[i] = s.kept[2*i]
		}
		s.kept = s.kept[:maxSamples/2]
		s.every = 2 * max(s.every, 1)
	}
	s.kept = append(s.kept, d)
	s.skip = max(s.every, 1) - 1
}

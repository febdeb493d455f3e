package main

import (
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/transfer"
)

// A measure is what is known of a connection before and after a transfer, to
// tell what limited it.
type measure struct {
	mu     sync.Mutex // the transfer's goroutines call
	conn   *socket.Conn
	before socket.TCPInfo
	after  socket.TCPInfo
	known  bool // both readings are good
	start  time.Time
	cpu    time.Duration
	udp    *rudp.Conn
	stats  arq.Stats
	// datagrams is what a receiver saw of --arq none.
	datagrams arq.DatagramReport
	rtts      []time.Duration // samples of the kernel's smoothed RTT
}

func startMeasure(conn net.Conn) *measure {
	m := &measure{cpu: cpuTime(), start: time.Now(), udp: udpConn(conn)}
	if c := kernelConn(conn); c != nil {
		m.conn = c
		m.before, m.known = c.TCPInfo()
	}
	return m
}

// next measures the connection that takes the lost one's place; what was counted
// on that is kept.
func (m *measure) next(conn net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	segments, retransmits := m.after.SegmentsSent-m.before.SegmentsSent, m.after.Retransmits-m.before.Retransmits
	m.conn, m.udp, m.known = kernelConn(conn), udpConn(conn), false
	if m.conn == nil {
		return
	}
	if m.before, m.known = m.conn.TCPInfo(); m.known {
		m.before.SegmentsSent -= segments
		m.before.Retransmits -= retransmits
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

// sample notes the round-trip time now.
func (m *measure) sample() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sampleLocked()
}

func (m *measure) sampleLocked() {
	if m.conn == nil {
		return
	}
	if info, ok := m.conn.TCPInfo(); ok && info.RTT > 0 {
		m.rtts = append(m.rtts, info.RTT)
	}
}

// stop takes the last reading.
func (m *measure) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.udp != nil {
		m.stats, m.datagrams = m.udp.Stats(), m.udp.Datagrams()
	}
	if m.conn != nil && m.known {
		m.after, m.known = m.conn.TCPInfo()
		m.sampleLocked()
	}
}

// cpuBusy is the share of the processors' time from which the receiving end
// counts as limited by them.
const cpuBusy = 0.85

// limiter says in a few words what kept the transfer from going faster.
func (m *measure) limiter(sending bool, w transfer.Waited) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	elapsed := time.Since(m.start) - w.Peer
	load := socket.Load{Elapsed: elapsed, SourceWait: w.Disk, WriteWait: w.Network, CPU: cpuTime() - m.cpu, Processors: runtime.GOMAXPROCS(0)}
	if sending && m.udp != nil {
		return udpLimiter(m.stats)
	}
	if sending {
		return socket.Explain(m.before, m.after, load).String()
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
	n := m.after.Retransmits - m.before.Retransmits
	return m.after.SegmentsSent - m.before.SegmentsSent, n, n
}

// rtt is the spread of round-trip times.
func (m *measure) rtt() rttSummary {
	if m.udp == nil {
		return summarise(m.rtts)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return rttSummary{ms(m.stats.RTTMin), ms(m.stats.RTTMedian), ms(m.stats.RTTP99)}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/capture"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/trace"
)

func traceFlag() cli.Flag {
	return &cli.StringFlag{Name: "trace", Usage: "write every event of the transport to `FILE`, as qlog (.qlog) or a table (.csv); over TCP, what the kernel tells every 10 ms"}
}

func pcapFlag() cli.Flag {
	return &cli.StringFlag{Name: "pcap", Usage: "UDP: write the datagrams of this end to `FILE`, for Wireshark (.pcapng); what an impairment takes is there, with a comment"}
}

// recorder writes down what the transport does. The zero recorder does nothing.
type recorder struct {
	log   *trace.Log
	pcap  *capture.Writer
	files []*os.File
	names [2]string // of the trace and the capture
	p     *printer
}

// checkRecording finds mistakes in --trace and --pcap before anything is
// touched.
func checkRecording(c *cli.Context) error {
	if name := c.String("trace"); name != "" {
		if _, err := trace.FormatOf(name); err != nil {
			return usagef("--trace: %w", err)
		}
	} else if c.IsSet("trace") {
		return usagef("--trace needs the name of a file, ending in .qlog or .csv")
	}
	switch name := c.String("pcap"); {
	case name == "" && c.IsSet("pcap"), name == "-":
		return usagef("--pcap needs the name of a file, as x.pcapng")
	case name != "" && !c.Bool("udp"):
		return usagef("--pcap records the datagrams of wherry's own protocol; what TCP sends only the kernel sees").hint("add --udp on both ends, or record TCP with tcpdump or Wireshark; --trace works with both")
	case name != "" && name == c.String("trace"):
		return usagef("--pcap and --trace need a file each")
	}
	return nil
}

// record opens what --trace and --pcap ask for, and has m's connections write to
// it. It is called last, when nothing but the network can fail any more, and
// leaves no file where it fails.
func (m *meeting) record(c *cli.Context, command string) error {
	m.rec.names, m.rec.p = [2]string{c.String("trace"), c.String("pcap")}, m.p
	warn := func(name, what string) func(error) {
		return func(err error) { m.p.Warn(name, "the "+what+" ends here: "+oneLine(err)) }
	}
	if name := c.String("trace"); name != "" {
		f, err := m.rec.create("trace", name)
		if err != nil {
			return err
		}
		h := trace.Header{Title: "wherry " + command, Start: time.Now(), Version: version()}
		h.Client = m.dial != "" || m.listen == "" && command == "receive"
		h.Server = !h.Client
		format, err := trace.FormatOf(name)
		if err == nil {
			m.rec.log, err = trace.New(f, format, h, trace.Options{Failed: warn(name, "trace")})
		}
		if err != nil {
			m.rec.close()
			return pathError("write the trace", name, err)
		}
	}
	if name := c.String("pcap"); name != "" {
		f, err := m.rec.create("pcap", name)
		if err == nil {
			m.rec.pcap, err = capture.New(f, capture.Options{Application: "wherry " + version(), Failed: warn(name, "capture")})
			if err != nil {
				err = pathError("write the capture", name, err)
			}
		}
		if err != nil {
			m.rec.close()
			return err
		}
	}
	if m.udp != nil && (m.rec.log != nil || m.rec.pcap != nil) {
		m.udp.Trace = m.recordUDP()
	}
	return nil
}

// create opens a new file for the flag.
func (r *recorder) create(flag, name string) (*os.File, error) {
	what := map[string]string{"trace": "trace", "pcap": "capture"}[flag]
	f, err := os.Create(name)
	if err != nil {
		return nil, withHint(pathError("create the "+what, name, err), "--"+flag+" names a file in a directory that exists and may be written to")
	}
	r.files = append(r.files, f)
	return f, nil
}

// recordUDP is what reliable UDP tells.
func (m *meeting) recordUDP() *rudp.Trace {
	// An end that listens and was told no protocol follows the other.
	protocol := ""
	switch e := &m.udp.Engine; {
	case e.ARQ == arq.ModelARQ, e.ARQ == arq.ARQDefault && m.dial != "":
		protocol = e.Congestion.String()
	case e.ARQ != arq.ARQDefault:
		protocol = e.ARQ.String()
	}
	log, pcap := m.rec.log, m.rec.pcap
	t := &rudp.Trace{}
	if log != nil {
		t.Conn = func(epoch time.Time, local, remote netip.AddrPort) *arq.Trace {
			return log.UDP(trace.UDPConn{Epoch: log.Elapsed(epoch), Local: local, Remote: remote, Protocol: protocol})
		}
	}
	if pcap == nil && m.udp.Socket.Impair == nil {
		return t
	}
	t.Datagram = func(d rudp.Datagram) {
		if log != nil && d.Fate != nil {
			log.Link(log.Elapsed(d.At), d.Remote, d.Payload, d.Fate)
		}
		if pcap != nil {
			pcap.Packet(capture.Packet{At: d.At, Sent: d.Sent, Local: d.Local, Remote: d.Remote, ECN: uint8(d.ECN), Payload: d.Payload, Comment: fateComment(d.Fate)})
		}
	}
	return t
}

// fateComment is what a capture says of a packet on an impaired link; nothing
// where the link only delays.
func fateComment(d *netem.Decision) string {
	switch {
	case d == nil:
		return ""
	case d.Fate == netem.TailDrop:
		return fmt.Sprintf("dropped by the impaired link: the queue is full, %d bytes", d.Queued)
	case d.Fate != netem.Delivered:
		return "dropped by the impaired link: " + d.Fate.String()
	}
	words := trace.Changes(d)
	if words == "" {
		return ""
	}
	if d.Corrupted {
		words += fmt.Sprintf(" (bit %d; here as it was sent)", d.FlippedBit)
	}
	return "on the impaired link: " + words
}

// close ends the recording. It is called when all connections are.
func (r *recorder) close() {
	// Of writing that failed a warning was given.
	if r.log != nil && r.log.Close() == nil && r.log.Missed() > 0 {
		r.p.Warn(r.names[0], fmt.Sprintf("%d events are missing from the trace: the disk did not keep up", r.log.Missed()))
	}
	if r.pcap != nil && r.pcap.Close() == nil && r.pcap.Dropped() > 0 {
		r.p.Warn(r.names[1], fmt.Sprintf("%d packets are missing from the capture: the disk did not keep up", r.pcap.Dropped()))
	}
	for _, f := range r.files {
		_ = f.Close()
	}
	r.files = nil
}

// A tally traces what the transport does not: how content moves, and over TCP
// what the kernel knows.
type tally struct {
	log  *trace.Log // nil: nobody wants to know
	peer string

	mu         sync.Mutex
	moved, new int64
	told       time.Duration
	stop       func() // ends the sampling of the connection that is in use
}

// sample begins to sample the TCP connection below conn, in place of the one
// before.
func (t *tally) sample(conn net.Conn) {
	t.end()
	t.stop = t.follow(conn)
}

// follow samples the TCP connection below conn until it is told to stop, which takes
// the last sample; nil if nobody wants to know, or nobody does.
func (t *tally) follow(conn net.Conn) (stop func()) {
	c := kernelConn(conn)
	if t.log == nil || c == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sampled sync.WaitGroup
	sampled.Go(func() { t.log.TCP(ctx, c) })
	return func() {
		cancel()
		sampled.Wait()
	}
}

// end takes the last sample, before the connection is closed.
func (t *tally) end() {
	if t.log == nil {
		return
	}
	if t.stop != nil {
		t.stop()
		t.stop = nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell(t.log.Now())
}

// progressEvery spaces the events of progress.
const progressEvery = 10 * time.Millisecond

// add counts n bytes of content.
func (t *tally) add(n int) {
	if t.log == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.moved += int64(n)
	t.new += int64(n)
	if now := t.log.Now(); now-t.told >= progressEvery {
		t.tell(now)
	}
}

func (t *tally) tell(now time.Duration) {
	if t.new == 0 {
		return
	}
	t.log.Add(&trace.Event{Time: now, Kind: trace.Progress, Offset: t.moved, Length: t.new, Reason: t.peer,
		Has: trace.HasOffset | trace.HasLength})
	t.new, t.told = 0, now
}

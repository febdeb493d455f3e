package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/trace"
)

func traceFlag() cli.Flag {
	return &cli.StringFlag{Name: "trace", Usage: "write every event of the transport to `FILE`, as qlog (.qlog) or a table (.csv); over TCP, what the kernel tells every 10 ms"}
}

// recorder writes down what the transport does. The zero recorder does nothing.
type recorder struct {
	log  *trace.Log
	file *os.File
}

// checkTrace finds mistakes in --trace before anything is touched.
func checkTrace(c *cli.Context) error {
	if name := c.String("trace"); name != "" {
		if _, err := trace.FormatOf(name); err != nil {
			return usagef("--trace: %w", err)
		}
	} else if c.IsSet("trace") {
		return usagef("--trace needs the name of a file, ending in .qlog or .csv")
	}
	return nil
}

// record opens what --trace asks for, and has m's connections write to it. It
// is called last, when nothing but the network can fail any more, and leaves no
// file where it fails.
func (m *meeting) record(c *cli.Context, command string) error {
	name := c.String("trace")
	if name == "" {
		return nil
	}
	format, err := trace.FormatOf(name)
	if err != nil {
		return usagef("--trace: %w", err)
	}
	f, err := os.Create(name)
	if err != nil {
		return withHint(pathError("create the trace", name, err), "--trace names a file in a directory that exists and may be written to")
	}
	h := trace.Header{Title: "wherry " + command, Start: time.Now(), Version: version()}
	h.Client = m.dial != "" || m.listen == "" && command == "receive"
	h.Server = !h.Client
	m.rec.file = f
	m.rec.log, err = trace.New(f, format, h, trace.Options{Failed: func(err error) {
		m.p.Warn(name, "the trace ends here: "+oneLine(err))
	}})
	if err != nil {
		f.Close()
		return pathError("write the trace", name, err)
	}
	if m.udp != nil {
		m.udp.Trace = m.rec.udp(c)
	}
	return nil
}

// udp is what reliable UDP tells.
func (r *recorder) udp(c *cli.Context) *rudp.Trace {
	protocol := c.String("arq")
	if name := c.String("congestion"); name != "" {
		protocol = name
	}
	log := r.log
	t := &rudp.Trace{Conn: func(epoch time.Time, local, remote netip.AddrPort) *arq.Trace {
		return log.UDP(trace.UDPConn{Epoch: log.Elapsed(epoch), Local: local, Remote: remote, Protocol: protocol})
	}}
	if link, err := impairments(c); err == nil && link.Impairs() {
		t.Datagram = func(d rudp.Datagram) {
			if d.Fate != nil {
				log.Link(log.Elapsed(d.At), d.Remote, d.Payload, d.Fate)
			}
		}
	}
	return t
}

// close ends the recording. It is called when all connections are.
func (r *recorder) close() {
	if r.log == nil {
		return
	}
	_ = r.log.Close() // the warning was given
	_ = r.file.Close()
}

// A tally traces what the transport does not: how content moves, and over TCP
// what the kernel knows.
type tally struct {
	log  *trace.Log // nil: nobody wants to know
	peer string

	mu         sync.Mutex
	moved, new int64
	told       time.Duration
	stop       context.CancelFunc
	sampled    sync.WaitGroup
}

// sample begins to sample the TCP connection below conn, in place of the one
// before.
func (t *tally) sample(conn net.Conn) {
	if t.log == nil {
		return
	}
	t.end()
	c := kernelConn(conn)
	if c == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	t.sampled.Go(func() { t.log.TCP(ctx, c) })
}

// end takes the last sample, before the connection is closed.
func (t *tally) end() {
	if t.log == nil {
		return
	}
	if t.stop != nil {
		t.stop()
		t.sampled.Wait()
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

// Package capture writes datagrams as a packet capture that Wireshark, tshark
// and everything else that reads pcapng (draft-ietf-opsawg-pcapng) opens, without
// the rights that capturing on an interface takes.
//
// What a program hands to a UDP socket has no headers: those of Ethernet, IP and
// UDP are made up, with the right addresses, ports, ECN bits, lengths and
// checksums. The hardware addresses are locally administered ones with the end of
// the IP address in them. Packets carry their direction (epb_flags), the time to
// the nanosecond, and a comment where the writer has something to say, such as
// that an impaired link lost the packet ("frame.comment" in a display filter).
//
// Payloads are written as they are: what was encrypted stays so, and no keys are
// put into the file.
//
// There are libraries for the format. Three kinds of blocks are less than what
// they would bring along, and none of them counts what a capture missed.
package capture

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Packet is a UDP datagram.
type Packet struct {
	At            time.Time
	Sent          bool           // by this end; otherwise received
	Local, Remote netip.AddrPort // IPv4 addresses may be in their mapped form
	ECN           uint8          // the two bits of RFC 3168
	Payload       []byte         // at most 65507 bytes; what is beyond is cut off
	Comment       string         // UTF-8; may be empty
}

// Options tune a [Writer]. The zero value is the default.
type Options struct {
	// Application is the name and version of the program.
	Application string
	// Comment describes the file.
	Comment string
	// Buffer is how many bytes may wait to be written; 0 means 8 MiB. Packets
	// that find no room are missing, and the next one says how many
	// (epb_dropcount), as does the end of the file (isb_ifdrop).
	Buffer int
	// Failed is called once, by another goroutine, when the file could not be
	// written; nothing more is.
	Failed func(error)
}

const (
	chunkBytes = 256 << 10
	flushEvery = 500 * time.Millisecond
)

// record is a packet that waits.
type record struct {
	Packet // its Payload lies in the chunk's data
	missed uint64
}

type chunk struct {
	recs []record
	data []byte
}

// Writer writes a capture. Its methods may be called by several goroutines at
// once and do not wait for the disk.
type Writer struct {
	o    Options
	dead atomic.Bool

	mu       sync.Mutex
	cur      *chunk
	queue    []*chunk // the oldest first
	free     []*chunk
	made     int
	missed   uint64 // since the last packet that was taken
	received uint64
	dropped  uint64
	closed   bool

	wake chan struct{}
	done chan struct{}
	err  error // read after done
}

// New begins a capture that is written to w, which it does not close. The head
// of the file is written at once, to fail early.
func New(w io.Writer, o Options) (*Writer, error) {
	if o.Buffer <= 0 {
		o.Buffer = 8 << 20
	}
	if _, err := w.Write(fileHead(o)); err != nil {
		return nil, fmt.Errorf("write the capture: %w", err)
	}
	c := &Writer{o: o, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go c.run(bufio.NewWriterSize(w, 256<<10))
	return c, nil
}

// Packet adds a packet. Its payload is copied.
func (c *Writer) Packet(p Packet) {
	if c.dead.Load() {
		return
	}
	p.Payload = p.Payload[:min(len(p.Payload), maxPayload)]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received++
	if !c.reserve(len(p.Payload)) {
		c.missed++
		c.dropped++
		return
	}
	k := c.cur
	n := len(k.data)
	k.data = append(k.data, p.Payload...)
	p.Payload = k.data[n:len(k.data):len(k.data)]
	k.recs = append(k.recs, record{p, c.missed})
	c.missed = 0
}

// Dropped is how many packets are missing, because the disk did not keep up.
func (c *Writer) Dropped() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped
}

// reserve makes sure that cur has room for n bytes, which never exceed a chunk.
func (c *Writer) reserve(n int) bool {
	if c.closed {
		return false
	}
	if c.cur != nil && len(c.cur.data)+n <= cap(c.cur.data) && len(c.cur.recs) < chunkBytes/64 {
		return true
	}
	if c.cur != nil {
		c.queue = append(c.queue, c.cur)
		c.cur = nil
		c.signal()
	}
	switch n := len(c.free); {
	case n > 0:
		c.cur, c.free = c.free[n-1], c.free[:n-1]
	case c.made*chunkBytes < max(c.o.Buffer, 2*chunkBytes):
		c.made++
		c.cur = &chunk{data: make([]byte, 0, chunkBytes)}
	default:
		return false
	}
	return true
}

func (c *Writer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run is the goroutine that writes.
func (c *Writer) run(w *bufio.Writer) {
	defer close(c.done)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var block []byte
	var first, last time.Time
	for {
		flush := false
		select {
		case <-c.wake:
		case <-tick.C:
			flush = true
		}
		for {
			c.mu.Lock()
			closed := c.closed
			if (flush || closed) && len(c.queue) == 0 && c.cur != nil && len(c.cur.recs) > 0 {
				c.queue = append(c.queue, c.cur)
				c.cur = nil
			}
			if len(c.queue) == 0 {
				received, dropped := c.received, c.dropped
				c.mu.Unlock()
				if !closed {
					break
				}
				if last.IsZero() {
					first, last = time.Now(), time.Now()
				}
				_, err := w.Write(appendStatistics(block[:0], first, last, received, dropped))
				if err == nil {
					err = w.Flush()
				}
				c.finish(err)
				return
			}
			k := c.queue[0]
			c.queue = append(c.queue[:0], c.queue[1:]...)
			c.mu.Unlock()
			for i := range k.recs {
				r := &k.recs[i]
				if first.IsZero() {
					first = r.At
				}
				last = r.At
				block = appendPacket(block[:0], r)
				if _, err := w.Write(block); err != nil {
					c.finish(err)
					return
				}
			}
			clear(k.recs)
			k.recs, k.data = k.recs[:0], k.data[:0]
			c.mu.Lock()
			c.free = append(c.free, k)
			c.mu.Unlock()
		}
		if flush {
			if err := w.Flush(); err != nil {
				c.finish(err)
				return
			}
		}
	}
}

func (c *Writer) finish(err error) {
	c.dead.Store(true)
	if err == nil {
		return
	}
	c.err = fmt.Errorf("write the capture: %w", err)
	if c.o.Failed != nil {
		c.o.Failed(c.err)
	}
}

// Close writes what is left, waits for it, and returns the error that writing
// met, which [Options.Failed] was told of.
func (c *Writer) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.signal()
	<-c.done
	return c.err
}

// Package sim runs connections of package arq over links of package netem
// under simulated time: minutes of network in seconds, the same to the bit
// every time. The network is a dumbbell:
//
//	client 0 ---+                             +--- server 0
//	client 1 ---+=== Forward (bottleneck) ===>+--- server 1
//	client 2 ---+<========= Reverse ==========+--- server 2
//
// Every client dials its server through the whole handshake and sends a
// number of bytes; every byte that arrives is compared with what was sent.
package sim

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Flow is one connection of a simulation.
type Flow struct {
	// Client configures the sender, Server the receiver. Their seeds are
	// set by Run.
	Client, Server arq.Config
	// Start is when the client dials.
	Start time.Duration
	// Bytes is how much the client sends; 0 means until the end.
	Bytes int64
	// Name labels the flow.
	Name string
}

// Config describes a simulation.
type Config struct {
	Seed             uint64
	Forward, Reverse netem.Config
	Flows            []Flow
	// Until ends the simulation; by default it ends when all flows have.
	// Without it a simulation that takes longer than Limit is an error.
	Until time.Duration
	// From is the start of the time over which [FlowResult.Share] counts.
	From time.Duration
	// Check verifies every connection's invariants after every step. It
	// costs time.
	Check bool
	// Hook, if not nil, is called at every step with the connections,
	// clients first; it may act on them.
	Hook func(now time.Duration, conns []*arq.Conn)
	// Stop, if not nil, is asked every now and then whether to give up; Run
	// then returns [ErrStopped].
	Stop func() bool
	// Limit is how much simulated time a simulation without Until may take; 0
	// means an hour. Beyond it Run returns [ErrLimit].
	Limit time.Duration
	// Link, if not nil, is told what the forward link decided about each
	// packet, with the number that the sender gave it (handshake: its ID).
	Link func(number uint64, d netem.Decision)
}

// ErrLimit is returned by [Run] for what has not ended within Config.Limit.
var ErrLimit = errors.New("does not end")

// ErrStopped is returned by [Run] when Config.Stop said so.
var ErrStopped = errors.New("stopped")

// Result is what a simulation showed.
type Result struct {
	Flows []FlowResult
	// End is the simulated time at which it ended.
	End time.Duration
	// Hash is over every datagram pushed onto either link, with its time.
	Hash             uint64
	Forward, Reverse netem.Stats
	// QueueMedian and QueueP99 are over the packets that entered the
	// forward queue.
	QueueMedian, QueueP99 time.Duration
	// Steps is the count of events.
	Steps int
}

// FlowResult is what became of a flow.
type FlowResult struct {
	Name      string
	Delivered int64
	// Done is when the server had read everything and the client knew.
	Done time.Duration
	// Last is when the server read the last byte, counted from the dial.
	Last time.Duration
	// Goodput is bytes/s from the dial to the last byte read.
	Goodput float64
	// Share is bytes/s delivered between Config.From and the end.
	Share          float64
	Client, Server arq.Stats
	// Datagrams is the receiver's report of a flow of [arq.NoARQ].
	Datagrams arq.DatagramReport
	Err       error
}

// Jain is Jain's index of fairness of the flows' shares: 1 when they are
// equal, 1/n when one has everything.
func (r *Result) Jain() float64 {
	var s, q float64
	for _, f := range r.Flows {
		s += f.Share
		q += f.Share * f.Share
	}
	if q == 0 {
		return 0
	}
	return s * s / q / float64(len(r.Flows))
}

const (
	tagLen    = 8 // flow, direction and ECN, in front of every datagram
	patternN  = 65521
	bufferLen = 128 << 10
)

// pattern is made when the first simulation needs it.
var pattern = sync.OnceValue(func() []byte {
	p := make([]byte, patternN+1<<16)
	x := uint32(12345)
	for i := range patternN {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		p[i] = byte(x)
	}
	for i := patternN; i < len(p); i++ {
		p[i] = p[i-patternN]
	}
	return p
})

func patternAt(off int64, n int) []byte {
	i := int(off % patternN)
	return pattern()[i : i+min(n, 1<<16)]
}

type end struct {
	conn     *arq.Conn
	acceptor *arq.Acceptor
	addr     netip.AddrPort
	wake     time.Duration
}

type flow struct {
	Flow
	client, server end
	written, read  int64
	fromRead       int64
	packets        uint64        // datagrams sent, if that is what it sends
	closeAt        time.Duration // of a receiver of datagrams
	lastRead       time.Duration
	done           time.Duration
	err            error
}

type runner struct {
	cfg    Config
	links  [2]*netem.Link
	flows  []*flow
	now    time.Duration
	hash   uint64
	buf    []byte
	in     []byte
	queued []uint32
	res    Result

	pushing uint64 // number of the packet that is being pushed
}

// Run runs a simulation. It fails where the links cannot be made, where an
// invariant is broken, where bytes arrive that were not sent, and where it
// does not end.
func Run(cfg Config) (*Result, error) {
	r := &runner{cfg: cfg, buf: make([]byte, bufferLen+tagLen), in: make([]byte, netem.MaxPacket+tagLen)}
	cfg.Forward.Header, cfg.Reverse.Header = tagLen, tagLen
	cfg.Forward.Seed, cfg.Reverse.Seed = cfg.Seed, cfg.Seed
	cfg.Forward.Direction, cfg.Reverse.Direction = 0, 1
	told := cfg.Forward.Trace
	cfg.Forward.Trace = &netem.Trace{Packet: func(d netem.Decision) {
		if told != nil && told.Packet != nil {
			told.Packet(d)
		}
		if d.Fate != netem.TailDrop {
			r.queued = append(r.queued, uint32(d.Queued))
		}
		if cfg.Link != nil {
			cfg.Link(r.pushing, d)
		}
	}}
	for i, c := range []netem.Config{cfg.Forward, cfg.Reverse} {
		l, err := netem.New(c)
		if err != nil {
			return nil, err
		}
		r.links[i] = l
	}
	for i, f := range cfg.Flows {
		x := &flow{Flow: f}
		x.Client.Seed, x.Server.Seed = seed(cfg.Seed, i, 0), seed(cfg.Seed, i, 1)
		x.client.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)
		x.server.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 2)
		x.server.acceptor = arq.NewAcceptor(seed(cfg.Seed, i, 2), x.Server)
		x.client.wake, x.server.wake = f.Start, arq.Never
		r.flows = append(r.flows, x)
	}
	if err := r.run(); err != nil {
		return nil, fmt.Errorf("seed %d, at %v: %w", cfg.Seed, r.now, err)
	}
	return r.result(), nil
}

func seed(s uint64, flow, what int) (out [32]byte) {
	binary.BigEndian.PutUint64(out[:], s)
	binary.BigEndian.PutUint32(out[8:], uint32(flow))
	out[12] = byte(what)
	return out
}

func (r *runner) run() error {
	limit := r.cfg.Until
	if limit == 0 {
		limit = r.cfg.Limit
	}
	if limit == 0 {
		limit = time.Hour
	}
	marked := false
	for {
		next := arq.Never
		for _, l := range r.links {
			if t, ok := l.Next(); ok {
				next = min(next, t)
			}
		}
		over := true
		for _, f := range r.flows {
			next = min(next, f.client.wake, f.server.wake)
			over = over && f.done != 0
		}
		if over && r.cfg.Until == 0 {
			return nil
		}
		if !marked && next >= r.cfg.From {
			marked = true
			for _, f := range r.flows {
				f.fromRead = f.read
			}
		}
		if next > limit {
			if r.cfg.Until == 0 {
				return ErrLimit
			}
			r.now = limit
			return nil
		}
		r.now = max(r.now, next)
		r.res.Steps++
		if r.cfg.Stop != nil && r.res.Steps%4096 == 0 && r.cfg.Stop() {
			return ErrStopped
		}
		if r.res.Steps > 500_000_000 {
			return errors.New("busy for ever")
		}
		if err := r.step(); err != nil {
			return err
		}
	}
}

// step does everything that is due now.
func (r *runner) step() error {
	for dir, l := range r.links {
		for {
			n, ok := l.Pop(r.now, r.in)
			if !ok {
				break
			}
			r.arrive(dir, r.in[:n])
		}
	}
	for i, f := range r.flows {
		if f.client.wake <= r.now {
			if f.client.conn == nil {
				f.client.conn = arq.Dial(r.now, f.Client, f.server.addr)
			}
			if err := r.serve(i, f, 0); err != nil {
				return fmt.Errorf("flow %d: client: %w", i, err)
			}
		}
		if f.server.wake <= r.now && f.server.conn != nil {
			if err := r.serve(i, f, 1); err != nil {
				return fmt.Errorf("flow %d: server: %w", i, err)
			}
		}
	}
	if r.cfg.Hook != nil {
		var conns []*arq.Conn
		for _, f := range r.flows {
			conns = append(conns, f.client.conn)
		}
		for _, f := range r.flows {
			conns = append(conns, f.server.conn)
		}
		r.cfg.Hook(r.now, conns)
	}
	return nil
}

func (r *runner) arrive(dir int, b []byte) {
	f := r.flows[binary.BigEndian.Uint32(b)]
	ecn := arq.ECN(b[5])
	b = b[tagLen:]
	e, from := &f.server, f.client.addr
	if dir == 1 {
		e, from = &f.client, f.server.addr
	}
	id, _ := arq.DestinationID(b)
	if dir == 0 && (e.conn == nil || id != e.conn.LocalID()) {
		reply := r.buf[tagLen : tagLen+128]
		v := e.acceptor.Examine(r.now, from, b, reply)
		if v.Reply > 0 {
			r.push(1, f, reply[:v.Reply], arq.NotECT, 0)
			return
		}
		if v.ID == 0 {
			return
		}
		if e.conn == nil {
			e.conn = e.acceptor.Accept(r.now, f.Server, v)
		}
	}
	if e.conn != nil {
		e.conn.HandleDatagram(r.now, b, from, ecn)
		e.wake = r.now
	}
}

// push puts a datagram on a link. It is in r.buf, after room for the tag at
// off.
func (r *runner) push(dir int, f *flow, b []byte, ecn arq.ECN, off int) {
	tagged := r.buf[off : off+tagLen+len(b)]
	i := slices.Index(r.flows, f)
	binary.BigEndian.PutUint32(tagged, uint32(i))
	tagged[4], tagged[5] = byte(dir), byte(ecn)
	tagged[6], tagged[7] = 0, 0
	h := fnv.New64a()
	var w [32]byte
	binary.BigEndian.PutUint64(w[:], uint64(r.now))
	binary.BigEndian.PutUint64(w[8:], r.hash)
	binary.BigEndian.PutUint32(w[16:], uint32(i))
	w[20] = byte(dir)
	// Bytes 4 to 8 of a datagram are the checksum of all of it.
	copy(w[21:25], b[4:8])
	binary.BigEndian.PutUint32(w[28:], uint32(len(b)))
	h.Write(w[:])
	r.hash = h.Sum64()
	r.pushing, _ = arq.PacketNumber(b)
	r.links[dir].Push(r.now, tagged)
}

// serve moves a connection's stream and sends what it has to send.
func (r *runner) serve(i int, f *flow, which int) error {
	e := &f.client
	if which == 1 {
		e = &f.server
	}
	c := e.conn
	if c.NextTimeout() <= r.now {
		c.HandleTimeout(r.now)
	}
	if err := r.stream(f, which, c); err != nil {
		return err
	}
	for {
		// The tag of the first datagram lies before the batch; later ones
		// overwrite the end of the datagram before them, which has left.
		t := c.PollTransmit(r.now, r.buf[tagLen:])
		if t.N == 0 {
			break
		}
		for off := 0; off < t.N; off += t.SegmentSize {
			n := min(t.SegmentSize, t.N-off)
			r.push(which, f, r.buf[tagLen+off:tagLen+off+n], t.ECN, off)
		}
	}
	if r.cfg.Check {
		if err := c.Check(); err != nil {
			return err
		}
	}
	e.wake = c.NextTimeout()
	if which == 1 && f.closeAt > r.now {
		e.wake = min(e.wake, f.closeAt)
	}
	if e.wake <= r.now {
		e.wake = r.now + 1
	}
	if c.Done() {
		e.wake = arq.Never
		if f.done == 0 && which == 0 {
			f.done = r.now
			f.err = c.Err()
			if f.err == nil && f.read != f.Bytes && c.ARQ() != arq.NoARQ {
				return fmt.Errorf("ended in good order with %d of %d bytes delivered", f.read, f.Bytes)
			}
		}
	}
	return nil
}

func (r *runner) stream(f *flow, which int, c *arq.Conn) error {
	if c.ARQ() == arq.NoARQ {
		return r.datagrams(f, which, c)
	}
	if which == 0 {
		for c.WriteSpace() > 0 && (f.Bytes == 0 || f.written < f.Bytes) {
			n := 1 << 16
			if f.Bytes > 0 {
				n = int(min(int64(n), f.Bytes-f.written))
			}
			k, err := c.Write(patternAt(f.written, n))
			if err != nil {
				break
			}
			f.written += int64(k)
		}
		if f.Bytes > 0 && f.written == f.Bytes && c.State() < arq.StateClosing {
			c.CloseWrite()
		}
		if _, err := c.Peek(); err == io.EOF && c.State() == arq.StateEstablished {
			c.Close()
		}
		return nil
	}
	for {
		b, err := c.Peek()
		if err == io.EOF {
			if c.State() == arq.StateEstablished {
				c.CloseWrite()
				c.Close()
			}
			return nil
		}
		if len(b) == 0 {
			return nil
		}
		b = b[:min(len(b), 1<<16)]
		if !bytes.Equal(b, patternAt(f.read, len(b))) {
			return fmt.Errorf("bytes at %d are not those that were sent", f.read)
		}
		f.read += int64(len(b))
		f.lastRead = r.now
		c.Discard(len(b))
	}
}

func (r *runner) result() *Result {
	res := &r.res
	res.End, res.Hash = r.now, r.hash
	res.Forward, res.Reverse = r.links[0].Stats(), r.links[1].Stats()
	for _, f := range r.flows {
		x := FlowResult{Name: f.Name, Delivered: f.read, Done: f.done, Err: f.err}
		if d := f.lastRead - f.Start; d > 0 {
			x.Last = d
			x.Goodput = float64(f.read) / d.Seconds()
		}
		if d := r.now - r.cfg.From; d > 0 {
			x.Share = float64(f.read-f.fromRead) / d.Seconds()
		}
		if f.client.conn != nil {
			x.Client = f.client.conn.Stats()
		}
		if f.server.conn != nil {
			x.Server = f.server.conn.Stats()
			x.Datagrams = f.server.conn.Datagrams()
		}
		res.Flows = append(res.Flows, x)
	}
	if rate := r.cfg.Forward.Rate.Bytes(); rate > 0 && len(r.queued) > 0 {
		slices.Sort(r.queued)
		at := func(q float64) time.Duration {
			return time.Duration(float64(r.queued[int(q*float64(len(r.queued)-1))]) / rate * 1e9)
		}
		res.QueueMedian, res.QueueP99 = at(.5), at(.99)
	}
	return res
}

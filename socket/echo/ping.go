package echo

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket"
)

const (
	DefaultInterval = time.Second
	MinInterval     = 100 * time.Microsecond
	// DefaultReplyTimeout is how long an answer may take.
	DefaultReplyTimeout = 3 * time.Second
)

// ErrNotEcho says that the peer answers, but not with what was sent: something
// else listens on that TCP port.
var ErrNotEcho = errors.New("the peer is no echo server")

// Pinger measures round trips to an echo server. Its zero value sends a probe a
// second over UDP until its context ends.
type Pinger struct {
	Dialer   socket.Dialer // how to get there
	TCP      bool          // over TCP; default UDP
	Count    int           // probes to send; 0 means until the context ends
	Interval time.Duration // between probes; 0 means DefaultInterval, the least is MinInterval
	Size     int           // bytes in a probe, MinSize to MaxSize; 0 means DefaultSize
	Timeout  time.Duration // for an answer; 0 means DefaultReplyTimeout
	Trace    *PingTrace    // may be nil
}

// PingTrace is told how a ping goes. Each func may be nil; they are called by
// the goroutine that called Run.
type PingTrace struct {
	Connected func(peer net.Addr, lookup, connect time.Duration)
	Sent      func(seq uint64)
	Reply     func(Reply)
	Lost      func(seq uint64)
}

// ReplyKind says what an answer was.
type ReplyKind int

const (
	ReplyGood      ReplyKind = iota // the first answer to a probe, in time and unchanged
	ReplyDuplicate                  // a further answer to a probe
	ReplyLate                       // an answer to a probe that was given up
	ReplyCorrupt                    // an answer that differs from what was sent
	ReplyForeign                    // no answer to any probe of this run
)

// Reply is one answer.
type Reply struct {
	Kind      ReplyKind
	Seq       uint64        // of the probe; meaningless if foreign or corrupt
	RTT       time.Duration // 0 if foreign or corrupt
	Reordered bool          // a later probe's answer came before this one

	justLost bool // it is late, and was not yet counted as lost
}

// Check reports options that make no sense, as a [*socket.OptionError].
func (p *Pinger) Check() error {
	bad := func(option string, value any, why string) error {
		return &socket.OptionError{Option: option, Value: fmt.Sprint(value), Err: fmt.Errorf("%w: %s", socket.ErrInvalid, why)}
	}
	switch {
	case p.Count < 0:
		return bad("count", p.Count, "is negative")
	case p.Interval != 0 && p.Interval < MinInterval:
		return bad("interval", p.Interval, fmt.Sprintf("is less than %v", MinInterval))
	case p.Size != 0 && (p.Size < MinSize || p.Size > MaxSize):
		return bad("size", p.Size, fmt.Sprintf("is not from %d to %d bytes", MinSize, MaxSize))
	case p.Timeout < 0:
		return bad("timeout", p.Timeout, "is negative")
	case p.timeout()/p.interval() > maxOutstanding/2:
		return bad("timeout", p.timeout(), fmt.Sprintf("is more than %d intervals", maxOutstanding/2))
	}
	return p.Dialer.Check()
}

func (p *Pinger) interval() time.Duration { return or(p.Interval, DefaultInterval) }
func (p *Pinger) timeout() time.Duration  { return or(p.Timeout, DefaultReplyTimeout) }

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Run pings address, a host:port, until Count probes are answered or given up,
// or ctx ends.
//
// The result is nil if nothing was sent. It comes together with an error when
// ctx ended (the context's error), when the connection broke (see
// [socket.Kind]), when a TCP peer is no echo server ([ErrNotEcho]), and when not
// one probe was answered ([socket.ErrTimeout], or [socket.ErrRefused] where the
// host says that nobody listens).
func (p *Pinger) Run(ctx context.Context, address string) (*Result, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	network := "udp"
	if p.TCP {
		network = "tcp"
	}
	d, lookup, connect := p.dialer()
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if !p.TCP {
		*connect = 0 // a UDP socket's connect sends nothing
	}
	if p.Trace != nil && p.Trace.Connected != nil {
		p.Trace.Connected(conn.RemoteAddr(), *lookup, *connect)
	}
	res, err := p.run(ctx, conn)
	res.Network, res.Address, res.Peer = network, address, conn.RemoteAddr().String()
	res.Lookup, res.Connect = *lookup, *connect
	if err != nil {
		if kind := socket.Kind(err); kind != nil && !errors.Is(err, kind) {
			err = fmt.Errorf("%w: %w", kind, err)
		}
		err = fmt.Errorf("ping %s: %w", address, err)
	}
	return res, err
}

// dialer returns a copy of the Dialer that notes how long it takes.
func (p *Pinger) dialer() (d socket.Dialer, lookup, connect *time.Duration) {
	d = p.Dialer
	lookup, connect = new(time.Duration), new(time.Duration)
	var theirs socket.DialTrace
	if d.Trace != nil {
		theirs = *d.Trace
	}
	trace := theirs
	start := time.Now()
	trace.LookupDone = func(host string, addrs []netip.Addr, err error) { // not called for an IP address
		*lookup = time.Since(start)
		if theirs.LookupDone != nil {
			theirs.LookupDone(host, addrs, err)
		}
	}
	trace.AttemptDone = func(a socket.Attempt) {
		if a.Err == nil {
			*connect = a.Elapsed
		}
		if theirs.AttemptDone != nil {
			theirs.AttemptDone(a)
		}
	}
	d.Trace = &trace
	return d, lookup, connect
}

// arrival is what the reading goroutine found.
type arrival struct {
	at  time.Time
	seq uint64
	err error // errForeign, errCorrupt, or what ended or disturbed reading
}

// run pings over conn and closes it. The result is never nil.
func (p *Pinger) run(ctx context.Context, conn net.Conn) (*Result, error) {
	size := p.Size
	if size == 0 {
		size = DefaultSize
	}
	var id [8]byte
	rand.Read(id[:]) // never fails
	session := binary.BigEndian.Uint64(id[:])

	done := make(chan struct{})
	arrivals := make(chan arrival, 64)
	go func() {
		defer close(arrivals)
		if p.TCP {
			readStream(conn, session, size, arrivals, done)
		} else {
			readDatagrams(conn, session, size, arrivals, done)
		}
	}()
	// A Write that hangs ends with the context, not with its own deadline.
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		close(done)
		conn.Close()
		for range arrivals { // until the goroutine is out
		}
	}()

	r := pingRun{p: p, conn: conn, buf: make([]byte, size), session: session,
		stats: newStats(p.Count, p.timeout()), start: time.Now()}
	err := r.loop(ctx, arrivals)
	res := r.stats.result()
	res.Size, res.Elapsed = size, time.Since(r.start)
	if err == nil && res.Received == 0 {
		err = socket.ErrTimeout
		if r.refused {
			err = socket.ErrRefused
		}
		err = fmt.Errorf("no answer to %d probes: %w", res.Sent, err)
	}
	return res, err
}

// pingRun is the state of one run; the goroutine in loop owns it.
type pingRun struct {
	p       *Pinger
	conn    net.Conn
	buf     []byte
	session uint64
	stats   *stats
	start   time.Time
	refused bool // an ICMP message said that nobody listens
}

func (r *pingRun) loop(ctx context.Context, arrivals <-chan arrival) error {
	interval := r.p.interval()
	next := time.Duration(0) // when the next probe is due
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		sending := r.p.Count == 0 || r.stats.res.Sent < int64(r.p.Count)
		wake, waits := r.stats.pending()
		if sending {
			wake = next
			if d, ok := r.stats.pending(); ok {
				wake = min(next, d)
			}
		} else if !waits {
			return nil
		}
		timer.Reset(wake - time.Since(r.start))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case a, ok := <-arrivals:
			if !ok {
				return net.ErrClosed
			}
			if err := r.arrived(a); err != nil {
				return err
			}
		case <-timer.C:
			now := time.Since(r.start)
			r.stats.expire(now, r.lost)
			if !sending || now < next {
				continue
			}
			if err := r.send(ctx); err != nil {
				return err
			}
			next += interval
			// After a pause (a suspended laptop, a Write that hung) the probes
			// that were not sent are not made up for; being a little late, as
			// timers are, is.
			if now := time.Since(r.start); now-next > max(interval, 10*time.Millisecond) {
				next = now
			}
		}
	}
}

func (r *pingRun) lost(seq uint64) {
	if r.p.Trace != nil && r.p.Trace.Lost != nil {
		r.p.Trace.Lost(seq)
	}
}

// send sends one probe. On UDP what the system says of it concerns this probe
// only; on TCP the connection is over.
func (r *pingRun) send(ctx context.Context) error {
	now := time.Since(r.start)
	seq := r.stats.send(now)
	probe{r.session, seq, now}.put(r.buf)
	r.conn.SetWriteDeadline(time.Now().Add(r.p.timeout()))
	// In this order: if the context ends later, its deadline comes after ours.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := r.conn.Write(r.buf)
	if r.p.Trace != nil && r.p.Trace.Sent != nil {
		r.p.Trace.Sent(seq)
	}
	if err == nil {
		return nil
	}
	r.stats.res.SendErrors++
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.p.TCP:
		return err
	}
	return r.disturbed(err)
}

// disturbed takes note of an error on a UDP socket. An ICMP "port unreachable"
// in answer to an earlier probe shows up as a refusal at the next call, whichever
// that is; before there has been any answer it says that there will be none.
func (r *pingRun) disturbed(err error) error {
	switch kind := socket.Kind(err); {
	case kind == socket.ErrRefused || kind == socket.ErrLost: // Windows says "reset"
		r.refused = true
		if r.stats.res.Received == 0 {
			return fmt.Errorf("no answer: %w", socket.ErrRefused)
		}
		return nil
	case kind != nil:
		return nil // no route at the moment: the probe is lost
	case r.stats.res.Received == 0:
		return err // message too long, not permitted: it will not get better
	}
	return nil
}

func (r *pingRun) arrived(a arrival) error {
	var reply Reply
	switch {
	case a.err == nil:
		reply = r.stats.receive(a.at.Sub(r.start), a.seq)
	case errors.Is(a.err, errForeign):
		reply.Kind = ReplyForeign
		r.stats.res.Foreign++
	case errors.Is(a.err, errCorrupt):
		reply.Kind = ReplyCorrupt
		r.stats.res.Corrupt++
	case r.p.TCP:
		return a.err
	default:
		return r.disturbed(a.err)
	}
	if reply.justLost {
		r.lost(reply.Seq)
	}
	if r.p.Trace != nil && r.p.Trace.Reply != nil {
		r.p.Trace.Reply(reply)
	}
	return nil
}

// readStream reads probes off a TCP connection until it ends or done is closed.
func readStream(conn net.Conn, session uint64, size int, out chan<- arrival, done <-chan struct{}) {
	buf := make([]byte, size)
	for {
		n, err := io.ReadFull(conn, buf)
		a := arrival{at: time.Now()}
		switch {
		case err != nil && n >= len(magic) && [4]byte(buf) != magic:
			// A few words and then a close: an HTTP server or its like.
			a.err = ErrNotEcho
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			a.err = fmt.Errorf("%w: the peer closed it", socket.ErrLost)
		case err != nil:
			a.err = err
		default:
			var p probe
			// TCP has a checksum, and one lost byte shifts all that follow.
			if p, err = parseProbe(buf, session, size); err != nil {
				a.err = ErrNotEcho
			}
			a.seq = p.seq
		}
		select {
		case out <- a:
		case <-done:
			return
		}
		if a.err != nil {
			return
		}
	}
}

// readDatagrams reads answers off a connected UDP socket until done is closed.
func readDatagrams(conn net.Conn, session uint64, size int, out chan<- arrival, done <-chan struct{}) {
	buf := make([]byte, udpBuffer)
	for {
		n, err := conn.Read(buf)
		a := arrival{at: time.Now(), err: err}
		if err == nil {
			var p probe
			p, a.err = parseProbe(buf[:n], session, size)
			a.seq = p.seq
		}
		select {
		case out <- a:
		case <-done:
			return
		}
		if err != nil && socket.Kind(err) == nil {
			return // closed
		}
	}
}

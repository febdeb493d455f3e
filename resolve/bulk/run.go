package bulk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// run is the edge of the engine: its sockets, goroutines and clock.
//
//	input.run ---> feed (the engine's source)
//	receiveLoop    one for each socket: receives, sends what that lets go, prints
//	pumpLoop       timers, rate limits, repeats, progress
//	exchangeLoop   some for each server that is asked by an Exchanger or TCP
//	stage.run      writes what was printed
type run struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	opt    *Options
	start  time.Time
	e      *engine
	in     *input
	stage  *stage
	socks  []*udpSock
	byAddr map[netip.AddrPort]int32
	names  []string

	wake    chan struct{} // for the pump
	done    chan struct{} // closed when every name has its result
	once    sync.Once
	readers sync.WaitGroup
	workers sync.WaitGroup
	writer  sync.WaitGroup
	streams []*streams
	written atomic.Int64

	sendErr error // the last one; under e.mu
}

const (
	streamWorkers = 128
	tcpWorkers    = 32
	pumpTick      = 5 * time.Millisecond
	pumpIdle      = 100 * time.Millisecond
)

func start(ctx context.Context, cancel context.CancelCauseFunc, list io.Reader, out io.Writer, opt *Options) (*run, error) {
	r := &run{
		ctx: ctx, cancel: cancel, opt: opt, start: time.Now(),
		in:     newInput(list, opt),
		byAddr: make(map[netip.AddrPort]int32),
		wake:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
	var ord *order
	if opt.Ordered {
		ord = newOrder()
	}
	header := opt.Format.header()
	if opt.Each != nil || opt.Resume != nil && !opt.Resume.empty {
		header = ""
	}
	r.stage = newStage(header, ord)
	var seed [32]byte
	rand.Read(seed[:])
	f := &feed{in: r.in}
	r.e = newEngine(opt, seed, f, ord)
	for _, srv := range r.e.servers {
		r.names = append(r.names, srv.name)
		if !srv.exchange {
			r.byAddr[srv.addr] = srv.index
		}
		st := &streams{srv: srv, ex: opt.Servers[srv.index].Exchanger, most: streamWorkers, work: sync.NewCond(&r.e.mu)}
		if st.ex == nil {
			st.own = &TCP{Addr: srv.addr, Dial: opt.Dial}
			st.ex, st.most = st.own, tcpWorkers
		}
		r.streams = append(r.streams, st)
	}
	if err := r.openSockets(); err != nil {
		r.closeSockets()
		return nil, err
	}

	r.writer.Go(func() {
		r.stage.run(countWriter{out, &r.written}, func(err error) {
			cancel(fmt.Errorf("writing results: %w", err))
		})
	})
	// Not waited for: a read of a terminal or a pipe cannot be interrupted.
	go func() {
		f.in.run(ctx, func() {
			if f.starving.Swap(false) {
				r.kickPump()
			}
		})
	}()
	for i, us := range r.socks {
		r.readers.Go(func() { r.receiveLoop(r.e.socks[i], us) })
	}
	r.readers.Go(r.pumpLoop)
	return r, nil
}

type countWriter struct {
	w io.Writer
	n *atomic.Int64
}

func (c countWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// feed is the list as the engine's source.
type feed struct {
	in       *input
	cur      *chunk
	closed   bool
	starving atomic.Bool // there was nothing: tell when there is
}

func (f *feed) ended() bool { return f.closed }

func (f *feed) next() (*item, []byte, bool) {
	for f.cur == nil || f.cur.next == len(f.cur.items) {
		if f.closed {
			return nil, nil, false
		}
		if f.cur != nil {
			f.in.put(f.cur)
			f.cur = nil
		}
		c, ok := f.poll()
		if !ok {
			f.starving.Store(true)
			if c, ok = f.poll(); !ok { // it may have come just before
				return nil, nil, false
			}
		}
		if c == nil {
			f.closed = true
			return nil, nil, false
		}
		f.cur = c
	}
	it := &f.cur.items[f.cur.next]
	f.cur.next++
	return it, f.cur.arena[it.off : it.off+it.n], true
}

// poll returns the next chunk, nil at the end of the list, or false if there
// is none yet.
func (f *feed) poll() (*chunk, bool) {
	select {
	case c := <-f.in.chunks:
		return c, true
	default:
		return nil, false
	}
}

func (r *run) openSockets() error {
	udp := 0
	for _, srv := range r.e.servers {
		if !srv.exchange {
			udp++
		}
	}
	open := func(srv int32, n int) error {
		var to netip.AddrPort
		if srv >= 0 {
			to = r.e.servers[srv].addr
		}
		for range n {
			conn, err := openUDP(r.ctx, r.opt, to)
			if err != nil {
				return err
			}
			r.socks = append(r.socks, newUDPSock(conn, srv >= 0))
			r.e.addSock(srv)
		}
		return nil
	}
	if udp > connectedServers || (udp > 0 && r.opt.Listen != nil) {
		n := sharedPorts
		if udp <= connectedServers {
			n = r.opt.Ports
		}
		return open(-1, n)
	}
	for _, srv := range r.e.servers {
		if srv.exchange {
			continue
		}
		if err := open(srv.index, r.opt.Ports); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) closeSockets() {
	for _, s := range r.socks {
		s.conn.Close()
	}
	for _, st := range r.streams {
		if st.own != nil {
			st.own.Close()
		}
	}
}

func (r *run) now() int64 { return int64(time.Since(r.start)) }

func (r *run) kickPump() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// wait ends the run when it is over, one way or another.
func (r *run) wait() (Stats, error) {
	var err error
	select {
	case <-r.done:
	case <-r.ctx.Done():
		err = context.Cause(r.ctx)
	}
	r.e.mu.Lock()
	r.e.stopped = true
	for _, st := range r.streams {
		st.work.Broadcast()
	}
	r.e.mu.Unlock()
	failed := err
	r.cancel(nil)
	r.closeSockets()
	r.kickPump()
	r.readers.Wait()
	r.workers.Wait()
	r.stage.close()
	r.writer.Wait()

	r.e.mu.Lock()
	stats := r.statsLocked()
	dead, sendErr := r.e.dead, r.sendErr
	r.e.mu.Unlock()
	switch {
	case failed != nil:
		err = failed
	case r.stage.err != nil:
		err = fmt.Errorf("writing results: %w", r.stage.err)
	case r.in.err != nil:
		err = r.in.err
	case dead && sendErr != nil:
		err = fmt.Errorf("%w (%w)", ErrSilent, sendErr)
	case dead:
		err = ErrSilent
	}
	r.opt.Trace.progress(stats)
	return stats, err
}

func (r *run) statsLocked() Stats {
	s := r.e.stats
	s.Elapsed = time.Since(r.start)
	s.InputBytes = r.in.bytes.Load()
	s.Skipped = r.in.skipped.Load()
	s.Resumed = r.in.resumed.Load()
	s.Written = r.written.Load()
	s.InFlight = len(r.e.slots) - r.e.nfree
	for _, srv := range r.e.servers {
		s.Window += int(srv.ctl.window)
	}
	if r.opt.Resume != nil && r.e.ended {
		s.Orphans = r.opt.Resume.left()
	}
	return s
}

// hand is what a goroutine that has the engine do things needs of its own.
type hand struct {
	r     *run
	out   outbox
	p     printer
	buf   []byte
	spans []span
	tx    *txBatch
	send  *sender
}

func (r *run) hand() *hand {
	return &hand{r: r, p: printer{servers: r.names}, tx: newTxBatch(), send: newSender()}
}

// print prints and posts the results in the outbox.
func (h *hand) print() {
	if len(h.out.results) == 0 {
		return
	}
	h.buf, h.spans = h.buf[:0], h.spans[:0]
	for i := range h.out.results {
		res := &h.out.results[i]
		start := len(h.buf)
		line := res.line
		if h.r.opt.Number != nil {
			res.line = h.r.opt.Number(line)
		}
		h.buf = h.r.opt.Format.append(h.buf, &h.p, res)
		if h.r.opt.Each != nil {
			h.r.opt.Each(line, h.buf)
			h.buf = h.buf[:0]
			continue
		}
		if h.r.stage.order != nil {
			h.spans = append(h.spans, span{res.seq, start, len(h.buf)})
		}
	}
	h.out.reset()
	h.r.stage.post(h.buf, h.spans)
	if cap(h.buf) > drainChunk {
		h.buf = nil
	}
}

// transmit sends what is in tx from the socket.
func (h *hand) transmit(us *udpSock) {
	if len(h.tx.pkts) == 0 {
		return
	}
	if err := h.send.send(us, h.tx); err != nil && !errors.Is(err, net.ErrClosed) {
		h.r.e.mu.Lock()
		h.r.sendErr = err
		if isRefused(err) {
			h.tx.pkts[0].server.refused++
		}
		h.r.e.mu.Unlock()
	}
	h.tx.reset()
}

// settle ends the run if all was done when the engine was last looked at. It is
// called when the results of that time have been posted.
func (r *run) settle(idle bool) {
	if idle {
		r.once.Do(func() { close(r.done) })
	}
}

// receiveLoop takes answers from one socket, puts new queries in their place,
// and prints.
func (r *run) receiveLoop(sk *sock, us *udpSock) {
	h := r.hand()
	rx := newReceiver(us)
	for {
		pkts, err := rx.receive()
		if err != nil {
			if r.receiveFailed(sk, err) {
				return
			}
			continue
		}
		h.out.blocked = r.stage.full()
		now := r.now()
		e := r.e
		e.mu.Lock()
		for i := range pkts {
			from := sk.server
			if from < 0 {
				var ok bool
				if from, ok = r.byAddr[pkts[i].from]; !ok {
					from = -1
				}
			}
			e.receive(now, sk, from, pkts[i].b, &h.out)
		}
		r.refill(h, now)
		r.wakeStreams()
		idle := e.idle()
		e.mu.Unlock()
		h.print()
		r.settle(idle)
	}
}

// refill sends all that may be sent, with the engine locked except while it is
// being sent. It is every socket's turn to be the first to have what room there
// is, whoever's answer made it: so all are used alike, and no repeat waits long
// on a socket to which nothing comes.
func (r *run) refill(h *hand, now int64) {
	e := r.e
	for idle := 0; idle < len(r.socks); {
		e.turn = (e.turn + 1) % int32(len(r.socks))
		us := r.socks[e.turn]
		e.fill(now, e.socks[e.turn], h.tx, &h.out)
		if len(h.tx.pkts) == 0 {
			idle++
			continue
		}
		idle = 0
		e.mu.Unlock()
		h.transmit(us)
		e.mu.Lock()
	}
}

// receiveFailed reports whether the socket is of no more use.
func (r *run) receiveFailed(sk *sock, err error) bool {
	if errors.Is(err, net.ErrClosed) || r.ctx.Err() != nil {
		return true
	}
	if isRefused(err) && sk.server >= 0 {
		r.e.mu.Lock()
		r.e.servers[sk.server].refused++
		r.sendErr = os.NewSyscallError("recv", err)
		r.e.mu.Unlock()
		return false
	}
	// Whatever it is, it must not become a busy loop.
	select {
	case <-time.After(10 * time.Millisecond):
	case <-r.ctx.Done():
	}
	return false
}

// pumpLoop does all that no packet sets off.
func (r *run) pumpLoop() {
	h := r.hand()
	e := r.e
	timer := time.NewTimer(0)
	defer timer.Stop()
	var flushed, told int64
	for {
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.ctx.Done():
			return
		}
		now := r.now()
		h.out.blocked = r.stage.full()
		e.mu.Lock()
		e.expire(now, &h.out)
		if e.dead {
			for !h.out.full() {
				if _, ok := e.admit(&h.out); !ok {
					break
				}
			}
		}
		again := h.out.full() && !h.out.blocked
		r.refill(h, now)
		for _, st := range r.streams {
			if st.srv.exchange {
				r.wakeStream(st)
			}
		}
		r.wakeStreams()
		idle := e.idle()
		wait := pumpIdle
		switch {
		case again:
			wait = 0
		case len(e.slots) > e.nfree || h.out.blocked:
			wait = pumpTick
		}
		if r.opt.QPS > 0 && !idle {
			for _, srv := range e.servers {
				wait = min(wait, max(time.Duration(srv.bucket.wait(now)), time.Millisecond))
			}
		}
		var stats Stats
		tell := now-told >= int64(progressEvery)
		if tell {
			told = now
			stats = r.statsLocked()
		}
		e.mu.Unlock()
		h.print()
		if now-flushed >= int64(pumpIdle/2) {
			flushed = now
			r.stage.flush()
		}
		if tell {
			r.opt.Trace.progress(stats)
		}
		r.settle(idle)
		timer.Reset(wait)
	}
}

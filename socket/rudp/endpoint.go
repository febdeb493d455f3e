package rudp

import (
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// endpoint is a UDP socket and the connections on it.
//
//	socket --receive--> engine of the connection (under its lock)
//	                        |  wake              ^ Read, Write
//	socket <--transmit--- loop of the connection -+
//	                        ^  wake
//	                     clock
type endpoint struct {
	cfg   Config
	sock  *datagram.Conn
	clock *clock
	local netip.AddrPort

	acceptor *arq.Acceptor // of a Listener
	listener *Listener

	mu     sync.Mutex
	conns  map[uint64]*Conn
	buried map[uint64]time.Duration // IDs of connections that are over, until then
	closed bool                     // nothing new is taken
	err    error                    // that the socket failed with

	done chan struct{} // receive has ended
}

func newEndpoint(sock *datagram.Conn, cfg Config) (*endpoint, error) {
	k, err := newClock()
	if err != nil {
		return nil, err
	}
	if cfg.Engine.Seed == [32]byte{} {
		rand.Read(cfg.Engine.Seed[:]) // never fails
	}
	return &endpoint{
		cfg: cfg, sock: sock, clock: k, local: sock.LocalAddr(),
		conns: make(map[uint64]*Conn), buried: make(map[uint64]time.Duration), done: make(chan struct{}),
	}, nil
}

// start begins to receive.
func (e *endpoint) start() {
	go e.clock.run()
	go e.receive()
}

// readBatch is how many messages are read at once. Where the kernel joins
// datagrams, a few hold all that there is, and the rest of the memory is never
// touched; where the network brings them one by one it takes many.
const readBatch = 32

// fastRead is what tells a fast sender, in bytes of one batch: more than a train.
const fastRead = datagram.MaxMessage

// receive is the goroutine that reads the socket and hands each datagram to the
// engine that it is for.
func (e *endpoint) receive() {
	defer close(e.done)
	ms := make([]datagram.Message, readBatch)
	in := intake{e: e}
	for i := range ms {
		in.chunks[i] = &arq.Chunk{Buf: make([]byte, datagram.MaxMessage)}
		ms[i].Buf = in.chunks[i].Buf
	}
	for {
		n, err := e.sock.ReadBatch(ms)
		if err != nil {
			if !e.readFailed(err) {
				return
			}
			continue
		}
		now := e.clock.now()
		size := 0
		for i := range ms[:n] {
			size += ms[i].N
			if in.take(now, &ms[i], in.chunks[i]) {
				in.chunks[i] = in.fresh()
				ms[i].Buf = in.chunks[i].Buf
			}
		}
		if size > fastRead {
			// Let the readers run first. Meanwhile more arrives, which else
			// would be waited for, and to wait is to have a thread woken, which
			// costs more than to read a train.
			runtime.Gosched()
		}
	}
}

// readFailed reports whether receiving may go on.
func (e *endpoint) readFailed(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		e.fail(net.ErrClosed)
		return false
	}
	// An ICMP message about something that was sent. On a connected socket it
	// is about the one connection; otherwise there is no telling which.
	if e.acceptor == nil && unreachable(err) {
		e.each(func(c *Conn) { c.unreachable(err) })
		return true
	}
	if errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS) || unreachable(err) {
		time.Sleep(time.Millisecond) // the system is out of memory: do not spin
		return true
	}
	e.fail(err)
	return false
}

func (e *endpoint) find(id uint64) *Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conns[id]
}

// only is the connection of a socket that was dialed.
func (e *endpoint) only() *Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		return c
	}
	return nil
}

// stranger deals with a datagram for no connection that we know. It returns one
// if the datagram made it or, like an INIT sent again, belongs to it.
func (e *endpoint) stranger(now time.Duration, m *datagram.Message, d []byte) *Conn {
	if e.acceptor == nil {
		// A RESET carries no ID of ours: it is for the one connection.
		if id, _ := arq.DestinationID(d); id == 0 {
			if c := e.only(); c != nil {
				return c
			}
		}
		e.dropped(m.Addr, len(d), arq.DropUnknown)
		return nil
	}
	var reply [128]byte
	v := e.acceptor.Examine(now, m.Addr, d, reply[:])
	switch {
	case v.Reply > 0:
		if t := e.cfg.Trace; v.Version != 0 && t != nil && t.Version != nil {
			t.Version(m.Addr, v.Version)
		}
		e.write(&datagram.Message{Buf: reply[:v.Reply], Addr: m.Addr, Local: m.Local})
		return nil
	case v.ID == 0:
		e.dropped(m.Addr, len(d), v.Drop)
		return nil
	}
	if c := e.find(v.ID); c != nil {
		return c
	}
	if !e.room(v.ID, now) {
		e.dropped(m.Addr, len(d), arq.DropClosed)
		return nil
	}
	cfg, off := e.engineConfig(m.Local, m.Addr)
	eng := e.acceptor.Accept(now, cfg, v)
	differ := eng.Disagreement() != nil
	c := e.add(eng, m.Local, off)
	if c == nil {
		return nil
	}
	if differ {
		// Accept is told when the client has been.
		go func() {
			<-c.over
			e.listener.offer(c)
		}()
		return c
	}
	if !e.listener.offer(c) {
		// Somebody closed the listener or filled the backlog just now.
		c.mu.Lock()
		c.eng.Abort(now, 0, "not accepted")
		c.received()
		return nil
	}
	return c
}

// room reports whether a connection of that ID may be made.
func (e *endpoint) room(id uint64, now time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || len(e.conns) >= e.cfg.MaxConns || !e.listener.hasRoom() {
		return false
	}
	until, dead := e.buried[id]
	return !dead || now > until
}

// engineConfig completes the configuration for a connection between two
// addresses.
func (e *endpoint) engineConfig(local netip.Addr, remote netip.AddrPort) (arq.Config, *offload) {
	cfg := e.cfg.Engine
	cfg.Epoch = e.clock.epoch()
	at := e.localFor(local)
	if cfg.MaxDatagram == 0 {
		cfg.MaxDatagram = datagram.InterfacePayload(at.Addr(), remote.Addr())
	}
	if t := e.cfg.Trace; t != nil && t.Conn != nil {
		if own := t.Conn(e.clock.start, at, remote); own != nil {
			cfg.Trace = own
		}
	}
	var off *offload
	if e.sock.Segmenting(remote) {
		off = &offload{disable: e.sock.DisableSegmentation}
		cfg.Trace = off.watch(cfg.Trace)
	}
	return cfg, off
}

// localFor is this end's address as a peer sees it that sent to local.
func (e *endpoint) localFor(local netip.Addr) netip.AddrPort {
	if local.IsValid() {
		return netip.AddrPortFrom(local, e.local.Port())
	}
	return e.local
}

// add makes a Conn of an engine and starts its loop.
func (e *endpoint) add(eng *arq.Conn, local netip.Addr, off *offload) *Conn {
	c := newConn(e, eng, local)
	c.offload = off
	e.mu.Lock()
	if e.err != nil {
		e.mu.Unlock()
		return nil
	}
	e.conns[eng.LocalID()] = c
	e.mu.Unlock()
	go c.loop()
	return c
}

// burial is how long the ID of a connection that is over is kept from being
// used again: as long as a cookie is good for, with which a late INIT would
// bring it back to life.
const (
	burial    = 15 * time.Second
	maxBuried = 64 << 10
)

// remove forgets a connection that is over, and ends the socket with the last.
func (e *endpoint) remove(c *Conn) {
	e.mu.Lock()
	delete(e.conns, c.eng.LocalID())
	now := e.clock.now()
	if e.acceptor != nil {
		if len(e.buried) >= maxBuried/2 {
			for id, until := range e.buried {
				if now > until {
					delete(e.buried, id)
				}
			}
		}
		if len(e.buried) < maxBuried {
			e.buried[c.eng.LocalID()] = now + burial
		}
	}
	last := e.closed && len(e.conns) == 0
	e.mu.Unlock()
	if last {
		e.shut()
	}
}

// finish takes nothing new and ends the socket when the connections are over.
func (e *endpoint) finish() {
	e.mu.Lock()
	e.closed = true
	last := len(e.conns) == 0
	e.mu.Unlock()
	if last {
		e.shut()
	}
}

func (e *endpoint) shut() {
	e.sock.Close()
	e.clock.close()
}

// fail ends everything because the socket did.
func (e *endpoint) fail(err error) {
	e.mu.Lock()
	e.err = err
	e.mu.Unlock()
	if e.listener != nil {
		e.listener.fail(err)
	}
	e.each(func(c *Conn) { c.fail(err) })
}

func (e *endpoint) each(f func(c *Conn)) {
	e.mu.Lock()
	all := make([]*Conn, 0, len(e.conns))
	for _, c := range e.conns {
		all = append(all, c)
	}
	e.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

func (e *endpoint) dropped(from netip.AddrPort, size int, why arq.DropReason) {
	if t := e.cfg.Trace; t != nil && t.Dropped != nil {
		t.Dropped(from, size, why)
	}
}

func (e *endpoint) write(m *datagram.Message) error {
	one := [1]datagram.Message{*m}
	_, err := e.sock.WriteBatch(one[:])
	return err
}

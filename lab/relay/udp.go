package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/datagram"
)

// clientBuffer is the kernel's receive buffer of a client's socket, in bytes: a
// thousand of them must not be a thousand times what one socket gets.
const clientBuffer = 1 << 20

// A client is a mapping: who sent to us, and the socket that speaks for him.
type client struct {
	id   uint64
	addr netip.AddrPort
	conn *datagram.Conn
	last atomic.Int64 // when something moved, in ns since the relay's start
}

// table holds the clients.
type table struct {
	mu     sync.Mutex
	next   uint64
	byID   map[uint64]*client
	byAddr map[netip.AddrPort]*client
}

func (t *table) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

func (t *table) of(id uint64) *client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[id]
}

func (t *table) from(addr netip.AddrPort) (c *client, clients int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byAddr[addr], len(t.byAddr)
}

func (t *table) add(c *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	c.id = t.next
	t.byID[c.id], t.byAddr[c.addr] = c, c
}

// remove takes out the clients for which f is true.
func (t *table) remove(f func(*client) bool) (gone []*client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, c := range t.byID {
		if f(c) {
			gone = append(gone, c)
			delete(t.byID, id)
			delete(t.byAddr, c.addr)
		}
	}
	return gone
}

func (r *Relay) openUDP(ctx context.Context, address string) error {
	var err error
	if r.udp, err = datagram.Listen(ctx, "udp", address, datagram.Options{}); err != nil {
		return &socket.ListenError{Network: "udp", Address: address, Kind: socket.Kind(err), Err: err}
	}
	cfg := r.o.Link
	cfg.Direction = 0
	if r.to, err = newPipe(cfg, r.start, r.forward); err == nil {
		cfg.Direction = 1
		if r.back, err = newPipe(cfg, r.start, r.answer); err != nil {
			r.to.close()
		}
	}
	if err != nil {
		r.udp.Close()
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

// serveUDP takes what clients send until ctx ends.
func (r *Relay) serveUDP(ctx context.Context) error {
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { r.udp.Close() })
	defer func() {
		stop()
		r.udp.Close()
		for _, c := range r.table.remove(func(*client) bool { return true }) {
			c.conn.Close()
		}
		r.to.close()
		r.back.close()
		wg.Wait()
	}()
	wg.Go(r.to.run)
	wg.Go(r.back.run)
	expire := make(chan struct{})
	defer close(expire)
	wg.Go(func() { r.expireClients(expire) })
	ms := messages(16)
	for {
		n, err := r.udp.ReadBatch(ms)
		for i := range ms[:n] {
			m := &ms[i]
			if c := r.clientOf(ctx, m.Addr, &wg); c != nil {
				c.touch(r.start)
				r.to.push(c.id, m.Buf[:m.N], m.Segment)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			// What the network says about an earlier datagram concerns the
			// client that it was for. Windows tells such things here.
			r.count.errors.Add(1)
		}
	}
}

func messages(n int) []datagram.Message {
	ms := make([]datagram.Message, n)
	for i := range ms {
		ms[i].Buf = make([]byte, datagram.MaxMessage)
	}
	return ms
}

func (c *client) touch(start time.Time) { c.last.Store(int64(time.Since(start))) }

// clientOf finds the client with this address, or makes one; nil if there is no
// room.
func (r *Relay) clientOf(ctx context.Context, addr netip.AddrPort, wg *sync.WaitGroup) *client {
	c, clients := r.table.from(addr)
	if c != nil {
		return c
	}
	if clients >= r.o.MaxClients {
		r.count.refused.Add(1)
		return nil
	}
	conn, err := datagram.Dial(ctx, r.o.To, netip.Addr{}, datagram.Options{RecvBuffer: clientBuffer, SendBuffer: clientBuffer})
	if err != nil {
		r.count.errors.Add(1)
		return nil
	}
	c = &client{addr: addr, conn: conn}
	c.touch(r.start)
	r.table.add(c)
	r.count.seen.Add(1)
	wg.Go(func() { r.listenFor(c) })
	return c
}

// listenFor takes what is sent back to a client.
func (r *Relay) listenFor(c *client) {
	ms := messages(1)
	for {
		n, err := c.conn.ReadBatch(ms)
		for i := range ms[:n] {
			c.touch(r.start)
			r.back.push(c.id, ms[i].Buf[:ms[i].N], ms[i].Segment)
		}
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			// Nobody listens there, yet: the client will find out by silence,
			// as across a real network whose routers say nothing.
			r.count.errors.Add(1)
		}
	}
}

// forward sends what has crossed the link towards the target.
func (r *Relay) forward(ds []delivery) {
	for len(ds) > 0 {
		k := 1
		for k < len(ds) && ds[k].id == ds[0].id {
			k++
		}
		if c := r.table.of(ds[0].id); c != nil {
			ms := make([]datagram.Message, 0, k)
			for _, d := range ds[:k] {
				ms = append(ms, datagram.Message{Buf: d.data})
			}
			r.write(c.conn, ms)
		}
		ds = ds[k:]
	}
}

// answer sends what has crossed the link back to the clients.
func (r *Relay) answer(ds []delivery) {
	ms := make([]datagram.Message, 0, len(ds))
	for _, d := range ds {
		if c := r.table.of(d.id); c != nil {
			ms = append(ms, datagram.Message{Buf: d.data, Addr: c.addr})
		}
	}
	r.write(r.udp, ms)
}

// write sends all of ms; what cannot be sent is counted and left out.
func (r *Relay) write(conn *datagram.Conn, ms []datagram.Message) {
	for tries := 0; len(ms) > 0; {
		n, err := conn.WriteBatch(ms)
		ms = ms[n:]
		if err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// The error may be about an earlier datagram (ICMP port unreachable):
		// this one gets a second try.
		if tries++; n > 0 || tries > 1 {
			tries = 0
			if n == 0 {
				r.count.errors.Add(1)
				ms = ms[1:]
			}
		}
	}
}

// expireClients forgets those that were silent for long.
func (r *Relay) expireClients(end <-chan struct{}) {
	tick := time.NewTicker(max(r.o.Idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		before := int64(time.Since(r.start) - r.o.Idle)
		for _, c := range r.table.remove(func(c *client) bool { return c.last.Load() < before }) {
			c.conn.Close()
			r.count.expired.Add(1)
		}
	}
}

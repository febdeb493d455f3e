package rudp

import (
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// slabs are what packets are made in: one train each.
var slabs = sync.Pool{New: func() any { return new([datagram.MaxMessage]byte) }}

// wake makes the loop look at the engine. It never blocks, and may be called
// with and without the lock.
func (c *Conn) wake() {
	select {
	case c.kick <- struct{}{}:
	default: // it will look anyhow
	}
}

// loop is the goroutine that sends for a connection: whenever somebody wakes
// it, it sends all that the engine has. While it is inside a system call, the
// application writes and the receiver takes in ACKs, which makes the next trains
// long by themselves.
func (c *Conn) loop() {
	for range c.kick {
		if !c.flush() {
			break
		}
	}
	c.ep.clock.set(&c.alarm, arq.Never)
	c.ep.remove(c)
}

// flush sends what there is to send and reports whether the connection lives.
func (c *Conn) flush() bool {
	slab := slabs.Get().(*[datagram.MaxMessage]byte)
	defer slabs.Put(slab)
	defer clear(c.parts[:cap(c.parts)]) // they point into the slab
	k := c.ep.clock
	for {
		c.mu.Lock()
		now := k.now()
		if c.failed != nil && !c.eng.Done() {
			// The socket is gone: nobody will be told.
			c.eng.Abort(now, 0, "")
			for c.eng.PollTransmit(now, slab[:]).N > 0 {
			}
		}
		c.eng.HandleTimeout(now)
		t, parts := c.poll(now, slab[:])
		if t.N == 0 {
			next := c.eng.NextTimeout()
			done := c.eng.Done() || c.failed != nil
			c.notify()
			if done {
				c.finish()
			}
			c.mu.Unlock()
			if done {
				return false
			}
			k.set(&c.alarm, next)
			return true
		}
		m := datagram.Message{Buf: slab[:t.N], Segment: t.SegmentSize, Addr: t.To, Local: c.localAddr, ECN: datagram.ECN(t.ECN)}
		c.offload.sending(&m)
		c.mu.Unlock()
		var err error
		if parts != nil {
			err = c.ep.sock.WriteParts(&m, parts)
		} else {
			err = c.ep.write(&m)
		}
		if err != nil {
			c.writeFailed(err)
		}
	}
}

// poll asks the engine what to send: in the slab, or in parts where the socket
// can send from several places. Only the loop calls it.
func (c *Conn) poll(now time.Duration, slab []byte) (t arq.Transmit, parts [][]byte) {
	// A comparison wants to see the packets' numbers.
	if c.offload == nil || c.offload.cmp.Comparing() || !c.ep.sock.Gathering(c.eng.RemoteAddr()) {
		return c.eng.PollTransmit(now, slab), nil
	}
	t, c.parts = c.eng.PollGather(now, slab, c.parts)
	return t, c.parts
}

// received ends a series of calls of HandleDatagram: it releases the lock.
func (c *Conn) received() {
	c.ports = 0
	c.notify()
	c.mu.Unlock()
	c.wake()
}

// notify wakes whom the engine's news concern. It is called with the lock held.
func (c *Conn) notify() {
	if c.eng.ARQ() == arq.NoARQ {
		c.datagrams.Broadcast()
	}
	if !c.isReady && c.eng.State() != arq.StateHandshake {
		c.isReady = true
		close(c.ready)
		c.writers.Broadcast()
	}
	if c.eng.Readable() || c.closed {
		c.readers.Broadcast()
	}
	if c.eng.State() >= arq.StateClosing || c.closed || c.eng.WriteSpace() >= c.want {
		c.want = writeChunk
		c.writers.Broadcast()
	}
}

// finish tells everybody that the connection is over.
func (c *Conn) finish() {
	c.datagrams.Broadcast()
	if !c.isReady {
		c.isReady = true
		close(c.ready)
	}
	close(c.over)
	c.readers.Broadcast()
	c.writers.Broadcast()
}

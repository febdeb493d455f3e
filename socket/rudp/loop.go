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
// with and without the lock, after whatever there is to look at.
func (c *Conn) wake() {
	// Whoever sends looks at the engine once more, or sees this mark, when he
	// ends.
	c.again.Store(true)
	if c.sending.Load() {
		return
	}
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
		if !c.flush(0, 0) {
			break
		}
	}
	c.ep.clock.set(&c.alarm, arq.Never)
	c.ep.remove(c)
}

// maxPush bounds the trains that a writer sends himself: there may be others,
// whose bytes he would send for ever.
const maxPush = 16

// push sends from the goroutine that wrote: the bytes are in the cache of its
// processor, and the loop need not be woken. Corked, what would make a short train
// stays behind. It is called without the lock.
func (c *Conn) push(corked bool) {
	rest := 0
	if corked {
		rest = corkMost
	}
	if !c.flush(maxPush, rest) {
		c.wake() // for the loop to end
	}
}

// flush sends what there is to send, unless somebody else does so already, and
// reports whether the connection lives. With most set it leaves what is more than
// so many trains, with rest set the last bytes of the stream that are fewer, to
// whoever is next.
func (c *Conn) flush(most, rest int) bool {
	c.mu.Lock()
	if c.sending.Load() || c.ended {
		defer c.mu.Unlock()
		return !c.ended
	}
	c.sending.Store(true)
	slab := slabs.Get().(*[datagram.MaxMessage]byte)
	defer slabs.Put(slab)
	k := c.ep.clock
	for trains := 1; ; trains++ {
		c.again.Store(false)
		now := k.now()
		if c.failed != nil && !c.eng.Done() {
			// The socket is gone: nobody will be told.
			c.eng.Abort(now, 0, "")
			for c.eng.PollTransmit(now, slab[:]).N > 0 {
			}
		}
		c.eng.HandleTimeout(now)
		var t arq.Transmit
		var parts [][]byte
		later := most > 0 && trains > most || rest > 0 && c.eng.Unsent() < rest
		if !later {
			t, parts = c.poll(now, slab[:])
		}
		if t.N == 0 {
			c.sending.Store(false)
			clear(c.parts[:cap(c.parts)]) // they point into the slab
			next := c.eng.NextTimeout()
			c.ended = c.eng.Done() || c.failed != nil
			c.notify()
			if c.ended {
				c.finish()
			} else {
				k.set(&c.alarm, next)
			}
			alive := !c.ended
			c.mu.Unlock()
			if later && (c.again.Load() || trains > most) {
				c.wake()
			}
			return alive
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
		c.mu.Lock()
	}
}

// poll asks the engine what to send: in the slab, or in parts where the socket
// can send from several places. Only who sends calls it.
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
	// Not push: until the loop runs, more may arrive that one ACK is for.
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

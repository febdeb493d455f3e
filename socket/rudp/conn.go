package rudp

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Conn is a connection: a reliable stream of bytes each way. It is a [net.Conn]
// with the half-close of a [net.TCPConn]; all methods may be called by several
// goroutines at once.
type Conn struct {
	ep    *endpoint
	alarm alarm
	kick  chan struct{} // wakes the loop

	sending atomic.Bool // somebody is in flush; changes with the lock held
	again   atomic.Bool // and somebody else has news

	mu         sync.Mutex
	eng        *arq.Conn
	localAddr  netip.Addr // that the peer sends to, where the system tells
	readers    sync.Cond
	writers    sync.Cond
	datagrams  sync.Cond // those that wait to send or receive one
	reading    deadline
	writing    deadline
	want       int // the room that the most modest waiting writer wants
	closed     bool
	failed     error         // of the socket, which ends the connection
	ports      int           // ICMP unreachables since anything arrived
	portsSince time.Duration // and when the first of them came
	corked     int           // calls of Cork that Uncork did not follow yet
	gathered   int           // bytes written of which the loop was not told
	ready      chan struct{} // closed when established, or over
	isReady    bool
	over       chan struct{} // closed when the engine is done
	offload    *offload      // nil where there is no segmentation
	parts      [][]byte      // of what is sent, theirs who sends
	ended      bool          // the engine is done and everybody told
}

var _ net.Conn = (*Conn)(nil)

func newConn(e *endpoint, eng *arq.Conn, local netip.Addr) *Conn {
	c := &Conn{ep: e, eng: eng, localAddr: local, kick: make(chan struct{}, 1), ready: make(chan struct{}), over: make(chan struct{})}
	c.alarm.wake = c.wake
	c.readers.L, c.writers.L, c.datagrams.L = &c.mu, &c.mu, &c.mu
	c.reading.cond, c.writing.cond = &c.readers, &c.writers
	c.want = writeChunk
	c.wake()
	return c
}

const (
	// writeChunk is how much room there should be before a writer that waits
	// is woken: waking one for every packet acknowledged is no way to fill a
	// fast path.
	writeChunk = 256 << 10
	// corkMost is how much Cork holds back: a train.
	corkMost = 64 << 10
)

// Read reads what has arrived. It returns [io.EOF] at the end of the stream.
// Other errors are *[net.OpError]s.
func (c *Conn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.closed {
			return 0, c.opError("read", net.ErrClosed)
		}
		if c.reading.past {
			return 0, c.opError("read", errDeadline)
		}
		if len(b) == 0 {
			return 0, nil
		}
		n, err := c.eng.Read(b)
		if n > 0 {
			if c.eng.WindowDue() {
				c.wake()
			}
			return n, nil
		}
		if err == io.EOF {
			c.wake() // the engine may be done now
			return 0, io.EOF
		}
		if c.failed != nil {
			err = c.failed
		}
		if err != nil {
			return 0, c.opError("read", err)
		}
		c.readers.Wait()
	}
}

// Write hands b to the connection and returns when all of it is copied, which
// is not yet when the peer has it.
func (c *Conn) Write(b []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.closed {
			return n, c.opError("write", net.ErrClosed)
		}
		if c.writing.past {
			return n, c.opError("write", errDeadline)
		}
		if c.failed != nil {
			return n, c.opError("write", c.failed)
		}
		if !c.eng.Established() && c.eng.State() == arq.StateHandshake {
			c.writers.Wait()
			continue
		}
		k, err := c.eng.Write(b)
		n += k
		b = b[k:]
		if c.gathered += k; c.gathered > 0 && (c.corked == 0 || len(b) > 0 || c.gathered >= corkMost) {
			c.gathered = 0
			corked := c.corked > 0 && len(b) == 0
			c.mu.Unlock()
			c.push(corked)
			c.mu.Lock()
		}
		if err != nil {
			return n, c.opError("write", err)
		}
		if len(b) == 0 {
			return n, nil
		}
		if k > 0 {
			continue // there may be room by now
		}
		c.want = min(c.want, len(b))
		c.writers.Wait()
	}
}

// Cork makes small writes wait for each other, until Uncork: what is written
// meanwhile may leave at once, or when there are some 64 KiB of it, or with
// Uncork. It is for those who write in pieces what belongs together, as crypto/tls
// does. Calls may nest.
func (c *Conn) Cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked++
}

// Uncork sends what Cork held back.
func (c *Conn) Uncork() {
	c.mu.Lock()
	c.corked = max(c.corked-1, 0)
	send := c.corked == 0 && c.eng.Unsent() > 0
	if send {
		c.gathered = 0
	}
	c.mu.Unlock()
	if send {
		c.push(false)
	}
}

// EndTurn tells that nothing more will be written until the peer has answered what
// was, so that the end of it is worth protecting: on a path that loses packets it is
// sent more than once.
func (c *Conn) EndTurn() {
	c.mu.Lock()
	c.eng.EndTurn()
	c.mu.Unlock()
	c.wake()
}

// CloseWrite ends the stream that this end sends; the other goes on. The peer
// reads [io.EOF] after everything that was written.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.opError("close", net.ErrClosed)
	case c.failed != nil:
		return c.opError("close", c.failed)
	}
	c.eng.CloseWrite()
	c.wake()
	return nil
}

// Close ends the connection in both directions. What was written is still
// delivered: Close waits until the peer has acknowledged it, but no longer than
// [Config.Linger], after which delivery goes on in the background. What arrives
// from now on is dropped. Calls that wait return an error that wraps
// [net.ErrClosed].
//
// The error is that of a connection that broke with bytes undelivered.
func (c *Conn) Close() error { return c.shut((*arq.Conn).Close) }

// Conclude is Close for an end that knows from the application that its peer has
// all that matters, as the last word of a conversation tells. It does not wait:
// what is left to be delivered, if it is little, goes with the end of the
// connection, in several copies.
func (c *Conn) Conclude() error {
	if c.ep.cfg.Socket.Impair != nil {
		return c.Close() // what such a link still holds back would go with the socket
	}
	return c.shut((*arq.Conn).Conclude)
}

func (c *Conn) shut(end func(*arq.Conn)) error {
	c.mu.Lock()
	if c.closed {
		defer c.mu.Unlock()
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	broken := c.failed != nil || c.eng.State() >= arq.StateClosing
	end(c.eng)
	c.readers.Broadcast()
	c.writers.Broadcast()
	c.datagrams.Broadcast()
	c.reading.stop()
	c.writing.stop()
	c.mu.Unlock()
	c.wake()
	if broken || c.ep.cfg.Linger < 0 {
		return nil
	}
	t := time.NewTimer(c.ep.cfg.Linger)
	defer t.Stop()
	select {
	case <-c.over:
	case <-t.C:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.eng.Flushed() && c.eng.Done() {
		if err := c.cause(); err != nil {
			return c.opError("close", err)
		}
	}
	return nil
}

// Abort ends the connection at once. The peer's calls fail with an
// [*arq.CloseError] that holds code and reason, of which 256 bytes are sent;
// what was written and is not delivered is dropped.
func (c *Conn) Abort(code uint32, reason string) {
	c.mu.Lock()
	c.eng.Abort(c.ep.clock.now(), code, reason)
	c.closed = true
	c.reading.stop()
	c.writing.stop()
	c.notify()
	c.mu.Unlock()
	c.wake()
}

// LocalAddr is this end's address, a *[net.UDPAddr].
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return net.UDPAddrFromAddrPort(c.ep.localFor(c.localAddr))
}

// RemoteAddr is the peer's address, a *[net.UDPAddr]. It changes when a NAT
// between the two gives a client another one.
func (c *Conn) RemoteAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return net.UDPAddrFromAddrPort(c.eng.RemoteAddr())
}

// SetDeadline sets both deadlines; see [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline sets the time after which Read fails with a timeout.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.reading, t) }

// SetWriteDeadline sets the time after which Write fails with a timeout.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writing, t) }

func (c *Conn) setDeadline(d *deadline, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.opError("set", net.ErrClosed)
	}
	d.set(t)
	return nil
}

// Stats returns the counters of the connection.
func (c *Conn) Stats() arq.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eng.Stats()
}

// SocketStats returns the counters of the UDP socket, which connections of one
// [Listener] share.
func (c *Conn) SocketStats() datagram.Stats { return c.ep.sock.Stats() }

// Unacked is the number of bytes written that the peer has not acknowledged.
func (c *Conn) Unacked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eng.Unacked()
}

// Socket returns the UDP socket under the connection, for its counters and
// options.
func (c *Conn) Socket() *datagram.Conn { return c.ep.sock }

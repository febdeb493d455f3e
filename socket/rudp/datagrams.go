package rudp

import (
	"context"
	"net"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// SendDatagram queues a copy of b to be sent once, and waits while the queue is
// full. The connection must run [arq.NoARQ]. Datagrams are numbered from 1 in
// the order of the calls.
func (c *Conn) SendDatagram(ctx context.Context, b []byte) error {
	return c.untilDatagram(ctx, "write", func() (bool, error) {
		queued := c.eng.DatagramsQueued()
		ok, err := c.eng.SendDatagram(b)
		if ok && queued == 0 {
			c.wake()
		}
		return ok, err
	})
}

// FlushDatagrams waits until all that SendDatagram queued has been sent.
func (c *Conn) FlushDatagrams(ctx context.Context) error {
	return c.untilDatagram(ctx, "write", func() (bool, error) {
		if c.eng.State() >= arq.StateClosing {
			return false, arq.ErrClosed
		}
		return c.eng.DatagramsQueued() == 0, nil
	})
}

// ReceiveDatagram waits for a datagram. Its Data is in b, cut off where b is too
// short; MaxDatagramPayload of the peer bounds what can come. A datagram that
// waits is returned even if ctx has ended.
func (c *Conn) ReceiveDatagram(ctx context.Context, b []byte) (d arq.Datagram, err error) {
	err = c.untilDatagram(ctx, "read", func() (ok bool, err error) {
		if d, ok = c.eng.ReceiveDatagram(b); ok {
			return true, nil
		}
		if c.eng.ARQ() != arq.NoARQ {
			return false, arq.ErrNoDatagrams
		}
		if c.eng.State() >= arq.StateClosing {
			if err := c.cause(); err != nil {
				return false, err
			}
			return false, arq.ErrClosed
		}
		return false, nil
	})
	return d, err
}

// ReadDatagram is ReceiveDatagram for those who want the bytes and the number
// only.
func (c *Conn) ReadDatagram(ctx context.Context, b []byte) (n int, number uint64, err error) {
	d, err := c.ReceiveDatagram(ctx, b)
	return len(d.Data), d.Number, err
}

// untilDatagram calls try, with the lock held, whenever something may have
// changed, until it succeeds or fails or ctx ends.
func (c *Conn) untilDatagram(ctx context.Context, op string, try func() (bool, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	watching := false
	for {
		if c.closed {
			return c.opError(op, net.ErrClosed)
		}
		ok, err := try()
		if ok {
			return nil
		}
		if err == nil {
			err = c.failed
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return c.opError(op, err)
		}
		if !watching { // only those that wait pay for it
			watching = true
			defer context.AfterFunc(ctx, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.datagrams.Broadcast()
			})()
		}
		c.datagrams.Wait()
	}
}

// MaxDatagramPayload is how many bytes SendDatagram takes at most. It does not
// change in a connection's life.
func (c *Conn) MaxDatagramPayload() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eng.MaxDatagramPayload()
}

// ExpectDatagrams tells that the peer has sent n datagrams, for Datagrams.
func (c *Conn) ExpectDatagrams(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.eng.ExpectDatagrams(n)
}

// Datagrams reports what became of the datagrams that the peer sent.
func (c *Conn) Datagrams() arq.DatagramReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eng.Datagrams()
}

// ARQ is the protocol that the connection runs.
func (c *Conn) ARQ() arq.ARQ {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.eng.ARQ()
}

// disagreement is the error of a server's connection whose client runs another
// protocol.
func (c *Conn) disagreement() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.eng.Disagreement(); err != nil {
		return err
	}
	return nil
}

// epoch is the Unix time of the clock's zero.
func (k *clock) epoch() time.Duration { return time.Duration(time.Now().UnixNano()) - k.now() }

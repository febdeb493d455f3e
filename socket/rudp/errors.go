package rudp

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// timeout marks errors of the protocol that are a want of answers, as
// [net.Error] has it.
type timeout struct{ error }

func (timeout) Timeout() bool   { return true }
func (timeout) Temporary() bool { return false }
func (t timeout) Unwrap() error { return t.error }

// opError wraps an error with what was being done and between whom, as package
// net does. The lock is held.
func (c *Conn) opError(op string, err error) error {
	switch {
	case errors.Is(err, arq.ErrClosed):
		err = net.ErrClosed
	case errors.Is(err, arq.ErrIdleTimeout), errors.Is(err, arq.ErrHandshakeTimeout):
		err = timeout{err}
	}
	return &net.OpError{Op: op, Net: "udp",
		Source: net.UDPAddrFromAddrPort(c.ep.local), Addr: net.UDPAddrFromAddrPort(c.eng.RemoteAddr()), Err: err}
}

// cause is why the connection ended, or nil. The lock is held.
func (c *Conn) cause() error {
	if c.failed != nil {
		return c.failed
	}
	return c.eng.Err()
}

// unreachable reports whether a socket's error is what an ICMP message or a
// missing route makes of it.
func unreachable(err error) bool {
	for _, e := range unreachables {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// A peer that once was there is given up after gonePorts reports that it is
// not, if nothing arrives for goneTime between the first and the last of them:
// one report may be forged or late, and a peer that is restarted is gone for a
// moment.
const (
	gonePorts = 3
	goneTime  = 500 * time.Millisecond
)

// unreachable takes in a report that the peer cannot be reached.
func (c *Conn) unreachable(err error) {
	c.mu.Lock()
	now := c.ep.clock.now()
	if c.ports == 0 {
		c.portsSince = now
	}
	c.ports++
	gone := errors.Is(err, refused) && c.ports >= gonePorts && now-c.portsSince >= goneTime
	// Before there is a connection nothing speaks against the report.
	fatal := gone || c.eng.State() == arq.StateHandshake
	c.mu.Unlock()
	if fatal {
		c.fail(err)
	}
}

// writeFailed deals with an error of the socket on sending. What is about the
// path may pass; the engine's timeouts decide when it has lasted too long.
func (c *Conn) writeFailed(err error) {
	switch {
	case errors.Is(err, net.ErrClosed):
		c.fail(net.ErrClosed)
	case unreachable(err):
		c.unreachable(err)
	case errors.Is(err, os.ErrPermission):
		c.unreachable(err)
	default:
		c.fail(err)
	}
}

// fail ends the connection because its socket cannot go on.
func (c *Conn) fail(err error) {
	// "sendmmsg" and "recvmmsg" say nothing to whoever reads the message.
	if se, ok := errors.AsType[*os.SyscallError](err); ok {
		if e, ok := se.Err.(syscall.Errno); ok {
			err = e
		}
	}
	c.mu.Lock()
	if c.failed == nil {
		c.failed = err
	}
	c.readers.Broadcast()
	c.writers.Broadcast()
	c.datagrams.Broadcast()
	c.mu.Unlock()
	c.wake()
}

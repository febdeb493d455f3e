package rudp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Dial connects to a [Listener] and returns when that has shown that it is there,
// or when ctx ends. The connection is made there by the first data, or soon after
// if none are written. Each connection that is dialed has a socket of its own. Where nobody
// listens, the other host usually says so (ICMP port unreachable) and Dial fails
// at once with an error that matches [syscall.ECONNREFUSED]; where nothing
// answers, it fails with a timeout after the handshake's ten seconds. Errors are
// *[net.OpError]s that hold the address.
func Dial(ctx context.Context, to netip.AddrPort, cfg Config) (*Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: "udp", Addr: net.UDPAddrFromAddrPort(to), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(err)
	}
	cfg = cfg.withDefaults()
	sock, err := datagram.Dial(ctx, to, cfg.Local, cfg.socket())
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			return nil, op
		}
		return nil, fail(err)
	}
	e, err := newEndpoint(sock, cfg)
	if err != nil {
		sock.Close()
		return nil, fail(err)
	}
	ecfg, off := e.engineConfig(netip.Addr{}, sock.Peer())
	c := e.add(arq.Dial(e.clock.now(), ecfg, sock.Peer()), netip.Addr{}, off)
	e.finish() // when this connection is over, so is the socket
	e.start()
	select {
	case <-c.ready:
		c.mu.Lock()
		err = c.cause()
		c.mu.Unlock()
		if err == nil {
			return c, nil
		}
		if _, differ := errors.AsType[*arq.ARQError](err); differ {
			c.part(ctx)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	c.Abort(0, "")
	switch {
	case errors.Is(err, arq.ErrHandshakeTimeout):
		err = timeout{err}
	}
	return nil, fail(err)
}

// part waits for a moment until the listener knows what is amiss, so that it can
// say so, too: the program may exit after Dial.
func (c *Conn) part(ctx context.Context) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-c.over:
	case <-t.C:
	case <-ctx.Done():
	}
}

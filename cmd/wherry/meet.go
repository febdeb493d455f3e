package main

import (
	"context"
	"net"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// dial connects to the other end.
func (m *meeting) dialPeer(ctx context.Context) (net.Conn, error) {
	d := socket.Dialer{Options: m.options, Timeout: min(m.timeout, dialTimeout)}
	return d.DialContext(ctx, "tcp", m.dial)
}

// dialTimeout bounds connecting: a host that answers at all does so in seconds.
const dialTimeout = 10 * time.Second

// listenPeer binds at once, so that a bad address is told before anything waits.
func (m *meeting) listenPeer(ctx context.Context) (*socket.Listener, error) {
	return socket.Listen(ctx, m.listen, m.options)
}

//go:build !linux

package bulk

import (
	"errors"
	"net"
	"syscall"
)

// udpSock is an open socket.
type udpSock struct {
	conn      net.PacketConn
	connected bool
}

func newUDPSock(conn net.PacketConn, connected bool) *udpSock {
	return &udpSock{conn: conn, connected: connected}
}

type receiver struct {
	sock *udpSock
	bufs []byte
	pkts []rxPacket
}

func newReceiver(s *udpSock) *receiver {
	return &receiver{sock: s, bufs: make([]byte, rxSize), pkts: make([]rxPacket, 0, 1)}
}

func (r *receiver) receive() ([]rxPacket, error) { return r.receiveOne() }

type sender struct{}

func newSender() *sender { return &sender{} }

func (*sender) send(sock *udpSock, tx *txBatch) error { return sendEach(sock, tx) }

// wsaeConnRefused and wsaeConnReset are what Windows says when a packet met a
// port where nobody was.
const (
	wsaeConnReset   = syscall.Errno(10054)
	wsaeConnRefused = syscall.Errno(10061)
)

func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, wsaeConnReset) || errors.Is(err, wsaeConnRefused)
}

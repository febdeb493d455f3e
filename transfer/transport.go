package transfer

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

// Whoever dials over UDP an end that listens over TCP hears nothing, or that nobody
// is there, and the other end hears nothing at all; and the reverse. So the end that
// dialed in vain tries the other transport, and if somebody listens there it tells
// him what it was told, in the clear, since nothing of it is a secret.
//
// The end that listens could also bind its port for the other transport, only to
// answer. That would take the port from whoever wants to serve both, and over UDP
// a datagram with a forged source could then end a TCP listener. As it is, who is
// told has a TCP connection, or one of reliable UDP whose cookie has come back, with
// somebody who receives what is sent to his address; and all that such a stranger
// can do by it he could do before, by dialing in plain an end that expects a code.

// tellingTime bounds the answer. It is read so that no other protocol's listener is
// taken for one of ours, and so that closing does not overtake what was told.
const tellingTime = 5 * time.Second

// TellTransport tells the end that listens at the other side of conn that this end
// was told udp, or else TCP, and not what conn goes over; it closes conn. The error
// wraps ErrTransportMismatch, or is nil if that is no end of ours.
func TellTransport(ctx context.Context, conn net.Conn, udp bool) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(tellingTime))
	reason := preface.ToldTCP
	if udp {
		reason = preface.ToldUDP
	}
	if _, err := conn.Write(preface.AppendRefusal(nil, reason)); err != nil {
		return nil
	}
	_ = preface.CloseWrite(conn)
	var magic [len(preface.Magic)]byte
	if _, err := io.ReadFull(conn, magic[:]); err != nil || string(magic[:]) != preface.Magic {
		return nil
	}
	_, _ = io.CopyN(io.Discard, conn, 64<<10)
	own, theirs, _ := reason.Transports()
	return transportMismatch(conn.RemoteAddr(), theirs, own)
}

func transportMismatch(peer net.Addr, theirs, own string) error {
	return fmt.Errorf("%w: the peer %v goes over %s, this end over %s", ErrTransportMismatch, peer, theirs, own)
}

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

// A Side is an end of a transfer.
type Side int

const (
	Sending Side = iota
	Receiving
)

// Knock waits for the first words of whoever has dialed an end that listens, at most
// ten seconds, and tells whether that is somebody to have a transfer with. It answers
// nothing yet. The connection that it returns has these words still to be read, and
// goes to Send or Receive.
//
// A port scan, another protocol, a version that has nothing in common with this one,
// and a second sender at a receiver's end are errors; the peer is told why where it
// may understand, and conn is closed. A peer that expects a code, or that was told
// another transport, is let through: Send and Receive fail with ErrPlainMismatch or
// ErrTransportMismatch, which somebody has to settle.
func Knock(ctx context.Context, conn net.Conn, side Side) (net.Conn, error) {
	unblock := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer unblock()
	_ = conn.SetReadDeadline(time.Now().Add(greeting))
	k := &knocker{Conn: conn}
	err := k.listen(side)
	if ctx.Err() != nil {
		err = reason(ctx)
	}
	_ = conn.SetReadDeadline(time.Time{})
	if err == nil {
		return k, nil
	}
	var proto *ProtocolError
	var age *VersionError
	var refused *RefusedError
	if errors.As(err, &proto) || errors.As(err, &age) || errors.As(err, &refused) {
		turnAway(conn, side, err)
	}
	conn.Close()
	return nil, fmt.Errorf("%v: %w", conn.RemoteAddr(), err)
}

// turnAway tells a peer that has said hello, and was told nothing, why there is no
// transfer with it, and closes conn.
func turnAway(conn net.Conn, side Side, why error) {
	l := newLink(conn, 0)
	l.closing.Store(true)                                 // who does not read is not waited for
	first := append([]byte(preface.Magic), preface.Hello) // else the peer could not read what follows
	_ = l.write(appendFrame(first, frameHello, side.hello().encode()))
	l.goodbye(why)
}

// A knocker is a connection whose first bytes have been read.
type knocker struct {
	net.Conn
	head   []byte
	theirs hello // zero of a peer that was let through without one
}

func (k *knocker) Read(p []byte) (int, error) {
	if len(k.head) > 0 {
		n := copy(p, k.head)
		k.head = k.head[n:]
		return n, nil
	}
	return k.Conn.Read(p)
}

// CloseWrite is the connection's, where it has one.
func (k *knocker) CloseWrite() error { return preface.CloseWrite(k.Conn) }

// NetConn is the connection below, for what wants its type.
func (k *knocker) NetConn() net.Conn { return k.Conn }

// more reads n more bytes into head.
func (k *knocker) more(n int) ([]byte, error) {
	at := len(k.head)
	k.head = append(k.head, make([]byte, n)...)
	if _, err := io.ReadFull(k.Conn, k.head[at:]); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil, fmt.Errorf("no hello within %v: %w", greeting, ErrPeerSilent)
		}
		return nil, fmt.Errorf("%w before its hello", ErrLost)
	}
	return k.head[at:], nil
}

func (k *knocker) listen(side Side) error {
	for {
		kind, more := preface.Classify(k.head)
		switch {
		case kind == preface.TLS:
			return nil
		case !more && kind == preface.Unknown:
			return protocolErrorf("it does not speak wherry's protocol")
		case more:
			if _, err := k.more(1); err != nil {
				return err
			}
			continue
		}
		break
	}
	what, err := k.more(1)
	if err != nil {
		return err
	}
	switch what[0] {
	case preface.Hello:
	case preface.Refusal:
		_, err := k.more(1)
		return err
	default:
		return protocolErrorf("an unknown opening")
	}
	h, err := k.more(frameHeader)
	if err != nil {
		return err
	}
	t, n, err := parseFrameHeader([frameHeader]byte(h))
	if err != nil {
		return err
	}
	if t != frameHello {
		return protocolErrorf("a %v frame where the hello belongs", t)
	}
	p, err := k.more(n)
	if err != nil {
		return err
	}
	if k.theirs, err = decodeHello(p); err != nil {
		return err
	}
	return side.hello().suits(k.theirs)
}

// hello is what this end would say, as far as others need it.
func (s Side) hello() hello {
	h := hello{Min: minVersion, Max: maxVersion, Role: roleSender}
	if s == Receiving {
		h.Role = roleReceiver
	}
	return h
}

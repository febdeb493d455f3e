package arq

import (
	"errors"
	"fmt"
	"strconv"
)

// Errors that end a connection, besides [*CloseError].
var (
	// ErrHandshakeTimeout: nobody answered, or the handshake did not finish.
	ErrHandshakeTimeout = errors.New("handshake timed out")
	// ErrIdleTimeout: the peer fell silent.
	ErrIdleTimeout = errors.New("peer timed out")
	// ErrReset: the peer does not know this connection (any more).
	ErrReset = errors.New("connection reset by peer")
	// ErrVersion: the peer speaks no version this end speaks.
	ErrVersion = errors.New("no common protocol version")
	// ErrClosed: the stream was closed at this end.
	ErrClosed = errors.New("connection closed")
	// ErrPathTooSmall: the path does not carry datagrams of MinDatagram bytes.
	ErrPathTooSmall = errors.New("path does not carry 1200-byte datagrams")
)

// Codes of a CLOSE frame sent by the protocol itself.
const (
	CodeNone          = 0 // finished in good order
	CodeFlowControl   = 1 // data beyond the window
	CodeFinalSize     = 2 // the stream's end moved
	CodeBadAck        = 3 // a packet was acknowledged that was never sent
	CodeBadFrame      = 4 // a datagram with a good checksum makes no sense
	CodeInternal      = 5
	CodeUnexpectedEnd = 6 // the peer closed before its stream ended
	CodeARQ           = 7 // the ends run different protocols: [*ARQError]
)

// CloseError says why a connection ended when one end closed it.
type CloseError struct {
	// Remote: the peer closed it.
	Remote bool
	// Application: Code is the application's, given to [Conn.Abort];
	// otherwise it is one of the Code constants.
	Application bool
	Code        uint32
	// Reason is text from the end that closed; if Remote, it must be
	// escaped before it is printed raw. Error does that.
	Reason string
}

func (e *CloseError) Error() string {
	who, what := "closed here", "protocol"
	if e.Remote {
		who = "closed by peer"
	}
	if e.Application {
		what = "application"
	}
	s := fmt.Sprintf("connection %s (%s code %d)", who, what, e.Code)
	if e.Reason != "" {
		s += ": " + strconv.QuoteToGraphic(e.Reason)
	}
	return s
}

package pairing

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrWrongCode says that the two ends do not know the same words, or that
	// somebody sits between them: a run cannot tell these apart. The guess is
	// spent.
	ErrWrongCode = errors.New("wrong code")

	// ErrUnconfirmed says, at a listener, that the dialer left or fell silent where
	// it had to prove the code. Whoever that was may have tested one guess, so it
	// counts as one.
	ErrUnconfirmed = errors.New("the peer left before it proved the code")

	// ErrBurnt says that too many guesses were wrong; the code is void.
	ErrBurnt = errors.New("code burnt: too many wrong guesses")

	// ErrBusy says that the listener has as many unproven connections as it
	// takes. Nothing was guessed; dialing again later is safe.
	ErrBusy = errors.New("too many unproven connections")

	// ErrSameRole says that both ends send, or both receive. It is told only to
	// a peer who proved the code.
	ErrSameRole = errors.New("both ends have the same role")

	// ErrPeerPlain says that this end expects a code and the peer speaks the
	// plain protocol.
	ErrPeerPlain = errors.New("this end expects a code, the peer is plain")

	// ErrPeerPaired is the reverse, for the plain end to return: this end is plain
	// and the peer expects a code.
	ErrPeerPaired = errors.New("this end is plain, the peer expects a code")

	// ErrPeerTransport says that one end was told TCP and the other UDP: the peer
	// dialed in vain, found this end over the other transport, and told it.
	ErrPeerTransport = errors.New("one end goes over TCP and the other over UDP")

	// ErrVersion says that the ends have no version of the protocol in common.
	ErrVersion = errors.New("no common protocol version")

	// ErrProtocol says that the peer does not speak this protocol, or breaks it.
	ErrProtocol = errors.New("the peer does not speak the pairing protocol")

	// ErrTimeout says that the handshake as a whole took too long, however often
	// a byte came. It is a [net.Error] with Timeout true.
	ErrTimeout error = timeoutError{}

	// ErrTruncated is the error of Read when the connection ends without the
	// peer's close_notify (RFC 8446, section 6.1): what came before is true, but
	// somebody may have cut off the rest. It wraps io.ErrUnexpectedEOF.
	ErrTruncated error = truncatedError{}
)

// A DelayError says that a source has guessed wrong too often of late. Nothing
// was guessed; dialing again after Wait is safe.
type DelayError struct{ Wait time.Duration }

func (e *DelayError) Error() string {
	return fmt.Sprintf("too many wrong guesses of late: try again in %v", e.Wait.Round(time.Second))
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "the pairing handshake took too long" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false }

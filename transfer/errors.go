package transfer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wherry-net/wherry/socket/safetext"
)

// Errors that callers decide by. They come wrapped with what was being done.
var (
	// ErrDeclined: a person, or the Accept function, said no.
	ErrDeclined = errors.New("declined")
	// ErrSameRole: both ends want to send, or both to receive.
	ErrSameRole = errors.New("both ends have the same role")
	// ErrInterrupted: one of the ends was told to stop.
	ErrInterrupted = errors.New("interrupted")
	// ErrPeerSilent: nothing came from the peer for Options.Timeout.
	ErrPeerSilent = errors.New("the other end is silent")
	// ErrIdle: the peer lives, and does nothing.
	ErrIdle = errors.New("the other end does nothing")
	// ErrLost: the connection broke.
	ErrLost = errors.New("connection lost")
	// ErrExists: a file with other content has the name, and Overwrite does not say
	// what to do with it.
	ErrExists = errors.New("another file of that name is there")
	// ErrPlainMismatch: one end is paired and encrypted, the other plain.
	ErrPlainMismatch = errors.New("one end is plain and the other expects a code")
	// ErrTransportMismatch: one end goes over TCP, the other over reliable UDP.
	ErrTransportMismatch = errors.New("one end goes over TCP and the other over UDP")
)

// A ProtocolError says that the peer sent what the protocol does not allow.
type ProtocolError struct{ What string }

func (e *ProtocolError) Error() string { return "the other end broke the protocol: " + e.What }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{What: fmt.Sprintf(format, args...)}
}

// An EntryError names an entry of the manifest that must not be, and why. The
// receiver of a transfer refuses the whole of it.
type EntryError struct {
	Path   string // as it arrived, not safe to print
	Reason string
}

func (e *EntryError) Error() string {
	return fmt.Sprintf("refused entry %s: %s", safetext.Quote(e.Path), e.Reason)
}

// A VerifyError says that a file's bytes at the receiver are not those that
// the sender read.
type VerifyError struct {
	Path string
}

func (e *VerifyError) Error() string {
	return fmt.Sprintf("%s arrived with another digest than it was sent with", safetext.Quote(e.Path))
}

// An IncompleteError says that the transfer ran to its end and yet not every
// file arrived; each was told to Trace.Warning.
type IncompleteError struct {
	Failed int // files that did not arrive
	First  string
}

func (e *IncompleteError) Error() string {
	if e.Failed == 1 {
		return "one file did not arrive: " + e.First
	}
	return fmt.Sprintf("%d files did not arrive, the first: %s", e.Failed, e.First)
}

// A RefusedError says that the receiver would not take the transfer, or some of it,
// and why.
type RefusedError struct {
	Reason string
	Err    error // ErrExists, ErrSameRole, or nil
}

// bothAre begins the reason of a refusal for that.
const bothAre = "both ends are the"

func (e *RefusedError) Error() string { return "refused: " + e.Reason }
func (e *RefusedError) Unwrap() error { return e.Err }

// A LinkError says why a symbolic link was left out, or refused: what it points to.
type LinkError struct{ Reason string }

func (e *LinkError) Error() string { return e.Reason }

// A VersionError says that the ends have no version of the protocol in common.
type VersionError struct{ What string }

func (e *VersionError) Error() string { return "no common protocol version: " + e.What }

// A RemoteError is a failure of the other end, in its words (cleaned).
type RemoteError struct{ Message string }

func (e *RemoteError) Error() string { return "the other end failed: " + e.Message }

// The codes of error frames.
const (
	wireFailure     = 1 // text: what failed
	wireProtocol    = 2 // text: what the peer did wrong
	wireDeclined    = 3
	wireRefused     = 4 // text: why
	wireEntry       = 5 // text: which entry and why
	wireVerify      = 6 // text: the path
	wireInterrupted = 7
	wireVersion     = 8 // text: what both ends speak
	wireIncomplete  = 9 // text: what did not arrive
)

const maxErrorText = 1024

// encodeError makes the payload of an error frame from err.
func encodeError(err error) []byte {
	code, text := byte(wireFailure), err.Error()
	var (
		proto  *ProtocolError
		entry  *EntryError
		verify *VerifyError
		part   *IncompleteError
		refuse *RefusedError
		age    *VersionError
	)
	switch {
	case errors.Is(err, ErrInterrupted):
		code, text = wireInterrupted, ""
	case errors.Is(err, ErrDeclined):
		code, text = wireDeclined, ""
	case errors.As(err, &entry):
		code = wireEntry
		text = entry.Error()
	case errors.As(err, &verify):
		code, text = wireVerify, verify.Path
	case errors.As(err, &part):
		code, text = wireIncomplete, part.First
	case errors.As(err, &age):
		code, text = wireVersion, age.What
	case errors.As(err, &refuse):
		code, text = wireRefused, refuse.Reason
	case errors.As(err, &proto):
		code, text = wireProtocol, proto.What
	}
	return append([]byte{code}, text[:min(len(text), maxErrorText)]...)
}

// decodeError is the error that an error frame of the peer tells of.
func decodeError(p []byte) error {
	if len(p) == 0 || len(p) > 1+maxErrorText {
		return protocolErrorf("an error frame of %d bytes", len(p))
	}
	text := safetext.Clean(string(p[1:]))
	switch p[0] {
	case wireInterrupted:
		return fmt.Errorf("the other end was %w", ErrInterrupted)
	case wireDeclined:
		return fmt.Errorf("the other end %w the files", ErrDeclined)
	case wireRefused:
		if strings.HasPrefix(text, bothAre) {
			return &RefusedError{Reason: text, Err: ErrSameRole}
		}
		return &RefusedError{Reason: text}
	case wireEntry:
		return &RefusedError{Reason: "the other end " + text}
	case wireVerify:
		return &VerifyError{Path: string(p[1:])}
	case wireIncomplete:
		return &IncompleteError{Failed: 1, First: text}
	case wireProtocol:
		return &RemoteError{Message: "it says that this end broke the protocol: " + text}
	case wireVersion:
		return &VersionError{What: "the peer says: " + text}
	default:
		return &RemoteError{Message: text}
	}
}

// describeFailure is one file's failure in one line. The text may be the peer's.
func describeFailure(e *Entry, text string) string {
	return safetext.Quote(e.Path) + ": " + safetext.Clean(text)
}

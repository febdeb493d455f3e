package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// The kinds of network failure. They are matched with [errors.Is] against
// whatever [Dialer.Dial], [Listen] and [Listener.Accept] return; for errors
// that come out of a connection's Read and Write, ask [Kind].
var (
	ErrUnknownHost  = errors.New("unknown host")                     // the name does not exist or has no address of the family asked for
	ErrNameServer   = errors.New("the name server gave no answer")   // the lookup itself failed; the name may well exist
	ErrRefused      = errors.New("connection refused")               // the host answered: nobody listens on that port
	ErrTimeout      = errors.New("timed out")                        // no answer in time
	ErrUnreachable  = errors.New("network unreachable")              // no route, or a router said so
	ErrLost         = errors.New("connection lost")                  // reset, aborted or broken after it was set up
	ErrAddressInUse = errors.New("address already in use")           // another program listens there
	ErrNotOurs      = errors.New("this machine has no such address") // a listening or source address that is not local
)

// Kind returns which of the errors above err is at heart, or nil if it is none
// of them (which includes [context.Canceled] and [io.EOF]). It looks through
// the operating system's error numbers, [*net.DNSError], timeouts of any
// [net.Error], and deadlines.
func Kind(err error) error {
	if err == nil {
		return nil
	}
	for _, k := range []error{ErrUnknownHost, ErrNameServer, ErrRefused, ErrTimeout, ErrUnreachable, ErrLost, ErrAddressInUse, ErrNotOurs} {
		if errors.Is(err, k) {
			return k
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return ErrUnknownHost
		case dns.IsTimeout:
			return ErrTimeout
		}
		return ErrNameServer
	}
	if k := errnoKind(err); k != nil {
		return k
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return ErrTimeout
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return ErrTimeout
	}
	// What a connection that was closed under a Read or Write returns; the
	// closer knows why, and no kind of failure is to be read into it.
	return nil
}

// Attempt is one try at one address of a host.
type Attempt struct {
	Addr    netip.AddrPort
	Err     error         // nil for the one that won
	Elapsed time.Duration // from its own start
}

// DialError says that no connection came about. [errors.Is] matches it against
// one of the kinds (see [ErrRefused]), against the error of any attempt, and,
// where the caller's context was the cause, against that context's error.
type DialError struct {
	Network  string
	Address  string // as given to Dial
	Kind     error  // one of the kinds; nil when the caller cancelled
	Attempts []Attempt
	Err      error // the lookup's or the context's error, where there was one
}

// Error names the address and the kind, and each attempt where there were
// several or where the address is not what the caller wrote.
func (e *DialError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connect to %s: ", e.Address)
	switch {
	case e.Kind != nil:
		b.WriteString(e.Kind.Error())
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString("failed")
	}
	if len(e.Attempts) == 1 && e.Attempts[0].Addr.String() == e.Address && e.Kind != nil {
		return b.String()
	}
	for i, a := range e.Attempts {
		if i == 0 {
			b.WriteString(" (")
		} else {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %s", a.Addr.Addr(), short(a.Err))
	}
	if len(e.Attempts) > 0 {
		b.WriteByte(')')
	}
	return b.String()
}

// Unwrap returns the kind, the cause and the errors of all attempts.
func (e *DialError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, a := range e.Attempts {
		if a.Err != nil {
			errs = append(errs, a.Err)
		}
	}
	return errs
}

// Is keeps a dial that failed in several ways to one kind: when one address
// refused and another timed out, the error is ErrRefused and not ErrTimeout
// also, so that a caller's switch does not depend on the order of its cases.
func (e *DialError) Is(target error) bool { return e.Kind != nil && target == e.Kind }

// Timeout makes DialError a [net.Error].
func (e *DialError) Timeout() bool { return e.Kind == ErrTimeout }

// Temporary makes DialError a [net.Error]; it is always false.
//
// Deprecated: net.Error's Temporary is not well defined.
func (e *DialError) Temporary() bool { return false }

// short strips the "dial tcp 192.0.2.1:7557: connect:" from an attempt's error,
// which the message has already said.
func short(err error) string {
	if k := Kind(err); k != nil {
		return k.Error()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err.Error()
	}
	return fmt.Sprint(err)
}

// telling returns the kind that says most about why none of the attempts
// worked. A refusal proves that the host is there; a timeout, that packets
// left; no route is often just an IPv6 address on an IPv4-only network.
func telling(attempts []Attempt) error {
	for _, k := range []error{ErrRefused, ErrLost, ErrTimeout, ErrUnreachable, ErrNotOurs} {
		for _, a := range attempts {
			if Kind(a.Err) == k {
				return k
			}
		}
	}
	return nil
}

// ListenError says that an address could not be bound. [errors.Is] matches it
// against [ErrAddressInUse], [ErrNotOurs] and [io/fs.ErrPermission].
type ListenError struct {
	Network string
	Address string
	Kind    error // nil if none of the kinds fits
	Err     error // what the system said
}

func (e *ListenError) Error() string {
	what := e.Kind
	if what == nil {
		what = e.Err
		if op, ok := errors.AsType[*net.OpError](e.Err); ok && op.Err != nil {
			what = op.Err
		}
	}
	return fmt.Sprintf("listen on %s: %v", e.Address, what)
}

// Unwrap returns the kind and what the system said.
func (e *ListenError) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}

// OptionError says that an option cannot be had: its value makes no sense, or
// this system has no such option ([errors.ErrUnsupported]), or refuses it. It
// is a usage error.
type OptionError struct {
	Option string // in words, as "congestion control"
	Value  string
	Err    error
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.Option, e.Value, e.Err)
}

func (e *OptionError) Unwrap() error { return e.Err }

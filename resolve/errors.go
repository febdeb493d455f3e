package resolve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// TimeoutError says that a server, or all servers asked, kept silent.
type TimeoutError struct {
	Servers []Upstream
	After   time.Duration // how long was waited in all
	Tries   int           // how many queries were sent
	Strays  Strays        // what arrived meanwhile and was not the answer
}

func (e *TimeoutError) Error() string {
	who := make([]string, len(e.Servers))
	for i, u := range e.Servers {
		who[i] = u.String()
	}
	s := fmt.Sprintf("no answer from %s within %s", strings.Join(who, ", "), roundDuration(e.After))
	if e.Tries > 1 {
		s += fmt.Sprintf(" (%d queries sent)", e.Tries)
	}
	if n := e.Strays.Total(); n > 0 {
		s += "; ignored " + e.Strays.String()
	}
	return s
}

// Timeout implements net.Error's method.
func (e *TimeoutError) Timeout() bool { return true }

// ServerError wraps what went wrong between us and one server.
type ServerError struct {
	Server Upstream
	Op     string // "connect to", "send to", "read from", …
	Err    error
}

func (e *ServerError) Error() string {
	cause := plainCause(e.Err).Error()
	// The socket layer says the same in front of its reason.
	cause = strings.TrimPrefix(cause, "connect to "+e.Server.Address()+": ")
	return fmt.Sprintf("%s %s: %s", e.Op, e.Server, Escape(cause))
}

// plainCause leaves out what package net adds: addresses, which stand in the
// sentence already, and the names of system calls.
func plainCause(err error) error {
	if op, ok := err.(*net.OpError); ok && op.Err != nil {
		err = op.Err
	}
	if sys, ok := err.(*os.SyscallError); ok {
		err = sys.Err
	}
	return err
}

func (e *ServerError) Unwrap() error { return e.Err }

// HTTPError is a DoH server's answer that is not a DNS message (RFC 8484
// section 4.2.1).
type HTTPError struct {
	Status      int
	ContentType string
}

func (e *HTTPError) Error() string {
	if e.Status == 200 {
		return fmt.Sprintf("the HTTP answer is %q, not application/dns-message", Escape(e.ContentType))
	}
	return "HTTP status " + strconv.Itoa(e.Status)
}

// Errors that callers tell apart.
var (
	// ErrMalformed is a message that claims to be the answer and cannot be
	// parsed.
	ErrMalformed = errors.New("the answer is malformed")
	// ErrMismatch is an answer, on a connection that only the server can
	// write to, that does not belong to the question.
	ErrMismatch = errors.New("the answer does not belong to the question")
	// ErrNoServers means that no server was given and the system has none.
	ErrNoServers = errors.New("no name server is configured")
	// ErrNoTransport means that a scheme's transport is not plugged in.
	ErrNoTransport = errors.New("this transport is not available")
)

// A Stray is a reason for which a packet is not taken as the answer.
type Stray uint8

// Reasons, in the order in which they are checked.
const (
	Matches       Stray = iota // not stray: it is the answer
	Malformed                  // too short, or does not parse
	NotResponse                // the QR bit is clear, or another opcode
	WrongID                    // RFC 5452 section 9.1
	WrongQuestion              // another name, type or class, or more than one
	WrongCase                  // right name, but not in the letters' case that was sent
	WrongCookie                // RFC 7873 section 5.3
	strayKinds
)

// Strays counts packets that came while an answer was awaited and were not
// taken for it. On an unencrypted transport they are mistakes, late
// duplicates, or attempts at spoofing.
type Strays struct {
	Malformed, NotResponse, WrongID, WrongQuestion, WrongCase, WrongCookie int
	// Late counts answers to a query that had been given up and repeated.
	Late int
}

func (s *Strays) add(k Stray) {
	switch k {
	case Malformed:
		s.Malformed++
	case NotResponse:
		s.NotResponse++
	case WrongID:
		s.WrongID++
	case WrongQuestion:
		s.WrongQuestion++
	case WrongCase:
		s.WrongCase++
	case WrongCookie:
		s.WrongCookie++
	}
}

func (s *Strays) merge(o Strays) {
	s.Malformed += o.Malformed
	s.NotResponse += o.NotResponse
	s.WrongID += o.WrongID
	s.WrongQuestion += o.WrongQuestion
	s.WrongCase += o.WrongCase
	s.WrongCookie += o.WrongCookie
	s.Late += o.Late
}

// Total returns how many packets were not taken for the answer.
func (s Strays) Total() int {
	return s.Malformed + s.NotResponse + s.WrongID + s.WrongQuestion + s.WrongCase + s.WrongCookie + s.Late
}

// Spoofed returns how many of them look like attempts to forge the answer:
// responses that guess at the ID, the question, its case or the cookie.
func (s Strays) Spoofed() int {
	return s.WrongID + s.WrongQuestion + s.WrongCase + s.WrongCookie
}

// String tells the counts in words: "3 packets: 2 with a wrong ID, 1 malformed".
func (s Strays) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		text string
	}{
		{s.Malformed, "malformed"},
		{s.NotResponse, "not a response"},
		{s.WrongID, "with a wrong ID"},
		{s.WrongQuestion, "for another question"},
		{s.WrongCase, "with the name in another case"},
		{s.WrongCookie, "with a wrong cookie"},
		{s.Late, "late"},
	} {
		if p.n > 0 {
			parts = append(parts, strconv.Itoa(p.n)+" "+p.text)
		}
	}
	n := s.Total()
	noun := "packets"
	if n == 1 {
		noun = "packet"
	}
	return fmt.Sprintf("%d %s: %s", n, noun, strings.Join(parts, ", "))
}

// roundDuration keeps three or so significant digits.
func roundDuration(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

package main

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A session shows one transfer: it turns what the transfer package tells into
// events, a bar and a summary.
type session struct {
	p         *printer
	role      string   // "send" or "receive"
	verb      string   // before the bar
	conn      net.Conn // the first one; nil where there is none of ours
	transport string   // "tcp", "udp", or what carries it in their place
	sealed    bool     // paired and encrypted
	peer      string
	tag       string // begins every line where several peers are served
	measure   *measure
	tally     tally
	bar       *bar // nil until content moves
	started   time.Time

	// Of one among many: whether there is a place for it, now that it said
	// hello, and whether it lost its place before.
	admit, pushedOut func() bool

	sampled time.Time // when the round-trip time was; the transfer's calls only

	mu     sync.Mutex
	totals transfer.Totals
}

// session shows a transfer over conn.
func (m *meeting) session(role string, conn net.Conn) *session {
	verb := "sending"
	if role == "receive" {
		verb = "receiving"
	}
	_, sealed := conn.(*pairing.Conn)
	s := &session{p: m.p, role: role, verb: verb, conn: conn, transport: transportOf(conn), sealed: sealed, peer: conn.RemoteAddr().String(), measure: startMeasure(conn), started: time.Now()}
	s.tally.log, s.tally.peer = m.rec.log, s.peer
	return s
}

// arq is the name of the protocol that retransmits.
func (s *session) arq() string {
	if s.measure.udp != nil {
		return s.measure.udp.ARQ().String()
	}
	return "kernel"
}

// trace is what the transfer calls.
func (s *session) trace() *transfer.Trace {
	return &transfer.Trace{
		Connected: func(peer string) {
			if s.admit != nil && !s.admit() {
				return
			}
			s.tally.sample(s.conn) // not before: it may turn out to be another transfer's
			s.p.Event(startEvent{"start", s.role, peer, s.transport, s.sealed})
			s.say("connected to %s", peer)
			if s.role == "send" {
				s.say("waiting for the receiver to accept")
			}
		},
		Listed: func(t transfer.Totals) {
			s.mu.Lock()
			s.totals = t
			s.mu.Unlock()
		},
		Accepted: func(t transfer.Totals) {
			total := t.Bytes
			if t.Unknown {
				total = -1
			}
			if t.Files > 0 && s.bar == nil {
				s.bar = s.p.startBar(s.verb, s.peer, s.tag, total)
			}
		},
		Moved: func(e *transfer.Entry, n int) {
			s.bar.moved(e, n)
			s.tally.add(n)
			if now := time.Now(); now.Sub(s.sampled) > rttEvery {
				s.sampled = now
				s.measure.sample()
			}
		},
		Finished: func(e *transfer.Entry, d treehash.Digest, had bool) {
			s.p.Event(fileEvent{"file", s.peer, jsonName(e.Path), e.Size, fmt.Sprintf("%x", d[:]), had})
		},
		Lost: func(err error) {
			s.p.Event(warningEvent{Event: "warning", Peer: s.peer, Message: oneLine(err)})
			s.say("%s; trying again", oneLine(err))
		},
		Reconnected: func(conn net.Conn) {
			s.measure.next(conn)
			s.tally.sample(conn)
			s.say("connected again")
		},
		Stream: func(conn net.Conn) func() {
			closing, unfollow := s.measure.stream(conn), s.tally.follow(conn)
			return func() {
				closing()
				if unfollow != nil {
					unfollow()
				}
			}
		},
		Missing: s.missing,
		Closing: func() {
			s.measure.stop()
			s.tally.end()
		},
		Warning: func(path string, why error) { s.p.warn(s.peer, s.tag, path, s.advise(why)) },
	}
}

// rttEvery spaces the samples of the round-trip time.
const rttEvery = 20 * time.Millisecond

// advise is the text of a warning, with the flag that settles it.
func (s *session) advise(why error) string {
	text := why.Error()
	var link *transfer.LinkError
	switch {
	case errors.As(why, &link):
		text += " (--follow-symlinks sends what it points to)"
	case errors.Is(why, transfer.ErrExists) && s.role == "receive":
		text += " (--overwrite says what to do)"
	}
	return text
}

// done tells what the transfer came to, or what failed and what remains.
func (s *session) done(r transfer.Result, err error) error {
	s.bar.stop()
	s.tally.end()
	if s.pushedOut != nil && s.pushedOut() {
		return &shownError{err} // a line for each would only help who floods
	}
	holes, ok := errors.AsType[*transfer.MissingError](err)
	if err != nil && !ok {
		if r.Files > 0 || r.Left > 0 {
			s.say("%s", s.remains(r))
		}
		s.p.failed(s.peer, s.tag, classify(err))
		return &shownError{err}
	}
	u := s.summary(r)
	s.p.Event(u.event(s))
	if u.path != nil {
		s.sayPath(r, u.path)
	}
	if holes != nil {
		if !s.p.o.JSON {
			s.p.failed(s.peer, s.tag, classify(holes))
		}
		return &shownError{holes}
	}
	for _, line := range u.lines(s.role) {
		s.say("%s", line)
	}
	return nil
}

// say prints a line, which says of whom where there are several.
func (s *session) say(format string, args ...any) {
	s.p.Say("%s%s", s.tag, fmt.Sprintf(format, args...))
}

// remains tells what an early end left.
func (s *session) remains(r transfer.Result) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.totals.Files
	return fmt.Sprintf("%d of %s arrived, %d remain", r.Files, count(max(total, r.Files), "file"), max(0, total-r.Files))
}

// boundMemory makes the collector work harder where a transfer of very many files
// would let the heap grow past this; buffers alone never come near it.
func boundMemory() { debug.SetMemoryLimit(44 << 20) }

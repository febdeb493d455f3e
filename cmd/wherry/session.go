package main

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A session shows one transfer: it turns what the transfer package tells into
// events, a bar and a summary.
type session struct {
	p         *printer
	role      string // "send" or "receive"
	sealed    bool   // paired and encrypted
	transport string // "tcp" or "udp"
	verb      string
	measure   *measure
	peer      string
	tag       string // begins every line where several peers are served
	bar       *bar   // nil until content moves
	tally     tally

	// Of one among many: whether there is a place for it, now that it said
	// hello, and whether it lost its place before.
	admit, pushedOut func() bool

	mu      sync.Mutex
	started time.Time
	sampled time.Time
	totals  transfer.Totals
}

type startEvent struct {
	Event     string `json:"event"`
	Role      string `json:"role"`
	Peer      string `json:"peer"`
	Transport string `json:"transport"`
	Encrypted bool   `json:"encrypted"`
}

type fileEvent struct {
	Event  string `json:"event"`
	Peer   string `json:"peer"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	BLAKE3 string `json:"blake3"`
	Had    bool   `json:"had,omitempty"`
}

type rttSummary struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
}

type doneEvent struct {
	Event       string     `json:"event"`
	Role        string     `json:"role"`
	Peer        string     `json:"peer"`
	Transport   string     `json:"transport"`
	ARQ         string     `json:"arq"`
	Encrypted   bool       `json:"encrypted"`
	Files       int        `json:"files"`
	Bytes       int64      `json:"bytes"`
	Seconds     float64    `json:"seconds"`
	GoodputBPS  float64    `json:"goodput_bps"`
	Resumed     int64      `json:"resumed_bytes"`
	Streams     int        `json:"streams,omitempty"`
	PacketsSent int64      `json:"packets_sent"`
	PacketsLost int64      `json:"packets_lost"`
	Retransmits int64      `json:"retransmits"`
	RTT         rttSummary `json:"rtt_ms"`
	Limiter     string     `json:"limiter"`
	Skipped     int        `json:"skipped"`
	Failed      int        `json:"failed"`
	Datagrams   *pathEvent `json:"datagrams,omitempty"` // --arq none
}

// session shows a transfer over conn.
func (m *meeting) session(role string, conn net.Conn) *session {
	s := newSession(m.p, role, conn)
	s.tally.log, s.tally.peer = m.rec.log, s.peer
	s.tally.sample(conn)
	return s
}

func newSession(p *printer, role string, conn net.Conn) *session {
	verb := "sending"
	if role == "receive" {
		verb = "receiving"
	}
	_, sealed := conn.(*pairing.Conn)
	return &session{p: p, role: role, sealed: sealed, transport: transportOf(conn), verb: verb, peer: conn.RemoteAddr().String(), measure: startMeasure(conn), started: time.Now()}
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
			if now := time.Now(); now.Sub(s.sampled) > 20*time.Millisecond {
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

// done prints the summary, or what failed and what remains.
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
	limiter := r.Limiter
	if limiter == "" {
		limiter = s.measure.limiter(s.role == "send", r.Waited)
	}
	m := s.measure
	sent, lost, retransmits := m.packets()
	path := s.path(r, &sent, &lost)
	moving := r.Elapsed - r.Waited.Peer
	bps := 0.0
	if moving > 0 {
		bps = float64(r.Moved) * 8 / moving.Seconds()
	}
	s.p.Event(doneEvent{
		Event: "done", Role: s.role, Peer: r.Peer, Transport: s.transport, ARQ: s.arq(), Encrypted: s.sealed, Files: r.Files, Bytes: r.Bytes,
		Seconds: r.Elapsed.Seconds(), GoodputBPS: bps, Resumed: r.Resumed,
		Streams: max(1, m.most), PacketsSent: sent, PacketsLost: lost, Retransmits: retransmits,
		RTT: m.rtt(), Limiter: limiter, Skipped: r.Skipped, Failed: r.Failed, Datagrams: path,
	})
	if path != nil {
		s.sayPath(r, path)
	}
	if holes != nil {
		if !s.p.o.JSON {
			s.p.failed(s.peer, s.tag, classify(holes))
		}
		return &shownError{holes}
	}
	verb := "sent"
	if s.role == "receive" {
		verb = "received"
	}
	line := fmt.Sprintf("%s %s, %s in %s", verb, count(r.Files, "file"), units.FormatBytes(r.Bytes), formatDuration(r.Elapsed))
	if m.most > 1 {
		line += fmt.Sprintf(" over %d connections", m.most)
	}
	if r.Moved > 0 {
		line += fmt.Sprintf(" (%s), limited by %s", formatRate(bps/8), limiter)
	}
	if r.Holes > 0 {
		s.say("%s; %s with bytes missing, the others verified", line, count(r.Holes, "file"))
	} else {
		s.say("%s; every file verified", line)
	}
	if r.Resumed > 0 {
		s.say("%s of it was here already (%s unchanged)", units.FormatBytes(r.Resumed), count(r.Had, "file"))
	}
	if retransmits > 0 {
		s.say("%s sent, %d lost, %d retransmitted; RTT %.3g ms (median)", count(int(sent), "packet"), lost, retransmits, m.rtt().Median)
	}
	if r.Skipped > 0 {
		s.say("%s skipped", count(r.Skipped, "entry"))
	}
	if r.Kept > 0 {
		s.say("%s kept as it was there", count(r.Kept, "file"))
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

func summarise(rtts []time.Duration) rttSummary {
	if len(rtts) == 0 {
		return rttSummary{}
	}
	sorted := slices.Sorted(slices.Values(rtts))
	at := func(q float64) float64 {
		return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / float64(time.Millisecond)
	}
	return rttSummary{at(0), at(0.5), at(0.99)}
}

// count is "1 file" or "3 files".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if noun == "entry" {
		return fmt.Sprintf("%d entries", n)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func formatDuration(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// quotePath is a path for a person.
func quotePath(s string) string { return safetext.Quote(s) }

// boundMemory makes the collector work harder where a transfer of very many files
// would let the heap grow past this; buffers alone never come near it.
func boundMemory() { debug.SetMemoryLimit(44 << 20) }

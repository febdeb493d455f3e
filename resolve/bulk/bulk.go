package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Options says how a list is asked. The zero value of each field is the
// default; only Servers must be given.
type Options struct {
	// Servers are asked in turns; a name that one does not answer, or refuses,
	// goes to another.
	Servers []Server

	// Type is asked for where a line does not name one; 0 is A. [ParseType]
	// reads it.
	Type uint16

	// Concurrency is the most names that may be under way, of all servers
	// together. 0 is 8192; more than 16384 is an error. How many of them are
	// in flight to a server adapts to what it answers.
	Concurrency int

	// QPS is the most queries sent to each server in a second, repeats
	// included. 0 is no limit.
	QPS float64

	// Retries is how often an unanswered query is sent again. 0 is 8, less
	// than 0 is never.
	Retries int

	// Timeout is the longest wait for one attempt. 0 is 3 s. Attempts are
	// given up sooner where a server's round-trip times allow it, the first
	// two soonest; their answers count all the same if they come late.
	Timeout time.Duration

	// GiveUp is the longest time for one name, from its first query; 0 is no
	// limit but that of Retries.
	GiveUp time.Duration

	// Ports is the number of UDP sockets, each on a random port, to each
	// server; 0 is 4. With more than 8 servers all of them share 16 sockets.
	Ports int

	// BufSize is the size of UDP answer that queries say is welcome (RFC
	// 6891). 0 is 1232; less than 0 sends queries without EDNS.
	BufSize int

	NoRecurse        bool // clear RD: the servers are authoritative
	DNSSEC           bool // set DO
	CheckingDisabled bool // set CD

	// MixCase gives the letters of names a random case that answers must
	// repeat, which makes them harder to forge.
	MixCase bool

	// Format is how results are written; [CSV] by default.
	Format Format

	// Ordered has results written in the order of the list, and not as they
	// come. A name that takes long holds up to 16384 others back.
	Ordered bool

	// Resume leaves out the lines whose results are there already. See
	// [Resume].
	Resume *Done

	// Each is given each result in place of out: the line of the list that it is
	// for, and what would have been written, good until Each returns. It is called
	// by several goroutines at once, and must not keep them waiting.
	Each func(line uint64, text []byte)

	// Number is the number that results in CSV and JSON carry for a line of the
	// list, where that is not the line's own: a list that is part of another.
	Number func(line uint64) uint64

	// Local is the address to send from, if valid.
	Local netip.Addr

	// Listen opens UDP sockets in place of package net's. They are used
	// unconnected. Dial opens connections for answers that do not fit.
	Listen func(ctx context.Context, network, address string) (net.PacketConn, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)

	// Trace is told what happens, if not nil.
	Trace *Trace
}

// Server is one server to ask.
type Server struct {
	// Addr is asked over UDP, and TCP where an answer did not fit, unless
	// Exchanger is set.
	Addr netip.AddrPort

	// Exchanger carries the queries in place of UDP: [TCP], or another
	// transport.
	Exchanger Exchanger

	// Name is what results call the server; empty is Addr.
	Name string
}

func (s *Server) label() string {
	if s.Name != "" {
		return escapeString(s.Name)
	}
	return s.Addr.String()
}

// Trace has functions that are called as things happen, one at a time. They
// must not block. Any may be nil.
type Trace struct {
	// Progress is called five times a second, and at the end.
	Progress func(Stats)

	// Silent is called when a server has not answered for so long that others
	// are asked in its place, and when it is heard of again.
	Silent func(server string, silent bool)
}

func (t *Trace) silent(server string, silent bool) {
	if t != nil && t.Silent != nil {
		t.Silent(server, silent)
	}
}

func (t *Trace) progress(s Stats) {
	if t != nil && t.Progress != nil {
		t.Progress(s)
	}
}

// Stats counts what happened so far.
type Stats struct {
	Elapsed time.Duration

	InputBytes int64 // read of the list
	Skipped    int64 // blank lines and comments
	Resumed    int64 // lines left out because they had their result already
	Orphans    int64 // earlier results that belong to no line of the list, as far as can be told

	// Every name is in just one of these, and all of them in Results.
	Results   int64
	Answered  int64 // NOERROR, with a record of the type
	NoData    int64 // NOERROR, without
	NXDomain  int64
	Malformed int64 // the line is no name
	Failed    int64 // any other response code, or none

	Sent      int64 // queries, by any transport
	Received  int64 // packets
	Retries   int64 // queries sent again
	Timeouts  int64 // attempts given up
	TCP       int64 // exchanges over TCP because of truncation
	Truncated int64 // answers over UDP that were cut short

	// Packets that were not believed, so that the wait went on.
	Late   int64 // no query with this ID was in flight: too late, doubled, or forged
	Strays int64 // from elsewhere, to another question, or malformed

	InFlight int   // now
	Window   int   // now allowed, all servers together
	Written  int64 // bytes
}

// ErrSilent is the error of a run that ended because no server answered any
// more. Every line has its result nevertheless: the names that had not been
// asked by then are marked NOTASKED.
var ErrSilent = errors.New("no server answers")

// MaxConcurrency is the most that Options.Concurrency may be: a query's ID is
// only good to know it by while few of the 65,536 are in use on a socket.
const MaxConcurrency = 16384

const (
	defaultConcurrency = 8192
	defaultRetries     = 8
	defaultTimeout     = 3 * time.Second
	defaultPorts       = 4
	defaultBufSize     = 1232
	connectedServers   = 8
	sharedPorts        = 16
	progressEvery      = 200 * time.Millisecond
)

func (o *Options) complete() error {
	switch {
	case len(o.Servers) == 0:
		return errors.New("asking a list: no server")
	case o.Concurrency < 0 || o.Concurrency > MaxConcurrency:
		return fmt.Errorf("asking a list: concurrency %d is not in 1 to %d", o.Concurrency, MaxConcurrency)
	case !(o.QPS >= 0 && o.QPS <= 1e9):
		return fmt.Errorf("asking a list: %v queries a second", o.QPS)
	case o.Timeout < 0 || o.GiveUp < 0:
		return fmt.Errorf("asking a list: timeout %v, give up after %v", o.Timeout, o.GiveUp)
	case o.BufSize > 0 && o.BufSize < 512 || o.BufSize > 0xffff:
		return fmt.Errorf("asking a list: buffer size %d is not in 512 to 65535", o.BufSize)
	case o.Format < CSV || o.Format > Text:
		return fmt.Errorf("asking a list: unknown %v", o.Format)
	}
	for i := range o.Servers {
		if s := &o.Servers[i]; s.Exchanger == nil && (!s.Addr.IsValid() || s.Addr.Port() == 0) {
			return fmt.Errorf("asking a list: server %d has no address and port", i+1)
		}
	}
	setDefault(&o.Type, typeA)
	setDefault(&o.Concurrency, defaultConcurrency)
	setDefault(&o.Retries, defaultRetries)
	o.Retries = min(max(o.Retries, 0), 250)
	setDefault(&o.Timeout, defaultTimeout)
	setDefault(&o.Ports, defaultPorts)
	setDefault(&o.BufSize, defaultBufSize)
	o.BufSize = max(o.BufSize, 0)
	o.Ports = min(max(o.Ports, 1), 64)
	return nil
}

// Header is what an output of the format begins with, or nothing.
func (f Format) Header() string { return f.header() }

// Taken reports whether a line of the list, without its end and the space around
// it, has its result already. Each line may be asked about once, by one goroutine.
// An error matches [ErrResume].
func (d *Done) Taken(line uint64, text []byte, qtype uint16) (bool, error) {
	if qtype == 0 {
		qtype = typeA
	}
	return d.take(line, text, qtype)
}

// Empty reports whether the output held nothing, not even a header.
func (d *Done) Empty() bool { return d.empty }

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Run asks for every name of list and writes one result for each to out. It
// returns when all have been written, and otherwise
//
//   - the cause of ctx's end, if it ended first. Names in flight are then not
//     written, and what is written can be resumed from;
//   - [ErrSilent], if the servers stopped answering;
//   - an error of list, out, or of opening sockets.
//
// The Stats are valid in each case.
func Run(ctx context.Context, list io.Reader, out io.Writer, opt Options) (Stats, error) {
	if err := opt.complete(); err != nil {
		return Stats{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := start(ctx, cancel, list, out, &opt)
	if err != nil {
		return Stats{}, err
	}
	return r.wait()
}

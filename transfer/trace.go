package transfer

import (
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A Trace is told what happens while it happens. Every func may be nil. They are
// called from several goroutines, never two at once, and must return soon: the
// transfer waits for them.
type Trace struct {
	// Connected: the peers have shaken hands; peer is its address.
	Connected func(peer string)
	// Listed: the manifest is complete (at the sender: walked and sent; at the
	// receiver: received and checked).
	Listed func(Totals)
	// Accepted: the receiver decided; total is what will come over the wire.
	Accepted func(total Totals)
	// Moved: n more bytes of content went over this end's wire, or into its
	// files; or they are a hole of which only the length was told.
	Moved func(e *Entry, n int)
	// Finished: a file is under its final name at the receiver, verified.
	Finished func(e *Entry, digest treehash.Digest, had bool)
	// Lost: the connection is gone, and another is awaited or dialed.
	Lost func(err error)
	// Reconnected: the transfer continues on another connection.
	Reconnected func(conn net.Conn)
	// Stream: content goes over a further connection, beside the one that is in
	// use. What it returns, if not nil, is called once, before that is closed.
	Stream func(conn net.Conn) (closing func())
	// Closing: the use of a connection has come to its end, good or bad, and it
	// is about to be closed: the last moment to ask the kernel about it.
	Closing func()
	// Missing: datagrams of a file did not arrive (receiver only). The ranges
	// are valid during the call.
	Missing func(e *Entry, holes []Range)
	// Warning: something was left out; the transfer goes on. The path and the
	// error's text are as they came, from a file system or from the peer: not
	// safe to print. A *LinkError and ErrExists are what a caller may have advice
	// for.
	Warning func(path string, why error)
}

// stream tells of a further connection, under the lock that keeps calls apart.
func (t *Trace) stream(mu *sync.Mutex, conn net.Conn) (closing func()) {
	mu.Lock()
	defer mu.Unlock()
	if t.Stream == nil {
		return nil
	}
	told := t.Stream(conn)
	if told == nil {
		return nil
	}
	return func() { mu.Lock(); defer mu.Unlock(); told() }
}

// Totals counts the entries of a manifest.
type Totals struct {
	Files, Dirs, Links int
	Bytes              int64 // of the files whose size is known
	Holes              int64 // of them, what the sender's disk does not hold
	Unknown            bool  // a file's size is not known
	Skipped            int   // left out by the sender: devices, sockets, FIFOs, links out of the tree
}

// Count adds e.
func (t *Totals) Count(e *Entry) {
	switch e.Kind {
	case File:
		t.Files++
		if e.Size == UnknownSize {
			t.Unknown = true
		} else {
			t.Bytes += e.Size
			t.Holes += e.Holes
		}
	case Dir:
		t.Dirs++
	case Symlink:
		t.Links++
	}
}

// A Result is what a transfer came to.
type Result struct {
	Peer    string        // the other end's address
	Files   int           // files that are at the receiver, verified
	Bytes   int64         // their content
	Moved   int64         // of it, what went over the wire: holes do not
	Resumed int64         // of it, what the connection that completed a file did not carry: the receiver had it already
	Had     int           // files that the receiver had already, equal
	Skipped int           // entries that the sender left out, with a warning each
	Failed  int           // files that did not arrive
	Kept    int           // files that were there with other content, and stay
	Refused int           // of them, those that the receiver's policy refused
	Elapsed time.Duration // from the handshake to the receipt
	Waited  Waited        //
	Limiter string        // what limited it, as both ends have agreed; empty if they have not
	Left    int           // files still to send when it ended early

	// Of content that is sent as datagrams.
	Holes         int    // files with bytes missing
	Missing       int64  // those bytes (receiver only)
	DatagramsSent uint64 // sender only
	DatagramsLost uint64 // of them, as the receiver counts (sender only)
}

// Add adds what a further part of the same transfer came to. Left is the part's, as it
// is the later one; what is of the whole (Peer, Skipped, Limiter) stays.
func (r *Result) Add(part Result) {
	r.Files += part.Files
	r.Bytes += part.Bytes
	r.Moved += part.Moved
	r.Resumed += part.Resumed
	r.Had += part.Had
	r.Failed += part.Failed
	r.Kept += part.Kept
	r.Refused += part.Refused
	r.Elapsed += part.Elapsed
	r.Waited.add(part.Waited)
	r.Left = part.Left
	r.Holes += part.Holes
	r.Missing += part.Missing
}

// Waited tells what the transfer waited for, as time that the goroutine that
// moves the content spent blocked. It is what a summary's "limited by" stands on.
type Waited struct {
	Network time.Duration // in reads or writes of the connection
	Disk    time.Duration // sender: for content to be read and hashed; receiver: for it to be hashed and written
	Peer    time.Duration // for a person's or the peer's decision
}

func (w *Waited) add(more Waited) {
	w.Network += more.Network
	w.Disk += more.Disk
	w.Peer += more.Peer
}

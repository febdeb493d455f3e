package transfer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A transfer outlives its connections. When one is lost, the end that dialed
// dials again (Redial), with growing pauses, and the end that listened waits for
// it (Sessions); both for as long as the peer may be silent. The new connection
// runs the protocol from its beginning, but each end remembers: the receiver,
// what was accepted, what a person answered and which files are done; the
// sender, its manifest and the digests that it has computed. So nothing is asked
// twice, and nothing that has landed is sent or hashed again.

var (
	// ErrGone is wrapped by a Redial function that knows that dialing again is
	// of no use.
	ErrGone = errors.New("the other end cannot be reached again")
	// ErrContinued is what Send and Receive return for a connection that continues
	// another call's transfer, which has taken it over.
	ErrContinued = errors.New("the connection continues another transfer")
)

// errReplaced ends an attempt whose peer has come back on another connection
// before this end noticed that the old one is dead.
var errReplaced = fmt.Errorf("%w: the peer has come back on a new one", ErrLost)

// An opened connection has exchanged hellos.
type opened struct {
	link   *link
	theirs hello
	token  streamToken // what streams must show if it is used; this end told it
}

// Sessions connects the transfers of a listening end with the connections that
// continue them.
type Sessions struct {
	mu   sync.Mutex
	live map[sessionID]*attempts
}

// Join gives a further connection to the transfer that it belongs to. One that is of
// none of them gets its turn if there is one transfer only and that one's peer is
// gone; it is refused otherwise.
func (s *Sessions) Join(ctx context.Context, conn net.Conn) error {
	s.mu.Lock()
	n := len(s.live)
	var a *attempts
	for _, a = range s.live {
	}
	s.mu.Unlock()
	if n == 0 {
		return conn.Close()
	}
	if n > 1 {
		side := Sending
		if a.hello().Role == roleReceiver {
			side = Receiving
		}
		conn, taken, err := s.claim(ctx, conn, side)
		if err == nil && !taken {
			turnAway(conn, side, errBusy)
			err = errBusy
		}
		return err
	}
	o, err := a.open(ctx, conn)
	if err != nil {
		return err
	}
	if o.theirs.Features&featureStream != 0 {
		return a.adopt(o)
	}
	a.mu.Lock()
	ours := o.theirs.Session == a.ours.Session || a.waiting
	a.mu.Unlock()
	if !ours {
		o.link.goodbye(errBusy)
		return errBusy
	}
	a.deliver(o)
	return nil
}

var errBusy = &RefusedError{Reason: "it is busy with another transfer"}

// claim takes conn if it belongs to one of the transfers here, which has to be known
// before this end can say hello; otherwise it gives it back, with what was read of it
// still to be read.
func (s *Sessions) claim(ctx context.Context, conn net.Conn, side Side) (rest net.Conn, taken bool, err error) {
	s.mu.Lock()
	n := len(s.live)
	s.mu.Unlock()
	if n == 0 {
		return conn, false, nil
	}
	if conn, err = Knock(ctx, conn, side); err != nil {
		return nil, false, err
	}
	theirs := conn.(*knocker).theirs
	s.mu.Lock()
	a := s.live[theirs.Session]
	s.mu.Unlock()
	if a == nil || theirs.Session == (sessionID{}) {
		return conn, false, nil
	}
	o, err := a.open(ctx, conn)
	if err != nil {
		return nil, false, err
	}
	if theirs.Features&featureStream != 0 {
		return nil, true, a.adopt(o)
	}
	a.deliver(o)
	return nil, true, nil
}

// take hands a connection to the transfer that it continues, if there is one;
// otherwise a is registered as the transfer that it begins.
func (s *Sessions) take(id sessionID, a *attempts, o opened) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.live[id]; other != nil && o.link != nil {
		other.deliver(o)
		return true
	}
	if s.live == nil {
		s.live = map[sessionID]*attempts{}
	}
	for old, x := range s.live {
		if x == a {
			delete(s.live, old)
		}
	}
	s.live[id] = a
	return false
}

func (s *Sessions) drop(a *attempts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.live {
		if x == a {
			delete(s.live, id)
		}
	}
	select {
	case o := <-a.next:
		o.link.conn.Close()
	default:
	}
}

// attempts makes the connections of one transfer, one after the other.
type attempts struct {
	timeout  time.Duration
	redial   func(ctx context.Context) (net.Conn, error)
	sessions *Sessions
	// dialStream is redial beside a connection that is open; it may be nil.
	dialStream func(ctx context.Context, first net.Conn) (net.Conn, error)

	next   chan opened // what a listening end was given
	joined chan *link  // streams
	since  time.Time   // of the last progress

	prelude []byte // what goes with the first hello

	mu      sync.Mutex // guards what follows
	ours    hello
	waiting bool        // no connection is in use
	final   bool        // the content can be read or written once only
	token   streamToken // what streams must show; zero: none may come
	places  int         // streams that may come yet
}

func (a *attempts) hello() hello { a.mu.Lock(); defer a.mu.Unlock(); return a.ours }

func newAttempts(ours hello, timeout time.Duration, redial func(context.Context) (net.Conn, error), s *Sessions) *attempts {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &attempts{ours: ours, timeout: timeout, redial: redial, sessions: s, next: make(chan opened, 1), joined: make(chan *link, MaxStreams), since: time.Now()}
}

// possible reports whether a lost connection can be replaced.
func (a *attempts) possible() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.final && (a.redial != nil || a.sessions != nil)
}

// setSession keeps the session that a receiver tells when it comes back.
func (a *attempts) setSession(id sessionID) {
	if a.sessions != nil {
		a.sessions.take(id, a, opened{})
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ours.Session = id
}

// deliver replaces an older connection that nobody has taken yet.
func (a *attempts) deliver(o opened) {
	for {
		select {
		case a.next <- o:
			return
		default:
		}
		select {
		case old := <-a.next:
			old.link.conn.Close()
		default:
		}
	}
}

// open exchanges hellos on conn, which it closes if that fails.
func (a *attempts) open(ctx context.Context, conn net.Conn) (opened, error) {
	silence := a.timeout
	if a.possible() {
		silence = silence * 2 / 3 // leaves time for another connection
	}
	l := newLink(conn, silence)
	unblock := context.AfterFunc(ctx, func() { l.goodbye(reason(ctx)) })
	defer unblock()
	ours := a.hello()
	if a.sessions != nil && ours.Streams != 1 {
		ours.Token = newToken()
	}
	more := a.prelude
	if more != nil {
		a.prelude = nil
	}
	theirs, err := l.open(ours, more)
	if cause := reason(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		l.goodbye(err)
		conn.Close()
		return opened{}, err
	}
	if (a.ours.Features|theirs.Features)&featureSequential != 0 {
		a.mu.Lock()
		a.final = true
		a.mu.Unlock()
	}
	return opened{l, theirs, ours.Token}, nil
}

// watch ends an attempt when the peer comes back on another connection.
func (a *attempts) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
	case o := <-a.next:
		cancel(errReplaced)
		a.deliver(o)
	}
}

// Pauses between attempts to dial.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 2 * time.Second
)

// again is the next connection after one was lost by err: with progress on that,
// the time to find another begins anew.
func (a *attempts) again(ctx context.Context, err error, progress bool) (opened, error) {
	now := time.Now()
	if progress || a.since.IsZero() {
		a.since = now
		if errors.Is(err, ErrPeerSilent) {
			a.since = now.Add(-a.timeout * 2 / 3)
		}
	}
	ctx, cancel := context.WithDeadline(ctx, a.since.Add(a.timeout))
	defer cancel()
	if a.sessions != nil {
		a.wait(true)
		defer a.wait(false)
		select {
		case o := <-a.next:
			return o, nil
		case <-ctx.Done():
			return opened{}, a.gaveUp(ctx, err)
		}
	}
	pause := firstPause
	for {
		conn, derr := a.redial(ctx)
		if derr == nil {
			var o opened
			if o, derr = a.open(ctx, conn); derr == nil {
				return o, nil
			}
			if !lost(derr) && ctx.Err() == nil {
				return opened{}, derr
			}
		} else if errors.Is(derr, ErrGone) {
			return opened{}, derr
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(2*pause, maxPause)
		case <-ctx.Done():
			timer.Stop()
			return opened{}, a.gaveUp(ctx, err)
		}
	}
}

func (a *attempts) wait(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = on
}

// gaveUp is the error of a transfer for which no other connection was found.
func (a *attempts) gaveUp(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return reason(ctx)
	}
	return err
}

// sendMemory is what a sender knows from earlier connections.
type sendMemory struct {
	entries *entryList // once the manifest is complete
	totals  Totals
	ends    map[int]sentFile
	keep    bool
	early   *prelude // that went with the hello, until it is told
}

// A sentFile is one whose digest is known.
type sentFile struct {
	digest treehash.Digest
	size   int64
	sent   int64
	had    bool // the receiver had it before the transfer began
	told   bool // Trace.Finished was called
}

// receiveMemory is what a receiver knows from earlier connections.
type receiveMemory struct {
	accepted [treehash.Size]byte // the hash of the manifest that was accepted; zero if none
	answers  map[string]Overwrite
	done     map[string]doneFile
	keep     bool
}

// A doneFile is one that this transfer has finished.
type doneFile struct {
	digest    treehash.Digest
	announced int64 // its size in the manifest
	resumed   int64
	had       bool
}

func newReceiveMemory(keep bool) *receiveMemory {
	return &receiveMemory{answers: map[string]Overwrite{}, done: map[string]doneFile{}, keep: keep}
}

// carry adds what earlier connections moved and waited for.
func (r *Result) carry(earlier Result) {
	r.Moved += earlier.Moved
	r.Waited.add(earlier.Waited)
}

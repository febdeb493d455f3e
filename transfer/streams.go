package transfer

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// Content may go over several connections at once, streams: the one that the
// transfer began on, which carries everything else too, and others, which the
// end that dialed opens to the same peer (DialStream) when it is known that there is
// enough to send. Whatever protects the first connection protects those; a stream
// belongs to a transfer because its hello shows the token that the listening end
// has told on the first connection, and nowhere else. Any piece may go over any
// stream, so a big file uses all of them, and one that is slow takes less; the
// largest files go first ([jobQueue]). A stream that is lost is a lost connection:
// all are closed, and the transfer goes on as after any other loss.

// MaxStreams bounds [SendOptions].Streams and [ReceiveOptions].Streams.
const MaxStreams = 8

const (
	// streamsFrom is how much content is worth more connections: opening one
	// takes a few round trips.
	streamsFrom = 8 * treehash.GroupSize
	// farAway is the round-trip time from which more than one is used if nobody
	// has said how many. On shorter paths one connection is never the bottleneck
	// that several are not, and costs less.
	farAway = 20 * time.Millisecond
	// farStreams is how many are used there.
	farStreams = 4
)

// A streamToken is what a connection shows to be another of a transfer's.
type streamToken [16]byte

// newToken makes the token of a connection that others may join.
func newToken() (t streamToken) {
	_, _ = rand.Read(t[:])
	return t
}

// agreeStreams is how many connections both ends want; 0 if neither says.
func agreeStreams(ours, theirs int) int {
	switch {
	case ours == 0:
		return min(theirs, MaxStreams)
	case theirs == 0:
		return ours
	}
	return min(ours, theirs, MaxStreams)
}

// chooseStreams is for ends that leave it to us: by the path's round-trip time,
// if conn is one of the kernel's.
func chooseStreams(conn net.Conn) int {
	if c, _ := beneath(conn); c != nil {
		if info, ok := c.TCPInfo(); ok && info.MinRTT >= farAway {
			return farStreams
		}
	}
	return 1
}

// begin opens the transfer on o for further streams, and returns how many this
// end is to dial, and how many there may be besides o.
func (a *attempts) begin(o opened) (dial, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.final || !o.theirs.extended {
		return 0, 0
	}
	n := agreeStreams(a.ours.Streams, o.theirs.Streams)
	switch {
	case a.redial != nil && o.theirs.Token != (streamToken{}):
		if n == 0 {
			n = chooseStreams(o.link.conn)
		}
		dial = n - 1
	case a.sessions != nil:
		if n == 0 {
			n = MaxStreams
		}
		a.token = o.token
	default:
		n = 1
	}
	a.places = n - 1
	return dial, n - 1
}

// end closes it, and the streams that nobody has taken.
func (a *attempts) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.places = streamToken{}, 0
	for {
		select {
		case l := <-a.joined:
			l.conn.Close()
		default:
			return
		}
	}
}

// errNotOurs refuses a connection that shows the wrong token, or one too many.
var errNotOurs = &RefusedError{Reason: "the connection belongs to no transfer here"}

// adopt takes a stream that was opened by the peer, or refuses it.
func (a *attempts) adopt(o opened) error {
	a.mu.Lock()
	ours := a.token != (streamToken{}) && a.places > 0 && o.theirs.Session == a.ours.Session &&
		subtle.ConstantTimeCompare(o.theirs.Token[:], a.token[:]) == 1
	if ours {
		a.places--
		a.joined <- o.link // there is room: places bounds them
	}
	a.mu.Unlock()
	if !ours {
		o.link.goodbye(errNotOurs)
		return errNotOurs
	}
	return nil
}

// adopt gives a stream to the transfer that it belongs to.
func (s *Sessions) adopt(o opened) error {
	var a *attempts
	if s != nil {
		s.mu.Lock()
		a = s.live[o.theirs.Session]
		s.mu.Unlock()
	}
	if a == nil {
		o.link.goodbye(errNotOurs)
		return errNotOurs
	}
	return a.adopt(o)
}

// dialStreams opens n streams side by side. One that cannot be opened is done
// without.
func (a *attempts) dialStreams(ctx context.Context, first opened, n int) {
	ours := a.hello()
	ours.Features |= featureStream
	ours.Token = first.theirs.Token
	dial := a.dialStream
	if dial == nil {
		dial = func(ctx context.Context, _ net.Conn) (net.Conn, error) { return a.redial(ctx) }
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			conn, err := dial(ctx, first.link.conn)
			if err != nil {
				return
			}
			l := newLink(conn, first.link.timeout)
			unblock := context.AfterFunc(ctx, func() { l.conn.Close() })
			defer unblock()
			if _, err := l.open(ours, nil); err != nil {
				l.conn.Close()
				return
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.places == 0 || ctx.Err() != nil { // the transfer has ended meanwhile
				l.conn.Close()
				return
			}
			a.places--
			a.joined <- l
		})
	}
	wg.Wait()
}

// A fleet is the streams of one attempt besides the first.
type fleet struct {
	tell func(conn net.Conn) (closing func()) // of each that is used

	mu     sync.Mutex
	links  []*link
	ends   []func() // what is to be told before they are closed
	sealed bool     // no more of them are used
	closed bool     // no more of them are kept
	wg     sync.WaitGroup
}

// add takes in a stream with what is to run as long as it is open, and reports
// whether it may be used. Once all are closed it closes this one too.
func (f *fleet) add(l *link, run ...func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		l.conn.Close()
		return false
	}
	f.links = append(f.links, l)
	if f.sealed {
		l.finished.Store(true)
	} else if end := f.tell(l.conn); end != nil {
		f.ends = append(f.ends, end)
	}
	for _, r := range run {
		f.wg.Go(r)
	}
	return !f.sealed
}

// count is how many streams have come.
func (f *fleet) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.links)
}

// seal is the streams that are in use; from now on others are not.
func (f *fleet) seal() []*link {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sealed {
		return nil
	}
	f.sealed = true
	return f.links[:len(f.links):len(f.links)]
}

// close closes the streams' connections.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, end := range f.ends {
		end()
	}
	f.ends = nil
	for _, l := range f.links {
		l.conn.Close()
	}
}

// A turn is the right to write to a connection, with when the last one was over.
type turn struct {
	link *link
	mark time.Time
}

// join uses the streams that come, until ctx ends.
func (s *sender) join(ctx context.Context, fail func(error)) {
	for {
		var l *link
		select {
		case l = <-s.attempts.joined:
		case <-ctx.Done():
			return
		}
		listen := func() {
			t, _, err := l.next() // pings only
			if err == nil {
				err = protocolErrorf("an unexpected %v frame on a stream", t)
			}
			if !l.finished.Load() {
				fail(err)
			}
		}
		// One that comes too late is kept, idle: the peer cannot tell why it ends.
		if s.fleet.add(l, func() { l.keepAlive(ctx) }, listen) {
			s.turn <- turn{l, time.Now()}
			s.feeder.grow()
		}
	}
}

// open opens further streams, if this end does, as soon as there is enough to send.
func (s *sender) open() {
	s.mu.Lock()
	worth := s.asked.Bytes >= streamsFrom
	s.mu.Unlock()
	if worth && s.dial != nil {
		s.dial()
	}
}

// finishStreams tells that nothing more comes on any connection, and on the first
// what limited it.
func (s *sender) finishStreams(limit string) error {
	links := s.fleet.seal()
	for _, l := range links {
		l.finished.Store(true)
		if err := l.frame(frameFinish, nil); err != nil {
			return err
		}
	}
	var p []byte
	if limit = limit[:min(len(limit), maxLimit)]; len(links) > 0 || limit != "" {
		p = append(p, byte(len(links)))
		p = append(p, limit...)
	}
	err := s.link.frame(frameFinish, p)
	endTurn(s.link.conn)
	return err
}

// open opens further streams, if this end does, as soon as there is enough to come.
func (r *receiver) open() {
	r.mu.Lock()
	worth := r.asked.Bytes >= streamsFrom
	r.mu.Unlock()
	if worth && r.dial != nil {
		r.dial()
	}
}

// join reads the streams that come, until ctx ends.
func (r *receiver) join(ctx context.Context, fail func(error)) {
	for {
		var l *link
		select {
		case l = <-r.attempts.joined:
		case <-ctx.Done():
			return
		}
		in := newIntake(l)
		take := func() {
			switch err := r.take(r.ctx, in); {
			case err != nil:
				fail(err)
			case in.err == nil && r.ctx.Err() == nil:
				r.finished <- struct{}{}
			case !l.finished.Load():
				fail(in.err)
			}
		}
		r.fleet.add(l, func() { l.keepAlive(ctx) }, take)
	}
}

// awaitStreams waits until n streams have been read to their finish. Those that
// are open watch for silence themselves; one that does not come at all is as lost.
func (r *receiver) awaitStreams(ctx context.Context, n int) error {
	timer := time.NewTimer(r.link.timeout)
	defer timer.Stop()
	for done := 0; done < n; {
		select {
		case <-r.finished:
			done++
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			if here := r.fleet.count(); here < n {
				return fmt.Errorf("receiving from %v: %w: %d of its %d streams did not come", r.link.conn.RemoteAddr(), ErrLost, n-here, n)
			}
			timer.Reset(r.link.timeout)
		}
	}
	return nil
}

// endStreams closes the streams, whose ends are no losses any more, and waits for
// what was read from them to land.
func (r *receiver) endStreams(cancel context.CancelFunc) {
	for _, l := range r.fleet.seal() {
		l.finished.Store(true)
	}
	r.fleet.close()
	cancel()
	r.fleet.wg.Wait()
}

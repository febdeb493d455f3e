package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

// DefaultTimeout is how long a connection may be silent. The other end sends at
// least a ping every quarter of it, so silence means that it is gone.
const DefaultTimeout = 12 * time.Second

// A link is one connection that carries frames: whole frames are written under a
// lock, silence is noticed, and the first error is kept in the peer's words if
// the peer said why.
type link struct {
	conn    net.Conn
	timeout time.Duration
	greetBy time.Time // until when the peer's hello must be here; zero once it is
	portion int       // what is written under one deadline
	corker  corker    // gathers what write's portions leave over, or nil
	br      *bufio.Reader

	wmu       sync.Mutex
	lastWrite atomic.Int64 // UnixNano; what the pinger looks at
	closing   atomic.Bool  // goodbye has begun: only moments are left
	belated   bool         // the hello was given the moment of belatedly
	finished  atomic.Bool  // of a stream: that it ends is no loss
	bye       sync.Once
}

// parting bounds how long goodbye may take: an interrupted end has to be gone
// within a second.
const parting = 500 * time.Millisecond

// readBuffer holds frames' headers and short payloads. Longer content is read past
// it, straight to where it is hashed and written.
const readBuffer = 64 << 10

// writePortion is what is written under one deadline where a Write that timed out
// cannot be continued: little enough for slow links, where a whole group takes
// longer than a peer may be silent.
const writePortion = 128 << 10

func newLink(conn net.Conn, timeout time.Duration) *link {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	l := &link{conn: conn, timeout: timeout, portion: writePortion}
	if below, bare := beneath(conn); below != nil {
		below.LimitLocalQueue()
		if bare {
			l.portion = bufferSize
		}
	}
	l.corker = corkerBeneath(conn)
	l.br = bufio.NewReaderSize(silenceReader{l}, readBuffer)
	return l
}

// silenceReader gives every read of the connection the link's deadline.
type silenceReader struct{ l *link }

func (s silenceReader) Read(p []byte) (int, error) {
	deadline := time.Now().Add(s.l.timeout)
	if by := s.l.greetBy; !by.IsZero() && by.Before(deadline) {
		deadline = by
	}
	n, err := s.readBy(p, deadline)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && s.l.belatedly() {
		n, err = s.readBy(p, time.Now().Add(belated))
	}
	return n, err
}

// belated is how long it is read on after a deadline. A machine that stood still (a
// virtual one is moved, a debugger stops it) finds its deadlines over and what has
// come meanwhile unread, and learns of the deadlines first; and a peer that stood
// still with it has not even had the time to say that it lives.
const belated = 250 * time.Millisecond

// belatedly reports whether it may be read on: once only in the greeting, which
// silence alone does not bound.
func (l *link) belatedly() bool {
	if l.closing.Load() || !l.greetBy.IsZero() && l.belated {
		return false
	}
	l.belated = true
	return true
}

func (s silenceReader) readBy(p []byte, deadline time.Time) (int, error) {
	_ = s.l.conn.SetReadDeadline(deadline)
	if s.l.closing.Load() { // this may have overwritten goodbye's deadline just now
		_ = s.l.conn.SetReadDeadline(time.Now().Add(parting))
	}
	return s.l.conn.Read(p)
}

// write sends bufs, which must be whole frames.
func (l *link) write(bufs ...[]byte) error {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	if l.corker != nil {
		l.corker.Cork() // or each portion ends in a short train
		defer l.corker.Uncork()
	}
	// A peer may be busy (its disk flushes) and still be alive, which its pings
	// show and the reading side watches; so writing is given longer than silence.
	// It is counted for each portion, or anew when as much as one has got through:
	// on a slow link a whole group takes longer.
	for _, b := range bufs {
		for len(b) > 0 {
			l.writeBy(time.Now().Add(4 * l.timeout))
			n, err := l.conn.Write(b[:min(len(b), l.portion)])
			goesOn := n >= writePortion && !l.closing.Load() && errors.Is(err, os.ErrDeadlineExceeded)
			if err != nil && !goesOn {
				return l.explain("sending to", err)
			}
			b = b[n:]
		}
	}
	l.lastWrite.Store(time.Now().UnixNano())
	return nil
}

// writeBy sets the deadline of the next write, which goodbye may shorten.
func (l *link) writeBy(deadline time.Time) {
	_ = l.conn.SetWriteDeadline(deadline)
	if l.closing.Load() { // this may have overwritten goodbye's deadline just now
		_ = l.conn.SetWriteDeadline(time.Now().Add(parting))
	}
}

// frame sends one frame with a short payload.
func (l *link) frame(t frameType, payload []byte) error {
	return l.write(appendFrame(make([]byte, 0, frameHeader+len(payload)), t, payload))
}

// next reads the next frame's header, answering for pings by itself. An error
// frame becomes the error that it tells of.
func (l *link) next() (frameType, int, error) {
	for {
		t, n, err := readFrameHeader(l.br)
		if err != nil {
			return 0, 0, l.explain("receiving from", err)
		}
		switch t {
		case framePing:
			if n != 0 {
				return 0, 0, protocolErrorf("a ping with a payload")
			}
		case frameError:
			p, err := l.payload(n)
			if err != nil {
				return 0, 0, err
			}
			return 0, 0, decodeError(p)
		default:
			return t, n, nil
		}
	}
}

// payload reads n bytes, which the caller holds to a bound.
func (l *link) payload(n int) ([]byte, error) {
	p := make([]byte, n)
	return p, l.read(p)
}

func (l *link) read(p []byte) error {
	if _, err := io.ReadFull(l.br, p); err != nil {
		return l.explain("receiving from", err)
	}
	return nil
}

// explain gives an error of the connection its meaning and the peer's address.
func (l *link) explain(doing string, err error) error {
	var p *ProtocolError
	if errors.As(err, &p) {
		return err
	}
	addr := l.conn.RemoteAddr()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if !l.greetBy.IsZero() {
			return fmt.Errorf("%v has not said hello within %v: %w", addr, min(l.timeout, greeting), ErrPeerSilent)
		}
		return fmt.Errorf("%s %v: %w for %v", doing, addr, ErrPeerSilent, l.timeout)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s %v: %w: it closed the connection", doing, addr, ErrLost)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s %v: %w: %w", doing, addr, ErrLost, err)
}

// keepAlive sends a ping whenever nothing else was sent for a quarter of the
// timeout, until ctx ends.
func (l *link) keepAlive(ctx context.Context) {
	every := l.timeout / 4
	tick := time.NewTicker(every)
	defer tick.Stop()
	ping := appendFrame(nil, framePing, nil)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := time.Now() // and not the tick's: a write that times out may break the connection
			if now.Sub(time.Unix(0, l.lastWrite.Load())) < every {
				continue
			}
			if l.wmu.TryLock() { // else something is being sent right now
				l.writeBy(now.Add(l.timeout))
				_, _ = l.conn.Write(ping) // the reading side tells of a lost connection
				l.wmu.Unlock()
			}
		}
	}
}

// goodbye closes the connection so that the peer gets all that was written: it
// ends the sending half and waits a moment for the peer to close too, since
// closing with unread bytes would reset the connection and destroy what is on
// its way. If err is not nil, the peer is told of it first. Whoever calls it
// later waits until it is over, lest the connection be closed under it.
func (l *link) goodbye(err error) { l.bye.Do(func() { l.part(err) }) }

func (l *link) part(err error) {
	l.closing.Store(true)
	defer l.conn.Close()
	_ = l.conn.SetDeadline(time.Now().Add(parting)) // also frees the lock from a blocked writer
	if err != nil && !lost(err) && l.lastWords(err) != nil {
		return
	}
	half, ok := l.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(parting))
	defer l.closeSoon().Stop()
	if _, rerr := io.CopyN(io.Discard, l.conn, 64<<20); rerr == io.EOF && err == nil {
		conclude(l.conn) // the peer has said its last word, and heard ours
	}
}

// closeSoon closes the connection in a moment. A deadline alone would not do: whoever
// goes on reading renews it with every byte that a slow peer still sends, and a writer
// with every portion that it takes.
func (l *link) closeSoon() *time.Timer {
	return time.AfterFunc(parting+parting/5, func() { l.conn.Close() })
}

// lastWords tells the peer of err. It is tried again where the deadline was over
// before anything had been tried, as on a machine that stood still in between; and
// nothing but a writer in the way has the connection closed before it is tried.
func (l *link) lastWords(err error) error {
	wait := parting
	if !l.wmu.TryLock() {
		last := l.closeSoon()
		l.wmu.Lock()
		last.Stop()
		wait = parting / 5
	}
	defer l.wmu.Unlock()
	words := appendFrame(nil, frameError, encodeError(err))
	_ = l.conn.SetWriteDeadline(time.Now().Add(wait))
	n, werr := l.conn.Write(words)
	if n == 0 && errors.Is(werr, os.ErrDeadlineExceeded) {
		_ = l.conn.SetWriteDeadline(time.Now().Add(parting / 5))
		_, werr = l.conn.Write(words)
	}
	return werr
}

// endTurn tells the connection below conn, if it wants to know, that all has been
// written until the peer answers.
func endTurn(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case interface{ EndTurn() }:
			c.EndTurn()
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}

// conclude closes the connection below conn, if that has a way to do so without
// waiting for the peer, which must not need anything more.
func conclude(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case interface{ Conclude() error }:
			_ = c.Conclude()
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return
		}
	}
}

// lost reports whether err means that nobody is there to talk to.
func lost(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, ErrPeerSilent)
}

// greeting is how long a peer may take for its hello as a whole: silence alone
// would let it send a byte now and then and hold a place for ever.
const greeting = 10 * time.Second

// open exchanges preamble and hello, with which more goes along. Both ends speak at
// once, so it costs one round trip.
func (l *link) open(ours hello, more []byte) (theirs hello, err error) {
	l.greetBy = time.Now().Add(greeting)
	defer func() { l.greetBy = time.Time{} }()
	out := append([]byte(preface.Magic), preface.Hello)
	if err := l.write(append(appendFrame(out, frameHello, ours.encode()), more...)); err != nil {
		return hello{}, err
	}
	if err := l.preface(); err != nil {
		return hello{}, err
	}
	t, n, err := l.next()
	if err != nil {
		return hello{}, err
	}
	if t != frameHello {
		return hello{}, protocolErrorf("a %v frame where the hello belongs", t)
	}
	p, err := l.payload(n)
	if err != nil {
		return hello{}, err
	}
	if theirs, err = decodeHello(p); err != nil {
		return hello{}, err
	}
	return theirs, ours.suits(theirs)
}

// preface reads the first bytes of a peer, and what it refuses or speaks instead.
func (l *link) preface() error {
	var first [len(preface.Magic) + 1]byte
	addr := l.conn.RemoteAddr()
	for n := 0; n < len(first); n++ {
		if err := l.read(first[n : n+1]); err != nil {
			return err
		}
		switch kind, more := preface.Classify(first[:n+1]); {
		case more, kind == preface.Plain:
		case kind == preface.TLS:
			// The peer opened TLS: tell it, in the clear, that this end is plain.
			_ = l.write(preface.AppendRefusal(nil, preface.AmPlain))
			return fmt.Errorf("%w: the peer %v expects a code, this end is plain", ErrPlainMismatch, addr)
		default:
			return protocolErrorf("it does not speak wherry's protocol")
		}
	}
	switch first[len(preface.Magic)] {
	case preface.Hello:
		return nil
	case preface.Refusal:
	default:
		return protocolErrorf("an unknown opening")
	}
	var reason [1]byte
	if err := l.read(reason[:]); err != nil {
		return err
	}
	if theirs, own, ok := preface.Reason(reason[0]).Transports(); ok {
		return transportMismatch(addr, theirs, own)
	}
	switch preface.Reason(reason[0]) {
	case preface.WantCode:
		return fmt.Errorf("%w: the peer %v expects a code, this end is plain", ErrPlainMismatch, addr)
	case preface.AmPlain:
		return fmt.Errorf("%w: the peer %v is plain, this end expects a code", ErrPlainMismatch, addr)
	}
	return protocolErrorf("a refusal with the reason %d", reason[0])
}

package zmtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of Send and Receive.
var (
	ErrClosed = errors.New("the socket is closed")
	// ErrNoPeer is a ROUTER's, of a peer that is gone. EHOSTUNREACH.
	ErrNoPeer = errors.New("the peer is gone")
	// ErrType is the error of what the socket's type does not do.
	ErrType = errors.New("the socket's type does not do that")
	// ErrIncompatible is the error of a peer whose socket is of a type that does not
	// talk to ours.
	ErrIncompatible = errors.New("the socket types do not fit")
	errBusy         = errors.New("there is no room for another peer")
)

// A Message is what a socket received.
type Message struct {
	Peer   PeerID // whom it is from
	Frames [][]byte
}

// A Socket is one of ZeroMQ's. Its methods may be called from several goroutines at
// once.
type Socket struct {
	typ Type
	o   Options
	in  chan Message

	ctx context.Context // ends with the socket
	end context.CancelFunc
	wg  sync.WaitGroup

	mu      sync.Mutex
	peers   map[PeerID]*peer
	order   []*peer // as they came; the one that is next to be sent to is at turn
	turn    int
	subs    [][]byte      // a SUB's own wishes
	changed chan struct{} // closed when a queue has room, or there is a peer more or less
	coming  int           // admitted, and not yet among the peers
	leaving bool          // Shutdown was called: no more peers
	closed  bool
}

// New makes a socket without peers. [Socket.Close] releases it.
func New(typ Type, o Options) *Socket {
	s := &Socket{typ: typ, o: o.withDefaults(), in: make(chan Message), peers: map[PeerID]*peer{}, changed: make(chan struct{})}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// lastPeer counts peers, of all sockets: an id in a log is of one.
var lastPeer atomic.Uint64

// Receive waits for the next message.
func (s *Socket) Receive(ctx context.Context) (Message, error) {
	if !s.typ.receives() {
		return Message{}, fmt.Errorf("%w: %s receives nothing", ErrType, s.typ)
	}
	select {
	case m := <-s.in:
		return m, nil
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	case <-s.ctx.Done():
		return Message{}, ErrClosed
	}
}

// Send gives the message to the queues of those that it is for. A PUB never waits;
// the others wait until a peer has room. The frames must not be changed afterwards.
func (s *Socket) Send(ctx context.Context, frames ...[]byte) error {
	if !s.typ.sends() || s.typ == ROUTER {
		return fmt.Errorf("%w: %s sends to nobody", ErrType, s.typ)
	}
	if len(frames) == 0 {
		return fmt.Errorf("%w: a message without frames", ErrType)
	}
	if s.typ == PUB {
		return s.publish(frames)
	}
	return s.await(ctx, func() (bool, error) {
		for range s.order {
			s.turn = (s.turn + 1) % len(s.order)
			if s.order[s.turn].push(frames) {
				return true, nil
			}
		}
		return false, nil
	})
}

// SendTo is a ROUTER's Send. It waits until the peer's queue has room; [ErrNoPeer]
// is the error of one that is gone.
func (s *Socket) SendTo(ctx context.Context, to PeerID, frames ...[]byte) error {
	if s.typ != ROUTER || len(frames) == 0 {
		return fmt.Errorf("%w: %s sends to nobody that it is told, nor nothing", ErrType, s.typ)
	}
	return s.await(ctx, func() (bool, error) {
		p := s.peers[to]
		if p == nil {
			return false, ErrNoPeer
		}
		return p.push(frames), nil
	})
}

// await calls try with s.mu held until it is done or fails.
func (s *Socket) await(ctx context.Context, try func() (bool, error)) error {
	for {
		s.mu.Lock()
		changed := s.changed
		done, err := false, error(ErrClosed)
		if !s.closed {
			done, err = try()
		}
		s.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.ctx.Done():
			return ErrClosed
		}
	}
}

// tell wakes those that await. s.mu is held.
func (s *Socket) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Socket) publish(frames [][]byte) error {
	var dropped []PeerID
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	for _, p := range s.order {
		if p.wants(frames[0]) && !p.push(frames) {
			dropped = append(dropped, p.id)
		}
	}
	s.mu.Unlock()
	if s.o.Trace.Dropped != nil {
		for _, id := range dropped {
			s.o.Trace.Dropped(id)
		}
	}
	return nil
}

// Subscribe asks all PUBs, now and later, for messages whose first frame begins
// with prefix.
func (s *Socket) Subscribe(prefix []byte) error {
	if s.typ != SUB {
		return fmt.Errorf("%w: %s subscribes to nothing", ErrType, s.typ)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.subs, func(b []byte) bool { return bytes.Equal(b, prefix) }) {
		return nil
	}
	if len(s.subs) >= maxSubscriptions || len(prefix) > maxSubscription {
		return fmt.Errorf("%w: so many or so long subscriptions", ErrType)
	}
	s.subs = append(s.subs, bytes.Clone(prefix))
	for _, p := range s.order {
		p.control(p.subscription(prefix))
	}
	return nil
}

// Trust says that the peer is one of the program's own, so that it may send up to
// MaxMessage and stay.
func (s *Socket) Trust(id PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.peers[id]; p != nil {
		p.trusted.Store(true)
	}
}

// Drop breaks a peer's connection.
func (s *Socket) Drop(id PeerID) {
	s.mu.Lock()
	p := s.peers[id]
	s.mu.Unlock()
	if p != nil {
		p.fail(errDropped)
	}
}

var errDropped = errors.New("the connection was dropped")

// Peers is how many there are.
func (s *Socket) Peers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.peers)
}

// Flush waits until nothing is in any queue. What the kernel has it does not know.
func (s *Socket) Flush(ctx context.Context) error {
	return s.await(ctx, func() (bool, error) {
		for _, p := range s.order {
			if len(p.queue) > 0 || p.writing {
				return false, nil
			}
		}
		return true, nil
	})
}

// Close breaks all connections and waits until everything has ended. What is in
// queues is lost; see [Socket.Shutdown].
func (s *Socket) Close() error {
	s.mu.Lock()
	s.closed = true
	peers := slices.Clone(s.order)
	s.mu.Unlock()
	s.end()
	for _, p := range peers {
		p.fail(ErrClosed)
	}
	s.wg.Wait()
	return nil
}

// Shutdown sends what is in the queues, ends the connections one by one in TCP's
// way, so that the peers receive it, and closes the socket. ctx bounds it.
func (s *Socket) Shutdown(ctx context.Context) error {
	err := s.Flush(ctx)
	s.mu.Lock()
	s.leaving = true
	peers := slices.Clone(s.order)
	s.mu.Unlock()
	for _, p := range peers {
		if w, ok := p.c.nc.(interface{ CloseWrite() error }); ok && err == nil {
			_ = w.CloseWrite()
		}
	}
	// Until each has hung up too. What it still says nobody hears.
	for _, p := range peers {
		for waiting := err == nil; waiting; {
			select {
			case <-p.gone:
				waiting = false
			case <-s.in:
			case <-ctx.Done():
				waiting = false
				err = context.Cause(ctx)
			}
		}
	}
	s.Close()
	return err
}

// add makes a connection a peer, or says why not.
func (s *Socket) add(c *conn) (*peer, error) {
	_ = c.nc.SetDeadline(time.Time{})
	c.silence = s.o.Silence
	if c.minor == 0 {
		c.silence = 0 // it may not know of pings, and have nothing to say
	}
	p := &peer{id: PeerID(lastPeer.Add(1)), s: s, c: c, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	p.trusted.Store(s.o.Stranger <= 0)
	oldest, err := s.admit()
	if err != nil {
		return nil, err
	}
	if oldest != nil {
		oldest.fail(errBusy)
	}
	if up := s.o.Trace.Up; up != nil {
		up(Peer{ID: p.id, Addr: c.nc.RemoteAddr(), Type: c.peer.typ.String(), Identity: c.peer.identity})
	}
	s.mu.Lock()
	// Only now is it sent to: its Up has returned.
	s.coming--
	s.peers[p.id] = p
	s.order = append(s.order, p)
	for _, prefix := range s.subs {
		p.control(p.subscription(prefix))
	}
	closed := s.closed
	s.tell()
	s.mu.Unlock()
	if closed {
		p.fail(ErrClosed)
	}
	go p.reading()
	go p.writingLoop()
	return p, nil
}

// admit makes room for one more peer, and says whose place it takes.
func (s *Socket) admit() (oldest *peer, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.leaving {
		return nil, ErrClosed
	}
	most := s.o.MaxPeers
	if s.typ == PAIR {
		most = 1
	}
	if len(s.peers)+s.coming >= most {
		i := slices.IndexFunc(s.order, func(p *peer) bool { return !p.trusted.Load() })
		if i < 0 || s.typ == PAIR {
			return nil, errBusy
		}
		oldest = s.order[i]
		s.remove(oldest)
	}
	s.coming++
	s.wg.Add(2) // reading and writing
	return oldest, nil
}

// remove takes the peer off the list. s.mu is held.
func (s *Socket) remove(p *peer) {
	if s.peers[p.id] != p {
		return
	}
	delete(s.peers, p.id)
	i := slices.Index(s.order, p)
	s.order = slices.Delete(s.order, i, i+1)
	if s.turn >= i && s.turn > 0 {
		s.turn--
	}
	s.tell()
}

func (s *Socket) refused(addr net.Addr, err error) {
	if f := s.o.Trace.Refused; f != nil && s.ctx.Err() == nil {
		f(addr, err)
	}
}

package fleet

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
)

// What the ends of a ZeroMQ say to each other: a byte, and what follows.
const (
	zCredit = 'C' // worker: so many batches more (4 bytes)
	zResult = 'R' // worker: a result
	zDone   = 'D' // worker: the batch with this number (8 bytes) is answered
	zBack   = 'B' // worker: the batch with this number goes to somebody else
	zNames  = 'N' // coordinator: a number (8 bytes), and a batch
	zEnd    = 'E' // coordinator: there are no more
)

const (
	// maxCredit bounds what one worker may hold.
	maxCredit = 64
	// zMessage is the longest message, sealed.
	zMessage = 1 + 8 + MaxMessage + psk.Overhead
	// zStranger is the longest message of who has not shown that it has the secret.
	zStranger = 256
)

// NewZeroMQKey makes of a code's words the key that ZeroMQ's ends have in common.
// Whoever can connect can try words at leisure, so there must be many.
func NewZeroMQKey(words string) psk.Key { return psk.NewKey(words, "lookup fleet") }

// ErrFinished is the error of a worker whose coordinator has all results.
var ErrFinished = errors.New("the list is done")

// ZeroMQOptions says how to use ZeroMQ. Of its fields only the key has no default.
type ZeroMQOptions struct {
	Key psk.Key
	// Prefetch is how many batches a worker holds; 0 is 8, and 64 the most.
	Prefetch int
	// Timeout is how long a worker's coordinator may be away before that is an
	// error; 0 is 30 s, negative not at all.
	Timeout time.Duration
	// Away is called when a worker's connection is lost, with nil when it is back.
	Away func(err error)
	// Refused is called when somebody was not let in; addr may be nil. It may be
	// called by several goroutines at once.
	Refused func(addr net.Addr, err error)
	// Socket is for tests.
	Socket zmtp.Options
}

func (o ZeroMQOptions) socket(tr *zmtp.Trace) zmtp.Options {
	s := o.Socket
	s.MaxMessage, s.MaxFrames, s.Trace = zMessage, 1, tr
	return s
}

// A ZeroMQ is the coordinator's end: a ROUTER whose peers are the workers' DEALERs.
//
// The pattern is ZeroMQ's own for this, a load balancer: PUSH would deal batches out
// in turn, as many as fit its queues, to the slow as to the fast, and could not take
// back what it has queued for a worker that dies.
type ZeroMQ struct {
	o       ZeroMQOptions
	s       *zmtp.Socket
	e       *zmtp.Endpoint
	results chan []byte
	ctx     context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	workers map[zmtp.PeerID]*zWorker
	pending []*zBatch // that nobody holds, in the order in which they go out
	last    uint64    // the number of the last batch
}

type zBatch struct {
	number uint64
	body   []byte
}

// A zWorker is a peer of the coordinator's, or a stranger that has said hello.
type zWorker struct {
	addr    net.Addr
	session *psk.Session // nil before hello
	proven  bool         // it has the secret
	credit  int
	held    map[uint64]*zBatch
}

// ListenZeroMQ binds addr, a host and port, for workers to connect to.
func ListenZeroMQ(ctx context.Context, addr string, o ZeroMQOptions) (*ZeroMQ, error) {
	z := &ZeroMQ{o: o, results: make(chan []byte), workers: map[zmtp.PeerID]*zWorker{}}
	z.ctx, z.end = context.WithCancel(context.Background())
	so := o.socket(&zmtp.Trace{Up: z.up, Down: z.down, Refused: o.Refused})
	so.Stranger = zStranger
	so.HWM = 2 * maxCredit // more than a worker's credit: full is a worker that cheats
	z.s = zmtp.New(zmtp.ROUTER, so)
	var err error
	if z.e, err = zmtp.Bind(ctx, addr, socket.Options{}, z.s); err != nil {
		z.s.Close()
		return nil, err
	}
	z.wg.Go(z.receive)
	return z, nil
}

// Addr is what it listens on.
func (z *ZeroMQ) Addr() net.Addr { return z.e.Addr() }

// Send keeps a batch until a worker has answered it. The job's name is not needed:
// there is one.
func (z *ZeroMQ) Send(ctx context.Context, _ string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.last++
	z.pending = append(z.pending, &zBatch{z.last, body})
	z.give()
	return nil
}

// Receive waits for a result.
func (z *ZeroMQ) Receive(ctx context.Context) (Delivery, error) {
	select {
	case body := <-z.results:
		nothing := func() error { return nil } // the batch comes again until it is answered, not its result
		return Delivery{Body: body, Ack: nothing, Return: nothing}, nil
	case <-ctx.Done():
		return Delivery{}, context.Cause(ctx)
	case <-z.ctx.Done():
		return Delivery{}, zmtp.ErrClosed
	}
}

// Finish tells the workers that the list is done, and closes.
func (z *ZeroMQ) Finish(ctx context.Context) error {
	z.e.Close()
	z.mu.Lock()
	z.pending = nil
	for id, w := range z.workers {
		if w.proven {
			z.say(id, w, []byte{zEnd})
		} else {
			z.s.Drop(id)
		}
	}
	z.mu.Unlock()
	z.end() // receive must not compete with Shutdown for what is left
	z.wg.Wait()
	_ = z.s.Shutdown(ctx) // a worker that takes no leave finds out by itself
	return nil
}

// Close ends all connections.
func (z *ZeroMQ) Close() error {
	z.end()
	z.e.Close()
	z.s.Close()
	z.wg.Wait()
	return nil
}

func (z *ZeroMQ) up(p zmtp.Peer) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.workers[p.ID] = &zWorker{addr: p.Addr, held: map[uint64]*zBatch{}}
}

// down has what a lost worker held go out again, before all else.
func (z *ZeroMQ) down(id zmtp.PeerID, _ error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	w := z.workers[id]
	delete(z.workers, id)
	var again []*zBatch
	for _, b := range w.held {
		again = append(again, b)
	}
	slices.SortFunc(again, func(a, b *zBatch) int { return cmp.Compare(a.number, b.number) })
	z.pending = append(again, z.pending...)
	z.give()
}

// give gives what is pending to who has credit, most to who has most. z.mu is held.
func (z *ZeroMQ) give() {
	for len(z.pending) > 0 {
		var to zmtp.PeerID
		var best *zWorker
		for id, w := range z.workers {
			if w.credit > 0 && (best == nil || w.credit > best.credit || w.credit == best.credit && id < to) {
				to, best = id, w
			}
		}
		if best == nil {
			return
		}
		b := z.pending[0]
		z.pending[0] = nil
		z.pending = z.pending[1:]
		best.credit--
		best.held[b.number] = b
		m := binary.BigEndian.AppendUint64([]byte{zNames}, b.number)
		z.say(to, best, append(m, b.body...))
	}
}

// say seals and sends. It never waits: a worker whose queue is full does not read,
// and goes. z.mu is held, so that messages leave as they were sealed.
func (z *ZeroMQ) say(id zmtp.PeerID, w *zWorker, m []byte) {
	z.raw(id, w.session.Seal(nil, m))
}

func (z *ZeroMQ) raw(id zmtp.PeerID, m []byte) {
	if err := z.s.SendTo(now, id, m); err != nil && !errors.Is(err, zmtp.ErrNoPeer) {
		z.s.Drop(id)
	}
}

// now is over: what would have to wait fails.
var now = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// receive takes what workers say.
func (z *ZeroMQ) receive() {
	for {
		m, err := z.s.Receive(z.ctx)
		if err != nil {
			return
		}
		body, err := z.hear(m)
		if err != nil {
			z.refuse(m.Peer, err)
		}
		if body == nil {
			continue
		}
		select {
		case z.results <- body:
		case <-z.ctx.Done():
			return
		}
	}
}

func (z *ZeroMQ) refuse(id zmtp.PeerID, err error) {
	z.mu.Lock()
	w := z.workers[id]
	z.mu.Unlock()
	z.s.Drop(id)
	if z.o.Refused != nil && w != nil {
		z.o.Refused(w.addr, err)
	}
}

// hear takes one message. It returns the result in it, if there is one.
func (z *ZeroMQ) hear(m zmtp.Message) (result []byte, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	w := z.workers[m.Peer]
	if w == nil {
		return nil, nil // it has gone since
	}
	if w.session == nil {
		s, welcome, err := psk.Welcome(z.o.Key, m.Frames[0])
		if err != nil {
			return nil, err
		}
		w.session = s
		z.raw(m.Peer, welcome)
		return nil, nil
	}
	p, err := w.session.Open(m.Frames[0])
	if err != nil {
		return nil, err
	}
	if !w.proven {
		w.proven = true
		z.s.Trust(m.Peer)
	}
	if len(p) == 0 {
		return nil, errMessage
	}
	kind, p := p[0], p[1:]
	switch {
	case kind == zResult:
		return p, nil
	case kind == zCredit && len(p) == 4:
		w.credit = min(w.credit+int(min(binary.BigEndian.Uint32(p), maxCredit)), maxCredit-len(w.held))
		w.credit = max(w.credit, 0)
		z.give()
	case (kind == zDone || kind == zBack) && len(p) == 8:
		n := binary.BigEndian.Uint64(p)
		b := w.held[n]
		delete(w.held, n)
		if b != nil && kind == zBack {
			z.pending = append(z.pending, b)
			z.give()
		}
	default:
		return nil, errMessage
	}
	return nil, nil
}

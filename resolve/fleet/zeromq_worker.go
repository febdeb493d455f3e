package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
)

// A ZeroMQWorker is a worker's end: a DEALER that says how many batches it may be
// given, and with each that is done that it may be given another.
type ZeroMQWorker struct {
	addr string
	o    ZeroMQOptions
	ctx  context.Context // its cause is the final error
	fail context.CancelCauseFunc
	wg   sync.WaitGroup
	in   chan zDelivery

	mu      sync.Mutex
	link    *zLink // nil while there is none
	changed chan struct{}
	held    int // deliveries that are neither acknowledged nor returned
}

// zLink is what lasts as long as a connection.
type zLink struct {
	s       *zmtp.Socket
	gone    context.Context
	session *psk.Session

	mu sync.Mutex // messages leave as they are sealed
}

type zDelivery struct {
	link   *zLink
	number uint64
	body   []byte
}

// DialZeroMQ connects a worker to the coordinator at addr, a host and port. Errors
// of this first connection are not retried; they match [psk.ErrSecret] or
// [zmtp.ErrProtocol], or are of the network.
func DialZeroMQ(ctx context.Context, addr string, o ZeroMQOptions) (*ZeroMQWorker, error) {
	if o.Prefetch <= 0 {
		o.Prefetch = 8
	}
	o.Prefetch = min(o.Prefetch, maxCredit)
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	w := &ZeroMQWorker{addr: addr, o: o, in: make(chan zDelivery, o.Prefetch), changed: make(chan struct{})}
	w.ctx, w.fail = context.WithCancelCause(context.Background())
	l, err := w.connect(ctx)
	if err != nil {
		w.fail(err)
		return nil, err
	}
	if err := w.begin(l); err != nil {
		l.s.Close()
		w.fail(err)
		return nil, err
	}
	w.wg.Go(func() { w.run(l) })
	return w, nil
}

// welcomeTimeout is how long a coordinator may take to welcome a worker.
const welcomeTimeout = 10 * time.Second

func (w *ZeroMQWorker) connect(ctx context.Context) (*zLink, error) {
	gone, down := context.WithCancelCause(w.ctx)
	so := w.o.socket(&zmtp.Trace{Down: func(_ zmtp.PeerID, err error) { down(err) }})
	so.Retry = -1
	l := &zLink{s: zmtp.New(zmtp.DEALER, so), gone: gone}
	fail := func(err error) (*zLink, error) {
		l.s.Close()
		return nil, err
	}
	if err := l.s.Connect(ctx, w.addr); err != nil {
		return fail(err)
	}
	comer := psk.NewComer(w.o.Key)
	patience, cancel := context.WithTimeoutCause(gone, welcomeTimeout, socket.ErrTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { down(context.Cause(ctx)) })()
	if err := l.s.Send(patience, comer.Hello()); err != nil {
		return fail(fmt.Errorf("join the coordinator at %s: %w", w.addr, err))
	}
	m, err := l.s.Receive(patience)
	if err == nil {
		l.session, err = comer.Welcomed(m.Frames[0])
	}
	if err != nil {
		return fail(fmt.Errorf("join the coordinator at %s: %w", w.addr, err))
	}
	return l, nil
}

// begin makes l the link, and asks for as much as there is room for.
func (w *ZeroMQWorker) begin(l *zLink) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := l.say(credit(w.o.Prefetch - w.held)); err != nil {
		return err
	}
	w.link = l
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

func credit(n int) []byte { return binary.BigEndian.AppendUint32([]byte{zCredit}, uint32(n)) }

func (l *zLink) say(m []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Send(l.gone, l.session.Seal(nil, m))
}

// run takes what comes over one link after the other.
func (w *ZeroMQWorker) run(l *zLink) {
	for {
		err := w.receive(l)
		w.mu.Lock()
		w.link = nil
		w.mu.Unlock()
		l.s.Close()
		if w.ctx.Err() != nil {
			return
		}
		err = fmt.Errorf("the coordinator at %s is gone: %w", w.addr, err)
		if w.o.Timeout < 0 {
			w.fail(err)
			return
		}
		if w.o.Away != nil {
			w.o.Away(err)
		}
		if l, err = w.again(); err != nil {
			w.fail(err)
			return
		}
		if w.o.Away != nil {
			w.o.Away(nil)
		}
	}
}

// again connects until it succeeds, or has taken too long.
func (w *ZeroMQWorker) again() (*zLink, error) {
	ctx, cancel := context.WithTimeoutCause(w.ctx, w.o.Timeout, socket.ErrTimeout)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 3*time.Second) {
		l, err := w.connect(ctx)
		if err == nil {
			if err = w.begin(l); err == nil {
				return l, nil
			}
			l.s.Close()
		}
		if errors.Is(err, psk.ErrSecret) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("the coordinator at %s does not come back: %w", w.addr, err)
		}
	}
}

func (w *ZeroMQWorker) receive(l *zLink) error {
	for {
		m, err := l.s.Receive(l.gone)
		if err != nil {
			return err
		}
		p, err := l.session.Open(m.Frames[0])
		if err != nil {
			return err
		}
		if err := w.take(l, p); err != nil {
			return err
		}
	}
}

// take takes what the coordinator says: a batch that was asked for, or the end.
func (w *ZeroMQWorker) take(l *zLink, p []byte) error {
	switch {
	case len(p) == 1 && p[0] == zEnd:
		w.fail(ErrFinished)
		return ErrFinished
	case len(p) < 9 || p[0] != zNames:
		return errMessage
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held >= w.o.Prefetch {
		return fmt.Errorf("%w: more batches than were asked for", errMessage)
	}
	w.held++
	w.in <- zDelivery{l, binary.BigEndian.Uint64(p[1:]), p[9:]} // there is room for all that may be held
	return nil
}

// Send gives a result to the coordinator. What is on the way when the connection
// breaks is lost, and the coordinator gives that batch out again.
func (w *ZeroMQWorker) Send(ctx context.Context, _ string, body []byte) error {
	for {
		w.mu.Lock()
		l, changed := w.link, w.changed
		w.mu.Unlock()
		if l == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-w.ctx.Done():
				return context.Cause(w.ctx)
			}
		}
		_ = l.say(append([]byte{zResult}, body...))
		return nil
	}
}

// Receive waits for a batch. Its error is [ErrFinished] when the coordinator has all
// results.
func (w *ZeroMQWorker) Receive(ctx context.Context) (Delivery, error) {
	select {
	case d := <-w.in:
		end := func(kind byte) func() error {
			return sync.OnceValue(func() error { return w.release(d, kind) })
		}
		return Delivery{Body: d.body, Ack: end(zDone), Return: end(zBack)}, nil
	case <-ctx.Done():
		return Delivery{}, context.Cause(ctx)
	case <-w.ctx.Done():
		return Delivery{}, context.Cause(w.ctx)
	}
}

// release says of a batch that it is done or goes back, to the coordinator that gave
// it, and asks for another.
func (w *ZeroMQWorker) release(d zDelivery, kind byte) error {
	w.mu.Lock()
	w.held--
	l := w.link
	w.mu.Unlock()
	if l == nil {
		return nil // begin asks for the next
	}
	if l == d.link {
		if err := l.say(binary.BigEndian.AppendUint64([]byte{kind}, d.number)); err != nil {
			return err
		}
	}
	return l.say(credit(1))
}

// Close ends the connection: what is held goes to others.
func (w *ZeroMQWorker) Close() error {
	w.fail(zmtp.ErrClosed)
	w.wg.Wait()
	return nil
}

// Package rabbit carries what package depot leaves by RabbitMQ, or another broker of
// AMQP 0-9-1 that has streams.
//
// Each offer has a stream, wherry.depot.NAME, and one for receipts and for what those who
// share say to each other, wherry.depot.NAME.receipts; NAME comes from the code and tells
// nothing of it.
//
// Messages are published with confirmations, at most [window] bytes ahead of them, and
// consumed with a prefetch of as many. A connection that is lost is made again, with
// growing pauses; what was not confirmed is published again in its order, which is why
// messages may be there twice.
//
// A stream drops what is older than [Options.KeepFor] or beyond [Options.KeepBytes] by
// whole segments of 64 MiB, and only when it begins another segment or starts; its last
// segment stays. So the broker alone may keep 64 MiB of an offer for ever, and all of one
// that is smaller. That is why the offer tells itself how long it is given out, and who
// comes next with the code removes it ([Rabbit.Remove]); until then it lies there sealed.
// For the same reason a stream is given a segment more than [Options.KeepBytes]: what is
// there twice must not push out the beginning. Receipts are bounded by age alone.
//
// What is confirmed outlives the broker's death, with one exception: RabbitMQ 3.10
// writes down a second after it has made the first of all its streams that it has
// streams. If it dies within that second, that stream hangs from then on.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/transfer/depot"
)

// window is how much may be on its way, each way.
const window = 8 << 20

// Options says how to use a broker. The zero value is the default.
type Options struct {
	broker.Options
	// Timeout is how long a broker may be away, or take nothing, before that is an
	// error; 0 is 30 s.
	Timeout time.Duration
	// KeepFor is how long a stream that is made keeps its messages; 0 is without end.
	KeepFor time.Duration
	// KeepBytes is how much of the content it keeps, and a segment; 0 is without bound.
	KeepBytes int64
	// Away is called when the connection is lost, with nil when it is back.
	Away func(err error)
	// Blocked is called when the broker takes no messages, with its reason, and with
	// "" when it does again.
	Blocked func(reason string)
}

var (
	// ErrAway is matched by errors of a broker that was lost and did not come back.
	ErrAway = errors.New("the broker is away")
	// ErrBlocked is matched by errors of a broker that takes no messages: its disk or
	// memory is full.
	ErrBlocked = errors.New("the broker takes nothing")
)

// A Rabbit is one offer's place at a broker. Its logs may be used side by side.
type Rabbit struct {
	url  *broker.URL
	o    Options
	name string
	stop context.Context
	end  context.CancelFunc

	mu   sync.Mutex // held while connecting
	link *link
}

// A link is what lasts as long as a connection.
type link struct {
	conn *amqp.Connection
	gone chan struct{}

	mu      sync.Mutex
	blocked string // why the broker takes nothing
}

// Dial connects to the broker. Errors of this first connection are not retried; they
// match [broker.ErrAuth] or are of the network.
func Dial(ctx context.Context, u *broker.URL, k *depot.Key, o Options) (*Rabbit, error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	r := &Rabbit{url: u, o: o, name: "wherry.depot." + k.Name()}
	r.stop, r.end = context.WithCancel(context.Background())
	l, err := r.connect(ctx)
	if err != nil {
		r.end()
		return nil, err
	}
	r.link = l
	return r, nil
}

// Addr is the broker's.
func (r *Rabbit) Addr() net.Addr { return addr{r.url.String()} }

type addr struct{ url string }

func (addr) Network() string  { return "amqp" }
func (a addr) String() string { return a.url }

func (r *Rabbit) connect(ctx context.Context) (*link, error) {
	conn, err := broker.Dial(ctx, r.url, r.o.Options)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, gone: make(chan struct{})}
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 4))
	go func() {
		defer close(l.gone)
		var patience *time.Timer
		for {
			select {
			case b, ok := <-blocked:
				if !ok {
					blocked = nil
					continue
				}
				l.mu.Lock()
				was := l.blocked != ""
				l.blocked = ""
				if b.Active {
					if l.blocked = b.Reason; b.Reason == "" {
						l.blocked = "it is out of resources"
					}
				}
				reason := l.blocked
				l.mu.Unlock()
				if r.o.Blocked != nil && was != b.Active {
					r.o.Blocked(reason)
				}
				if patience != nil {
					patience.Stop()
				}
				if b.Active {
					// Whoever is writing hangs in the socket, which the broker does not read.
					patience = time.AfterFunc(r.o.Timeout, func() { _ = conn.CloseDeadline(time.Now()) })
				}
			case <-closed:
				if patience != nil {
					patience.Stop()
				}
				return
			}
		}
	}()
	return l, nil
}

// refused is why a link takes nothing, or took nothing when it was given up.
func (l *link) refused() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrBlocked, l.blocked)
}

// drop ends a link that does not work as it should.
func (l *link) drop() {
	_ = l.conn.CloseDeadline(time.Now().Add(time.Second))
	<-l.gone
}

var errClosed = errors.New("the connection to the broker is closed")

// use returns a link, a new one if the last is gone, however long that takes, but for
// [Options.Timeout].
func (r *Rabbit) use(ctx context.Context) (*link, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop.Err() != nil {
		return nil, errClosed
	}
	select {
	case <-r.link.gone:
	default:
		return r.link, nil
	}
	if err := r.link.refused(); err != nil {
		return nil, fmt.Errorf("%w, for %v", err, r.o.Timeout)
	}
	if r.o.Away != nil {
		r.o.Away(fmt.Errorf("%w: %s", ErrAway, r.url))
	}
	ctx, cancel := context.WithTimeout(untimed(ctx), r.o.Timeout)
	defer cancel()
	defer context.AfterFunc(r.stop, cancel)()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 3*time.Second) {
		l, err := r.connect(ctx)
		if err == nil {
			r.link = l
			if r.o.Away != nil {
				r.o.Away(nil)
			}
			return l, nil
		}
		if errors.Is(err, broker.ErrAuth) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return nil, fmt.Errorf("%w, and has not come back for %v: %w", ErrAway, r.o.Timeout, err)
			}
			return nil, context.Cause(ctx)
		}
	}
}

// untimed is ctx without its deadline, which is for how long to wait for a message and
// not for the broker.
func untimed(ctx context.Context) context.Context {
	c, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.Canceled) {
			cancel(context.Cause(ctx))
		}
	})
	return c
}

// with runs f with a channel of its own, again and again while the connection is lost
// or the broker is not ready.
func (r *Rabbit) with(ctx context.Context, doing string, f func(*link, *amqp.Channel) error) error {
	var since time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		l, err := r.use(ctx)
		if err != nil {
			return err
		}
		ch, err := l.conn.Channel()
		if err == nil {
			if err = f(l, ch); err == nil {
				return nil
			}
			_ = ch.Close()
		}
		ae := &amqp.Error{}
		answered := errors.As(err, &ae)
		switch {
		case answered && ae.Code == amqp.NotFound && strings.Contains(ae.Reason, "no queue"):
			return fmt.Errorf("%w (%s)", depot.ErrNoOffer, ae.Reason)
		case answered && (ae.Code == amqp.AccessRefused || ae.Code == amqp.NotAllowed):
			return fmt.Errorf("%s at the broker %s: %w (%s)", doing, r.url, broker.ErrAuth, ae.Reason)
		case answered && ae.Code == amqp.PreconditionFailed && strings.Contains(ae.Reason, "replica"):
			// Its stream is at other nodes, or not up yet at this one, which has just
			// begun; the next connection may be to another.
			l.drop()
		case answered && (ae.Code == amqp.PreconditionFailed || ae.Code == amqp.NotImplemented):
			return fmt.Errorf("%s at the broker %s: %s", doing, r.url, ae.Reason)
		}
		// Lost; or a stream that a broker which has just begun has not got up yet, which
		// it calls not found too.
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > r.o.Timeout {
			return fmt.Errorf("%s at the broker %s: %w: %w", doing, r.url, ErrAway, err)
		}
		select {
		case <-time.After(wait):
		case <-untimed(ctx).Done():
			return context.Cause(ctx)
		}
	}
}

// Remove removes the offer with all that belongs to it.
func (r *Rabbit) Remove(ctx context.Context) error {
	var first error
	for _, q := range []string{r.name, r.name + receipts} {
		err := r.with(ctx, "remove a stream", func(_ *link, ch *amqp.Channel) error {
			defer ch.Close()
			_, err := ch.QueueDelete(q, false, false, false)
			return err
		})
		if first == nil && !errors.Is(err, depot.ErrNoOffer) {
			first = err
		}
	}
	return first
}

// Close closes the connection.
func (r *Rabbit) Close() {
	r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link.drop()
}

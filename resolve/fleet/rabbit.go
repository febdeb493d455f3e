package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/safetext"
)

// The queues that this package makes on a broker. Both outlive a restart of it.
const (
	// namesQueue has the batches of all jobs. It is a classic queue and not a quorum
	// queue: RabbitMQ 3.10 forgets the registration of one that was made shortly
	// before the machine lost its power, and the queue hangs from then on.
	namesQueue = "wherry.names"
	// resultsQueue has the results of the job whose name follows. It goes a day
	// after its coordinator.
	resultsQueue   = "wherry.results."
	resultsExpires = 24 * time.Hour
)

// RabbitOptions says how to use a broker. The zero value is the default.
type RabbitOptions struct {
	broker.Options
	// Prefetch is how many deliveries may be unacknowledged; 0 is 8.
	Prefetch int
	// Timeout is how long a broker may be away, or take no message, before that is an
	// error; 0 is 30 s.
	Timeout time.Duration
	// Away is called when the connection is lost, and when the broker takes no
	// messages because it is full, with nil when that is over.
	Away func(err error)
}

// A Rabbit carries messages by RabbitMQ or another broker of AMQP 0-9-1.
type Rabbit struct {
	url  *broker.URL
	o    RabbitOptions
	job  string // a coordinator's; "" for a worker
	stop context.Context
	end  context.CancelFunc

	mu      sync.Mutex // held while connecting
	session *session
	closed  bool
}

// session is what lasts as long as a connection.
type session struct {
	conn       *amqp.Connection
	pub        *amqp.Channel
	deliveries <-chan amqp.Delivery
	gone       chan struct{} // closed with the connection or a channel
	full       error         // set before gone is closed: that was because the broker stayed full

	mu      sync.Mutex         // one message at a time is published
	returns <-chan amqp.Return // messages for which there was no queue
}

// ErrJobGone is the error of a result whose coordinator is not there any more.
var ErrJobGone = errors.New("the job's coordinator is gone")

// DialRabbit connects a coordinator of job, or with "" a worker. Errors of this
// first connection are not retried; they match [broker.ErrAuth] or are of the
// network.
func DialRabbit(ctx context.Context, u *broker.URL, job string, o RabbitOptions) (*Rabbit, error) {
	if o.Prefetch <= 0 {
		o.Prefetch = 8
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	r := &Rabbit{url: u, o: o, job: job}
	r.stop, r.end = context.WithCancel(context.Background())
	s, err := r.connect(ctx)
	if err != nil {
		r.end()
		return nil, err
	}
	r.session = s
	return r, nil
}

// connect makes a session: queues, a channel that confirms, and one that consumes.
func (r *Rabbit) connect(ctx context.Context) (_ *session, err error) {
	conn, err := broker.Dial(ctx, r.url, r.o.Options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			broker.Close(conn)
			err = fmt.Errorf("set up queues on the broker %s: %w", r.url, err)
		}
	}()
	s := &session{conn: conn, gone: make(chan struct{})}
	if s.pub, err = conn.Channel(); err != nil {
		return nil, err
	}
	if err = s.pub.Confirm(false); err != nil {
		return nil, err
	}
	in, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if _, err = in.QueueDeclare(namesQueue, true, false, false, false, nil); err != nil {
		return nil, err
	}
	queue := namesQueue
	if r.job != "" {
		queue = resultsQueue + r.job
		if _, err = in.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-expires": int32(resultsExpires.Milliseconds())}); err != nil {
			return nil, err
		}
	}
	if err = in.Qos(r.o.Prefetch, 0, false); err != nil {
		return nil, err
	}
	if s.deliveries, err = in.Consume(queue, "", false, false, false, false, nil); err != nil {
		return nil, err
	}
	s.returns = s.pub.NotifyReturn(make(chan amqp.Return, 16))
	closed := []chan *amqp.Error{conn.NotifyClose(make(chan *amqp.Error, 1)), s.pub.NotifyClose(make(chan *amqp.Error, 1)), in.NotifyClose(make(chan *amqp.Error, 1))}
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	go func() {
		s.full = r.watch(closed, blocks)
		close(s.gone)
		broker.Close(conn) // a channel that has failed is not mended alone
	}()
	return s, nil
}

// watch returns when a connection is of no use any more: with nil when it or a
// channel of it is closed, with an error when the broker has been full for too long.
func (r *Rabbit) watch(closed []chan *amqp.Error, blocks <-chan amqp.Blocking) error {
	var why error
	var patience <-chan time.Time
	for {
		select {
		case <-closed[0]:
			return nil
		case <-closed[1]:
			return nil
		case <-closed[2]:
			return nil
		case <-patience:
			return why
		case b, ok := <-blocks:
			switch {
			case !ok:
				blocks = nil
				continue
			case !b.Active:
				why, patience = nil, nil
			case patience == nil:
				why, patience = r.fullError(safetext.Clean(b.Reason)), time.After(r.o.Timeout)
			}
			if r.o.Away != nil {
				r.o.Away(why)
			}
		}
	}
}

func (r *Rabbit) fullError(reason string) error {
	return fmt.Errorf("%w: %s takes no messages (%s)", broker.ErrFull, r.url, reason)
}

// use returns the session, and makes a new one if it is gone.
func (r *Rabbit) use(ctx context.Context) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	select {
	case <-r.session.gone:
	default:
		return r.session, nil
	}
	if r.session.full != nil {
		return nil, r.session.full
	}
	if r.o.Away != nil {
		r.o.Away(fmt.Errorf("the broker %s is away", r.url))
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	defer context.AfterFunc(r.stop, cancel)()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 3*time.Second) {
		s, err := r.connect(ctx)
		if err == nil {
			r.session = s
			if r.o.Away != nil {
				r.o.Away(nil)
			}
			return s, nil
		}
		if errors.Is(err, broker.ErrAuth) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

var errClosed = errors.New("the connection to the broker is closed")

// Send returns when the broker has confirmed the message, after however many
// connections. A result for a job whose queue is gone is [ErrJobGone].
func (r *Rabbit) Send(ctx context.Context, job string, body []byte) error {
	queue := namesQueue
	if r.job == "" {
		queue = resultsQueue + job
	}
	id := rand.Text()
	var refused time.Time // since when
	for wait := 10 * time.Millisecond; ; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		s, err := r.use(ctx)
		if err != nil {
			return err
		}
		ok, err := s.publish(ctx, queue, id, body)
		switch {
		case errors.Is(err, ErrJobGone):
			return err
		case ok:
			return nil
		case err == nil: // the connection is lost
			refused = time.Time{}
			continue
		}
		// A queue that somebody has given a limit.
		if refused.IsZero() {
			refused = time.Now()
		}
		if time.Since(refused) > r.o.Timeout {
			return r.fullError("the queue " + queue + " has reached its limit")
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, time.Second)
	}
}

// errRefused is the broker's negative confirmation.
var errRefused = errors.New("the broker does not take the message")

// publish reports whether the broker has taken the message; if not, without an error
// the connection is lost. What the broker returns it returns before it confirms.
func (s *session) publish(ctx context.Context, queue, id string, body []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	conf, err := s.pub.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false, amqp.Publishing{
		ContentType: "text/plain; charset=us-ascii", DeliveryMode: amqp.Persistent, MessageId: id, Body: body,
	})
	if err != nil {
		broker.Close(s.conn) // and gone tells; a channel that is closing may not have told yet
		<-s.gone
		return false, nil
	}
	select {
	case <-conf.Done():
	case <-s.gone:
		return false, nil
	case <-ctx.Done():
		return false, nil
	}
	for {
		select {
		case m, ok := <-s.returns:
			if !ok {
				return false, nil
			}
			if m.MessageId == id {
				return false, ErrJobGone
			}
			continue // one that was not waited for to its end
		default:
		}
		switch {
		case conf.Acked():
			return true, nil
		case s.pub.IsClosed(): // which ends the wait for all confirmations
			return false, nil
		}
		return false, errRefused
	}
}

// Receive waits for a message, after however many connections.
func (r *Rabbit) Receive(ctx context.Context) (Delivery, error) {
	for {
		s, err := r.use(ctx)
		if err != nil {
			return Delivery{}, err
		}
		select {
		case m, ok := <-s.deliveries:
			if ok {
				return Delivery{
					Body:   m.Body,
					Ack:    func() error { return m.Ack(false) },
					Return: func() error { return m.Nack(false, true) },
				}, nil
			}
			<-s.gone
		case <-s.gone:
		case <-ctx.Done():
			return Delivery{}, context.Cause(ctx)
		case <-r.stop.Done():
			return Delivery{}, errClosed
		}
	}
}

// Finish removes the job's queue: results that still come are of batches that were
// done twice.
func (r *Rabbit) Finish(ctx context.Context) error {
	s, err := r.use(ctx)
	if err != nil {
		return err
	}
	// Nothing that the library does waits for a ctx.
	defer context.AfterFunc(ctx, func() { broker.Close(s.conn) })()
	_, err = s.pub.QueueDelete(resultsQueue+r.job, false, false, false)
	return err
}

// Close gives what was not acknowledged back to the broker.
func (r *Rabbit) Close() error {
	r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	return broker.Close(r.session.conn)
}

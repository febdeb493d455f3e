package rabbit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/wherry-net/wherry/transfer/depot"
)

const (
	receipts = ".receipts"
	// segment is how much a stream drops at once, and never drops the last of.
	segment = 64 << 20
	// ahead is how many messages may be on their way.
	ahead = window / depot.ChunkSize
)

// A Log is a stream; a [depot.Appender] and a [depot.Cursor], each for one goroutine.
type Log struct {
	r     *Rabbit
	queue string
	make  bool // it is made if it is not there

	out    *link // of pub
	pub    *amqp.Channel
	unsure []pending // published and not confirmed, in their order
	silent int       // how many beats have passed since something was last confirmed
	beat   time.Time // when the last was counted

	in   *link // of sub
	sub  *amqp.Channel
	from any   // where to begin to consume
	next int64 // the offset that is asked for next if the connection is lost; less than 0: from
	came <-chan amqp.Delivery
}

type pending struct {
	msg  []byte
	conf *amqp.DeferredConfirmation
}

// Content is the stream of an offer. A sender makes it.
func (r *Rabbit) Content(sender bool) *Log { return &Log{r: r, queue: r.name, make: sender} }

// Receipts is the stream of its receipts. A sender makes it.
func (r *Rabbit) Receipts(sender bool) *Log {
	return &Log{r: r, queue: r.name + receipts, make: sender}
}

// declare makes sure of the stream. One that is there is taken as it is.
func (g *Log) declare(l *link, ch *amqp.Channel) error {
	_, err := ch.QueueDeclarePassive(g.queue, true, false, false, false, nil)
	if ae := (*amqp.Error)(nil); !g.make || err == nil || !errors.As(err, &ae) || ae.Code != amqp.NotFound {
		return err
	}
	args := amqp.Table{"x-queue-type": "stream", "x-stream-max-segment-size-bytes": int64(segment)}
	if k := g.r.o.KeepFor; k > 0 {
		args["x-max-age"] = strconv.FormatInt(max(1, int64(k/time.Second)), 10) + "s"
	}
	if g.r.o.KeepBytes > 0 && g.queue == g.r.name {
		args["x-max-length-bytes"] = g.r.o.KeepBytes + segment
	}
	// The failure has closed the channel.
	again, err := l.conn.Channel()
	if err != nil {
		return err
	}
	defer again.Close()
	_, err = again.QueueDeclare(g.queue, true, false, false, false, args)
	return err
}

// Make makes sure of the stream, at a sender; Append does it by itself.
func (g *Log) Make(ctx context.Context) error {
	return g.r.with(ctx, "make a stream", func(l *link, ch *amqp.Channel) error {
		defer ch.Close()
		return g.declare(l, ch)
	})
}

// Append is [depot.Appender]'s.
func (g *Log) Append(ctx context.Context, _ int64, msg []byte) error {
	for len(g.unsure) >= ahead {
		if err := g.settle(ctx); err != nil {
			return err
		}
	}
	if len(g.unsure) == 0 {
		g.moved()
	}
	g.unsure = append(g.unsure, pending{msg: msg})
	return g.publish(ctx)
}

// Flush is [depot.Appender]'s.
func (g *Log) Flush(ctx context.Context) error {
	for len(g.unsure) > 0 {
		if err := g.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publish publishes what of unsure was not, over however many connections.
func (g *Log) publish(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if g.pub == nil {
			err := g.r.with(ctx, "open a stream", func(l *link, ch *amqp.Channel) error {
				if err := g.declare(l, ch); err != nil {
					return err
				}
				if ch.IsClosed() {
					var err error
					if ch, err = l.conn.Channel(); err != nil {
						return err
					}
				}
				if err := ch.Confirm(false); err != nil {
					return err
				}
				g.out, g.pub = l, ch
				g.moved()
				return nil
			})
			if err != nil {
				return err
			}
			for i := range g.unsure {
				g.unsure[i].conf = nil
			}
		}
		var err error
		for i := range g.unsure {
			p := &g.unsure[i]
			if p.conf == nil {
				p.conf, err = g.pub.PublishWithDeferredConfirmWithContext(ctx, "", g.queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: p.msg})
			}
			if err != nil {
				break
			}
		}
		if err == nil {
			return nil
		}
		g.lose()
	}
}

// lose gives up the channel for publishing, and with it the connection: a channel that
// has failed is not mended alone.
func (g *Log) lose() {
	g.out.drop()
	g.pub = nil
}

// beats is into how many [Options.Timeout] is divided.
const beats = 10

// moved begins a new [Options.Timeout].
func (g *Log) moved() { g.silent, g.beat = 0, time.Now() }

// overdue counts a beat if one has passed, and reports whether all have. However long a
// beat was it counts once: while this process itself stood still, in the background or
// as a guest of a busy machine, what the broker has said lies in the socket, and is to be
// read before it is called silent.
func (g *Log) overdue() bool {
	one, now := g.r.o.Timeout/beats, time.Now()
	if passed := now.Sub(g.beat); passed >= one {
		g.silent++
		if g.beat = g.beat.Add(one); passed >= 2*one {
			g.beat = now
		}
	}
	return g.silent >= beats
}

// settle waits for the oldest message to be confirmed.
func (g *Log) settle(ctx context.Context) error {
	if err := g.publish(ctx); err != nil {
		return err
	}
	p := g.unsure[0]
	beat := time.NewTicker(max(1, g.r.o.Timeout/beats))
	defer beat.Stop()
	full := false
	for lost := false; !lost; {
		select {
		case <-p.conf.Done():
			if p.conf.Acked() {
				g.unsure[0] = pending{}
				g.unsure = g.unsure[1:]
				g.moved()
				return nil
			}
			lost = true
		case <-g.out.gone:
			lost = true
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
		}
		err := g.out.refused()
		if full && err == nil {
			g.moved() // it takes messages again
		}
		full = err != nil
		if !g.overdue() {
			continue
		}
		if err != nil {
			return fmt.Errorf("%w, for %v", err, g.r.o.Timeout)
		}
		return fmt.Errorf("%w: %s has confirmed nothing for %v", ErrAway, g.r.url, g.r.o.Timeout)
	}
	silent := g.silent
	g.lose()
	err := g.publish(ctx)
	g.silent = silent
	return err
}

// Seek is [depot.Cursor]'s.
func (g *Log) Seek(ctx context.Context, offset int64) error {
	g.leave()
	g.from, g.next = any(offset), -1
	if offset == depot.Last {
		g.from = "last"
	}
	return g.consume(ctx)
}

// leave ends the consumer.
func (g *Log) leave() {
	if g.sub != nil {
		_ = g.sub.Close()
		g.sub = nil
	}
}

func (g *Log) consume(ctx context.Context) error {
	return g.r.with(ctx, "read a stream", func(l *link, ch *amqp.Channel) error {
		if _, err := ch.QueueDeclarePassive(g.queue, true, false, false, false, nil); err != nil {
			return err
		}
		if err := ch.Qos(ahead, 0, false); err != nil {
			return err
		}
		from := g.from
		if g.next >= 0 {
			from = g.next
		}
		came, err := ch.Consume(g.queue, "", false, false, false, false, amqp.Table{"x-stream-offset": from})
		if err != nil {
			return err
		}
		g.in, g.sub, g.came = l, ch, came
		return nil
	})
}

// Next is [depot.Cursor]'s.
func (g *Log) Next(ctx context.Context) (depot.Message, error) {
	for {
		if g.sub == nil {
			if err := g.consume(ctx); err != nil {
				return depot.Message{}, err
			}
		}
		select {
		case m, ok := <-g.came:
			if !ok {
				g.leave()
				continue
			}
			offset, known := m.Headers["x-stream-offset"].(int64)
			if !known {
				return depot.Message{}, fmt.Errorf("read a stream at the broker %s: it is a queue of another kind", g.r.url)
			}
			if err := m.Ack(false); err != nil {
				g.leave()
				continue
			}
			g.next = offset + 1
			return depot.Message{Offset: offset, Body: m.Body}, nil
		case <-ctx.Done():
			return depot.Message{}, ctx.Err()
		}
	}
}

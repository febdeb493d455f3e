package fleet

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
)

// memory is a broker in memory: queues that keep what is not acknowledged, and give
// it to somebody else when its consumer goes.
type memory struct {
	mu     sync.Mutex
	more   *sync.Cond
	queues map[string][]*message // batches under "", results under their job
	rng    *rand.Rand            // if set, messages come twice now and then
}

type message struct{ body []byte }

func newMemory(rng *rand.Rand) *memory {
	m := &memory{queues: map[string][]*message{}, rng: rng}
	m.more = sync.NewCond(&m.mu)
	return m
}

// memoryEnd is one end's connection: a coordinator's with a job, or a worker's.
type memoryEnd struct {
	m        *memory
	job      string
	prefetch int
	held     []*message
	closed   bool
}

func (m *memory) end(job string, prefetch int) *memoryEnd {
	return &memoryEnd{m: m, job: job, prefetch: prefetch}
}

func (e *memoryEnd) Send(ctx context.Context, job string, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	queue := job
	if e.job != "" {
		queue = ""
	}
	e.m.queues[queue] = append(e.m.queues[queue], &message{body})
	if e.m.rng != nil && e.m.rng.IntN(8) == 0 {
		e.m.queues[queue] = append(e.m.queues[queue], &message{body})
	}
	e.m.more.Broadcast()
	return nil
}

func (e *memoryEnd) Receive(ctx context.Context) (Delivery, error) {
	defer context.AfterFunc(ctx, func() {
		e.m.mu.Lock()
		defer e.m.mu.Unlock()
		e.m.more.Broadcast()
	})()
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	for {
		if ctx.Err() != nil {
			return Delivery{}, context.Cause(ctx)
		}
		if q := e.m.queues[e.job]; len(q) > 0 && len(e.held) < e.prefetch && !e.closed {
			x := q[0]
			e.m.queues[e.job] = q[1:]
			e.held = append(e.held, x)
			return Delivery{Body: x.body, Ack: func() error { return e.settle(x, false) }, Return: func() error { return e.settle(x, true) }}, nil
		}
		e.m.more.Wait()
	}
}

func (e *memoryEnd) settle(x *message, back bool) error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	i := slices.Index(e.held, x)
	if i < 0 {
		return nil // after Close
	}
	e.held = slices.Delete(e.held, i, i+1)
	if back {
		e.m.queues[e.job] = append(e.m.queues[e.job], x)
	}
	e.m.more.Broadcast()
	return nil
}

// Close is a death: what is held goes back.
func (e *memoryEnd) Close() error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.closed = true
	e.m.queues[e.job] = append(e.m.queues[e.job], e.held...)
	e.held = nil
	e.m.more.Broadcast()
	return nil
}

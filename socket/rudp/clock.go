package rudp

import (
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// clock wakes the connections of one socket when their time has come: a heap of
// deadlines in front of one fine-grained timer. A timer a connection would take
// a file descriptor each.
type clock struct {
	start time.Time
	timer *datagram.Timer

	mu    sync.Mutex
	heap  []*alarm
	armed time.Duration // when the timer fires; arq.Never if not set
}

// alarm is a connection's place in a clock.
type alarm struct {
	at   time.Duration
	pos  int // in the heap, plus one; 0 if it is not there
	wake func()
}

func newClock() (*clock, error) {
	t, err := datagram.NewTimer()
	if err != nil {
		return nil, err
	}
	return &clock{start: time.Now(), timer: t, armed: arq.Never}, nil
}

// now is the time as the engines count it.
func (k *clock) now() time.Duration { return time.Since(k.start) }

// set makes a's wake be called at a time, in place of the one before; Never
// takes it off.
func (k *clock) set(a *alarm, at time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case at == arq.Never:
		if a.pos > 0 {
			k.remove(a)
		}
		return
	case a.pos == 0:
		a.at = at
		k.heap = append(k.heap, a)
		a.pos = len(k.heap)
		k.up(a.pos - 1)
	case at < a.at:
		a.at = at
		k.up(a.pos - 1)
	case at > a.at:
		a.at = at
		k.down(a.pos - 1)
	}
	// A timer that is set too early wakes for nothing once; setting it anew
	// for every deadline that moves back would be a system call a packet.
	if first := k.heap[0].at; first < k.armed {
		k.armed = first
		k.timer.Set(first - k.now())
	}
}

// run is the goroutine that waits.
func (k *clock) run() {
	for k.timer.Wait() == nil {
		k.mu.Lock()
		now := k.now()
		k.armed = arq.Never
		for len(k.heap) > 0 && k.heap[0].at <= now {
			a := k.heap[0]
			k.remove(a)
			a.wake()
		}
		if len(k.heap) > 0 {
			k.armed = k.heap[0].at
			k.timer.Set(k.armed - now)
		}
		k.mu.Unlock()
	}
}

func (k *clock) close() { k.timer.Close() }

func (k *clock) swap(i, j int) {
	h := k.heap
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (k *clock) up(i int) {
	for i > 0 {
		p := (i - 1) / 2
		if k.heap[p].at <= k.heap[i].at {
			return
		}
		k.swap(i, p)
		i = p
	}
}

func (k *clock) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(k.heap) {
			return
		}
		if c+1 < len(k.heap) && k.heap[c+1].at < k.heap[c].at {
			c++
		}
		if k.heap[i].at <= k.heap[c].at {
			return
		}
		k.swap(i, c)
		i = c
	}
}

func (k *clock) remove(a *alarm) {
	i, last := a.pos-1, len(k.heap)-1
	k.swap(i, last)
	k.heap[last] = nil
	k.heap = k.heap[:last]
	a.pos = 0
	if i < last {
		k.down(i)
		k.up(i)
	}
}

package bulk

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
)

// link is a simulated server behind a path: a share of queries is lost on the
// way, the rest queue for a server of some rate, and what finds the queue full
// is lost too.
type link struct {
	loss  float64
	rtt   int64   // without any queue
	rate  float64 // answers a second
	queue int     // places
	tail  func(r *rand.Rand) int64
}

type simEvent struct {
	at, sent int64
	answer   bool
}

type simHeap []simEvent

func (h simHeap) Len() int           { return len(h) }
func (h simHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h simHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simHeap) Push(x any)        { *h = append(*h, x.(simEvent)) }
func (h *simHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

type simResult struct {
	answered, lost, dropped int
	perSecond               float64 // in the second half
	dropShare               float64 // of what was sent, in the second half: loss that is our own doing
	window                  float64
}

// simulate runs a control against a link for some virtual time. Everything
// that is answered or lost lets another query go at once.
func simulate(l link, seconds float64, most int) simResult {
	r := rand.New(rand.NewPCG(1, 2))
	c := newControl(most)
	var h simHeap
	var res simResult
	var now, free int64 // free: when the server has worked off its queue
	var sentLate, dropLate, okLate int
	end := int64(seconds * 1e9)
	inflight := 0
	service := 1e9 / l.rate
	for {
		for inflight < int(c.window) {
			inflight++
			c.sent(now)
			if now > end/2 {
				sentLate++
			}
			lost := r.Float64() < l.loss
			wait := max(free, now) - now
			if !lost && float64(wait)/service > float64(l.queue) {
				lost = true
				res.dropped++
				if now > end/2 {
					dropLate++
				}
			}
			if lost {
				heap.Push(&h, simEvent{now + c.rto(), now, false})
				continue
			}
			free = max(free, now) + int64(service)
			at := free + l.rtt
			if l.tail != nil {
				at += l.tail(r)
			}
			heap.Push(&h, simEvent{at, now, true})
		}
		c.full = true
		ev := heap.Pop(&h).(simEvent)
		if now = ev.at; now > end {
			break
		}
		inflight--
		if ev.answer {
			res.answered++
			if now > end/2 {
				okLate++
			}
			c.answered(now, ev.sent)
		} else {
			res.lost++
		}
	}
	res.perSecond = float64(okLate) / (seconds / 2)
	res.dropShare = float64(dropLate) / float64(max(sentLate, 1))
	res.window = c.window
	return res
}

// TestControlKeepsLinksBusy checks both halves of the promise: a server is
// neither drowned nor left idle, whatever the path loses.
func TestControlKeepsLinksBusy(t *testing.T) {
	const ms = int64(1e6)
	recursion := func(r *rand.Rand) int64 {
		if r.Float64() < 0.5 {
			return 0 // a cache hit
		}
		return int64(r.ExpFloat64() * 80e6)
	}
	tests := []struct {
		name      string
		link      link
		seconds   float64
		atLeast   float64 // answers a second
		dropsMost float64 // share of queries lost by overflow
	}{
		{"loopback", link{0, ms / 20, 150e3, 1300, nil}, 2, 140e3, 0.01},
		{"loopback, small queue", link{0, ms / 20, 150e3, 200, nil}, 2, 120e3, 0.05},
		{"near", link{0, ms, 50e3, 500, nil}, 5, 45e3, 0.03},
		{"far", link{0, 40 * ms, 50e3, 1000, nil}, 6, 40e3, 0.03},
		{"far, loses 1%", link{0.0199, 40 * ms, 50e3, 1000, nil}, 6, 40e3, 0.03},
		{"far, loses 5% each way", link{0.0975, 40 * ms, 30e3, 1000, nil}, 10, 22e3, 0.05},
		{"far, loses 10% each way", link{0.19, 40 * ms, 30e3, 1000, nil}, 10, 18e3, 0.05},
		{"far, loses 5% each way, fast", link{0.0975, 40 * ms, 1e6, 1 << 20, nil}, 4, 50e3, 0.05},
		{"slow server", link{0, 20 * ms, 500, 50, nil}, 30, 400, 0.15},
		{"slow server, loses 5%", link{0.05, 20 * ms, 500, 50, nil}, 30, 350, 0.15},
		{"recursive", link{0, ms, 20e3, 1000, recursion}, 10, 15e3, 0.05},
		{"recursive, loses 2%", link{0.02, 10 * ms, 20e3, 1000, recursion}, 10, 14e3, 0.05},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := simulate(tt.link, tt.seconds, defaultConcurrency)
			told := fmt.Sprintf("%.0f answers a second, %.2f%% dropped, window %.0f", r.perSecond, 100*r.dropShare, r.window)
			t.Log(told)
			if r.perSecond < tt.atLeast || r.dropShare > tt.dropsMost {
				t.Errorf("%s; want at least %.0f, at most %.2f%%", told, tt.atLeast, 100*tt.dropsMost)
			}
		})
	}
}

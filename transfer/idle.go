package transfer

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Pings show that a peer lives, and not that it does anything: one that greets and
// then only pings would hold a place for ever. Where places are few
// ([ReceiveOptions].Idle), the receiver ends a session in which nothing moves.
//
// A sender may have good reasons to be slow: it hashes a large file to compare it,
// or reads a pipe into which nothing is written. So it has idlePatience times as long
// while it owes content.
const idlePatience = 50

// An idler ends a session in which nothing moves.
type idler struct {
	limit time.Duration
	last  atomic.Int64 // UnixNano, of the last frame that was no ping
	busy  atomic.Int32 // this end is the one that is waited for
}

func (i *idler) moved() { i.last.Store(time.Now().UnixNano()) }

// ours runs f, for as long as it takes: it is this end that does not move.
func (i *idler) ours(f func() error) error {
	i.busy.Add(1)
	defer func() { i.moved(); i.busy.Add(-1) }()
	return f()
}

// watch calls end when nothing has moved for too long; owed reports whether the peer
// owes content.
func (i *idler) watch(ctx context.Context, owed func() bool, end context.CancelCauseFunc) {
	if i.limit <= 0 {
		return
	}
	tick := time.NewTicker(max(i.limit/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			limit := i.limit
			if owed() {
				limit *= idlePatience
			}
			if i.busy.Load() == 0 && now.Sub(time.Unix(0, i.last.Load())) > limit {
				end(fmt.Errorf("%w for %v", ErrIdle, limit))
				return
			}
		}
	}
}

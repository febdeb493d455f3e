package zeromq

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
)

const (
	// maxPortions bounds what a sender keeps of them.
	maxPortions = 4 << 20
)

// shares is what has become of the portions, at the sender.
type shares struct {
	state []byte // by portion
	left  int    // that are not landed
	next  int    // none before it is free
}

const (
	isFree = iota
	isTaken
	isLanded
)

func (x *shares) take() int {
	for ; x.next < len(x.state); x.next++ {
		if x.state[x.next] == isFree {
			x.state[x.next] = isTaken
			return x.next
		}
	}
	return -1
}

func (x *shares) free(i int) {
	if x.state[i] == isTaken {
		x.state[i], x.next = isFree, min(x.next, i)
	}
}

// share takes what a receiver says of portions, or reports that it makes no sense.
// s.mu is held.
func (s *Sender) share(r *receiver, kind byte, n int) bool {
	x := &s.shares
	if kind == kNext {
		if x.state == nil && n > 0 && n <= maxPortions {
			x.state, x.left = make([]byte, n), n
		}
		if n != len(x.state) {
			return false
		}
		r.waiting = true
		s.deal()
		return true
	}
	if n >= len(x.state) {
		return false
	}
	switch {
	case kind == kHolds && x.state[n] == isFree:
		x.state[n] = isTaken
		r.holds[n] = true
	case kind == kFinished && x.state[n] != isLanded:
		// It may have been away, and another at the same since: the first counts.
		x.state[n] = isLanded
		x.left--
		delete(r.holds, n)
		s.deal()
	}
	return true
}

// deal gives portions to those that wait. s.mu is held.
func (s *Sender) deal() {
	for id, r := range s.peers {
		if !r.waiting {
			continue
		}
		if s.shares.left == 0 {
			r.waiting = false
			s.say(id, r, []byte{kAll}, nil)
		} else if i := s.shares.take(); i >= 0 {
			r.waiting = false
			r.holds[i] = true
			s.say(id, r, portion(kTake, i), nil)
		}
	}
}

func portion(kind byte, i int) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(i))
}

// Pattern is the sender's.
func (r *Receiver) Pattern() Pattern { return r.pattern }

// take asks for a portion and waits for it; ok is false when all are landed.
func (r *Receiver) take(ctx context.Context, count int) (i int, ok bool, err error) {
	var told *link
	for {
		r.mu.Lock()
		l, changed, all := r.link, r.changed, r.all
		i, r.taken = r.taken, -1
		if i >= 0 {
			r.holds = i
		}
		r.mu.Unlock()
		switch {
		case i >= count:
			return 0, false, errSay
		case i >= 0:
			return i, true, nil
		case all:
			return 0, false, nil
		}
		if l != nil && l != told {
			told = l
			_ = l.say(portion(kNext, count))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, context.Cause(ctx)
		case <-r.ctx.Done():
			return 0, false, context.Cause(r.ctx)
		}
	}
}

// landed says so.
func (r *Receiver) landed(i int) {
	r.mu.Lock()
	l := r.link
	r.holds = -1
	r.mu.Unlock()
	if l != nil {
		_ = l.say(portion(kFinished, i)) // if it is lost, another lands it too
	}
}

// Receive lands those portions of the offer that this receiver is given, of a sender
// whose pattern is [Share], until all are landed somewhere. The result is of what was
// landed here. Its list is kept in memory. Of o, Accept is asked once, of the whole list.
func (r *Receiver) Receive(ctx context.Context, offer *depot.Offer, o transfer.ReceiveOptions) (sum transfer.Result, err error) {
	entries, skipped, err := offer.Whole(ctx, &o)
	if err != nil {
		return sum, err
	}
	sum.Skipped = skipped
	all := depot.Portions(entries)
	sum.Peer = r.Addr().String()
	for len(all) > 0 {
		i, ok, err := r.take(ctx, len(all))
		if err != nil || !ok {
			return sum, err
		}
		result, err := transfer.ReceiveStored(ctx, depot.NewPart(offer, entries, all[i]), o)
		sum.Add(result)
		if err != nil {
			return sum, fmt.Errorf("receive a part of it: %w", err)
		}
		r.landed(i)
		if o.MaxSize > 0 {
			o.MaxSize = max(o.MaxSize-result.Bytes, 1)
		}
	}
	return sum, nil
}

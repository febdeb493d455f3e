package socket

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// race starts an attempt at each address in turn, the next one when delay has
// passed or the last one has failed, and returns the first success (RFC 8305
// section 5). The contexts of the others end, and a connection that comes about
// all the same is closed.
//
// When all fail, or ctx ends first, it returns an error and all attempts that
// were made, in the order of their starts; those under way when ctx ended carry
// its error. An [*OptionError] ends the race: it would be the same everywhere.
func race[C io.Closer](ctx context.Context, addrs []netip.AddrPort, delay time.Duration, trace *DialTrace,
	dial func(context.Context, netip.AddrPort) (C, error)) (winner C, attempts []Attempt, err error) {

	type result struct {
		index int
		conn  C
		err   error
	}
	// Losers may still be dialing when race returns; the buffer lets them end
	// without a reader.
	results := make(chan result, len(addrs))
	raceCtx, cancel := context.WithCancel(ctx)
	running := 0
	var starts []time.Time
	defer func() {
		cancel()
		if running == 0 {
			return
		}
		go func(n int) { // closes the losers that connected
			for range n {
				if r := <-results; r.err == nil {
					r.conn.Close()
				}
			}
		}(running)
	}()

	start := func() {
		i := len(attempts)
		addr := addrs[i]
		attempts = append(attempts, Attempt{Addr: addr})
		starts = append(starts, time.Now())
		running++
		if trace != nil && trace.AttemptStart != nil {
			trace.AttemptStart(addr)
		}
		go func() {
			c, err := dial(raceCtx, addr)
			results <- result{i, c, err}
		}()
	}
	finish := func(i int, err error) {
		attempts[i].Err = err
		attempts[i].Elapsed = time.Since(starts[i])
		if trace != nil && trace.AttemptDone != nil {
			trace.AttemptDone(attempts[i])
		}
	}

	if len(addrs) == 0 {
		return winner, nil, errors.New("no address to try")
	}
	start()
	timer := time.NewTimer(delay)
	defer timer.Stop()
	var last error
	for {
		select {
		case r := <-results:
			running--
			finish(r.index, r.err)
			if r.err == nil {
				return r.conn, attempts, nil
			}
			last = r.err
			if opt, ok := errors.AsType[*OptionError](r.err); ok {
				return winner, attempts, opt
			}
			if len(attempts) < len(addrs) {
				if ctx.Err() == nil {
					start()
					timer.Reset(delay)
				}
			} else if running == 0 {
				return winner, attempts, last
			}
		case <-timer.C:
			if len(attempts) < len(addrs) {
				start()
				timer.Reset(delay)
			}
		case <-ctx.Done():
			// The attempts that ran see the same and say so in their own
			// time; nothing is to be learned by waiting for them.
			for i := range attempts {
				if attempts[i].Err == nil {
					finish(i, context.Cause(ctx))
				}
			}
			return winner, attempts, context.Cause(ctx)
		}
	}
}

package main

import (
	"context"
	"net"
	"sync"

	"github.com/wherry-net/wherry/transfer"
)

// errFull is what a peer is told for which there is no place.
var errFull = &transfer.RefusedError{Reason: "as many are served as there may be"}

// serve gives every peer that comes a goroutine of its own, until count of them
// were served, or without end if count is 0. It returns when all are done, with
// the error of the highest exit code (without end: why it ended). A slow peer
// delays nobody: each has its own connection, buffers and file handles. Further
// connections of a peer that is served find their way to it by the sessions that
// one's options have, which are these.
func serve(ctx context.Context, m *meeting, role string, count int, sessions *transfer.Sessions, one func(context.Context, *session, net.Conn) error) error {
	ln, err := m.open(ctx)
	if err != nil {
		return m.p.fail(err)
	}
	accepting, stop := context.WithCancel(ctx)
	defer stop()
	var (
		wg         sync.WaitGroup
		l          lobby
		mu         sync.Mutex
		came, done int
		worst      error
	)
	// admit counts a peer that said hello, if there is a place for it.
	admit := func(conn net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if count > 0 && came == count || !l.greeted(conn) {
			return false
		}
		if came++; came == count {
			ln.withdraw()
		}
		return true
	}
	full := func() bool { mu.Lock(); defer mu.Unlock(); return count > 0 && came == count }
	// ended counts a peer that was served.
	ended := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && (worst == nil || classify(err).code > classify(worst).code) {
			worst = err
		}
		if done++; done == count {
			stop()
		}
	}
	for {
		conn, err := ln.AcceptContext(accepting)
		if err != nil {
			if ctx.Err() != nil || accepting.Err() == nil {
				ended(m.p.fail(err))
			}
			break
		}
		l.enter(conn) // in the order of arrival: the oldest silent one goes first
		if full() {
			// Those that are served may open more connections, or lose one.
			wg.Go(func() {
				defer l.leave(conn, false)
				_ = sessions.Join(accepting, conn) // who is refused is told so
			})
			continue
		}
		wg.Go(func() {
			served := false
			defer func() { l.leave(conn, served) }()
			s := m.session(role, conn)
			s.tag = s.peer + ": "
			ctx, refuse := context.WithCancelCause(ctx)
			defer refuse(nil)
			s.admit = func() bool {
				if served = admit(conn); !served {
					refuse(errFull)
				}
				return served
			}
			s.pushedOut = func() bool { return !served && !l.waiting(conn) }
			if err := one(ctx, s, conn); served && count > 0 { // shown there
				ended(err)
			}
		})
	}
	ln.Close()
	wg.Wait()
	return worst
}

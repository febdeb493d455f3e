package main

import (
	"context"
	"net"
	"sync"
)

// serve gives every peer that comes a goroutine of its own, until count of them
// were served, or without end if count is 0. It returns when all are done, with
// the error of the highest exit code (without end: why it ended). A slow peer
// delays nobody: each has its own connection, buffers and file handles.
func serve(ctx context.Context, m *meeting, role string, count int, one func(*session, net.Conn) error) error {
	ln, err := m.open(ctx)
	if err != nil {
		return m.p.fail(err)
	}
	accepting, full := context.WithCancel(ctx)
	defer full()
	var (
		wg    sync.WaitGroup
		l     lobby
		mu    sync.Mutex
		came  int
		worst error
	)
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil && (worst == nil || classify(err).code > classify(worst).code) {
			worst = err
		}
	}
	// admit counts a peer that said hello, if there is a place for it.
	admit := func(conn net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if count > 0 && came == count || !l.greeted(conn) {
			conn.Close()
			return false
		}
		if came++; came == count {
			full()
		}
		return true
	}
	for {
		conn, err := ln.AcceptContext(accepting)
		if err != nil {
			if ctx.Err() != nil || accepting.Err() == nil {
				note(m.p.fail(err))
			}
			break
		}
		l.enter(conn) // in the order of arrival: the oldest silent one goes first
		wg.Go(func() {
			served := false
			defer func() { l.leave(conn, served) }()
			s := m.session(role, conn)
			s.tag = s.peer + ": "
			s.admit = func() bool { served = admit(conn); return served }
			s.pushedOut = func() bool { return !served && !l.waiting(conn) }
			if err := one(s, conn); served && count > 0 { // shown there
				note(err)
			}
		})
	}
	ln.Close() // nobody else is to come, and the offer is withdrawn
	wg.Wait()
	return worst
}

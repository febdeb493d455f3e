package main

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/wherry-net/wherry/transfer"
)

// A greeter gives only connections whose peer has said a hello that suits us: who
// scans ports or speaks another protocol is told, dropped, and ends nothing. Each is
// listened to beside the others, so that none holds up the one that is waited for.
// A peer that stays and says nothing in the time for a hello is a dead one, and the
// end of waiting: better an error that names it than a wait without end.
type greeter struct {
	waiter
	ready  chan net.Conn
	failed chan error
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newGreeter(ctx context.Context, ln waiter, side transfer.Side, dropped func(peer net.Addr, err error)) *greeter {
	ctx, cancel := context.WithCancel(ctx)
	g := &greeter{waiter: ln, ready: make(chan net.Conn), failed: make(chan error, 1), cancel: cancel}
	place := make(chan struct{}, maxSilent)
	g.wg.Go(func() {
		for {
			conn, err := ln.AcceptContext(ctx)
			if err != nil {
				select {
				case g.failed <- err:
				case <-ctx.Done(): // nobody waits any more
				}
				return
			}
			select {
			case place <- struct{}{}:
			case <-ctx.Done():
				conn.Close()
				continue
			}
			g.wg.Go(func() {
				defer func() { <-place }()
				peer := conn.RemoteAddr()
				conn, err := transfer.Knock(ctx, conn, side)
				if errors.Is(err, transfer.ErrPeerSilent) && ctx.Err() == nil {
					select {
					case g.failed <- err:
					default: // another has ended it
					}
					return
				}
				if err != nil {
					if ctx.Err() == nil {
						dropped(peer, err)
					}
					return
				}
				select {
				case g.ready <- conn:
				case <-ctx.Done():
					conn.Close()
				}
			})
		}
	})
	return g
}

func (g *greeter) AcceptContext(ctx context.Context) (net.Conn, error) {
	select {
	case conn := <-g.ready:
		return conn, nil
	case err := <-g.failed:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (g *greeter) Close() error {
	g.cancel()
	err := g.waiter.Close()
	g.wg.Wait()
	return err
}

// strayWarning is what is told of a connection that is no transfer.
func strayWarning(err error) string {
	if errors.Is(err, transfer.ErrLost) {
		return "came and said nothing; waiting on"
	}
	return "is not whom we wait for: " + oneLine(err) + "; waiting on"
}

//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/wherry-net/wherry/socket/pace"
)

const rateSignals = "; the signal USR1 halves it, USR2 doubles it"

// adjustRate lets signals change the rate until ctx ends.
func adjustRate(ctx context.Context, l *pace.Limiter, p *printer) {
	if l == nil {
		return
	}
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		defer signal.Stop(sig)
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-sig:
				if s == syscall.SIGUSR1 {
					scaleRate(l, 1, 2, p)
				} else {
					scaleRate(l, 2, 1, p)
				}
			}
		}
	}()
}

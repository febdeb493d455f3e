//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// relayAsked returns a channel that tells when somebody wants the counters.
func relayAsked() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

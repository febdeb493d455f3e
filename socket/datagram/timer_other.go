//go:build !linux

package datagram

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// alarm is a timer of the runtime.
type alarm struct {
	t    *time.Timer
	gone chan struct{}
	once sync.Once
}

// NewTimer makes a Timer that is not set.
func NewTimer() (*Timer, error) {
	t := &Timer{alarm{t: time.NewTimer(time.Hour), gone: make(chan struct{})}}
	t.t.Stop()
	return t, nil
}

func (a *alarm) set(d time.Duration) { a.t.Reset(max(0, d)) }

func (a *alarm) wait() error {
	select {
	case <-a.t.C:
		return nil
	case <-a.gone:
		return fmt.Errorf("timer: %w", net.ErrClosed)
	}
}

func (a *alarm) close() error {
	a.once.Do(func() { close(a.gone); a.t.Stop() })
	return nil
}

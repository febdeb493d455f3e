package datagram

import "time"

// A Timer wakes one goroutine at a time that another sets, with a grain of about
// 50 µs on Linux. [NewTimer] makes one.
//
//	go func() {
//		for t.Wait() == nil {
//			t.Set(work(time.Now()))
//		}
//	}()
type Timer struct {
	alarm // what the system has
}

// Set makes Wait return after d from now, at once if d is zero or less, in place
// of what was set before. Any goroutine may call it.
func (t *Timer) Set(d time.Duration) { t.set(d) }

// Wait waits for the time that was set, which is then spent: without another Set
// the next Wait waits for ever. It returns an error that wraps [net.ErrClosed]
// after Close. One goroutine at a time may call it.
func (t *Timer) Wait() error { return t.wait() }

// Close ends Wait.
func (t *Timer) Close() error { return t.close() }

package rudp

import (
	"os"
	"sync"
	"time"
)

var errDeadline = os.ErrDeadlineExceeded

// deadline wakes those who wait on a condition when a time has come. All of it
// is guarded by the condition's lock.
type deadline struct {
	cond  *sync.Cond
	timer *time.Timer
	gen   int  // of the timer: one that was replaced may be running already
	past  bool // it has come
}

func (d *deadline) set(t time.Time) {
	d.stop()
	d.past = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.past = true
		d.cond.Broadcast()
		return
	}
	gen := d.gen
	d.timer = time.AfterFunc(left, func() {
		d.cond.L.Lock()
		defer d.cond.L.Unlock()
		if d.gen == gen {
			d.past = true
			d.cond.Broadcast()
		}
	})
}

func (d *deadline) stop() {
	d.gen++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

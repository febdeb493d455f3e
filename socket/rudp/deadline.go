package rudp

import (
	"os"
	"sync"
	"time"
)

var errDeadline = os.ErrDeadlineExceeded

// deadline wakes those who wait on a condition when a time has come. All of it
// is guarded by the condition's lock.
//
// Most deadlines are moved back long before they come, at every read or write of a
// protocol that watches for silence. So one timer is kept, and while it is set to
// an earlier time it is left alone: it looks for the next one when it fires.
type deadline struct {
	cond  *sync.Cond
	at    time.Time // zero: there is none
	timer *time.Timer
	fires time.Time // when the timer does; zero: not
	past  bool      // it has come
}

func (d *deadline) set(t time.Time) {
	d.at, d.past = t, false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.past = true
		d.cond.Broadcast()
		return
	}
	if d.fires.IsZero() || t.Before(d.fires) {
		d.arm(left)
	}
}

func (d *deadline) arm(left time.Duration) {
	d.fires = time.Now().Add(left)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.fired)
		return
	}
	d.timer.Reset(left)
}

func (d *deadline) fired() {
	d.cond.L.Lock()
	defer d.cond.L.Unlock()
	d.fires = time.Time{}
	if d.at.IsZero() || d.past {
		return
	}
	if left := time.Until(d.at); left > 0 {
		d.arm(left)
		return
	}
	d.past = true
	d.cond.Broadcast()
}

// stop ends it for good.
func (d *deadline) stop() {
	d.at = time.Time{}
	if d.timer != nil {
		d.timer.Stop()
	}
}

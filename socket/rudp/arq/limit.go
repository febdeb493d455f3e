package arq

import "time"

// limitClock keeps the time that a sender spent limited by each reason.
type limitClock struct {
	reason  Limiter
	since   time.Duration
	release time.Duration // when the pacer lets go, if that is the reason
}

// hostSlack is how late the owner may come before the machine counts as the
// limit.
const hostSlack = 200 * time.Microsecond

func (l *limitClock) set(now time.Duration, r Limiter, s *Stats) {
	d := now - l.since
	if l.reason == LimitPacing && now > l.release+hostSlack {
		late := min(now-l.release, d)
		s.Limited[LimitHost] += late
		d -= late
	}
	s.Limited[l.reason] += d
	l.reason, l.since = r, now
}

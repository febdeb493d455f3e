package arq

import "time"

// flowControl decides how far ahead the peer may send. The window starts
// small and doubles when the network, not the reader, fills it.
type flowControl struct {
	window uint64 // bytes granted beyond what was read
	max    uint64
	told   uint64 // limit as last sent
	sure   uint64 // limit as last sent in a packet that is sent again if lost

	markRead uint64        // where the reader was when a window's worth was last counted
	markAt   time.Duration // and when
}

const initialRecvWindow = 2 << 20

func (f *flowControl) init(limit int) {
	f.max = uint64(nextPow2(max(limit, 64<<10)))
	if f.max > uint64(limit) {
		f.max /= 2
	}
	f.max = max(f.max, 64<<10)
	f.window = min(initialRecvWindow, f.max)
	f.told, f.sure = f.window, f.window
}

// consumed moves the limit after the application read.
func (f *flowControl) consumed(r *recvBuffer) {
	if limit := r.read + f.window; limit > r.limit {
		r.limit = limit
	}
}

// readerJitter is for how long a reader may be kept from a processor without
// stalling a fast path.
const readerJitter = 10 * time.Millisecond

// drained widens the window of a path so fast that a window's worth was read
// within readerJitter: the reader may well be what limits it, so the rule in
// arrived does not see it, but it must not be what is waited for while others
// have the processor.
func (f *flowControl) drained(now time.Duration, r *recvBuffer) {
	if r.read-f.markRead < f.window {
		return
	}
	if now-f.markAt < readerJitter && f.window < f.max {
		f.window = min(2*f.window, f.max)
		f.consumed(r)
	}
	f.markRead, f.markAt = r.read, now
}

// arrived widens the window when the network has filled most of it while the
// reader keeps up.
func (f *flowControl) arrived(r *recvBuffer) {
	if f.window < f.max && r.limit-r.top < f.window/3 && r.nxt-r.read < f.window/8 {
		f.window = min(2*f.window, f.max)
		f.consumed(r)
	}
}

// due reports whether the peer should be told of the limit in a packet of
// which it is certain that it arrives.
func (f *flowControl) due(r *recvBuffer) bool {
	return r.limit-f.sure >= f.window/4 && !r.fin
}

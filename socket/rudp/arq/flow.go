package arq

// flowControl decides how far ahead of the reader the peer may send. The window
// has room for a first flight until somebody reads, so that connections that
// nobody accepts hold little. Then it doubles whenever a quarter of it was read.
// A sender that starts slowly doubles what is in flight each round trip, and all
// of that but the last flight was read by then: the window stays far enough ahead,
// even where a loss holds up the reader for another round trip. The memory behind
// a window is only taken as data really waits in it (see blocks).
type flowControl struct {
	window uint64 // bytes granted beyond what was read
	most   uint64 // that it grows to
	grown  uint64 // what was read when it last grew
	told   uint64 // limit as last sent
	sure   uint64 // limit as last sent in a packet that is sent again if lost
}

const (
	firstWindow = 512 << 10 // more than initialWindowMax packets
	readWindow  = 8 << 20   // once something was read
	leastWindow = 64 << 10
)

func (f *flowControl) init(most int) {
	f.most = uint64(max(most, leastWindow))
	f.window = min(f.most, firstWindow)
	f.told, f.sure = f.window, f.window
}

// consumed moves the limit after the application read.
func (f *flowControl) consumed(r *recvBuffer) {
	if f.window < f.most && (f.grown == 0 && r.read > 0 || r.read-f.grown >= f.window/4) {
		f.window = min(max(2*f.window, readWindow), f.most)
		f.grown = r.read
	}
	if limit := r.read + f.window; limit > r.limit {
		r.limit = limit
	}
}

// due reports whether the peer should be told of the limit in a packet of
// which it is certain that it arrives.
func (f *flowControl) due(r *recvBuffer) bool {
	return r.limit-f.sure >= f.window/4 && !r.fin
}

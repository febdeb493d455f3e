package arq

// flowControl decides how far ahead of the reader the peer may send. The
// whole window is granted from the start: the memory behind it is only taken
// as data really waits in it (see ring), and a window that grew with the path
// would be the limit for its first round trips, which on a long path are most
// of a transfer.
type flowControl struct {
	window uint64 // bytes granted beyond what was read
	told   uint64 // limit as last sent
	sure   uint64 // limit as last sent in a packet that is sent again if lost
}

func (f *flowControl) init(limit int) {
	// A power of two, because the ring is: memory stays within limit.
	f.window = uint64(nextPow2(max(limit, 64<<10)))
	if f.window > uint64(limit) && f.window > 64<<10 {
		f.window /= 2
	}
	f.told, f.sure = f.window, f.window
}

// consumed moves the limit after the application read.
func (f *flowControl) consumed(r *recvBuffer) {
	if limit := r.read + f.window; limit > r.limit {
		r.limit = limit
	}
}

// due reports whether the peer should be told of the limit in a packet of
// which it is certain that it arrives.
func (f *flowControl) due(r *recvBuffer) bool {
	return r.limit-f.sure >= f.window/4 && !r.fin
}

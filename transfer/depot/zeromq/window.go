package zeromq

// ahead is what a receiver knows of the log around where it reads. It does no I/O.
type ahead struct {
	at    int64            // the message that is read next
	have  map[int64][]byte // of [at, at+window)
	asked map[int64]bool   // of the sender, and not here yet; also of places that at has left
	p     int64            // the sender's P, as it was last told
	lost  int64            // what is before it and not here does not come by itself
	quiet bool             // nothing was published since p was told
}

func newAhead() ahead { return ahead{have: map[int64][]byte{}, asked: map[int64]bool{}} }

func (w *ahead) takes(n int64) bool { return n >= w.at && n < w.at+window }

// there is told of P. alone: the messages come only when they are asked for.
func (w *ahead) there(p int64, alone bool) {
	if alone {
		w.lost = max(w.lost, p)
	} else if w.quiet {
		// What was published when P was told the last time has had the time since.
		w.lost = max(w.lost, w.p)
	}
	w.p, w.quiet = max(w.p, p), true
}

// published takes a message from the PUB, which publishes in order: what is missing
// before it, it has dropped.
func (w *ahead) published(n int64, msg []byte) {
	w.quiet = false
	w.p, w.lost = max(w.p, n+1), max(w.lost, n)
	w.keep(n, msg)
}

// answer takes a message that was asked for.
func (w *ahead) answer(n int64, msg []byte) {
	if w.asked[n] {
		delete(w.asked, n)
		w.keep(n, msg)
	}
}

func (w *ahead) keep(n int64, msg []byte) {
	if w.takes(n) {
		w.have[n] = msg
	}
}

// next takes the next message out, nil if it is not here.
func (w *ahead) next() (n int64, msg []byte) {
	msg, ok := w.have[w.at]
	if !ok {
		return w.at, nil
	}
	delete(w.have, w.at)
	w.at++
	return w.at - 1, msg
}

func (w *ahead) seek(n int64) {
	w.at = n
	for k := range w.have {
		if !w.takes(k) {
			delete(w.have, k)
		}
	}
}

// missing is a range to ask for, which it takes for asked. A window of messages is
// under way at most.
func (w *ahead) missing() (from, count int64) {
	end := min(w.lost, w.at+window)
	wanted := func(n int64) bool { return w.have[n] == nil && !w.asked[n] }
	for from = w.at; from < end && !wanted(from); from++ {
	}
	for n := from; n < end && wanted(n) && len(w.asked) < window; n++ {
		w.asked[n] = true
		count++
	}
	return from, count
}

// near reports whether what remains is better heard from the PUB.
func (w *ahead) near() bool { return w.at+lead >= w.p }

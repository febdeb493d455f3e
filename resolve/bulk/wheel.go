package bulk

// The timer wheel: slots hang in the bucket of the tick at which they expire.
// A slot whose time lies more than a turn away stays in its bucket until the
// turn that is its own. Arming and disarming are a few stores each, and there
// is one clock for all.
const (
	tickShift = 22 // a tick is 2^22 ns, about 4.2 ms
	wheelSize = 2048
)

type wheel struct {
	heads [wheelSize]int32 // slot number + 1
	tick  int64            // every bucket before this one has been visited
	armed int
	due   []int32 // reused by expire
}

func (w *wheel) arm(slots []slot, i int32, at int64) {
	s := &slots[i]
	s.expires = max(at>>tickShift, w.tick)
	h := &w.heads[s.expires%wheelSize]
	s.next, s.prev = *h, 0
	if *h != 0 {
		slots[*h-1].prev = i + 1
	}
	*h = i + 1
	s.armed = true
	w.armed++
}

func (w *wheel) disarm(slots []slot, i int32) {
	s := &slots[i]
	if !s.armed {
		return
	}
	if s.next != 0 {
		slots[s.next-1].prev = s.prev
	}
	if s.prev != 0 {
		slots[s.prev-1].next = s.next
	} else {
		w.heads[s.expires%wheelSize] = s.next
	}
	s.next, s.prev, s.armed = 0, 0, false
	w.armed--
}

// expire disarms every slot whose time has come by now, and then calls f for
// each. f may arm slots again, itself included.
func (w *wheel) expire(slots []slot, now int64, f func(i int32)) {
	upto := now >> tickShift
	if w.armed == 0 {
		w.tick = max(w.tick, upto)
		return
	}
	// One turn meets every slot that there is.
	for w.tick = max(w.tick, upto-wheelSize); w.tick < upto; w.tick++ {
		for n := w.heads[w.tick%wheelSize]; n != 0; {
			i := n - 1
			n = slots[i].next
			if slots[i].expires < upto {
				w.disarm(slots, i)
				w.due = append(w.due, i)
			}
		}
	}
	for _, i := range w.due {
		f(i)
	}
	w.due = w.due[:0]
}

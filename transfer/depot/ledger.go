package depot

import (
	"encoding/binary"
	"fmt"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A step is what a receiver that shares says to the others; see "Sharing" in the
// package's documentation.
type step struct {
	Kind     byte
	Offer    offerID
	Receiver [16]byte // the same each time that it is started
	Run      runID    // another each time
	Seq      uint64   // counts the steps of a run, from 1
	Portion  int
	From     runID  // of stepTake: who has held the portion, or nobody
	FromSeq  uint64 // and the last step of it that the taker has seen
	// Of stepLanded: what is there of the portion.
	Files int
	Bytes int64
	Root  treehash.Digest
}

const (
	stepAlive  = 1 + iota // it is there
	stepTake              // it takes the portion
	stepFree              // it gives the portion back
	stepLanded            // it has the portion, verified
)

const (
	stepLabel = label + " step"
	stepSize  = 1 + 1 + 3*16 + 8 + 4 + 16 + 8 + 4 + 8 + treehash.Size
)

func (s *step) seal(k *Key) []byte {
	b := append(make([]byte, 0, stepSize), version, s.Kind)
	b = append(append(append(b, s.Offer[:]...), s.Receiver[:]...), s.Run[:]...)
	b = binary.BigEndian.AppendUint64(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Portion))
	b = append(b, s.From[:]...)
	b = binary.BigEndian.AppendUint64(b, s.FromSeq)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Files))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Bytes))
	return k.sealSmall(append(b, s.Root[:]...), stepLabel)
}

func openStep(k *Key, msg []byte) (s step, err error) {
	b, err := k.openSmall(msg, stepSize, stepLabel)
	if err != nil {
		return s, err
	}
	if b[0] != version {
		return s, fmt.Errorf("%w: a step has version %d", ErrFormat, b[0])
	}
	if s.Kind = b[1]; s.Kind < stepAlive || s.Kind > stepLanded {
		return s, fmt.Errorf("%w: a step of kind %d", ErrFormat, s.Kind)
	}
	b = b[2:]
	b = b[copy(s.Offer[:], b):]
	b = b[copy(s.Receiver[:], b):]
	b = b[copy(s.Run[:], b):]
	s.Seq, b = binary.BigEndian.Uint64(b), b[8:]
	portion := binary.BigEndian.Uint32(b)
	b = b[4:]
	b = b[copy(s.From[:], b):]
	s.FromSeq, b = binary.BigEndian.Uint64(b), b[8:]
	files, size := binary.BigEndian.Uint32(b), binary.BigEndian.Uint64(b[4:])
	if portion > maxEntries || files > maxEntries || size > maxContent {
		return s, fmt.Errorf("%w: a step tells of portion %d, %d files, %d bytes", ErrFormat, portion, files, size)
	}
	s.Portion, s.Files, s.Bytes = int(portion), int(files), int64(size)
	copy(s.Root[:], b[12:])
	return s, nil
}

// A ledger is what the steps in the log come to. All who read the log come to the same,
// so that nobody has to be asked. It does no I/O.
type ledger struct {
	offer  offerID
	run    runID // of whose ledger it is
	runs   map[runID]*runner
	state  []byte // by portion
	holder map[int]*runner
	landed int // portions
	low    int // no portion before it is free

	receiver [16]byte     // whose ledger it is
	begun    map[int]bool // portions that one of its runs has held, and none has landed
}

// A runner is a run of a receiver, as the others see it.
type runner struct {
	run      runID
	receiver [16]byte
	seq      uint64 // of its last step
	silent   int    // how often the ledger's own run has said that it is alive since
	met      bool   // it has said something after the ledger's own run began
}

const (
	portionFree = iota
	portionHeld
	portionLanded
)

// patience is how often a receiver says that it is alive before it takes what somebody
// holds who has said nothing in between. What it says counts when it has come back from
// the carrier, so none of the time counts in which that was away.
const patience = 5

// stride is how many portions a receiver wants to itself. A carrier sends ahead, up to
// about a portion, what is of no use to who reads on elsewhere.
const stride = 8

// maxRuns bounds whose steps are heard.
const maxRuns = 1 << 16

func newLedger(offer offerID, receiver [16]byte, run runID, portions int) *ledger {
	return &ledger{offer: offer, receiver: receiver, run: run, begun: map[int]bool{}, runs: map[runID]*runner{}, state: make([]byte, portions), holder: map[int]*runner{}}
}

// apply takes the next step of the log, and reports whether it counts: steps may be
// there twice.
func (l *ledger) apply(s *step) bool {
	if s.Offer != l.offer || s.Portion >= len(l.state) || s.Run == (runID{}) {
		return false
	}
	r := l.runs[s.Run]
	if r == nil {
		if len(l.runs) >= maxRuns {
			return false
		}
		r = &runner{run: s.Run, receiver: s.Receiver}
		l.runs[s.Run] = r
	}
	if s.Seq <= r.seq {
		return false
	}
	r.seq, r.silent = s.Seq, 0
	r.met = l.runs[l.run] != nil
	switch s.Kind {
	case stepAlive:
		if s.Run == l.run {
			for _, other := range l.runs {
				other.silent++
			}
			r.silent = 0
		}
	case stepTake:
		switch l.state[s.Portion] {
		case portionFree:
			if s.From == (runID{}) {
				l.state[s.Portion], l.holder[s.Portion] = portionHeld, r
			}
		case portionHeld:
			// Not if the holder has said something that the taker had not seen.
			if h := l.holder[s.Portion]; h.run == s.From && h.seq == s.FromSeq {
				l.holder[s.Portion] = r
			}
		}
	case stepFree:
		if l.holder[s.Portion] == r {
			l.state[s.Portion], l.low = portionFree, min(l.low, s.Portion)
			delete(l.holder, s.Portion)
		}
	case stepLanded:
		// Also of one who does not hold it: its files are there.
		if l.state[s.Portion] == portionLanded {
			return false
		}
		l.state[s.Portion] = portionLanded
		l.landed++
		delete(l.holder, s.Portion)
		if s.Receiver == l.receiver {
			delete(l.begun, s.Portion)
		}
	}
	if s.Kind == stepTake && l.holder[s.Portion] == r && r.receiver == l.receiver {
		l.begun[s.Portion] = true
	}
	return true
}

// holds reports whether the ledger's own run holds a portion.
func (l *ledger) holds(portion int) bool {
	h := l.holder[portion]
	return h != nil && h.run == l.run
}

// all reports whether all portions have landed.
func (l *ledger) all() bool { return l.landed == len(l.state) }

// choose is the portion to take next, as the step that does: what this receiver held
// when it was stopped, then what follows on the last one, since reading on is cheaper
// than seeking, then one that is free and at some distance to what others hold; or else one whose holder is silent.
// It returns false while there is none. Any is a random number less than n.
func (l *ledger) choose(last int, any func(n int) int) (s step, ok bool) {
	dead, mine := -1, -1
	alive := 0
	for _, r := range l.runs {
		if r.silent < patience {
			alive++
		}
	}
	for p, h := range l.holder {
		switch {
		case h.run == l.run:
		case h.receiver == l.receiver && !h.met:
			if mine < 0 || p < mine {
				mine = p
			}
		case h.silent >= patience:
			if dead < 0 || p < dead {
				dead = p
			}
		}
	}
	from := func(p int) (step, bool) {
		h := l.holder[p]
		return step{Kind: stepTake, Portion: p, From: h.run, FromSeq: h.seq}, true
	}
	if mine >= 0 {
		return from(mine)
	}
	if next := last + 1; last >= 0 && next < len(l.state) && l.state[next] == portionFree {
		return step{Kind: stepTake, Portion: next}, true
	}
	for l.low < len(l.state) && l.state[l.low] != portionFree {
		l.low++
	}
	// With some distance to who is before it, so that both can read on for a while.
	var free []int
	behind := stride // portions since the last one that is held
	for p := max(0, l.low-stride); p < len(l.state) && p < l.low+2*stride*alive; p++ {
		switch {
		case l.state[p] == portionHeld:
			behind = -1
		case l.state[p] == portionFree && behind >= stride:
			return step{Kind: stepTake, Portion: p}, true
		case l.state[p] == portionFree && len(free) < 2*alive:
			free = append(free, p)
		}
		behind++
	}
	switch {
	case len(free) > 0:
		return step{Kind: stepTake, Portion: free[any(len(free))]}, true
	case dead >= 0:
		return from(dead)
	}
	return s, false
}

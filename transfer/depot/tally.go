package depot

import "github.com/wherry-net/wherry/transfer/treehash"

// A share is what a receipt for a portion has to tell.
type share struct {
	entries int
	files   int
	root    treehash.Digest
}

// A Tally is what the sender of a shared offer hears of it: which portions have landed,
// where, and whether they are what was left.
type Tally struct {
	key      *Key
	ledger   *ledger
	portions []share
	receiver map[[16]byte]*Landed
	files    int // that have landed as they were left
	of       int
}

// Landed is what has landed at one receiver.
type Landed struct {
	Files int
	Bytes int64
	Short int // files of its portions that it has not, or has otherwise
}

// NewTally is for what [Plan.Leave] has left, with what it has returned.
func (p *Plan) NewTally(k *Key, sum Summary) *Tally {
	return &Tally{key: k, ledger: newLedger(p.header.Offer, [16]byte{}, runID{}, len(sum.portions)), portions: sum.portions, receiver: map[[16]byte]*Landed{}, of: sum.Files}
}

// Hear takes a message of the log in which receivers agree, and reports whether it was
// for it: the others are receipts, or nobody's.
func (t *Tally) Hear(msg []byte) bool {
	s, err := openStep(t.key, msg)
	if err != nil {
		return false
	}
	if !t.ledger.apply(&s) || s.Kind != stepLanded {
		return true
	}
	r := t.receiver[s.Receiver]
	if r == nil {
		r = &Landed{}
		t.receiver[s.Receiver] = r
	}
	r.Files += s.Files
	r.Bytes += s.Bytes
	want := t.portions[s.Portion]
	if s.Root == want.root && s.Files == want.files {
		t.files += want.files
	} else {
		r.Short += max(1, want.files-s.Files)
	}
	return true
}

// All reports whether all portions have landed.
func (t *Tally) All() bool { return t.ledger.all() }

// Missing is how many files have not landed, or not as they were left.
func (t *Tally) Missing() int { return t.of - t.files }

// Of is what has landed at a receiver.
func (t *Tally) Of(receiver [16]byte) Landed {
	if r := t.receiver[receiver]; r != nil {
		return *r
	}
	return Landed{}
}

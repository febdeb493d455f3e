package echo

import (
	"encoding/binary"
	"errors"
	"time"
)

const (
	// MinSize is the smallest probe: its header.
	MinSize = 28
	// DefaultSize is the size of a probe unless told otherwise.
	DefaultSize = 64
	// MaxSize is the largest payload of UDP over IPv4.
	MaxSize = 65507
)

var magic = [4]byte{'w', 'p', 'n', 'g'}

// A probe is what the header says.
type probe struct {
	session uint64
	seq     uint64
	sent    time.Duration
}

var (
	errForeign = errors.New("not a probe of this run")
	errCorrupt = errors.New("the probe was changed on its way")
)

// put fills all of b, which is MinSize long or longer.
func (p probe) put(b []byte) {
	copy(b, magic[:])
	binary.BigEndian.PutUint64(b[4:], p.session)
	binary.BigEndian.PutUint64(b[12:], p.seq)
	binary.BigEndian.PutUint64(b[20:], uint64(p.sent))
	for i := MinSize; i < len(b); i++ {
		b[i] = byte(i)
	}
}

// parseProbe reads what came back. The error is errForeign if it is not one of
// ours, errCorrupt if it was and differs from what was sent.
func parseProbe(b []byte, session uint64, size int) (probe, error) {
	if len(b) < MinSize || [4]byte(b) != magic || binary.BigEndian.Uint64(b[4:]) != session {
		return probe{}, errForeign
	}
	p := probe{
		session: session,
		seq:     binary.BigEndian.Uint64(b[12:]),
		sent:    time.Duration(binary.BigEndian.Uint64(b[20:])),
	}
	if len(b) != size {
		return p, errCorrupt
	}
	for i := MinSize; i < len(b); i++ {
		if b[i] != byte(i) {
			return p, errCorrupt
		}
	}
	return p, nil
}

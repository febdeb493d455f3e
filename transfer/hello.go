package transfer

import "fmt"

// The protocol's versions that this package speaks. Both ends use the largest
// that both know.
const (
	minVersion = 1
	maxVersion = 1
)

type role byte

const (
	roleSender   role = 1
	roleReceiver role = 2
)

func (r role) String() string {
	if r == roleSender {
		return "sender"
	}
	return "receiver"
}

// features are bits that an end sets for what it can do; a feature is used only
// if both set it. Unknown bits are ignored.
type features uint64

const (
	// featureRanges: the receiver's decisions may carry the chaining values of
	// groups that it has, and the sender sends only the others.
	featureRanges features = 1 << iota
	// featureSequential: this end needs each file's bytes in order (it writes
	// to a pipe, or reads from one).
	featureSequential
	// featurePacked: a receiver that can take packed frames, and a sender that
	// wants to send them.
	featurePacked
	// featureHoles: the manifest may tell of sparse files, and hole frames stand
	// for their holes.
	featureHoles
	// featureLimit: the finish and done frames tell what limited the transfer.
	featureLimit
	// featureStream: this connection is a further one of a transfer.
	featureStream
	// featureDatagrams: content goes as datagrams beside the stream.
	featureDatagrams
)

// A sessionID names a transfer across its connections.
type sessionID [16]byte

// hello is the first frame of either end.
type hello struct {
	Min, Max uint64
	Role     role
	Features features
	Session  sessionID // chosen by the sender; zero from a receiver

	extended bool        // what follows is there
	Streams  int         // connections that this end wants; 0 leaves it to the other
	Token    streamToken // what a stream must show; zero: none may be opened
}

func (h hello) encode() []byte {
	b := []byte{byte(h.Min), byte(h.Max), byte(h.Role)}
	for s := 56; s >= 0; s -= 8 {
		b = append(b, byte(h.Features>>s))
	}
	b = append(b, h.Session[:]...)
	if !h.extended {
		return b
	}
	return append(append(b, byte(h.Streams)), h.Token[:]...)
}

// decodeHello accepts bytes after the fields it knows: later versions may add
// some.
func decodeHello(p []byte) (hello, error) {
	d := decoder{b: p}
	h := hello{Min: uint64(d.byte()), Max: uint64(d.byte()), Role: role(d.byte())}
	h.Features = features(d.uint64())
	copy(h.Session[:], d.fixed(len(h.Session)))
	if h.extended = len(d.b) > len(h.Token); h.extended {
		h.Streams = int(d.byte())
		copy(h.Token[:], d.fixed(len(h.Token)))
	}
	if d.err != nil {
		return hello{}, d.err
	}
	if h.Role != roleSender && h.Role != roleReceiver {
		return hello{}, protocolErrorf("hello with the role %d", h.Role)
	}
	return h, nil
}

// suits tells why these two cannot have a transfer.
func (h hello) suits(theirs hello) error {
	if _, err := agree(h, theirs); err != nil {
		return err
	}
	if theirs.Role == h.Role {
		return &RefusedError{Reason: fmt.Sprintf("%s %v", bothAre, h.Role), Err: ErrSameRole}
	}
	return nil
}

func (h hello) versions() string {
	if h.Min == h.Max {
		return fmt.Sprint(h.Min)
	}
	return fmt.Sprintf("%d to %d", h.Min, h.Max)
}

// agree is the version that both ends speak.
func agree(ours, theirs hello) (uint64, error) {
	v := min(ours.Max, theirs.Max)
	if v < ours.Min || v < theirs.Min {
		return 0, &VersionError{What: fmt.Sprintf("the peer speaks %s, this end %s", theirs.versions(), ours.versions())}
	}
	return v, nil
}

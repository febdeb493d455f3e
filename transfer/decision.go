package transfer

import (
	"encoding/binary"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A verb is what the receiver wants of an entry.
type verb byte

const (
	verbSend    verb = 1 // send its content
	verbSkip    verb = 2 // nothing: it is not a file, or policy keeps what is there
	verbCompare verb = 3 // send its digest; a second decision follows
	verbHave    verb = 4 // these groups are here already; verbSend follows
)

// A decision is about Count entries from First on, all with the same verb.
// verbHave is about one entry, and tells the chaining values of the groups from
// Group on.
type decision struct {
	Verb  verb
	First int
	Count int
	Group int64
	CVs   []treehash.CV
}

// maxHave is how many chaining values fit into one decision, which must fit
// into one frame.
const maxHave = (maxControl - 64) / treehash.Size

func (c decision) append(b []byte) []byte {
	b = append(b, byte(c.Verb))
	b = binary.AppendUvarint(b, uint64(c.First))
	if c.Verb != verbHave {
		return binary.AppendUvarint(b, uint64(c.Count))
	}
	b = binary.AppendUvarint(b, uint64(c.Group))
	b = binary.AppendUvarint(b, uint64(len(c.CVs)))
	for i := range c.CVs {
		b = append(b, c.CVs[i][:]...)
	}
	return b
}

func decodeDecisions(p []byte, yield func(decision) error) error {
	d := decoder{b: p}
	for len(d.b) > 0 {
		c := decision{Verb: verb(d.byte()), First: int(d.count("an entry's number", maxEntries)), Count: 1}
		switch c.Verb {
		case verbSend, verbSkip, verbCompare:
			c.Count = int(d.count("a count of entries", maxEntries))
		case verbHave:
			c.Group = int64(d.count("a group's number", maxSize/treehash.GroupSize))
			n := int(d.count("a count of groups", maxHave))
			raw := d.fixed(n * treehash.Size)
			if d.err == nil {
				c.CVs = make([]treehash.CV, n)
				for i := range c.CVs {
					copy(c.CVs[i][:], raw[i*treehash.Size:])
				}
			}
		default:
			d.fail("a decision with the verb %d", c.Verb)
		}
		if d.err != nil {
			return d.err
		}
		if err := yield(c); err != nil {
			return err
		}
	}
	return d.done()
}

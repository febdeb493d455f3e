package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// basis takes what it can of another file that has the name now: its groups are
// copied to where the new content is collected, and the sender is told their
// chaining values, so that it leaves out those that are equal at the same offset.
// The file itself stays as it is until the new one is complete.
//
// Copying what may be replaced costs the disk something and the network nothing,
// which is what whoever asks for OverwriteResume wants.
func (t *diskTarget) basis(ctx context.Context) (map[int64]treehash.CV, error) {
	if t.e.Size < journalFrom {
		return nil, nil
	}
	from, err := openRegular(t.dir.root, t.name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer from.Close()
	have := map[int64]treehash.CV{}
	buf := make([]byte, treehash.GroupSize)
	for g := range treehash.Groups(t.e.Size) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		offset := g * treehash.GroupSize
		p := buf[:min(treehash.GroupSize, t.e.Size-offset)]
		if _, err := from.ReadAt(p, offset); err != nil {
			if errors.Is(err, io.EOF) {
				break // it is shorter than the new one will be
			}
			return nil, err
		}
		if err := t.writeAt(p, offset); err != nil {
			return nil, err
		}
		t.based = true
		cv := treehash.Group(p, g)
		have[g] = cv
		t.landed(g, cv)
	}
	return have, nil
}

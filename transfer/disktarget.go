package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A diskTarget is one file being collected: content goes into a file beside its
// final name, called NAME.wherry-part, and for large files a journal,
// NAME.wherry-journal, tells which of its groups are there for good.
type diskTarget struct {
	l    *diskLander
	e    *Entry
	dir  *dirHandle
	name string // final
	part string // where it is collected

	// The kernel lets one at a time write to a file, and whoever waits for it
	// there keeps a processor busy; here it is free for others meanwhile.
	writing sync.Mutex

	mu      sync.Mutex
	file    *os.File // nil until the first byte
	journal *journal // nil for small files and pipes
	done    bool
	based   bool // begun with the content of another file, which may be longer
	dirty   bool // an earlier run has written to the file
	holey   bool // there are holes: its length is set at the end
}

// partMode is the mode of a file that is being collected.
const partMode = 0o600

// journalFrom is the size from which a broken transfer is worth continuing.
const journalFrom = 4 * treehash.GroupSize

// resume opens what an earlier run left of the file and checks which groups are
// good. What cannot be used is removed.
func (t *diskTarget) resume(ctx context.Context) (map[int64]treehash.CV, error) {
	t.part = sideName(t.name, partSuffix)
	if t.dir.fresh {
		return nil, nil
	}
	info, err := t.dir.root.Lstat(t.part)
	if errors.Is(err, fs.ErrNotExist) {
		_ = t.dir.root.Remove(sideName(t.name, journalSuffix))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		f, err := openRegular(t.dir.root, t.part, os.O_RDWR)
		if err == nil && !lockFile(f) {
			// Somebody else is collecting a file of this name right now.
			f.Close()
			t.part = sideName(t.name, fmt.Sprintf(".%s%s", rand.Text()[:8], partSuffix))
			return nil, nil
		}
		if err == nil && t.e.Size >= journalFrom {
			j, have := openJournal(ctx, t.dir.root, sideName(t.name, journalSuffix), f, t.e.Size)
			if len(have) > 0 {
				t.file, t.journal, t.dirty = f, j, true
				j.sync = t.l.sync
				return have, nil
			}
		}
		if err == nil {
			f.Close()
		}
		if ctx.Err() != nil { // not read to its end: it stays for another time
			return nil, context.Cause(ctx)
		}
	}
	_ = t.dir.root.Remove(sideName(t.name, journalSuffix))
	return nil, t.dir.root.Remove(t.part)
}

// open is the file to write to, made when it is needed.
func (t *diskTarget) open() (*os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		return t.file, nil
	}
	if t.done {
		return nil, fs.ErrClosed
	}
	f, err := t.dir.create(t.part)
	if errors.Is(err, fs.ErrExist) {
		t.part = sideName(t.name, fmt.Sprintf(".%s%s", rand.Text()[:8], partSuffix))
		f, err = t.dir.create(t.part)
	}
	if err != nil {
		return nil, err
	}
	if !t.dir.fresh || t.e.Size >= journalFrom {
		lockFile(f) // others who collect a file of this name take another
	}
	if t.e.Size >= journalFrom && t.part == sideName(t.name, partSuffix) {
		// Without a journal the transfer works too; it just cannot be continued.
		t.journal, _ = createJournal(t.dir.root, sideName(t.name, journalSuffix), f, t.e.Size)
		if t.journal != nil {
			t.journal.sync = t.l.sync
		}
	}
	t.file = f
	return f, nil
}

func (t *diskTarget) writeAt(p []byte, offset int64) error {
	f, err := t.open()
	if err != nil {
		return err
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.e.Holes == 0 {
		_, err = f.WriteAt(p, offset)
		return err
	}
	// A sparse file: blocks of zeros are left out of what is written.
	t.mu.Lock()
	t.holey = true
	used := t.dirty || t.based
	t.mu.Unlock()
	if used && !punch(f, offset, int64(len(p))) {
		_, err = f.WriteAt(p, offset)
		return err
	}
	return writeSparse(p, offset, func(p []byte, offset int64) error {
		_, err := f.WriteAt(p, offset)
		return err
	})
}

// hole leaves a stretch as it is, where nothing was ever written, and else takes
// away what was.
func (t *diskTarget) hole(offset, length int64) error {
	f, err := t.open()
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.holey = true
	used := t.dirty || t.based
	t.mu.Unlock()
	if !used || punch(f, offset, length) {
		return nil
	}
	for length > 0 {
		n := min(length, treehash.GroupSize)
		if _, err := f.WriteAt(treehash.Zeros(int(n)), offset); err != nil {
			return err
		}
		offset, length = offset+n, length-n
	}
	return nil
}

func (t *diskTarget) readAt(p []byte, offset int64) error {
	f, err := t.open()
	if err != nil {
		return err
	}
	n, err := f.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	return err
}

func (t *diskTarget) damaged() { t.based = true }

// keep leaves a file with holes where it was collected. With a journal a later
// run continues it; without one it replaces it.
func (t *diskTarget) keep() {
	t.mu.Lock()
	j, f := t.journal, t.file
	t.file, t.journal, t.done = nil, nil, true
	t.mu.Unlock()
	if j != nil && !j.keep() {
		j.remove()
	}
	if f != nil {
		f.Close()
	}
}

func (t *diskTarget) landed(group int64, cv treehash.CV) {
	t.mu.Lock()
	j := t.journal
	t.mu.Unlock()
	if j != nil {
		j.add(group, cv)
	}
}

// commit makes the file durable and gives it its name.
func (t *diskTarget) commit(size int64) error {
	f, err := t.open() // an empty file has not been opened yet
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.done = true
	j := t.journal
	t.file, t.journal = nil, nil
	t.mu.Unlock()
	if j != nil {
		j.close()
	}
	err = func() error {
		defer f.Close()
		if j != nil || t.based || t.holey {
			if err := f.Truncate(size); err != nil {
				return err
			}
		}
		if t.e.Mode != partMode {
			if err := f.Chmod(t.e.Mode); err != nil {
				return err
			}
		}
		if t.e.Size != UnknownSize { // a pipe has no time; now is right
			if err := t.dir.setTime(t.part, t.e.ModTime); err != nil {
				return err
			}
		}
		if t.l.sync {
			return syncFile(f)
		}
		return nil
	}()
	if err == nil {
		err = t.dir.rename(t.part, t.name)
	}
	if err != nil {
		_ = t.dir.root.Remove(t.part)
	}
	if j != nil {
		j.remove()
	}
	return err
}

// discard removes what there is.
func (t *diskTarget) discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = true
	if t.journal != nil {
		t.journal.close()
		t.journal.remove()
	}
	if t.file != nil {
		t.file.Close()
		_ = t.dir.root.Remove(t.part)
	}
	t.file, t.journal = nil, nil
}

// abandon keeps a file that a later run can continue, and removes others.
func (t *diskTarget) abandon() {
	t.mu.Lock()
	j, f := t.journal, t.file
	t.mu.Unlock()
	if j == nil || f == nil || !j.keep() {
		t.discard()
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = true
	f.Close()
	t.file, t.journal = nil, nil
}

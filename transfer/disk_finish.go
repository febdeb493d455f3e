package transfer

import (
	"fmt"
	"iter"
	"os"
	"path"
	"sync"
	"sync/atomic"
)

// commit flushes a batch of files side by side, renames them, and then flushes
// each of their directories once.
func (l *diskLander) commit(batch []finished) {
	var wg sync.WaitGroup
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(batch) {
				return
			}
			f := &batch[i]
			t, ok := f.in.out.(*diskTarget)
			switch {
			case !ok:
			case f.in.failed != "":
				t.abandon() // the disk may be full: what is there can be continued when it is not
			case f.status == statusHoles && !f.deliver:
				t.keep()
			case f.status != statusDone && f.status != statusHoles:
				t.discard()
			default:
				if err := t.commit(f.in.size()); err != nil {
					f.status, f.text = statusFailed, bare(err).Error()
				}
			}
		}
	}
	for range min(4, (len(batch)+7)/8) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	flushed := map[*dirHandle]error{}
	for i := range batch {
		t, ok := batch[i].in.out.(*diskTarget)
		if !ok {
			continue
		}
		if (batch[i].status == statusDone || batch[i].deliver) && l.sync {
			err, done := flushed[t.dir]
			if !done {
				err = syncDir(t.dir.root)
				flushed[t.dir] = err
			}
			if err != nil {
				batch[i].status, batch[i].text = statusFailed, bare(err).Error()
			}
		}
	}
	for i := range batch {
		if t, ok := batch[i].in.out.(*diskTarget); ok {
			l.release(t.dir)
		}
	}
}

// finish creates links, now that everything that could have been written through
// one is written, and gives directories their modes and times, the deepest first.
func (l *diskLander) finish(entries iter.Seq[*Entry], o Overwrite) error {
	for e := range entries {
		if e.Kind == Symlink {
			if err := l.symlink(e, o); err != nil {
				return err
			}
		}
	}
	for i := len(l.made) - 1; i >= 0; i-- {
		e := l.made[i]
		d, err := l.dir(e.Path)
		if err != nil {
			return landError(e, err)
		}
		err = finishDir(d.root, e, l.sync)
		l.release(d)
		if err != nil {
			return landError(e, err)
		}
	}
	if l.sync {
		if err := syncDir(l.root); err != nil {
			return fmt.Errorf("flush the target directory: %w", bare(err))
		}
	}
	return nil
}

func (l *diskLander) symlink(e *Entry, o Overwrite) error {
	d, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return landError(e, err)
	}
	defer l.release(d)
	name := path.Base(e.Path)
	if info, err := d.root.Lstat(name); err == nil {
		if got, err := d.root.Readlink(name); err == nil && got == e.Target {
			return nil
		}
		switch {
		case info.IsDir():
			return inTheWay(e, "directory")
		case o == OverwriteNever:
			return nil
		case o == OverwriteRename:
			if name, err = l.freeName(d.root, e.Path); err != nil {
				return landError(e, err)
			}
		case o != OverwriteAlways && o != OverwriteResume:
			return inTheWay(e, fileType(info.Mode()))
		}
	}
	part := sideName(name, partSuffix)
	_ = d.root.Remove(part)
	if err := d.root.Symlink(e.Target, part); err != nil {
		return landError(e, err)
	}
	setLinkTime(d.root, part, e.ModTime)
	if err := d.root.Rename(part, name); err != nil {
		_ = d.root.Remove(part)
		return landError(e, err)
	}
	return nil
}

func finishDir(d *os.Root, e *Entry, sync bool) error {
	f, err := d.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if sync {
		if err := syncFile(f); err != nil {
			return err
		}
	}
	if err := f.Chmod(e.Mode); err != nil {
		return err
	}
	return setTime(f, d, ".", e.ModTime)
}

func syncDir(d *os.Root) error {
	f, err := d.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return syncFile(f)
}

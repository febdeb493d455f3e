package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A diskLander puts files into a directory. All names are resolved below the
// os.Root of that directory, one component at a time: each directory is opened
// from its parent's handle and checked to be a directory and no symbolic link,
// and all that happens in it happens relative to that handle. So whoever swaps a
// directory for a link meanwhile changes nothing outside.
type diskLander struct {
	root *os.Root
	sync bool
	fold caseRule

	mu   sync.Mutex
	dirs map[string]*dirHandle
	lru  []string // paths in dirs, the least recently used first
	made []*Entry // directories of the manifest, parents first
	used map[string]bool

	fresh map[string]bool // directories that this run made
}

// A dirHandle is an open directory. It stays open while it is referred to.
type dirHandle struct {
	root  *os.Root
	at    *os.File // the same directory, to act relative to its descriptor
	refs  int
	fresh bool // this run made it: nothing is in it but what this run has put there
}

func (d *dirHandle) close() {
	d.root.Close()
	d.at.Close()
}

// maxDirs is how many directories stay open for later.
const maxDirs = 64

func newDiskLander(root *os.Root, sync bool) *diskLander {
	return &diskLander{root: root, sync: sync, fold: foldsCase(root), dirs: map[string]*dirHandle{}, used: map[string]bool{}, fresh: map[string]bool{}}
}

func (l *diskLander) caseRule() caseRule { return l.fold }

// caseProbe is made for a moment in a target's directory. No entry may be called
// so, and what a killed run left of it the next one takes away.
const caseProbe = "wherry-case-probe" + partSuffix

// foldsCase finds out whether names that differ in case are one file in root, by
// making one.
func foldsCase(root *os.Root) caseRule {
	for range 3 { // another receiver may take the probe away while this one looks
		if err := root.Mkdir(caseProbe, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return caseSensitive
		}
		a, err := root.Lstat(caseProbe)
		if err != nil {
			continue
		}
		b, err := root.Lstat(strings.ToUpper(caseProbe))
		_ = root.Remove(caseProbe)
		return caseRule(err == nil && os.SameFile(a, b))
	}
	return caseSensitive
}

func (l *diskLander) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.dirs {
		d.close()
	}
	l.dirs = nil
}

// dir opens the directory at p ("." is the top). The caller releases it.
func (l *diskLander) dir(p string) (*dirHandle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dirLocked(p)
}

func (l *diskLander) dirLocked(p string) (*dirHandle, error) {
	if l.dirs == nil {
		return nil, fs.ErrClosed
	}
	if d := l.dirs[p]; d != nil {
		d.refs++
		return d, nil
	}
	var root *os.Root
	if p == "." {
		r, err := l.root.OpenRoot(".")
		if err != nil {
			return nil, err
		}
		root = r
	} else {
		parent, err := l.dirLocked(path.Dir(p))
		if err != nil {
			return nil, err
		}
		root, err = openDir(parent.root, path.Base(p))
		parent.refs--
		if err != nil {
			return nil, err
		}
	}
	if len(l.lru) >= maxDirs {
		l.evict()
	}
	at, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	d := &dirHandle{root: root, at: at, refs: 1, fresh: l.fresh[p]}
	l.dirs[p] = d
	l.lru = append(l.lru, p)
	return d, nil
}

// evict closes the directory that has been open longest among those that nobody
// uses.
func (l *diskLander) evict() {
	for i, p := range l.lru {
		if d := l.dirs[p]; d.refs == 0 && p != "." {
			d.close()
			delete(l.dirs, p)
			l.lru = append(l.lru[:i], l.lru[i+1:]...)
			return
		}
	}
}

func (l *diskLander) release(d *dirHandle) {
	l.mu.Lock()
	d.refs--
	l.mu.Unlock()
}

// errNotDir: something else has taken a directory's place.
var errNotDir = errors.New("it is not a directory")

// openDir opens the directory name in parent, and not what a link there points to.
func openDir(parent *os.Root, name string) (*os.Root, error) {
	sub, err := parent.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	opened, err := sub.Stat(".")
	if err == nil {
		var named fs.FileInfo
		named, err = parent.Lstat(name)
		if err == nil && (!named.IsDir() || !os.SameFile(opened, named)) {
			err = errNotDir
		}
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

func landError(e *Entry, err error) error {
	return fmt.Errorf("create %s: %w", safetext.Quote(e.Path), bare(err))
}

func (l *diskLander) room(n int64) error {
	free, ok := freeSpace(l.root)
	if ok && n > free {
		return &RefusedError{Reason: fmt.Sprintf("the receiver has room for %d bytes, and %d are to come", free, n)}
	}
	return nil
}

func (l *diskLander) directory(e *Entry) error {
	parent, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return landError(e, err)
	}
	defer l.release(parent)
	name := path.Base(e.Path)
	err = parent.root.Mkdir(name, 0o700)
	fresh := err == nil
	if errors.Is(err, fs.ErrExist) {
		info, lerr := parent.root.Lstat(name)
		if lerr == nil && !info.IsDir() {
			return inTheWay(e, fileType(info.Mode()))
		}
		err = lerr
	}
	if err != nil {
		return landError(e, err)
	}
	l.mu.Lock()
	l.made = append(l.made, e)
	if fresh {
		l.fresh[e.Path] = true
	}
	l.mu.Unlock()
	return nil
}

func fileType(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m.IsRegular():
		return "file"
	}
	return describeMode(m)
}

// look tells what is at e's place. What an earlier run left behind for it and
// cannot be used is removed.
func (l *diskLander) look(e *Entry) (existing, error) {
	d, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return existing{}, landError(e, err)
	}
	defer l.release(d)
	if d.fresh {
		return existing{}, nil
	}
	name := path.Base(e.Path)
	info, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return existing{}, nil
	}
	if err != nil {
		return existing{}, landError(e, err)
	}
	if !info.Mode().IsRegular() {
		return existing{}, inTheWay(e, fileType(info.Mode()))
	}
	return existing{present: true, size: info.Size(), modTime: info.ModTime(), digest: func() (treehash.Digest, error) {
		return l.hash(e)
	}}, nil
}

// hash is the digest of the file at e's place.
func (l *diskLander) hash(e *Entry) (treehash.Digest, error) {
	d, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return treehash.Digest{}, landError(e, err)
	}
	defer l.release(d)
	f, err := openRegular(d.root, path.Base(e.Path), os.O_RDONLY)
	if err != nil {
		return treehash.Digest{}, landError(e, err)
	}
	defer f.Close()
	digest, err := hashFile(f)
	if err != nil {
		return digest, fmt.Errorf("read %s: %w", safetext.Quote(e.Path), bare(err))
	}
	return digest, nil
}

// hashFile is the digest of all of f: by several hands, and without reading holes.
func hashFile(f *os.File) (treehash.Digest, error) {
	info, err := f.Stat()
	if err != nil {
		return treehash.Digest{}, err
	}
	size := info.Size()
	if size <= treehash.GroupSize {
		b := make([]byte, size)
		if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return treehash.Digest{}, err
		}
		return treehash.Sum(b), nil
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards what follows
		next  int64
		holes = findHoles(f, info)
		tree  = treehash.NewTree()
		fail  error
	)
	groups := treehash.Groups(size)
	work := func() {
		buf := make([]byte, treehash.GroupSize)
		for {
			mu.Lock()
			g, hole := next, holes.groups(next, size)
			next += max(1, hole)
			stop := fail != nil || g >= groups
			mu.Unlock()
			if stop {
				return
			}
			for k := range max(1, hole) {
				p := treehash.Zeros(int(min(treehash.GroupSize, size-(g+k)*treehash.GroupSize)))
				var err error
				if hole == 0 {
					p = buf[:len(p)]
					_, err = f.ReadAt(p, g*treehash.GroupSize)
				}
				cv := treehash.Group(p, g+k)
				mu.Lock()
				tree.Add(g+k, cv)
				if fail == nil {
					fail = err
				}
				mu.Unlock()
			}
		}
	}
	for range min(4, runtime.GOMAXPROCS(0)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if fail != nil {
		return treehash.Digest{}, fail
	}
	d, _ := tree.Root(groups)
	return d, nil
}

// openRegular opens the regular file name in dir, and nothing that a link there
// points to.
func openRegular(dir *os.Root, name string, flag int) (*os.File, error) {
	f, err := dir.OpenFile(name, flag|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil {
		var named fs.FileInfo
		named, err = dir.Lstat(name)
		if err == nil && (!named.Mode().IsRegular() || !os.SameFile(opened, named)) {
			err = errors.New("it is not a regular file")
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (l *diskLander) target(ctx context.Context, e *Entry, o Overwrite) (target, map[int64]treehash.CV, error) {
	d, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return nil, nil, landError(e, err)
	}
	t := &diskTarget{l: l, e: e, dir: d, name: path.Base(e.Path)}
	if o == OverwriteRename {
		if t.name, err = l.freeName(d.root, e.Path); err != nil {
			l.release(d)
			return nil, nil, landError(e, err)
		}
	}
	have, err := t.resume(ctx)
	if err == nil && len(have) == 0 && o == OverwriteResume {
		have, err = t.basis(ctx)
	}
	if err != nil {
		t.discard()
		l.release(d)
		return nil, nil, landError(e, err)
	}
	return t, have, nil
}

// freeName is a name like that of p which nothing has yet: "a (1).txt".
func (l *diskLander) freeName(d *os.Root, p string) (string, error) {
	dir, name := path.Split(p)
	ext := path.Ext(name)
	if ext == name {
		ext = ""
	}
	stem := strings.TrimSuffix(name, ext)
	for i := 1; i < 10000; i++ {
		free := stem + " (" + strconv.Itoa(i) + ")" + ext
		if len(free) > maxComponent {
			return "", errors.New("its name is too long to be given another")
		}
		l.mu.Lock()
		taken := l.used[dir+free]
		l.used[dir+free] = true
		l.mu.Unlock()
		if taken {
			continue
		}
		if _, err := d.Lstat(free); errors.Is(err, fs.ErrNotExist) {
			return free, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", errors.New("all the names that it could get are taken")
}

func (l *diskLander) same(e *Entry) error {
	d, err := l.dir(path.Dir(e.Path))
	if err != nil {
		return landError(e, err)
	}
	defer l.release(d)
	name := path.Base(e.Path)
	f, err := openRegular(d.root, name, os.O_RDONLY)
	if err != nil {
		return landError(e, err)
	}
	defer f.Close()
	if err := setAttributes(f, d.root, name, e); err != nil {
		return landError(e, err)
	}
	removeLeftovers(d.root, name)
	return nil
}

// removeLeftovers removes what an earlier run may have left of a file that is
// whole now.
func removeLeftovers(d *os.Root, name string) {
	for _, n := range []string{sideName(name, partSuffix), sideName(name, journalSuffix)} {
		if info, err := d.Lstat(n); err == nil && info.Mode().IsRegular() {
			_ = d.Remove(n)
		}
	}
}

// setAttributes gives a file its entry's mode and time.
func setAttributes(f *os.File, d *os.Root, name string, e *Entry) error {
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != e.Mode {
		if err := f.Chmod(e.Mode); err != nil {
			return err
		}
	}
	if e.Size == UnknownSize {
		return nil // a pipe has no time; now is right
	}
	return setTime(f, d, name, e.ModTime)
}

// sideName is the name of a file that stands beside name while it is unfinished.
func sideName(name, suffix string) string {
	if len(name)+len(suffix) <= maxComponent {
		return name + suffix
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	return name[:maxComponent-len(suffix)-18] + "~" + fmt.Sprintf("%016x", h.Sum64()) + suffix
}

package transfer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/wherry-net/wherry/socket/safetext"
)

// A Source is what a sender has to send: files and trees, or one stream. It may
// serve several transfers at once.
type Source struct {
	opts   SourceOptions
	tops   []top
	byName map[string]*top

	mu  sync.Mutex
	dir *sourceDir // the directory that a file was opened in last
}

// A sourceDir is an open directory below a top.
type sourceDir struct {
	top  *top
	path string
	root *os.Root
	at   *os.File // the same, to open relative to its descriptor
	refs int      // users, and one for being the last
}

func (d *sourceDir) close() {
	d.root.Close()
	d.at.Close()
}

// SourceOptions says what of the paths is sent. The zero value sends all of it,
// symbolic links as links.
type SourceOptions struct {
	// FollowSymlinks sends what symbolic links point to instead of the links.
	FollowSymlinks bool
	// Stdin is what the path "-" reads; it can serve one transfer.
	Stdin io.Reader
	// Name is the name that "-" gets at the receiver; "stdin" if empty.
	Name string
	// Select, if set, is asked for every entry (path as the receiver will see
	// it); a directory that is not selected is not entered. Filter makes one
	// from globs.
	Select func(path string, dir bool) bool
	// SkipEmptyDirs leaves out directories with nothing in them, or nothing
	// that is selected.
	SkipEmptyDirs bool
}

// A top is one of the paths that the user named.
type top struct {
	name string   // its name at the receiver
	path string   // as the user gave it
	dir  *os.Root // for directories: all opens go through it
	pipe io.Reader
}

// NewSource opens the paths: a missing one is told before anybody is dialed. A
// path that is itself a symbolic link is followed, as cp -H and tar do with what
// they are given by name.
func NewSource(paths []string, o SourceOptions) (*Source, error) {
	s := &Source{opts: o, byName: map[string]*top{}}
	for _, p := range paths {
		t, err := openTop(p, o)
		if err != nil {
			s.Close()
			return nil, err
		}
		if other, dup := s.byName[t.name]; dup {
			s.Close()
			return nil, fmt.Errorf("%s and %s would both be %s at the receiver", safetext.Quote(other.path), safetext.Quote(p), safetext.Quote(t.name))
		}
		s.byName[t.name] = t
		s.tops = append(s.tops, *t)
	}
	return s, nil
}

func openTop(p string, o SourceOptions) (*top, error) {
	if p == "-" {
		name := o.Name
		if name == "" {
			name = "stdin"
		}
		reason := badPath(name, "")
		if reason == "" && strings.Contains(name, "/") {
			reason = "a name has no directories"
		}
		if reason != "" {
			return nil, &EntryError{name, "as the name of standard input: " + reason}
		}
		return &top{name: name, path: p, pipe: o.Stdin}, nil
	}
	info, err := os.Stat(p)
	if err != nil {
		return nil, sendError(p, err)
	}
	abs, err := filepath.Abs(p)
	if err != nil {
		return nil, sendError(p, err)
	}
	t := &top{name: filepath.Base(abs), path: p}
	if filepath.Dir(abs) == abs {
		return nil, fmt.Errorf("send %s: it has no last name to give the copy", safetext.Quote(p))
	}
	switch {
	case info.IsDir():
		if t.dir, err = os.OpenRoot(p); err != nil {
			return nil, sendError(p, err)
		}
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("send %s: it is a %s, not a file or directory", safetext.Quote(p), describeMode(info.Mode()))
	default:
		f, err := os.Open(p) // readable?
		if err != nil {
			return nil, sendError(p, err)
		}
		f.Close()
	}
	return t, nil
}

func sendError(p string, err error) error {
	return fmt.Errorf("send %s: %w", safetext.Quote(p), bare(err))
}

// bare is the reason inside an error of package os, without the path, which may
// hold bytes that must not be printed.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

func describeMode(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "FIFO"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	}
	return "special file"
}

// Close releases the directories.
func (s *Source) Close() {
	s.mu.Lock()
	s.drop()
	s.mu.Unlock()
	for i := range s.tops {
		if s.tops[i].dir != nil {
			s.tops[i].dir.Close()
		}
	}
}

// sequential reports whether the source can be read once only, in order.
func (s *Source) sequential() bool {
	return slices.ContainsFunc(s.tops, func(t top) bool { return t.pipe != nil })
}

// walk calls yield for every entry, directories before what is in them, names in
// order; and skip for what is left out, with the reason.
func (s *Source) walk(yield func(Entry) error, skip func(path string, why error)) error {
	return s.walkFew(0, yield, skip)
}

// walkFew is walk, and gives up with errLong where a directory has more than most
// entries (0: any number), of which it looks at no more than that.
func (s *Source) walkFew(most int, yield func(Entry) error, skip func(path string, why error)) error {
	if s.opts.SkipEmptyDirs {
		yield = fullDirs(yield)
	}
	w := walker{s: s, most: most, yield: yield, skip: skip}
	for i := range s.tops {
		t := &s.tops[i]
		if t.pipe == nil && s.opts.Select != nil && !s.opts.Select(t.name, t.dir != nil) {
			continue
		}
		if t.pipe != nil {
			if err := yield(Entry{Path: t.name, Kind: File, Mode: 0o644, Size: UnknownSize}); err != nil {
				return err
			}
			continue
		}
		info, err := os.Stat(t.path)
		if err != nil {
			return sendError(t.path, err)
		}
		if t.dir == nil {
			err = w.entry(t.name, info, "")
		} else {
			err = w.tree(t.name, info, t.dir, ".", nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	s     *Source
	most  int // entries of a directory, if it is not 0
	yield func(Entry) error
	skip  func(path string, why error)
}

// tree walks the directory name below dir, which the receiver will see as p.
// With FollowSymlinks, above holds the directories on the way down, so that a
// link to one of them is noticed.
func (w *walker) tree(p string, info fs.FileInfo, dir *os.Root, name string, above []fs.FileInfo) error {
	if err := w.entry(p, info, ""); err != nil {
		return err
	}
	sub, err := w.descend(dir, name)
	if err != nil {
		w.skip(p, bare(err))
		return nil
	}
	defer sub.Close()
	f, err := sub.Open(".")
	if err != nil {
		w.skip(p, bare(err))
		return nil
	}
	n := -1
	if w.most > 0 {
		n = w.most + 1
	}
	entries, err := f.ReadDir(n)
	f.Close()
	if n > 0 && len(entries) == n {
		return errLong
	}
	if err != nil && err != io.EOF { // the end, where a number was asked for
		w.skip(p, bare(err))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	above = append(above[:len(above):len(above)], info)
	for _, de := range entries {
		if err := w.child(p+"/"+de.Name(), sub, de, above); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) child(p string, dir *os.Root, de fs.DirEntry, above []fs.FileInfo) error {
	name := de.Name()
	info, err := de.Info() // what reading the directory has found already
	if err == nil && info.Mode()&fs.ModeSymlink != 0 && w.s.opts.FollowSymlinks {
		info, err = os.Stat(filepath.Join(dir.Name(), name))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && info == nil:
		if _, lerr := dir.Lstat(name); lerr != nil {
			return nil // it went away while we walked: as if it had never been
		}
		w.skip(p, &LinkError{"the link points to nothing"})
		return nil
	case err != nil:
		w.skip(p, bare(err))
		return nil
	}
	if w.s.opts.Select != nil && !w.s.opts.Select(p, info.IsDir()) {
		return nil
	}
	if reason := badPath(p, ""); reason != "" {
		w.skip(p, errors.New(reason))
		return nil
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		if slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
			w.skip(p, errors.New("the link leads back to a directory above it"))
			return nil
		}
		return w.tree(p, info, dir, name, above)
	case mode.IsRegular():
		return w.entry(p, info, "")
	case mode&fs.ModeSymlink != 0:
		target, err := dir.Readlink(name)
		if err != nil {
			w.skip(p, bare(err))
			return nil
		}
		target = filepath.ToSlash(target)
		if reason := badTarget(p, target, ""); reason != "" {
			w.skip(p, &LinkError{reason})
			return nil
		}
		return w.entry(p, info, target)
	default:
		w.skip(p, errors.New("it is a "+describeMode(mode)))
		return nil
	}
}

// descend opens the directory name below dir. A link that is to be followed may
// lead anywhere, so then it is opened by its path.
func (w *walker) descend(dir *os.Root, name string) (*os.Root, error) {
	if w.s.opts.FollowSymlinks {
		return os.OpenRoot(filepath.Join(dir.Name(), name))
	}
	return dir.OpenRoot(name)
}

func (w *walker) entry(p string, info fs.FileInfo, target string) error {
	e := Entry{Path: p, Mode: info.Mode().Perm(), ModTime: info.ModTime(), Target: target}
	switch {
	case info.IsDir():
		e.Kind = Dir
	case target != "":
		e.Kind = Symlink
	default:
		e.Kind, e.Size, e.Holes = File, info.Size(), holesOf(info)
	}
	return w.yield(e)
}

// directory opens a directory below a top, or gives the one that was opened
// last: files are sent in the order of the walk, so most are in it.
func (s *Source) directory(t *top, p string) (*sourceDir, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dir; d != nil && d.top == t && d.path == p {
		d.refs++
		return d, nil
	}
	root, err := t.dir.OpenRoot(p)
	if err != nil {
		return nil, err
	}
	at, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	s.drop()
	s.dir = &sourceDir{t, p, root, at, 2}
	return s.dir, nil
}

// drop forgets the last directory; s.mu is held.
func (s *Source) drop() {
	if d := s.dir; d != nil {
		s.dir = nil
		if d.refs--; d.refs == 0 {
			d.close()
		}
	}
}

func (s *Source) leave(d *sourceDir) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.refs--; d.refs == 0 {
		d.close()
	}
}

// openBelow opens a file below a top's directory.
func (s *Source) openBelow(t *top, p string) (*os.File, error) {
	dir, name := path.Split(p)
	if dir == "" {
		return t.dir.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	}
	d, err := s.directory(t, dir)
	if err != nil {
		return nil, err
	}
	defer s.leave(d)
	return d.open(name)
}

// open opens an entry's content and tells what it is.
func (s *Source) open(e *Entry) (*os.File, fs.FileInfo, error) {
	name, rest, below := strings.Cut(e.Path, "/")
	t := s.byName[name]
	var f *os.File
	var err error
	switch {
	case !below:
		f, err = os.OpenFile(t.path, os.O_RDONLY|openNonblock, 0)
	case s.opts.FollowSymlinks:
		f, err = os.OpenFile(filepath.Join(t.dir.Name(), rest), os.O_RDONLY|openNonblock, 0)
	default:
		f, err = s.openBelow(t, rest)
	}
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errBecame(info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// read puts an entry's content into p, as far as there is room, and tells whether it
// was written to meanwhile.
func (s *Source) read(e *Entry, p []byte) (n int, changed bool, err error) {
	if top, rest, below := strings.Cut(e.Path, "/"); below && !s.opts.FollowSymlinks {
		d, err := s.directory(s.byName[top], path.Dir(rest))
		if err != nil {
			return 0, false, err
		}
		defer s.leave(d)
		return d.read(path.Base(rest), p)
	}
	f, info, err := s.open(e)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	return readOpen(f, info, p)
}

// readOpen is read for a file that is open, and was like before.
func readOpen(f *os.File, before fs.FileInfo, p []byte) (n int, changed bool, err error) {
	n, err = io.ReadFull(f, p)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return n, false, err
	}
	after, err := f.Stat()
	return n, err == nil && (after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime())), nil
}

func errBecame(m fs.FileMode) error { return fmt.Errorf("it became a %s", describeMode(m)) }

// pipe is the stream behind an entry of unknown size.
func (s *Source) pipe(e *Entry) io.Reader { return s.byName[e.Path].pipe }

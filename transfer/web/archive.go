package web

import (
	"archive/tar"
	"archive/zip"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
	"unicode/utf8"
)

// An archiver takes the entries of a tree, parents first.
type archiver interface {
	dir(name string, info fs.FileInfo) error
	link(name, target string, info fs.FileInfo) error
	// file copies all of f, whose size and time are in info.
	file(name string, f io.Reader, info fs.FileInfo) error
	Close() error
}

// archive streams the tree below name. What goes wrong after the first byte can
// only be told by breaking the connection off.
func (s *Server) archive(w *recorder, r *http.Request, name string, f form) {
	top := s.title()
	if name != "." {
		top = path.Base(name)
	}
	h := w.Header()
	h.Set("Content-Type", formTypes[f])
	h.Set("Content-Disposition", attachment(top+"."+formNames[f]))
	if r.Method == http.MethodHead {
		return
	}
	var a archiver
	if f == formTar {
		a = tarball{tar.NewWriter(w)}
	} else {
		a = zipfile{zip.NewWriter(w)}
	}
	err := s.walk(r, name, path.Base(top), a)
	if err == nil {
		err = a.Close()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// walk gives the tree at name to a, under the name top. A file that vanishes
// or may not be read is left out, as it is from a page; one that shrinks
// while it is read is an error.
func (s *Server) walk(r *http.Request, name, top string, a archiver) error {
	return fs.WalkDir(s.Root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err := r.Context().Err(); err != nil {
			return err
		}
		if err != nil {
			if p == name {
				return err
			}
			return nil
		}
		if p != name && !shown(d) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		as := top
		if p != name {
			as = top + "/" + strings.TrimPrefix(p, prefix(name))
		}
		switch {
		case d.IsDir():
			info, err := d.Info()
			if err != nil {
				return nil
			}
			return a.dir(as, info)
		case d.Type()&fs.ModeSymlink != 0:
			info, err := d.Info()
			if err != nil {
				return nil
			}
			target, err := s.Root.Readlink(p)
			if err != nil || path.IsAbs(target) {
				return nil
			}
			if _, err := s.Root.Stat(p); err != nil {
				return nil // it leads nowhere, or out of the directory
			}
			return a.link(as, target, info)
		}
		return s.add(a, p, as)
	})
}

func prefix(dir string) string {
	if dir == "." {
		return ""
	}
	return dir + "/"
}

func (s *Server) add(a archiver, p, as string) error {
	f, err := s.Root.OpenFile(p, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return a.file(as, &exactly{f, info.Size()}, info)
}

// exactly reads n bytes: no more if the file has grown meanwhile, and an error if
// it has shrunk.
type exactly struct {
	r io.Reader
	n int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if err == io.EOF && e.n > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

type tarball struct{ *tar.Writer }

// header leaves out owner and names of owners, which concern nobody else.
func (t tarball) header(name string, kind byte, info fs.FileInfo) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Mode: int64(info.Mode().Perm()), ModTime: info.ModTime().Truncate(time.Second), Format: tar.FormatPAX}
}

func (t tarball) dir(name string, info fs.FileInfo) error {
	return t.WriteHeader(t.header(name+"/", tar.TypeDir, info))
}

func (t tarball) link(name, target string, info fs.FileInfo) error {
	h := t.header(name, tar.TypeSymlink, info)
	h.Linkname = target
	return t.WriteHeader(h)
}

func (t tarball) file(name string, f io.Reader, info fs.FileInfo) error {
	h := t.header(name, tar.TypeReg, info)
	h.Size = info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t.Writer, f)
	return err
}

type zipfile struct{ *zip.Writer }

// header stores without compressing: most of what people share is compressed
// already, and the network is seldom slower than one core's deflate.
func (z zipfile) header(name string, info fs.FileInfo) *zip.FileHeader {
	h := &zip.FileHeader{Name: name, Method: zip.Store, Modified: info.ModTime(), NonUTF8: !utf8.ValidString(name)}
	h.SetMode(info.Mode() & (fs.ModePerm | fs.ModeDir))
	return h
}

func (z zipfile) dir(name string, info fs.FileInfo) error {
	_, err := z.CreateHeader(z.header(name+"/", info))
	return err
}

// link leaves links out: what unpacks a zip on a phone makes text files of them.
func (z zipfile) link(string, string, fs.FileInfo) error { return nil }

func (z zipfile) file(name string, f io.Reader, info fs.FileInfo) error {
	w, err := z.CreateHeader(z.header(name, info))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

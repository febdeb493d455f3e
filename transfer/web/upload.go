package web

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"lukechampine.com/blake3"

	"github.com/wherry-net/wherry/transfer"
)

// maxFormFiles is how many files one form may carry.
const maxFormFiles = 1000

// A Stored is what the answer to an upload says of a file.
type Stored struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	BLAKE3 string `json:"blake3"`
}

// An uploadError is a refusal that the client is told.
type uploadError struct {
	status int
	why    string
}

func (e *uploadError) Error() string { return e.why }

// put stores the body of r as name.
func (s *Server) put(w *recorder, r *http.Request, name string, dir bool) {
	switch {
	case !s.Upload:
		w.Header().Set("Allow", s.allowed())
		refuse(w, http.StatusMethodNotAllowed, "this server takes no uploads")
		return
	case dir:
		refuse(w, http.StatusBadRequest, "a directory cannot be put; name a file")
		return
	case r.Header.Get("Content-Range") != "":
		refuse(w, http.StatusBadRequest, "a part of a file cannot be put (RFC 9110, section 14.5)")
		return
	case r.ContentLength > 0 && s.tooLarge(r.ContentLength):
		refuse(w, http.StatusRequestEntityTooLarge, "the file is larger than this server takes")
		return
	}
	stored, replaced, err := s.store(w, r, r.Body, name, r.Header.Get("If-Match"))
	if err != nil {
		s.refuseUpload(w, err)
		return
	}
	status := http.StatusCreated
	if replaced {
		status = http.StatusOK
	}
	w.stored, w.blake3 = stored.Size, stored.BLAKE3
	answer(w, status, stored)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// post stores the files of a form in the directory name.
func (s *Server) post(w *recorder, r *http.Request, name string, dir bool) {
	if !s.Upload {
		w.Header().Set("Allow", s.allowed())
		refuse(w, http.StatusMethodNotAllowed, "this server takes no uploads")
		return
	}
	// Another site's page must not post here, not even if it has learnt the token.
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		refuse(w, http.StatusForbidden, "a page of another site may not send files here")
		return
	}
	info, err := s.Root.Stat(name)
	if err != nil || !info.IsDir() || !dir {
		http.NotFound(w, r)
		return
	}
	form, err := r.MultipartReader()
	if err != nil {
		refuse(w, http.StatusUnsupportedMediaType, "files are sent as multipart/form-data, or one by PUT")
		return
	}
	stored := []Stored{}
	for {
		s.extend(w)
		part, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.refuseUpload(w, &uploadError{http.StatusBadRequest, "the form is broken off"})
			return
		}
		base := lastName(part.FileName())
		if base == "" {
			continue // a field that is not a file, or a file field left empty
		}
		if len(stored) >= maxFormFiles {
			s.refuseUpload(w, &uploadError{http.StatusRequestEntityTooLarge, "too many files in one form"})
			return
		}
		if err := transfer.CheckName(base); err != nil {
			s.refuseUpload(w, formError(&uploadError{http.StatusBadRequest, "a file's name cannot be used here"}, base, stored))
			return
		}
		x, _, err := s.store(w, r, part, path.Join(name, base), "")
		if err != nil {
			s.refuseUpload(w, formError(err, base, stored))
			return
		}
		stored = append(stored, x)
		w.stored += x.Size
	}
	if f, ok := negotiate(r); ok && f == formJSON {
		answer(w, http.StatusCreated, stored)
		return
	}
	d, _, err := s.open(name)
	if err != nil {
		s.failed(w, err)
		return
	}
	defer d.Close()
	list, err := s.list(d, name)
	if err != nil {
		s.failed(w, err)
		return
	}
	message := "No file was chosen."
	if len(stored) > 0 {
		message = "Arrived: " + storedNames(stored)
	}
	s.page(w, r, http.StatusOK, list, message)
}

// formError says which file of a form err is about, and that those before it are
// there.
func formError(err error, name string, stored []Stored) error {
	u := uploadFault(err)
	why := printable(name) + ": " + u.why
	if len(stored) > 0 {
		why += "; arrived before it: " + storedNames(stored)
	}
	return &uploadError{u.status, why}
}

func storedNames(stored []Stored) string {
	names := make([]string, len(stored))
	for i, x := range stored {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}

// lastName is the name of a file in a form without the directories that some
// browsers put before it.
func lastName(s string) string {
	return s[strings.LastIndexAny(s, `/\`)+1:]
}

func (s *Server) tooLarge(n int64) bool { return s.MaxSize > 0 && n > s.MaxSize }

// extend gives the client another while to move a byte of its body.
func (s *Server) extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.stall()))
}

// store writes body to name. It replaces a file only if match names its present
// ETag.
func (s *Server) store(w http.ResponseWriter, r *http.Request, body io.Reader, name, match string) (x Stored, replaced bool, err error) {
	if strings.ContainsRune(name, '\\') {
		// A name to some, a path to others, Windows and many unpackers among them.
		return x, false, &uploadError{http.StatusBadRequest, "a file's name may have no backslash in it"}
	}
	if info, err := s.Root.Stat(path.Dir(name)); err != nil || !info.IsDir() {
		return x, false, errNoDirectory
	}
	old, err := s.Root.Lstat(name)
	switch {
	case err == nil && match == "":
		return x, false, errExists
	case err == nil && (!old.Mode().IsRegular() || match != etag(old)):
		return x, false, &uploadError{http.StatusPreconditionFailed, "the file that is there is another one"}
	case err != nil && match != "":
		return x, false, &uploadError{http.StatusPreconditionFailed, "there is no such file to replace"}
	}
	part := path.Join(path.Dir(name), transfer.PartName(path.Base(name)))
	f, err := s.Root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return x, false, err
	}
	defer func() {
		f.Close()
		if err != nil {
			_ = s.Root.Remove(part)
		}
	}()
	sum := blake3.New(32, nil)
	if x.Size, err = s.fill(w, f, sum, body); err != nil {
		return x, false, err
	}
	if err = f.Sync(); err != nil {
		return x, false, err
	}
	if replaced = match != ""; replaced {
		err = s.Root.Rename(part, name)
	} else {
		err = s.settle(part, name)
	}
	if err != nil {
		return x, false, err
	}
	s.syncDir(path.Dir(name))
	x.Name, x.BLAKE3 = printable(path.Base(name)), hex.EncodeToString(sum.Sum(nil))
	return x, replaced, nil
}

var errNoDirectory = &uploadError{http.StatusNotFound, "there is no such directory"}

var errExists = &uploadError{http.StatusConflict, "a file of this name exists; to replace it, PUT with its ETag in If-Match"}

// fill copies body to f and to sum. Each read has a deadline of its own. An error
// of the body is only once io.ErrUnexpectedEOF: read again, net/http says EOF.
func (s *Server) fill(w http.ResponseWriter, f *os.File, sum io.Writer, body io.Reader) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for fill := 0; ; {
		s.extend(w)
		m, rerr := body.Read(buf[fill:])
		fill += m
		if s.tooLarge(n + int64(fill)) {
			return n, &uploadError{http.StatusRequestEntityTooLarge, "the file is larger than this server takes"}
		}
		if fill == len(buf) || rerr != nil {
			if _, err := f.Write(buf[:fill]); err != nil {
				return n, err
			}
			_, _ = sum.Write(buf[:fill]) // a hash never fails
			n, fill = n+int64(fill), 0
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, &uploadError{http.StatusBadRequest, "the body ended early"}
		}
	}
}

// settle gives part its name unless something has it: a link fails where a
// rename would replace. File systems without links get the rename.
func (s *Server) settle(part, name string) error {
	err := s.Root.Link(part, name)
	switch {
	case err == nil:
		return s.Root.Remove(part)
	case errors.Is(err, fs.ErrExist):
		return errExists
	}
	if _, err := s.Root.Lstat(name); err == nil {
		return errExists
	}
	return s.Root.Rename(part, name)
}

// syncDir makes a new name last. Some systems cannot sync a directory.
func (s *Server) syncDir(name string) {
	if d, err := s.Root.Open(name); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

func (s *Server) refuseUpload(w *recorder, err error) {
	u := uploadFault(err)
	refuse(w, u.status, u.why)
}

// uploadFault is what the client is told of err.
func uploadFault(err error) *uploadError {
	var u *uploadError
	switch {
	case errors.As(err, &u):
	case errors.Is(err, syscall.ENOSPC):
		u = &uploadError{http.StatusInsufficientStorage, "the server's disk is full"}
	case errors.Is(err, fs.ErrNotExist):
		u = errNoDirectory
	case errors.Is(err, fs.ErrPermission):
		u = &uploadError{http.StatusForbidden, "the server may not write there"}
	default:
		u = &uploadError{http.StatusInternalServerError, "the file could not be written"}
	}
	return u
}

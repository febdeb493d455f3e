package web

import (
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
)

// get answers for the file or directory name.
func (s *Server) get(w *recorder, r *http.Request, name string, dir bool) {
	f, info, err := s.open(name)
	if err != nil {
		s.failed(w, err)
		return
	}
	defer f.Close()
	switch {
	case info.IsDir() && !dir:
		redirect(w, r, r.URL.EscapedPath()+"/")
	case info.IsDir():
		s.directory(w, r, f, name)
	case dir:
		http.NotFound(w, r)
	default:
		s.file(w, r, f, info)
	}
}

// open opens a regular file or a directory, and nothing that might block.
func (s *Server) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := s.Root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// failed answers for a file that cannot be had. A link that leads outside is
// as missing as any other.
func (s *Server) failed(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrPermission) {
		refuse(w, http.StatusForbidden, "the server may not read this file")
		return
	}
	refuse(w, http.StatusNotFound, "404 page not found")
}

func (s *Server) file(w *recorder, r *http.Request, f *os.File, info fs.FileInfo) {
	h := w.Header()
	h.Set("ETag", etag(info))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; media-src 'self'")
	ctype := mime.TypeByExtension(path.Ext(info.Name()))
	if ctype == "" {
		ctype = "application/octet-stream" // guessing by content would read the file first
	}
	h.Set("Content-Type", ctype)
	if r.URL.Query().Has("download") {
		h.Set("Content-Disposition", attachment(info.Name()))
	}
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// etag is a strong validator as far as size and time tell versions apart.
func etag(info fs.FileInfo) string {
	return fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
}

// attachment names a download (RFC 6266, with RFC 8187 for what is not ASCII).
func attachment(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f || r == '"' || r == '\\' || r == '%' {
			return '_'
		}
		return r
	}, name)
	var ext strings.Builder
	for _, c := range []byte(name) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			ext.WriteByte(c)
		} else {
			fmt.Fprintf(&ext, "%%%02X", c)
		}
	}
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + ext.String()
}

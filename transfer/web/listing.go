package web

import (
	_ "embed"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"net/http"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
)

// maxListed is how many entries one page shows. Archives hold all.
const maxListed = 20_000

// A Listing is a directory as JSON. Names that are not UTF-8 have their odd bytes
// as \xNN; Href always leads to the entry.
type Listing struct {
	Path      string  `json:"path"` // below the shared directory, "" is the top
	Entries   []Entry `json:"entries"`
	Truncated bool    `json:"truncated,omitempty"` // there are more entries than are listed
}

// An Entry is a file or directory in a Listing.
type Entry struct {
	Name     string    `json:"name"`
	Href     string    `json:"href"` // relative to the directory
	Kind     string    `json:"kind"` // "file" or "directory"
	Size     int64     `json:"size"` // in bytes; 0 for a directory
	Modified time.Time `json:"modified"`
}

func (s *Server) directory(w *recorder, r *http.Request, d *os.File, name string) {
	w.Header().Set("Vary", "Accept")
	f, ok := negotiate(r)
	if !ok {
		refuse(w, http.StatusNotAcceptable, "a directory can be had as text/html, application/json, application/x-tar or application/zip")
		return
	}
	if f == formTar || f == formZip {
		s.archive(w, r, name, f)
		return
	}
	list, err := s.list(d, name)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the directory cannot be read")
		return
	}
	w.Header().Set("Content-Type", formTypes[f]+"; charset=utf-8")
	if f == formJSON {
		if r.Method == http.MethodHead {
			return
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(true)
		_ = e.Encode(list)
		return
	}
	s.page(w, r, http.StatusOK, list, "")
}

// list reads a directory: directories first, then by name.
func (s *Server) list(d *os.File, name string) (*Listing, error) {
	l := &Listing{Entries: []Entry{}}
	if name != "." {
		l.Path = printable(name)
	}
	for len(l.Entries) <= maxListed {
		batch, err := d.ReadDir(1024)
		for _, e := range batch {
			if !shown(e) {
				continue
			}
			// Through a link, but never out of the root.
			info, err := s.Root.Stat(path.Join(name, e.Name()))
			if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
				continue
			}
			x := Entry{Name: printable(e.Name()), Href: href(e.Name(), info.IsDir()), Kind: "file", Size: info.Size(), Modified: info.ModTime().UTC().Truncate(time.Second)}
			if info.IsDir() {
				x.Kind, x.Size = "directory", 0
			}
			l.Entries = append(l.Entries, x)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(l.Entries) > maxListed {
		l.Entries, l.Truncated = l.Entries[:maxListed], true
	}
	sort.Slice(l.Entries, func(i, j int) bool {
		a, b := &l.Entries[i], &l.Entries[j]
		if a.Kind != b.Kind {
			return a.Kind == "directory"
		}
		return a.Name < b.Name
	})
	return l, nil
}

// printable is a name with nothing in it that a terminal or a page obeys; a
// backslash stays as it is unless something had to be escaped.
func printable(name string) string {
	if utf8.ValidString(name) && strings.ReplaceAll(safetext.Clean(name), `\\`, `\`) == name {
		return name
	}
	return safetext.Clean(name)
}

//go:embed page.html
var pageText string

// Parsed when the first page is asked for: most runs of the program serve none.
var pageTemplate = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"size": units.FormatBytes,
		"when": func(t time.Time) string { return t.Format("2006-01-02 15:04") },
		"iso":  func(t time.Time) string { return t.Format(time.RFC3339) },
	}).Parse(pageText))
})

type crumb struct{ Name, Href string }

type pageData struct {
	Title   string
	Crumbs  []crumb
	Here    string
	List    *Listing
	Upload  bool
	Message string
}

// pagePolicy lets a page be styled by its own <style> and posted to itself.
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, l *Listing, message string) {
	w.Header().Set("Content-Security-Policy", pagePolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	d := pageData{Title: s.title(), List: l, Upload: s.Upload, Message: message, Here: printable(s.title())}
	if l.Path != "" {
		parts := strings.Split(l.Path, "/")
		up := strings.Repeat("../", len(parts))
		d.Crumbs = append(d.Crumbs, crumb{printable(s.title()), up})
		for i, p := range parts[:len(parts)-1] {
			d.Crumbs = append(d.Crumbs, crumb{p, strings.Repeat("../", len(parts)-1-i)})
		}
		d.Here = parts[len(parts)-1]
	}
	// An error here is a client that left.
	_ = pageTemplate().Execute(w, d)
}

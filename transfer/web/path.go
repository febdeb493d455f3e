package web

import (
	"io/fs"
	"net/url"
	"strings"

	"github.com/wherry-net/wherry/transfer"
)

// clean turns the path of a URL, decoded and beginning with a slash, into a name
// below the root ("." is the root) and whether it names a directory. The rules are
// those for entries of a transfer; a path that breaks them does not exist. Nothing
// is tidied: "a//b" and "a/../b" are errors, not other names for a file.
func clean(p string) (name string, dir, ok bool) {
	p = strings.TrimPrefix(p, "/")
	p, dir = strings.CutSuffix(p, "/")
	if p == "" {
		return ".", true, true
	}
	return p, dir, transfer.CheckName(p) == nil
}

// shown says whether an entry of a directory is shared: files, directories and
// links to such, with names that clean accepts.
func shown(d fs.DirEntry) bool {
	const odd = fs.ModeType &^ (fs.ModeDir | fs.ModeSymlink)
	return d.Type()&odd == 0 && transfer.CheckName(d.Name()) == nil
}

// href is the relative URL of an entry. The ./ keeps a colon in the name from
// being read as a scheme.
func href(name string, dir bool) string {
	h := "./" + url.PathEscape(name)
	if dir {
		h += "/"
	}
	return h
}

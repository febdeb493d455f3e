package transfer

import (
	"path"
	"strings"
	"unicode/utf8"
)

// A Case says whether names that differ only in case are one file.
type caseRule bool

const (
	caseSensitive   caseRule = false
	caseInsensitive caseRule = true
)

// partSuffix and journalSuffix mark the files in which an unfinished one waits.
// No entry may be called so: a later run would read what a stranger sent as its
// own notes.
const (
	partSuffix    = ".wherry-part"
	journalSuffix = ".wherry-journal"
)

// A manifest checks entries as they arrive, one by one: each alone, and against
// those before it. The rules are those of the package doc, "What a receiver
// refuses".
type manifest struct {
	goos  string
	fold  caseRule
	seen  map[string]Kind
	bytes int64
	names int // bytes of paths and targets so far
}

func newManifest(goos string, fold caseRule) *manifest {
	return &manifest{goos: goos, fold: fold, seen: map[string]Kind{}}
}

// key is what two paths have in common if they are one file here.
func (m *manifest) key(p string) string {
	if m.fold {
		return strings.ToLower(strings.ToUpper(p))
	}
	return p
}

func (m *manifest) add(e Entry) error {
	if reason := badPath(e.Path, m.goos); reason != "" {
		return &EntryError{e.Path, reason}
	}
	if e.Kind == Symlink {
		if reason := badTarget(e.Path, e.Target, m.goos); reason != "" {
			return &EntryError{e.Path, reason}
		}
	}
	k := m.key(e.Path)
	if _, dup := m.seen[k]; dup {
		if m.fold {
			return &EntryError{e.Path, "its name is in the list twice (this file system does not tell upper from lower case)"}
		}
		return &EntryError{e.Path, "its name is in the list twice"}
	}
	if parent := path.Dir(e.Path); parent != "." {
		switch kind, ok := m.seen[m.key(parent)]; {
		case !ok:
			return &EntryError{e.Path, "its directory is not in the list before it"}
		case kind == Symlink:
			return &EntryError{e.Path, "it lies below a symbolic link"}
		case kind != Dir:
			return &EntryError{e.Path, "it lies below something that is not a directory"}
		}
	}
	if len(m.seen) >= maxEntries {
		return &RefusedError{Reason: "more entries than this end takes"}
	}
	if m.names += len(e.Path) + len(e.Target); m.names > maxNames {
		return &RefusedError{Reason: "more and longer names than this end takes"}
	}
	m.seen[k] = e.Kind
	if e.Kind == File && e.Size > 0 {
		if m.bytes > maxSize-e.Size {
			return &EntryError{e.Path, "the sizes add up to more than is possible"}
		}
		m.bytes += e.Size
	}
	return nil
}

// badPath is why p must not be created below a directory on goos, or "".
func badPath(p, goos string) string {
	switch {
	case p == "":
		return "the name is empty"
	case len(p) > maxPath:
		return "the path is too long"
	case p[0] == '/':
		return "the path is absolute"
	case strings.Count(p, "/") >= maxDepth:
		return "the path is too deep"
	}
	for name := range strings.SplitSeq(p, "/") {
		if reason := badName(name, goos); reason != "" {
			return reason
		}
	}
	return ""
}

func badName(name, goos string) string {
	switch {
	case name == "":
		return "a name in the path is empty"
	case name == "." || name == "..":
		return "the path has a " + name + " in it"
	case len(name) > maxComponent:
		return "a name in the path is too long"
	case strings.IndexByte(name, 0) >= 0:
		return "the path has a zero byte in it"
	case hasSuffixFold(name, partSuffix) || hasSuffixFold(name, journalSuffix):
		return "the name is kept for unfinished files"
	}
	if goos == "windows" {
		return badWindowsName(name)
	}
	return ""
}

// hasSuffixFold is HasSuffix for a suffix of ASCII, on a file system that may not
// tell upper from lower case.
func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

// badWindowsName knows the names that Windows gives another meaning, or trims.
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
func badWindowsName(name string) string {
	if !utf8.ValidString(name) {
		return "the name is not UTF-8, which Windows needs"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || strings.ContainsRune(`<>:"/\|?*`, r) }) {
		return "the name has a character that Windows does not allow"
	}
	if c := name[len(name)-1]; c == '.' || c == ' ' {
		return "the name ends in a dot or a space, which Windows drops"
	}
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "COM¹", "COM²", "COM³", "LPT¹", "LPT²", "LPT³":
		return "the name is a device on Windows"
	}
	if len(base) == 4 && (strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")) && base[3] >= '0' && base[3] <= '9' {
		return "the name is a device on Windows"
	}
	return ""
}

// badTarget is why the symbolic link at p must not point to target, or "". A
// target must be relative and stay inside the link's own tree, the first name of
// p. A ".." may stand only in front: behind a name that is itself a link it would
// lead from where that link points, and no look at the text could tell where.
func badTarget(p, target, goos string) string {
	switch {
	case target == "":
		return "the link points nowhere"
	case len(target) > maxPath:
		return "the link's target is too long"
	case target[0] == '/':
		return "the link points to an absolute path"
	case strings.IndexByte(target, 0) >= 0:
		return "the link's target has a zero byte in it"
	case goos == "windows" && strings.ContainsAny(target, `\:`):
		return "the link's target has a character that Windows does not allow"
	}
	// The link's directory is depth names below the top of its tree; -1 means
	// that the link is the top itself.
	depth := strings.Count(p, "/") - 1
	names := false
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if names {
				return "the link's target has a .. behind a name"
			}
			depth--
		default:
			names = true
		}
		if depth < 0 {
			return "the link points out of its tree"
		}
	}
	return ""
}

package transfer

import (
	"fmt"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/wherry-net/wherry/socket/safetext"
)

// A Filter selects entries of a tree by globs. Its Selects is a
// [SourceOptions] Select.
//
// A glob knows *, ?, [a-z] and {a,b}, none of which crosses a slash, and **,
// which stands for any number of directories. Where it matches is told by its
// slashes, as in rsync(1) and gitignore(5):
//
//	*.log      a name anywhere in the tree
//	obj/*.o    the end of a path: any directory obj
//	/build     below the directory that was named, only there
//	tmp/       directories only
//
// The order of the globs does not matter:
//
//   - An include is an exception from the excludes: what one matches is sent.
//   - Otherwise, what an exclude matches is not.
//   - Without excludes, or beside an exclude of everything (*, **), nothing is
//     sent but what an include matches, and what is in a directory that one
//     matches.
//   - The rest is sent.
//
// A directory that is left out is not entered, so that nothing in it can be an
// exception; this is so in both of those programs too. Unlike there, an exclude
// of everything still lets directories be entered to look for includes, so that
// the idiom of including "*/" is not needed, and does no harm.
type Filter struct {
	include, exclude []glob
	only             bool // nothing but what an include matches
}

// A glob is one pattern, made ready to match a whole path.
type glob struct {
	pattern string // for doublestar, to match the path below the named directory
	tail    bool   // it may match at any depth, from the named directory on
	name    bool   // it is matched against the last name
	dir     bool   // it matches directories only
}

// A GlobError says that a pattern is not one.
type GlobError struct{ Glob string }

func (e *GlobError) Error() string {
	return fmt.Sprintf("%s is no pattern: a bracket or brace is not closed, or it is empty", safetext.Quote(e.Glob))
}

// NewFilter reads globs. The error is a *GlobError.
func NewFilter(include, exclude []string) (*Filter, error) {
	f := &Filter{}
	all, every := len(exclude) == 0, false
	for _, s := range exclude {
		if strings.Trim(s, "*/") == "" && s != "" && !strings.HasSuffix(s, "/") && len(include) > 0 {
			all = true
			continue
		}
		g, err := parseGlob(s)
		if err != nil {
			return nil, err
		}
		f.exclude = append(f.exclude, g)
	}
	for _, s := range include {
		if s == "*/" || s == "**/" {
			every = true // rsync's way to say that directories are to be entered
			continue
		}
		g, err := parseGlob(s)
		if err != nil {
			return nil, err
		}
		f.include = append(f.include, g)
	}
	f.only = all && len(include) > 0
	if every && !f.only {
		f.include = append(f.include, glob{pattern: "*", name: true, dir: true})
	}
	return f, nil
}

func parseGlob(s string) (glob, error) {
	g := glob{pattern: s}
	g.pattern, g.dir = strings.CutSuffix(g.pattern, "/")
	anchored := false
	g.pattern, anchored = strings.CutPrefix(g.pattern, "/")
	g.pattern = strings.TrimPrefix(g.pattern, "./")
	if g.pattern == "" || !doublestar.ValidatePattern(g.pattern) {
		return g, &GlobError{s}
	}
	if !anchored {
		g.name = !strings.Contains(g.pattern, "/")
		g.tail = !g.name
	}
	return g, nil
}

// match matches a path: its named part and what is below it.
func (g *glob) match(whole, below, name string, dir bool) bool {
	switch {
	case g.dir && !dir:
		return false
	case g.name:
		return doublestar.MatchUnvalidated(g.pattern, name)
	case g.tail:
		return doublestar.MatchUnvalidated("**/"+g.pattern, whole)
	}
	return doublestar.MatchUnvalidated(g.pattern, below)
}

func matchAny(globs []glob, p string, dir bool) bool {
	_, below, ok := strings.Cut(p, "/")
	if !ok {
		below = p
	}
	name := p[strings.LastIndexByte(p, '/')+1:]
	for i := range globs {
		if globs[i].match(p, below, name, dir) {
			return true
		}
	}
	return false
}

// Selects reports whether the entry at path, as the receiver sees it, is sent;
// for a directory, whether it is entered.
func (f *Filter) Selects(path string, dir bool) bool {
	switch {
	case matchAny(f.include, path, dir):
		return true
	case matchAny(f.exclude, path, dir):
		return false
	case !f.only || dir:
		return true
	}
	for i := range path {
		if path[i] == '/' && matchAny(f.include, path[:i], true) {
			return true
		}
	}
	return false
}

// Only reports whether nothing is sent but what an include matches. Then
// directories in which nothing was found are of no use.
func (f *Filter) Only() bool { return f.only }

// fullDirs passes entries on to yield, but a directory only when something in it
// comes.
func fullDirs(yield func(Entry) error) func(Entry) error {
	var waiting []Entry // each inside the one before it
	return func(e Entry) error {
		for len(waiting) > 0 && !strings.HasPrefix(e.Path, waiting[len(waiting)-1].Path+"/") {
			waiting = waiting[:len(waiting)-1]
		}
		if e.Kind == Dir {
			waiting = append(waiting, e)
			return nil
		}
		for _, d := range waiting {
			if err := yield(d); err != nil {
				return err
			}
		}
		waiting = waiting[:0]
		return yield(e)
	}
}

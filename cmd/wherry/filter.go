package main

import (
	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer"
)

// globFlag takes one glob each time it is given. cli's own slices would cut
// "{a,b}" at the comma.
type globFlag []string

func (g *globFlag) Set(s string) error { *g = append(*g, s); return nil }
func (g *globFlag) String() string     { return "" }

func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "exclude", Value: &globFlag{}, Usage: "leave out what `GLOB` matches; may be given again"},
		&cli.GenericFlag{Name: "include", Value: &globFlag{}, Usage: "send what `GLOB` matches although an --exclude does; without --exclude, send nothing else"},
	}
}

const filterHelp = `
Globs know *, ?, [a-z], {a,b}, and ** for any number of directories. '*.log' is a name
anywhere, 'obj/*.o' the end of a path, '/build' one in the directory that you named,
'tmp/' a directory. The order of --include and --exclude does not matter: an include is
an exception from the excludes. --exclude '*' with includes sends only what they match.
A directory that is excluded is not entered, so there are no exceptions inside it.`

// applyFilter sets what --include and --exclude select.
func applyFilter(c *cli.Context, o *transfer.SourceOptions) error {
	include, exclude := *c.Generic("include").(*globFlag), *c.Generic("exclude").(*globFlag)
	if len(include)+len(exclude) == 0 {
		return nil
	}
	f, err := transfer.NewFilter(include, exclude)
	if err != nil {
		return usagef("%w", err).hint("quote a pattern so that the shell leaves it alone; a backslash takes a bracket or brace literally")
	}
	o.Select, o.SkipEmptyDirs = f.Selects, f.Only()
	return nil
}

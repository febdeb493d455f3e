// Package report makes a report of the results of a plan: a table with means and
// confidence intervals, plots, and how it was measured, as Markdown and as one
// HTML file that needs nothing else.
//
// With the simulator a report is the same to the byte every time, like the
// results: it holds no date and nothing else from the wall clock.
package report

import (
	"io"
	"path/filepath"

	"github.com/wherry-net/wherry/lab"
)

// Names of the files.
const (
	HTML     = "report.html"
	Markdown = "report.md"
)

// Info is what a report tells beside the results.
type Info struct {
	Version string   // of wherry
	Command []string // the command line, without what says where the results go
	System  []Fact   // see [System]
	Began   string   // when it was measured; empty with the simulator
}

// A Fact is something with a name.
type Fact struct{ Name, Value string }

// Write writes both forms beside the results.
func Write(res *lab.Results, info Info) error {
	d, err := digest(res, info)
	if err != nil {
		return err
	}
	if err := lab.WriteFile(filepath.Join(res.Dir, Markdown), func(w io.Writer) error { return writeMarkdown(w, d) }); err != nil {
		return err
	}
	return lab.WriteFile(filepath.Join(res.Dir, HTML), func(w io.Writer) error { return writeHTML(w, d) })
}

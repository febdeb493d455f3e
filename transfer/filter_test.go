package transfer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// filterTree is what TestFilter selects from; a slash ends directories.
var filterTree = []string{
	"p/", "p/README", "p/a.go", "p/a_test.go", "p/build/", "p/build/a.o", "p/debug.log", "p/docs/", "p/docs/build/", "p/docs/build/x.html",
	"p/docs/deep/", "p/docs/deep/er/", "p/docs/deep/er/z.txt", "p/docs/i.md", "p/empty/", "p/keep.log", "p/node_modules/", "p/node_modules/m.js", "p/{odd}",
}

func TestFilter(t *testing.T) {
	dir := t.TempDir()
	for _, p := range filterTree {
		if strings.HasSuffix(p, "/") {
			if err := os.MkdirAll(filepath.Join(dir, p), 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, filepath.Join(dir, p), []byte(p), 0o644, old)
	}
	without := func(drop ...string) []string {
		var out []string
		for _, p := range filterTree {
			if !slices.ContainsFunc(drop, func(d string) bool { return p == d || strings.HasSuffix(d, "/") && strings.HasPrefix(p, d) }) {
				out = append(out, p)
			}
		}
		return out
	}
	for _, c := range []struct {
		name             string
		include, exclude []string
		want             []string
	}{
		{"nothing", nil, nil, filterTree},
		{"a name anywhere", nil, []string{"*.log"}, without("p/debug.log", "p/keep.log")},
		{"a directory anywhere", nil, []string{"build"}, without("p/build/", "p/docs/build/")},
		{"directories only", nil, []string{"build/", "README/"}, without("p/build/", "p/docs/build/")},
		{"anchored", nil, []string{"/build"}, without("p/build/")},
		{"the end of a path", nil, []string{"docs/build"}, without("p/docs/build/")},
		{"with the name that was given", nil, []string{"p/build"}, without("p/build/")},
		{"two stars in the middle", nil, []string{"docs/**/*.txt"}, without("p/docs/deep/er/z.txt")},
		{"one star crosses no slash", nil, []string{"docs/*/z.txt"}, filterTree},
		{"two stars at the end: the directory too, as doublestar has it", nil, []string{"docs/**"}, without("p/docs/")},
		{"braces", nil, []string{"*.{go,md}"}, without("p/a.go", "p/a_test.go", "p/docs/i.md")},
		{"an escaped brace", nil, []string{`\{odd\}`}, without("p/{odd}")},
		{"an exception", []string{"keep.log"}, []string{"*.log"}, without("p/debug.log")},
		{"includes alone", []string{"*.go"}, nil, []string{"p/", "p/a.go", "p/a_test.go"}},
		{"includes deep down", []string{"z.txt"}, nil, []string{"p/", "p/docs/", "p/docs/deep/", "p/docs/deep/er/", "p/docs/deep/er/z.txt"}},
		{"all but includes, as rsync users write it", []string{"*/", "*.go"}, []string{"*"}, []string{"p/", "p/a.go", "p/a_test.go"}},
		{"all but includes", []string{"*.go"}, []string{"**"}, []string{"p/", "p/a.go", "p/a_test.go"}},
		{"an included directory", []string{"docs/"}, nil, []string{"p/", "p/docs/", "p/docs/build/", "p/docs/build/x.html", "p/docs/deep/", "p/docs/deep/er/", "p/docs/deep/er/z.txt", "p/docs/i.md"}},
		{"no exceptions in what is not entered", []string{"*.js"}, []string{"node_modules"}, without("p/node_modules/")},
		{"a top that is excluded", nil, []string{"p"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := NewFilter(c.include, c.exclude)
			if err != nil {
				t.Fatal(err)
			}
			src, err := NewSource([]string{filepath.Join(dir, "p")}, SourceOptions{Select: f.Selects, SkipEmptyDirs: f.Only()})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			var got []string
			err = src.walk(func(e Entry) error {
				if e.Kind == Dir {
					e.Path += "/"
				}
				got = append(got, e.Path)
				return nil
			}, func(path string, reason error) { t.Errorf("skipped %s: %s", path, reason) })
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestFilterBadGlobs(t *testing.T) {
	for _, s := range []string{"", "/", "[", "a[b", "{a,b", "x/[a-", `a\`} {
		var bad *GlobError
		if _, err := NewFilter(nil, []string{s}); !errors.As(err, &bad) {
			t.Errorf("--exclude %q: %v", s, err)
		}
		if _, err := NewFilter([]string{s}, []string{"*"}); !errors.As(err, &bad) {
			t.Errorf("--include %q: %v", s, err)
		}
	}
}

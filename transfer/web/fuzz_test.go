package web

import (
	"path"
	"strings"
	"testing"
)

// What clean accepts stays below the root and has one spelling only.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"/", "/a", "/a/", "/a/b", "//a", "/../a", "/a/..", "/a//", "/.", "/a\x00", "/a\\..\\b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		name, dir, ok := clean(p)
		if !ok {
			return
		}
		if path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
			t.Fatalf("%q became %q", p, name)
		}
		if name != "." {
			again := "/" + name
			if dir {
				again += "/"
			}
			if n, d, ok := clean(again); !ok || n != name || d != dir {
				t.Fatalf("%q became %q, and that %q", p, name, n)
			}
		}
	})
}

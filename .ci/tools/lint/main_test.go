package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// Every rule bites where it should and nowhere else, in the module as it is.
func TestRulesBite(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := readConfig(filepath.Join(root, ".ci", "lint.yml"))
	if err != nil {
		t.Fatal(err)
	}
	ar, err := txtar.ParseFile("testdata/planted.txtar")
	if err != nil {
		t.Fatal(err)
	}
	overlay := make(map[string][]byte)
	want := make(map[string]bool) // file:line:rule
	planted := make(map[string]bool)
	bitten := make(map[string]bool)
	for _, f := range ar.Files {
		overlay[filepath.Join(root, filepath.FromSlash(f.Name))] = f.Data
		planted[f.Name] = true
		for i, line := range strings.Split(string(f.Data), "\n") {
			if _, rule, ok := strings.Cut(line, "// want "); ok {
				want[fmt.Sprintf("%s:%d:%s", f.Name, i+1, rule)] = true
				bitten[rule] = true
			}
		}
	}
	for name := range cfg.Imports {
		if !bitten[name] {
			t.Errorf("nothing is planted for the rule %s", name)
		}
	}
	for name := range cfg.Calls {
		if !bitten[name] {
			t.Errorf("nothing is planted for the rule %s", name)
		}
	}

	problems, err := lint(root, []string{"./..."}, overlay)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !planted[p.File] || p.Rule == "compile" {
			continue // the planted imports need not exist
		}
		key := fmt.Sprintf("%s:%d:%s", p.File, p.Line, p.Rule)
		if !want[key] {
			t.Errorf("reported without cause: %v", p)
		}
		delete(want, key)
	}
	for key := range want {
		t.Errorf("not reported: %s", key)
	}
}

// A rule's paths are those inside the module, wherever the clone lies.
func TestMatcher(t *testing.T) {
	in, err := matcher("/home/resolve/cmd", []string{"transfer/**", "*.go", "!$test"})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"/home/resolve/cmd/transfer/a.go":        true,
		"/home/resolve/cmd/transfer/b/a.go":      true,
		"/home/resolve/cmd/a.go":                 true,
		"/home/resolve/cmd/a_test.go":            false,
		"/home/resolve/cmd/transfer/b/a_test.go": false,
		"/home/resolve/cmd/resolve/a.go":         false,
		"/home/transfer/a.go":                    false,
	} {
		if in(file) != want {
			t.Errorf("%s: %v, want %v", file, !want, want)
		}
	}
}

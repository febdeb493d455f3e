package pairing

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// SECURITY.md says which test shows each promise. Each must exist in the package
// where it says.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	doc, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	span := regexp.MustCompile("`([^`]+)`")
	test := regexp.MustCompile(`^(Test|Fuzz)\w+$`)
	sources := map[string]string{}
	named := 0
	for line := range strings.Lines(string(doc)) {
		pkg := ""
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, m := range span.FindAllStringSubmatch(line, -1) {
			name := m[1]
			if !test.MatchString(name) {
				pkg = strings.Replace(name, "…", "transfer/pairing", 1)
				continue
			}
			named++
			if _, ok := sources[pkg]; !ok {
				sources[pkg] = testSources(t, filepath.Join("../..", filepath.FromSlash(pkg)))
			}
			if !strings.Contains(sources[pkg], "\nfunc "+name+"(") {
				t.Errorf("%s is not in %q", name, pkg)
			}
		}
	}
	if named < 25 {
		t.Errorf("only %d tests are named", named)
	}
}

func testSources(t *testing.T, dir string) string {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// This package and those below it stand apart from what uses them.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: go list: %v: %s", err, out)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		if dep == "github.com/wherry-net/wherry/transfer/internal/preface" {
			continue // the first bytes of a connection, which both trust models have in common
		}
		if strings.HasPrefix(dep, "github.com/wherry-net/wherry/") && !strings.HasPrefix(dep, "github.com/wherry-net/wherry/transfer/pairing") ||
			strings.HasPrefix(dep, "github.com/miekg/") || strings.HasPrefix(dep, "github.com/urfave/") {
			t.Errorf("%s is imported", dep)
		}
	}
}

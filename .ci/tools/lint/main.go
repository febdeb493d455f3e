// Lint holds wherry's packages to the rules in lint.yml: who may import whom
// (by depguard) and which functions may not be called where (by forbidigo).
//
//	go run -C .ci/tools ./lint [-root DIR] [PACKAGE...]
//
// It is a program of its own, and not the two linters' commands, since those
// match absolute paths (a clone below a directory named "resolve" would get
// resolve's rules), cannot scope a call by file, and see one operating system's
// files at a time. Here one run sees all three that we build for.
//
// A line that must break a rule says so: //permit:time.Now and, after it, why.
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/OpenPeeDeeP/depguard/v2"
	"github.com/ashanbrown/forbidigo/v2/forbidigo"
	"github.com/gobwas/glob"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/packages"
)

// systems are the values of GOOS whose files are looked at.
var systems = []string{"linux", "darwin", "windows"}

// A config is the contents of lint.yml. Globs are relative to the module's root
// and without "**/" before them; one with "!" before it takes files out, and
// $test stands for test files.
type config struct {
	Imports map[string]importRule `yaml:"imports"`
	Calls   map[string]callRule   `yaml:"calls"`
}

type importRule struct {
	Files []string          `yaml:"files"`
	Deny  map[string]string `yaml:"deny"`  // import path prefix, "$" at its end for this one only -> reason
	Allow []string          `yaml:"allow"` // exceptions: longer prefixes
}

type callRule struct {
	Files  []string `yaml:"files"`
	Unless string   `yaml:"unless"` // files that import this are exempt
	Pkg    string   `yaml:"pkg"`    // regexp on the import path of what is called
	Match  string   `yaml:"match"`  // regexp on package.Func or package.Type.Method
	Reason string   `yaml:"reason"`
}

// A problem is one finding.
type problem struct {
	File string // relative to the root
	Line int
	Rule string
	Text string
}

func (p problem) String() string {
	return fmt.Sprintf("%s:%d: [%s] %s", p.File, p.Line, p.Rule, p.Text)
}

func main() {
	root := flag.String("root", "../..", "the module's root directory")
	flag.Parse()
	patterns := flag.Args()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	problems, err := lint(*root, patterns, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(2)
	}
	for _, p := range problems {
		fmt.Println(p)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// lint returns the problems in the packages below root, in order. Files in
// overlay, by absolute path, stand in for those on disk.
func lint(root string, patterns []string, overlay map[string][]byte) ([]problem, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	cfg, err := readConfig(filepath.Join(root, ".ci", "lint.yml"))
	if err != nil {
		return nil, err
	}
	found := make(map[problem]bool) // a file is seen once a system, and again in its test
	for _, goos := range systems {
		pkgs, err := packages.Load(&packages.Config{
			Mode:    packages.LoadSyntax | packages.NeedModule,
			Dir:     root,
			Env:     append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly"),
			Tests:   true,
			Overlay: overlay,
		}, patterns...)
		if err != nil {
			return nil, fmt.Errorf("loading for %s: %w", goos, err)
		}
		ps, err := cfg.check(root, pkgs)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", goos, err)
		}
		for _, p := range ps {
			found[p] = true
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b problem) int {
		return strings.Compare(fmt.Sprintf("%s:%09d:%s", a.File, a.Line, a.Rule), fmt.Sprintf("%s:%09d:%s", b.File, b.Line, b.Rule))
	}), nil
}

func readConfig(name string) (*config, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var cfg config
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true) // a misspelt key would be a rule that never bites
	if err := dec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &cfg, nil
}

func (cfg *config) check(root string, pkgs []*packages.Package) ([]problem, error) {
	var out []problem
	add := func(file string, line int, rule, text string) {
		if rel, err := filepath.Rel(root, file); err == nil && filepath.IsLocal(rel) {
			out = append(out, problem{filepath.ToSlash(rel), line, rule, text})
		}
	}
	// A package that does not compile has not been checked.
	for _, p := range pkgs {
		for _, e := range p.Errors {
			file, rest, _ := strings.Cut(e.Pos, ":")
			var line int
			fmt.Sscanf(rest, "%d", &line)
			add(file, line, "compile", e.Msg)
		}
	}
	errs := []error{
		cfg.checkImports(root, pkgs, add),
		cfg.checkCalls(root, pkgs, add),
	}
	return out, errors.Join(errs...)
}

func (cfg *config) checkImports(root string, pkgs []*packages.Package, add func(string, int, string, string)) error {
	// A list for each, so that a finding tells which rule it broke.
	for name, r := range cfg.Imports {
		list := &depguard.List{ListMode: "lax", Allow: slices.Clone(r.Allow), Deny: maps.Clone(r.Deny)}
		for _, f := range r.Files {
			list.Files = append(list.Files, below(root, f))
		}
		a, err := depguard.NewAnalyzer(&depguard.LinterSettings{name: list})
		if err != nil {
			return fmt.Errorf("rule %s: %w", name, err)
		}
		a.RunDespiteErrors = true
		g, err := checker.Analyze([]*analysis.Analyzer{a}, pkgs, nil)
		if err != nil {
			return fmt.Errorf("rule %s: %w", name, err)
		}
		for _, act := range g.Roots {
			if act.Err != nil {
				return fmt.Errorf("rule %s: %w", name, act.Err)
			}
			for _, d := range act.Diagnostics {
				pos := act.Package.Fset.Position(d.Pos)
				add(pos.Filename, pos.Line, name, d.Message)
			}
		}
	}
	return nil
}

func (cfg *config) checkCalls(root string, pkgs []*packages.Package, add func(string, int, string, string)) error {
	for name, r := range cfg.Calls {
		in, err := matcher(root, r.Files)
		if err != nil {
			return fmt.Errorf("rule %s: %w", name, err)
		}
		pattern, err := yaml.Marshal(map[string]string{"p": r.Match, "pkg": r.Pkg, "msg": r.Reason})
		if err != nil {
			return fmt.Errorf("rule %s: %w", name, err)
		}
		l, err := forbidigo.NewLinter([]string{string(pattern)}, forbidigo.OptionAnalyzeTypes(true), forbidigo.OptionExcludeGodocExamples(true))
		if err != nil {
			return fmt.Errorf("rule %s: %w", name, err)
		}
		for _, p := range pkgs {
			for _, file := range p.Syntax {
				if !in(p.Fset.Position(file.Pos()).Filename) {
					continue
				}
				exempt := false
				for _, imp := range file.Imports {
					exempt = exempt || strings.Trim(imp.Path.Value, `"`) == r.Unless
				}
				if exempt {
					continue
				}
				issues, err := l.RunWithConfig(forbidigo.RunConfig{Fset: p.Fset, TypesInfo: p.TypesInfo}, file)
				if err != nil {
					return fmt.Errorf("rule %s: %w", name, err)
				}
				for _, i := range issues {
					add(i.Position().Filename, i.Position().Line, name, i.Details())
				}
			}
		}
	}
	return nil
}

// below puts root before a glob.
func below(root, pattern string) string {
	not := ""
	if strings.HasPrefix(pattern, "!") {
		not, pattern = "!", pattern[1:]
	}
	if pattern == "$test" {
		pattern = "{**/,}*_test.go"
	}
	return not + glob.QuoteMeta(filepath.ToSlash(root)) + "/" + pattern
}

// matcher returns a func that tells whether a file is meant by the globs.
func matcher(root string, patterns []string) (func(string) bool, error) {
	var in, out []*glob.Pattern
	for _, p := range patterns {
		p = below(root, p)
		g, err := glob.Compile(strings.TrimPrefix(p, "!"), '/')
		switch {
		case err != nil:
			return nil, err
		case strings.HasPrefix(p, "!"):
			out = append(out, g)
		default:
			in = append(in, g)
		}
	}
	return func(file string) bool {
		matches := func(g *glob.Pattern) bool { return g.Match(filepath.ToSlash(file)) }
		return slices.ContainsFunc(in, matches) && !slices.ContainsFunc(out, matches)
	}, nil
}

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// tool is the path of a program that the test compares with.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: %s is not installed", name)
	}
	return path
}

func shellRun(t *testing.T, path, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "TERM=dumb")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestCompletionBash(t *testing.T) {
	bash, bin := tool(t, "bash"), filepath.Dir(build(t))
	for line, want := range map[string]string{
		"wherry re":             "receive",
		"wherry receive --ke":   "--keep",
		"wherry send -- --exc":  "--exclude",
		"wherry lab dn":         "dns",
		"wherry ping --inter":   "--interval",
		"wherry send --timeo":   "--timeout",
		"wherry receive --nosu": "",
	} {
		words := strings.Fields(line)
		script := "source <(wherry completion bash)\nCOMP_WORDS=(" + strings.Join(words, " ") + "); COMP_CWORD=$((${#COMP_WORDS[@]}-1))\n_wherry; printf '%s\\n' \"${COMPREPLY[@]}\""
		if got := strings.TrimSpace(shellRun(t, bin, "", bash, "--norc", "-c", script)); got != want {
			t.Errorf("%s<Tab> gives %q, want %q", line, got, want)
		}
	}
	shellRun(t, bin, bashCompletion, bash, "-n")
}

func TestCompletionZsh(t *testing.T) {
	zsh := tool(t, "zsh")
	shellRun(t, filepath.Dir(build(t)), "", zsh, "-f", "-n", "-c", zshCompletion)
	script := `autoload -U compinit; compinit -u; source <(wherry completion zsh)
_describe() { print -l -- "${(@P)4}" }
words=(wherry receive --ke); CURRENT=3; _wherry`
	if got := shellRun(t, filepath.Dir(build(t)), "", zsh, "-f", "-c", script); !strings.HasPrefix(got, "--keep:") {
		t.Errorf("got %q", got)
	}
}

func TestCompletionFish(t *testing.T) {
	fish := tool(t, "fish")
	_, script, _ := wherryRun(t.Context(), "completion", "fish")
	for line, want := range map[string]string{"wherry rec": "receive", "wherry receive --ke": "--keep"} {
		got := shellRun(t, filepath.Dir(build(t)), script+"\ncomplete -C '"+line+"'\n", fish, "--no-config")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s<Tab> gives %q, want %q", line, got, want)
		}
	}
}

func TestCompletionUsage(t *testing.T) {
	for _, args := range [][]string{{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}, {"man", "wherry"}} {
		if code, out, _ := wherryRun(t.Context(), args...); code != exitUsage || out != "" {
			t.Errorf("%v: exit code %d, %s", args, code, out)
		}
	}
}

// Every flag that --help shows stands in the manual and in fish's list.
func TestManIsComplete(t *testing.T) {
	_, page, _ := wherryRun(t.Context(), "man")
	_, fish, _ := wherryRun(t.Context(), "completion", "fish")
	n := 0
	each(newApp(stdio{}), func(words []string, c *cli.Command) {
		if !strings.Contains(page, `.SS "wherry `+strings.Join(words, " ")) {
			t.Errorf("no section for %v", words)
		}
		for _, f := range c.Flags {
			if hidden(f) {
				if slices.Contains(f.Names(), "code") && strings.Contains(fish, " -l code ") {
					t.Error("a hidden flag is offered")
				}
				continue
			}
			n++
			name := f.Names()[0]
			if !strings.Contains(page, `\fB\-\-`+strings.ReplaceAll(name, "-", `\-`)+`\fR`) || !strings.Contains(fish, " -l "+name+" ") {
				t.Errorf("%v --%s is missing", words, name)
			}
		}
	})
	if n < 40 {
		t.Errorf("only %d flags were looked at", n)
	}
}

func TestManRenders(t *testing.T) {
	_, page, _ := wherryRun(t.Context(), "man")
	t.Run("groff", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), tool(t, "groff"), "-man", "-Tascii", "-ww", "-z")
		cmd.Stdin = strings.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("mandoc", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), tool(t, "mandoc"), "-T", "ascii", "-W", "error")
		cmd.Stdin = strings.NewReader(page)
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("DNSSEC says bogus")) {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestDefaults: --help says once, if at all, what a flag is without being given, and
// the manual page says the same; it knows every variable that is read.
func TestDefaults(t *testing.T) {
	var out bytes.Buffer
	app := newApp(stdio{In: strings.NewReader(""), Out: &out, Err: &out})
	each(app, func(words []string, _ *cli.Command) {
		out.Reset()
		if code := run(t.Context(), append(append([]string{"wherry"}, words...), "--help"), stdio{In: strings.NewReader(""), Out: &out, Err: &out}); code != exitDone {
			t.Errorf("%v: exit %d", words, code)
		}
		for line := range strings.Lines(out.String()) {
			if strings.Count(line, "(default: ") > 1 || strings.Contains(line, "(default: 0s)") || strings.Contains(line, "(default: false)") {
				t.Errorf("%v: %q", words, line)
			}
		}
	})
	page := strings.ReplaceAll(manPage(app), `\-`, "-")
	for _, want := range []string{"as 12h or 7d (default: 7d)", "give up when nothing moves for DUR (default: 12s)", "send each server at most N queries a second (default: no limit)",
		".B " + codeVariable, ".B " + passwordVariable, ".B SSL_CERT_FILE", ".B TMPDIR"} {
		if !strings.Contains(page, want) {
			t.Errorf("the manual page lacks %q", want)
		}
	}
}

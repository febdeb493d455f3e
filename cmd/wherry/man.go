package main

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The shell asks the program itself what may stand at the cursor, so the scripts
// know nothing of commands and flags and never grow old. fish gets a list, which
// is made from the flags.
var (
	//go:embed completion/wherry.bash
	bashCompletion string
	//go:embed completion/_wherry
	zshCompletion string
)

func completionCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "print a completion script for a shell",
		ArgsUsage:   "bash|zsh|fish",
		Hidden:      true,
		Description: "bash: source <(wherry completion bash)\nzsh:  wherry completion zsh > \"${fpath[1]}/_wherry\"\nfish: wherry completion fish > ~/.config/fish/completions/wherry.fish",
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("completion takes the name of one shell").hint("bash, zsh or fish")
			}
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				script = fishCompletion(c.App)
			default:
				return usagef("there is no completion for %s", quoteArg(shell)).hint("bash, zsh or fish")
			}
			_, err := io.WriteString(std.Out, script)
			return err
		},
	}
}

func manCommand(std stdio) *cli.Command {
	return &cli.Command{
		Name:        "man",
		Usage:       "print the manual page",
		Hidden:      true,
		Description: "wherry man > wherry.1; man -l wherry.1",
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usagef("man takes no arguments")
			}
			_, err := io.WriteString(std.Out, manPage(c.App))
			return err
		},
	}
}

// tellDefault has --help say once what a flag is without being given: as its text says
// it in the end, "(default: …)", and not by its type's zero besides; and of a switch
// not at all.
func tellDefault(f cli.Flag) {
	cut := func(usage, text *string) {
		before, said, ok := strings.Cut(*usage, " (default: ")
		if said, closed := strings.CutSuffix(said, ")"); ok && closed && *text == "" {
			*usage, *text = before, said
		}
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		f.DisableDefaultText = !f.Value
	case *cli.IntFlag:
		cut(&f.Usage, &f.DefaultText)
	case *cli.Uint64Flag:
		cut(&f.Usage, &f.DefaultText)
	case *cli.Float64Flag:
		cut(&f.Usage, &f.DefaultText)
	case *cli.DurationFlag:
		cut(&f.Usage, &f.DefaultText)
	}
}

// defaultOf is what a flag is without being given, or nothing where that is nothing.
func defaultOf(f cli.DocGenerationFlag) string {
	if _, ok := f.(*cli.BoolFlag); ok {
		return ""
	}
	switch s := f.GetDefaultText(); s {
	case "0", "0s":
		return ""
	default:
		return strings.Trim(s, `"`)
	}
}

// usageOf is a flag's value's name and its text, as --help shows them.
func usageOf(f cli.Flag) (value, text string) {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	text = d.GetUsage()
	if before, rest, ok := strings.Cut(text, "`"); ok {
		if name, after, ok := strings.Cut(rest, "`"); ok {
			value, text = name, before+name+after
		}
	}
	if value == "" && d.TakesValue() {
		value = "VALUE"
	}
	if s := defaultOf(d); s != "" && !strings.Contains(text, "(default: ") {
		text += " (default: " + s + ")"
	}
	return value, text
}

func hidden(f cli.Flag) bool {
	v, ok := f.(cli.VisibleFlag)
	return ok && !v.IsVisible()
}

// each walks the visible commands below app with the words that lead to them.
func each(app *cli.App, yield func(words []string, c *cli.Command)) {
	var walk func(words []string, cmds []*cli.Command)
	walk = func(words []string, cmds []*cli.Command) {
		for _, c := range cmds {
			if c.Hidden {
				continue
			}
			path := append(slices.Clone(words), c.Name)
			yield(path, c)
			walk(path, c.Subcommands)
		}
	}
	walk(nil, app.Commands)
}

// fishCompletion is a fish script with every command and flag.
func fishCompletion(app *cli.App) string {
	quote := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", " ").Replace(s) + "'"
	}
	var b strings.Builder
	b.WriteString("# fish completion for wherry\ncomplete -c wherry -e\ncomplete -c wherry -n __fish_use_subcommand -f\n")
	each(app, func(words []string, c *cli.Command) {
		at := "__fish_use_subcommand"
		if len(words) > 1 {
			at = "__fish_seen_subcommand_from " + strings.Join(words[:len(words)-1], " ")
		}
		fmt.Fprintf(&b, "complete -c wherry -n %s -f -a %s -d %s\n", quote(at), words[len(words)-1], quote(c.Usage))
		for _, f := range c.Flags {
			if hidden(f) {
				continue
			}
			value, text := usageOf(f)
			fmt.Fprintf(&b, "complete -c wherry -n %s", quote("__fish_seen_subcommand_from "+words[len(words)-1]))
			for _, name := range f.Names() {
				if len(name) == 1 {
					b.WriteString(" -s " + name)
				} else {
					b.WriteString(" -l " + name)
				}
			}
			switch value {
			case "":
			case "FILE", "DIR":
				b.WriteString(" -r")
			default:
				b.WriteString(" -x")
			}
			b.WriteString(" -d " + quote(text) + "\n")
		}
	})
	return b.String()
}

// manPage is wherry(1) in the man macros (man(7)), from what --help is made of.
func manPage(app *cli.App) string {
	var b strings.Builder
	line := func(s string) { b.WriteString(s + "\n") }
	// roff gives a dot or quote at the start of a line, backslashes and hyphens a
	// meaning.
	text := func(s string) string {
		s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "'", `\(aq`).Replace(s)
		lines := strings.Split(s, "\n")
		for i, l := range lines {
			l = strings.TrimSpace(l)
			if l == "" {
				l = ".PP"
			} else if l[0] == '.' {
				l = `\&` + l
			}
			lines[i] = l
		}
		return strings.Join(lines, "\n")
	}
	line(`.TH WHERRY 1 "" "wherry" "User Commands"`)
	line(".SH NAME\n" + text(app.Name+" - "+app.Usage))
	line(".SH SYNOPSIS\n.B wherry\n.I COMMAND\n[flags] [arguments]")
	line(".SH COMMANDS")
	each(app, func(words []string, c *cli.Command) {
		line(".SS \"wherry " + strings.Join(words, " ") + " " + strings.ReplaceAll(text(c.ArgsUsage), `"`, `\(dq`) + `"`)
		line(text(c.Usage) + ".")
		if c.Description != "" {
			line(".PP\n" + text(strings.TrimSpace(c.Description)))
		}
		for _, f := range c.Flags {
			if hidden(f) {
				continue
			}
			value, usage := usageOf(f)
			var names []string
			for _, n := range f.Names() {
				dash := `\-\-`
				if len(n) == 1 {
					dash = `\-`
				}
				names = append(names, `\fB`+dash+text(n)+`\fR`)
			}
			head := strings.Join(names, ", ")
			if value != "" {
				head += ` \fI` + text(value) + `\fR`
			}
			line(".TP\n" + head + "\n" + text(usage))
		}
	})
	line(".SH EXIT STATUS")
	for _, e := range exitCodes {
		line(fmt.Sprintf(".TP\n\\fB%d\\fR\n%s", e.code, text(e.meaning)))
	}
	line(".SH ENVIRONMENT")
	for _, v := range []struct{ name, text string }{
		{codeVariable, "the code, for ends that nobody can type it at"},
		{passwordVariable, "the password for the broker in --via, where the command line would show it to everybody"},
		{"NO_COLOR", "if it is not empty, nothing is coloured (https://no-color.org)"},
		{"SSL_CERT_FILE", "certificate authorities to trust instead of the system's, for amqps://"},
		{"TMPDIR", "where send --via zmq+tcp:// keeps what it sends until everybody has it"},
		{"SSLKEYLOGFILE", "a file that gets the keys of encrypted transfers, for Wireshark"},
	} {
		line(".TP\n.B " + text(v.name) + "\n" + text(v.text))
	}
	line(".SH SEE ALSO\n.BR rsync (1),\n.BR scp (1),\n.BR dig (1),\n.BR tc (8)")
	return b.String()
}

// completeWords prints what may stand where the cursor is: commands, or the flags
// of the command that args name. It is what the scripts for bash and zsh call,
// by a last argument of --generate-completion, with what is being typed before it.
func completeWords(app *cli.App, std stdio, args []string) {
	typed := ""
	if len(args) > 0 {
		typed, args = args[len(args)-1], args[:len(args)-1]
	}
	cmds, flags := app.Commands, []cli.Flag(nil)
	for _, a := range args {
		if c := findCommand(cmds, a); c != nil {
			cmds, flags = c.Subcommands, c.Flags
		}
	}
	if !strings.HasPrefix(typed, "-") {
		for _, c := range cmds {
			if !c.Hidden && strings.HasPrefix(c.Name, typed) {
				fmt.Fprintf(std.Out, "%s\t%s\n", c.Name, c.Usage)
			}
		}
		return
	}
	for _, f := range flags {
		if hidden(f) {
			continue
		}
		for _, name := range f.Names() {
			word := "--" + name
			if len(name) == 1 {
				word = "-" + name
			}
			if strings.HasPrefix(word, typed) {
				_, text := usageOf(f)
				fmt.Fprintf(std.Out, "%s\t%s\n", word, text)
			}
		}
	}
	if strings.HasPrefix("--help", typed) {
		fmt.Fprint(std.Out, "--help\tshow help\n")
	}
}

// completionFlag asks for completeWords. It is the last argument.
const completionFlag = "--generate-completion"

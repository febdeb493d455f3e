package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// stdio is where a run reads and writes: the process's own files, or buffers in
// tests and in the demo.
type stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer

	parsed func() // for tests: the command line has been read
}

// isTerminal reports whether f (a reader or writer of a stdio) is a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// run is the whole program: it parses args (with the program's name first),
// runs the subcommand, prints what failed, and returns the exit code.
func run(ctx context.Context, args []string, io stdio) int {
	app := newApp(io)
	if n := len(args) - 1; n > 0 && args[n] == completionFlag {
		completeWords(app, io, args[1:n])
		return exitDone
	}
	err := app.RunContext(ctx, hoistFlags(app, args))
	if err == nil {
		return exitDone
	}
	var status *statusError
	if errors.As(err, &status) {
		return status.code
	}
	return report(ctx, io, wantsJSON(args), err)
}

// newApp is the command line. A subcommand is added here and defined in a file
// of its own.
func newApp(io stdio) *cli.App {
	app := &cli.App{
		Name:            "wherry",
		Usage:           "move files between machines, ask for names, and see what the network did to both",
		Version:         version(),
		HideHelpCommand: true,
		Reader:          io.In,
		Writer:          io.Out,
		ErrWriter:       io.Err,
		// cli would exit the process by itself; run decides instead.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return &usageError{err: err} },
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return usagef("there is no command %s", quoteArg(name)).hint("'wherry --help' lists the commands")
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			sendCommand(io),
			receiveCommand(io),
			serveCommand(io),
			lookupCommand(io),
			echoCommand(io),
			pingCommand(io),
			labCommand(io),
			demoCommand(io),
			completionCommand(io),
			manCommand(io),
		},
		CustomAppHelpTemplate: appHelp + exitHelp(),
	}
	var finish func(cmds []*cli.Command)
	finish = func(cmds []*cli.Command) {
		for _, c := range cmds {
			c.HideHelpCommand = true
			if c.OnUsageError == nil {
				c.OnUsageError = app.OnUsageError
			}
			for _, f := range c.Flags {
				tellDefault(f)
			}
			finish(c.Subcommands)
		}
	}
	finish(app.Commands)
	return app
}

const appHelp = `{{.Name}} - {{.Usage}}

USAGE
   {{.Name}} COMMAND [flags] [arguments]

COMMANDS{{range .VisibleCommands}}
   {{printf "%-10s" .Name}} {{.Usage}}{{end}}

   '{{.Name}} COMMAND --help' tells a command's flags.

`

// version is the module's version and revision as the Go toolchain stamped them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v, rev, dirty := info.Main.Version, "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	if rev != "" && !strings.Contains(v, rev) {
		v += " " + rev + dirty
	}
	return v
}

// hoistFlags moves the flags of a subcommand before its arguments, since cli
// stops at the first argument and people do not: `send a.txt --to host` works.
// What follows "--" stays where it is.
func hoistFlags(app *cli.App, args []string) []string {
	if len(args) < 2 {
		return args
	}
	out, rest := []string{args[0]}, args[1:]
	cmds, flags := app.Commands, []cli.Flag(nil)
	// Walk down to the subcommand: leading words that name commands.
	for len(rest) > 0 {
		cmd := findCommand(cmds, rest[0])
		if cmd == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		cmds, flags = cmd.Subcommands, cmd.Flags
	}
	if len(out) == 1 {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
		}
	}
	var front, back []string
	for i := 0; i < len(rest); i++ {
		a := rest[i]
		if a == "--" {
			back = append(back, rest[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			back = append(back, a)
			continue
		}
		front = append(front, a)
		name, _, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !hasValue && takesValue[name] && i+1 < len(rest) {
			i++
			front = append(front, rest[i])
		}
	}
	out = append(out, front...)
	if len(back) > 0 {
		out = append(append(out, "--"), back...)
	}
	return out
}

func findCommand(cmds []*cli.Command, name string) *cli.Command {
	for _, c := range cmds {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// wantsJSON tells whether a failure before any printer exists goes out as JSON.
func wantsJSON(args []string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == "--json" || a == "-json" {
			return true
		}
	}
	return false
}

// report prints err in one line, with its hint, and returns the exit code.
func report(ctx context.Context, io stdio, asJSON bool, err error) int {
	var shown *shownError
	if errors.As(err, &shown) {
		return classify(err).code
	}
	f := classify(err)
	if context.Cause(ctx) != nil && f.code == exitFailure && errors.Is(err, context.Canceled) {
		f.code, f.kind = exitInterrupted, "interrupted"
	}
	if asJSON {
		newPrinter(io, printOptions{JSON: true}).Error(f)
		return f.code
	}
	fmt.Fprintf(io.Err, "wherry: %s\n", f.message)
	if f.hint != "" {
		fmt.Fprintf(io.Err, "hint: %s\n", f.hint)
	}
	return f.code
}

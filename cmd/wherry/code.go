package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer/pairing"
)

// codeFlags: how a code is given. Never as an argument, which every user of the
// machine could read in the list of processes.
func codeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "code-file", Usage: "read the code from `FILE` ('-' for standard input); WHERRY_CODE is the other way"},
		&cli.StringFlag{Name: "code", Hidden: true},
	}
}

// codeAsArgument is the error for a code on the command line.
func codeAsArgument(what string) error {
	return usagef("%s is no argument: it would show in the list of processes", what).hint("type the code when asked, or give --code-file FILE or " + codeVariable)
}

const codeVariable = "WHERRY_CODE"

// maxCodeFile is more than any code; what is longer is not one.
const maxCodeFile = 4 << 10

// givenCode is the code from --code-file or the environment; the zero Code if
// there is none.
func givenCode(c *cli.Context, std stdio) (pairing.Code, error) {
	if c.IsSet("code") {
		return pairing.Code{}, codeAsArgument("--code")
	}
	name := c.String("code-file")
	if name == "" {
		s, ok := os.LookupEnv(codeVariable)
		if !ok || s == "" {
			return pairing.Code{}, nil
		}
		return parseCode(s, codeVariable)
	}
	in := std.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return pairing.Code{}, pathError("read --code-file", name, err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxCodeFile+1))
	if err != nil {
		return pairing.Code{}, pathError("read --code-file", name, err)
	}
	return parseCode(string(b), "--code-file")
}

func parseCode(s, from string) (pairing.Code, error) {
	code, err := pairing.ParseCode(strings.TrimSpace(s))
	if err != nil {
		return code, usagef("%s: %w", from, err).hint("a code looks like 17-cedar-otter")
	}
	return code, nil
}

// askCode asks the person at the terminal.
func askCode(ctx context.Context, std stdio, numbered bool) (pairing.Code, error) {
	if !isTerminal(std.In) {
		return pairing.Code{}, usagef("no code was given, and there is no terminal to ask on").hint("--code-file FILE or " + codeVariable + " gives the code that the other end shows; --plain needs none")
	}
	in := bufio.NewReader(std.In)
	for {
		line, err := askLine(ctx, in, std.Err, "code: ")
		if err != nil {
			return pairing.Code{}, err
		}
		code, err := parseCode(line, "the code")
		switch {
		case err != nil:
			fmt.Fprintf(std.Err, "%s\n", oneLine(err))
		case numbered && code.Number() == 0:
			fmt.Fprintln(std.Err, "the number belongs to it, as in 17-cedar-otter")
		default:
			return code, nil
		}
	}
}

// newCode is a fresh code; number 0 takes any small one, for listeners that
// nobody has to find by it.
func newCode(number int) (pairing.Code, error) {
	if number == 0 {
		n, err := rand.Int(rand.Reader, big.NewInt(99))
		if err != nil {
			return pairing.Code{}, err
		}
		number = int(n.Int64()) + 1
	}
	return pairing.NewCode(number)
}

// askLine reads one line, or ends with ctx.
func askLine(ctx context.Context, in *bufio.Reader, out io.Writer, question string) (string, error) {
	fmt.Fprint(out, question)
	type line struct {
		s   string
		err error
	}
	got := make(chan line, 1)
	go func() { // a read of a terminal cannot be interrupted; the process ends soon
		s, err := in.ReadString('\n')
		got <- line{s, err}
	}()
	select {
	case l := <-got:
		if l.err != nil && l.s == "" {
			return "", errNoAnswer
		}
		return strings.TrimSpace(l.s), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// errNoAnswer: the terminal was closed at a question.
var errNoAnswer = errors.New("there was no answer")

// keyLog opens the file that SSLKEYLOGFILE names, for Wireshark.
func keyLog() (io.WriteCloser, error) {
	name := os.Getenv("SSLKEYLOGFILE")
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, pathError("open SSLKEYLOGFILE", name, err)
	}
	return f, nil
}

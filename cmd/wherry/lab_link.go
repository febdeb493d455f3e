package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/lab/box"
	"github.com/wherry-net/wherry/socket/netem"
)

func labLinkCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:      "link",
		Usage:     "two hosts and a bad link between them, without root (Linux)",
		ArgsUsage: "[-- CMD [ARGUMENTS...]]",
		Description: "Makes the hosts A and B in namespaces of their own with a link between them, and runs CMD on\n" +
			"A; without CMD, a shell. WHERRY_A and WHERRY_B hold the hosts' addresses (WHERRY_A6 and\n" +
			"WHERRY_B6 those of IPv6), and 'wherry lab on b -- CMD' runs a command on B. The user is root\n" +
			"there. The impairments hold for each direction. When CMD ends so does the box, with whatever\n" +
			"still runs in it; then it tells what the link did, and passes CMD's exit status on (128 and\n" +
			"the signal's number for a CMD that a signal ended; 127 where there is no CMD).\n\n" +
			"   wherry lab link --rate 20Mbit --delay 20ms -- sh -c 'ping -c 3 $WHERRY_B'\n" +
			"   wherry lab link --loss 1% -- sh -c 'wherry lab on b -- iperf3 -s -D; iperf3 -c $WHERRY_B'",
		Flags: append(linkFlags(),
			&cli.IntFlag{Name: "mtu", Usage: "the link's MTU in `BYTES`", Value: box.DefaultMTU},
			&cli.StringFlag{Name: "backend", Usage: "take packets from the kernel by `NAME`: auto, tun or packet", Value: "auto"},
			&cli.BoolFlag{Name: "json", Usage: "tell what the link did as a JSON line on standard output, after all that CMD printed"},
			quietFlag()),
		Action: func(c *cli.Context) error { return labLink(c, io) },
	}
}

// labInsideCommand is the first process of a box, which box.Start runs.
func labInsideCommand() *cli.Command {
	return &cli.Command{
		Name: "inside", Hidden: true,
		Action: func(*cli.Context) error { return box.Init() },
	}
}

func labLink(c *cli.Context, io stdio) error {
	p := printerFor(c, io)
	link, err := linkConfig(c)
	if err != nil {
		return p.fail(err)
	}
	o := box.Options{AToB: link, BToA: link, MTU: c.Int("mtu"), Stderr: io.Err}
	switch name := c.String("backend"); name {
	case "auto":
	case "tun":
		o.Backend = box.TUN
	case "packet":
		o.Backend = box.Packet
	default:
		return p.fail(usagef("--backend is auto, tun or packet, not %s", quoteArg(name)))
	}
	if err := o.Check(); err != nil {
		return p.fail(err)
	}
	run := c.Args().Slice()
	shell := len(run) == 0
	if shell {
		run = []string{"/bin/sh"}
		if s := os.Getenv("SHELL"); s != "" {
			run[0] = s
		}
	}
	path, err := lookCommand(run[0])
	if err != nil {
		return p.fail(err)
	}

	// What stops this process is for CMD; see relaySignals.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ctx := context.WithoutCancel(c.Context)
	b, err := box.Start(ctx, o)
	if err != nil {
		return p.fail(err)
	}
	defer b.Close()
	start := time.Now()
	if shell {
		p.Say("a shell on host A, %v; host B is %v ('wherry lab on b -- CMD'); the link goes when the shell ends", box.A.Addr(), box.B.Addr())
	}
	terminal := keepTerminal()
	cmd, err := b.Run(box.Command{Host: box.A, Path: path, Args: run, Stdin: fileOf(io.In), Stdout: fileOf(io.Out), Stderr: fileOf(io.Err)})
	if err != nil {
		return p.fail(startError(run[0], err))
	}
	stopped := relaySignals(b, cmd, signals)
	status, err := cmd.Wait()
	terminal()
	_ = b.Close()
	if err != nil {
		sig := stopped.Load()
		if sig == 0 {
			return p.fail(fmt.Errorf("the command was killed: %w", err))
		}
		status = box.ExitStatus{Signal: int(sig)}
	}
	if err := b.Err(); err != nil {
		p.Say("%s", oneLine(err))
	}
	tellLink(p, b, status, time.Since(start))
	if n := status.Shell(); n != 0 {
		return &statusError{n}
	}
	return nil
}

// closeGrace is how long a command has to end after it was told to.
const closeGrace = 5 * time.Second

// relaySignals passes on what this process is told, and takes the box down when
// that does not help. What a terminal sends it sends to CMD as well, so that is
// only kept from ending this process. The result is the signal for which the box
// was taken down, or 0.
func relaySignals(b *box.Box, cmd *box.Process, signals <-chan os.Signal) *atomic.Int32 {
	var stopped atomic.Int32
	go func() {
		var first syscall.Signal
		var grace <-chan time.Time
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGINT && inForeground() {
					continue
				}
				_ = cmd.Signal(s.(syscall.Signal))
				if grace == nil {
					first = s.(syscall.Signal)
					grace = time.After(closeGrace)
				}
			case <-grace:
				stopped.Store(int32(first))
				_ = b.Close()
				return
			case <-cmd.Done():
				return
			}
		}
	}()
	return &stopped
}

type linkDone struct {
	Event    string       `json:"event"`
	Role     string       `json:"role"`
	Backend  string       `json:"backend"`
	Seconds  float64      `json:"seconds"`
	ExitCode int          `json:"exit_code"`
	AToB     boxLinkEvent `json:"a_to_b"`
	BToA     boxLinkEvent `json:"b_to_a"`
}

type boxLinkEvent struct {
	linkEvent
	Missed  uint64  `json:"missed"`
	Refused uint64  `json:"refused"`
	Ignored uint64  `json:"ignored"`
	LateMS  float64 `json:"late_ms"`
}

// tellLink tells what the link did.
func tellLink(p *printer, b *box.Box, status box.ExitStatus, took time.Duration) {
	s := b.Stats()
	event := func(s box.Stats) boxLinkEvent {
		return boxLinkEvent{linkEventOf(s.Stats), s.Missed, s.Refused, s.Ignored, float64(s.Late) / float64(time.Millisecond)}
	}
	p.Event(linkDone{"done", "link", b.Backend().String(), took.Seconds(), status.Shell(), event(s[0]), event(s[1])})
	for i, way := range []string{"A to B", "B to A"} {
		text := linkText(s[i].Stats)
		if s[i].Missed > 0 {
			text += fmt.Sprintf(", %d missed (more than this machine can carry)", s[i].Missed)
		}
		if s[i].Refused > 0 {
			text += fmt.Sprintf(", %d refused by the host", s[i].Refused)
		}
		p.Say("%s: %s", way, text)
	}
}

// statusError ends the program with the exit status of a command, of which there
// is nothing to tell.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// commandError is a command that cannot be run.
type commandError struct {
	code int // as a shell has it: 127 if there is none, 126 if it is no program
	err  error
}

func (e *commandError) Error() string { return e.err.Error() }
func (e *commandError) Unwrap() error { return e.err }

func lookCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", startError(name, err)
	}
	return path, nil
}

func startError(name string, err error) error {
	code := 126
	why := err
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code, why = 127, errors.New("there is no such program")
	case errors.Is(err, fs.ErrPermission):
		why = errors.New("it is not a program, or not one that this user may run")
	}
	return &commandError{code, fmt.Errorf("cannot run %s: %w", quoteArg(name), why)}
}

// namespaceHint is the recipe for systems that keep namespaces from users.
var namespaceHint = strings.Join([]string{
	"as root: sysctl -w user.max_user_namespaces=15000",
	"on Debian also kernel.unprivileged_userns_clone=1",
	"on Ubuntu also kernel.apparmor_restrict_unprivileged_userns=0",
	"a container needs a seccomp profile that allows clone(CLONE_NEWUSER); or run it as root",
}, "; ")

var boxRules = []rule{
	{as[*commandError], exitFailure, "command", ""},
	{is(box.ErrNamespaces), exitFailure, "namespaces", namespaceHint},
	{is(box.ErrUnsupported), exitFailure, "unsupported", "'wherry lab relay' impairs UDP and TCP on every system"},
	{is(box.ErrOutside), exitFailure, "outside", "it works in what 'wherry lab link' runs"},
	{as[*impossibleError], exitFailure, "impossible", ""},
	{is(netem.ErrConfig), exitFailure, "impossible", ""},
}

// fileOf is the file behind a reader or writer of a stdio, or nil.
func fileOf(f any) *os.File {
	file, _ := f.(*os.File)
	return file
}

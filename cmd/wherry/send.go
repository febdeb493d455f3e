package main

import (
	"context"
	"errors"
	"net"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer"
)

func sendCommand(io stdio) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "dial the receiver at `HOST[:PORT]`"},
		&cli.StringFlag{Name: "name", Usage: "call what comes from standard input `NAME` at the receiver"},
		&cli.BoolFlag{Name: "follow-symlinks", Usage: "send what symbolic links point to, not the links"},
	}, meetingFlags()...)
	return &cli.Command{
		Name:      "send",
		Usage:     "send files and directories",
		ArgsUsage: "PATH...   ('-' reads standard input)",
		Description: "A directory arrives under its last name. Devices, sockets, FIFOs and links that\n" +
			"lead out of their tree are skipped, with a warning each. send exits with 0 only\n" +
			"when the receiver has reported every file to be on its disk, verified.",
		Flags:  flags,
		Action: func(c *cli.Context) error { return send(c, io) },
	}
}

func send(c *cli.Context, io stdio) error {
	p := printerFor(c, io)
	if c.NArg() == 0 {
		return usagef("send what? No path was given").hint("wherry send --to HOST PATH...")
	}
	m, err := meetingFrom(c, "to")
	if err != nil {
		return err
	}
	stdin := 0
	for _, a := range c.Args().Slice() {
		if a == "-" {
			stdin++
		}
	}
	if c.IsSet("name") && stdin == 0 {
		return usagef("--name names standard input, and '-' is not among the paths")
	}
	src, err := transfer.NewSource(c.Args().Slice(), transfer.SourceOptions{
		FollowSymlinks: c.Bool("follow-symlinks"), Stdin: io.In, Name: c.String("name"),
	})
	if err != nil {
		var entry *transfer.EntryError
		if errors.As(err, &entry) {
			return usagef("--name: %s", entry.Reason)
		}
		return p.fail(err)
	}
	defer src.Close()

	conn, err := connect(c.Context, p, &m)
	if err != nil {
		return p.fail(err)
	}
	s := newSession(p, "send", conn)
	result, err := transfer.Send(c.Context, conn, src, transfer.SendOptions{Timeout: m.timeout, Trace: s.trace()})
	return s.done(result, err)
}

// connect dials, or waits for one peer.
func connect(ctx context.Context, p *printer, m *meeting) (net.Conn, error) {
	if m.dial != "" {
		return m.dialPeer(ctx)
	}
	ln, err := m.listenPeer(ctx)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	p.listening(ln.Addr().String())
	return ln.Accept(ctx)
}

type listenEvent struct {
	Event   string `json:"event"`
	Address string `json:"address"`
}

func (p *printer) listening(addr string) {
	p.Event(listenEvent{"listening", addr})
	p.Say("listening on %s", addr)
}

package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

func sendCommand(io stdio) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "dial the receiver at `HOST[:PORT]`"},
		&cli.StringFlag{Name: "name", Usage: "call what comes from standard input `NAME` at the receiver"},
		&cli.BoolFlag{Name: "follow-symlinks", Usage: "send what symbolic links point to, not the links"},
	}, append(filterFlags(), meetingFlags()...)...)
	return &cli.Command{
		Name:      "send",
		Usage:     "send files and directories",
		ArgsUsage: "PATH...   ('-' reads standard input)",
		Description: "A directory arrives under its last name. Devices, sockets, FIFOs and links that\n" +
			"lead out of their tree are skipped, with a warning each. send exits with 0 only\n" +
			"when the receiver has reported every file to be on its disk, verified.\n" + filterHelp,
		Flags:  flags,
		Action: func(c *cli.Context) error { return send(c, io) },
	}
}

func send(c *cli.Context, io stdio) error {
	p := printerFor(c, io)
	if c.NArg() == 0 {
		return usagef("send what? No path was given").hint("wherry send --to HOST PATH...")
	}
	m, err := meetingFrom(c, io, p, pairing.Sender, "to")
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
	so := transfer.SourceOptions{FollowSymlinks: c.Bool("follow-symlinks"), Stdin: io.In, Name: c.String("name")}
	if err := applyFilter(c, &so); err != nil {
		return err
	}
	src, err := transfer.NewSource(c.Args().Slice(), so)
	if err != nil {
		var entry *transfer.EntryError
		if errors.As(err, &entry) {
			return usagef("--name: %s", entry.Reason)
		}
		return p.fail(err)
	}
	defer src.Close()

	if m.keyLog, err = keyLog(); err != nil {
		return p.fail(err)
	}
	peer, err := m.one(c.Context)
	if err != nil {
		return p.fail(err)
	}
	defer peer.close()
	s := newSession(p, "send", peer.conn)
	result, err := transfer.Send(c.Context, peer.conn, src, transfer.SendOptions{
		Timeout: m.timeout, Redial: peer.redial, Sessions: peer.sessions, Trace: s.trace(),
	})
	return s.done(result, err)
}

type listenEvent struct {
	Event   string `json:"event"`
	Address string `json:"address"`
}

func (p *printer) listening(addr string) {
	p.Event(listenEvent{"listening", addr})
	p.Say("listening on %s", addr)
}

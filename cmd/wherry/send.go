package main

import (
	"context"
	"errors"
	"net"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

func sendCommand(io stdio) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "dial the receiver at `HOST[:PORT]`"},
		&cli.StringFlag{Name: "via", Usage: "leave the files, sealed, with the RabbitMQ broker at `URL`, as amqps://USER@HOST/ (" + passwordVariable + " has the password), and go home; or without a broker wait at zmq+tcp://*:5556 for receivers who give zmq+tcp://HOST:5556 and the code, whenever they come; with --count, until so many have everything (1: over a PAIR, not PUB and SUB)"},
		&cli.BoolFlag{Name: "share", Usage: "with --via: each file goes to one of the receivers, to who has time for it, instead of everything to each"},
		&cli.StringFlag{Name: "name", Usage: "call what comes from standard input `NAME` at the receiver"},
		&cli.BoolFlag{Name: "compress", Usage: "compress with zstd what a sample shows to shrink by a tenth; for slow links"},
		&cli.IntFlag{Name: "count", Value: 1, Usage: "serve `N` receivers, at once if they come at once; the exit code is the highest of theirs. With --via: wait until N of them have left a receipt"},
		&cli.BoolFlag{Name: "follow-symlinks", Usage: "send what symbolic links point to, not the links"},
	}, append(append(filterFlags(), sendViaFlags()...), meetingFlags()...)...)
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
	boundMemory()
	p := printerFor(c, io)
	if c.NArg() == 0 {
		return usagef("send what? No path was given").hint("wherry send --to HOST PATH...")
	}
	if n := c.Int("count"); n < 1 || n > maxReceivers {
		return usagef("--count must be 1 to %d, not %d", maxReceivers, n)
	}
	if c.IsSet("via") {
		if overZeroMQ(c) {
			return sendZeroMQ(c, io, p)
		}
		return sendVia(c, io, p)
	}
	if c.Bool("share") {
		return usagef("--share needs --via, where the receivers meet")
	}
	for _, name := range brokerFlags {
		if c.IsSet(name) {
			return usagef("--%s needs --via: who keeps the files?", name)
		}
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
	receivers := c.Int("count")
	switch {
	case receivers < 1 || receivers > maxReceivers:
		return usagef("--count must be 1 to %d, not %d", maxReceivers, receivers)
	case receivers > 1 && m.dial != "":
		return usagef("--count serves receivers that come, and --to dials one").hint("give --listen, or neither to offer on the local network")
	case receivers > 1 && stdin > 0:
		return usagef("standard input can be read once, and --count is %d", receivers)
	}
	if c.IsSet("name") && stdin == 0 {
		return usagef("--name names standard input, and '-' is not among the paths")
	}
	if m.lossy() {
		switch {
		case stdin > 0:
			return usagef("--arq none sends files, whose size is known, and '-' has none")
		case c.Bool("compress"):
			return usagef("--arq none does not --compress: what is lost would take the rest with it")
		}
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
	if err := m.record(c, "send"); err != nil {
		return p.fail(err)
	}
	defer m.rec.close()
	one := func(ctx context.Context, s *session, conn net.Conn, o transfer.SendOptions) error {
		o.Timeout, o.Compress, o.Trace = m.timeout, c.Bool("compress"), s.trace()
		o.Streams, o.Processors = m.streams, processors()
		var err error
		if o.Datagrams, err = datagramsOf(conn); err != nil {
			conn.Close()
			return s.done(transfer.Result{}, err)
		}
		o.AllowMissing = c.Bool("allow-missing")
		o.Limiter = func(w transfer.Waited) string {
			s.measure.stop() // now: what the kernel counts from here on is waiting for receipts
			return s.measure.limiter(true, w)
		}
		result, err := transfer.Send(ctx, conn, src, o)
		if errors.Is(err, transfer.ErrContinued) {
			return nil // the transfer that it belongs to has it, and will tell
		}
		return s.done(result, err)
	}
	if receivers != 1 {
		sessions := &transfer.Sessions{}
		return serve(c.Context, m, "send", receivers, sessions, func(ctx context.Context, s *session, conn net.Conn) error {
			return one(ctx, s, conn, transfer.SendOptions{Sessions: sessions})
		})
	}
	peer, err := m.one(c.Context)
	if err != nil {
		return p.fail(err)
	}
	defer peer.close()
	return one(c.Context, m.session("send", peer.conn), peer.conn, transfer.SendOptions{Redial: peer.redial, DialStream: peer.stream, Sessions: peer.sessions})
}

// brokerFlags are what a broker is told of how to keep what is left with it.
var brokerFlags = []string{"keep-for", "keep-bytes"}

// maxReceivers bounds --count: more are a mistake.
const maxReceivers = 10_000

type listenEvent struct {
	Event   string `json:"event"`
	Address string `json:"address"`
}

func (p *printer) listening(addr string) {
	p.Event(listenEvent{"listening", addr})
	p.Say("listening on %s", addr)
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

func receiveCommand(io stdio) *cli.Command {
	flags := append([]cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "dial the sender at `HOST[:PORT]`"},
		&cli.StringFlag{Name: "via", Usage: "get what was left with the RabbitMQ broker at `URL`, as amqps://USER@HOST/ (" + passwordVariable + " has the password); or from a sender that has given zmq+tcp://, as zmq+tcp://HOST:5556"},
		&cli.StringFlag{Name: "dir", Usage: "put files into `DIR`, which is created if its parent exists", Value: "."},
		&cli.StringFlag{Name: "output", Usage: "with '-', write one file to standard output"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "accept without asking"},
		&cli.StringFlag{Name: "overwrite", Usage: "what to do where another file is: `WHAT` is never, rename, always, or resume: replace it but take over what is equal at the same place (default: ask on a terminal, else refuse)"},
		&cli.StringFlag{Name: "max-size", Usage: "refuse more than `SIZE` in all, as 10GiB"},
		&cli.BoolFlag{Name: "keep", Usage: "serve until stopped, many senders at once"},
		&cli.BoolFlag{Name: "no-sync", Usage: "do not wait until the disk has everything: faster, not safe against a power cut"},
	}, meetingFlags()...)
	return &cli.Command{
		Name:  "receive",
		Usage: "receive files and directories",
		Description: "Nothing outside --dir is read or changed. Every file is collected in NAME.wherry-part,\n" +
			"verified, and then renamed; a large one that broke off is continued by the next run.",
		Flags:  flags,
		Action: func(c *cli.Context) error { return receive(c, io) },
	}
}

func receive(c *cli.Context, io stdio) error {
	boundMemory()
	p := printerFor(c, io)
	if c.NArg() > 0 {
		return usagef("receive takes no arguments, not %s", quoteArg(c.Args().First())).hint("--dir says where files go")
	}
	if c.IsSet("via") {
		if overZeroMQ(c) {
			return receiveZeroMQ(c, io, p)
		}
		return receiveVia(c, io, p)
	}
	m, err := meetingFrom(c, io, p, pairing.Receiver, "from")
	if err != nil {
		return err
	}
	o, err := receiveOptions(c, io, m)
	if err != nil {
		return err
	}
	if c.String("output") != "" {
		if c.Bool("json") {
			return usagef("--output - and --json both want standard output")
		}
		for _, f := range []string{"dir", "overwrite"} {
			if c.IsSet(f) {
				return usagef("--%s is for files, and --output - makes none", f)
			}
		}
		if m.lossy() {
			return usagef("--arq none writes at offsets, and --output - has none")
		}
		o.Output = io.Out
	} else {
		root, err := openDir(c.String("dir"))
		if err != nil {
			return p.fail(err)
		}
		defer root.Close()
		o.Dir = root
	}
	if m.keyLog, err = keyLog(); err != nil {
		return p.fail(err)
	}
	if m.keep && (m.listen == "" || o.Output != nil) {
		return usagef("--keep serves with --listen and --dir")
	}
	if err := m.record(c, "receive"); err != nil {
		return p.fail(err)
	}
	defer m.rec.close()
	if !m.keep {
		peer, err := m.one(c.Context)
		if err != nil {
			return p.fail(err)
		}
		defer peer.close()
		o.Redial, o.DialStream, o.Sessions = peer.redial, peer.stream, peer.sessions
		return receiveOne(c.Context, m.session("receive", peer.conn), peer.conn, o)
	}
	o.Sessions = &transfer.Sessions{}
	o.Idle = 5 * m.timeout // a minute, unless --timeout says otherwise
	return serve(c.Context, m, "receive", 0, o.Sessions, func(ctx context.Context, s *session, conn net.Conn) error {
		return receiveOne(ctx, s, conn, o)
	})
}

func receiveOne(ctx context.Context, s *session, conn net.Conn, o transfer.ReceiveOptions) error {
	o.Trace = s.trace()
	var err error
	if o.Datagrams, err = datagramsOf(conn); err != nil {
		conn.Close()
		return s.done(transfer.Result{}, err)
	}
	o.Limiter = func(w transfer.Waited, sender string) string {
		return bothLimiters(sender, s.measure.limiter(false, w))
	}
	result, err := transfer.Receive(ctx, conn, o)
	if errors.Is(err, transfer.ErrContinued) {
		return nil // the transfer that it continues has it, and will tell
	}
	return s.done(result, err)
}

func receiveOptions(c *cli.Context, io stdio, m *meeting) (o transfer.ReceiveOptions, err error) {
	o = transfer.ReceiveOptions{NoSync: c.Bool("no-sync"), Timeout: m.timeout, Streams: m.streams, Processors: processors(), AllowMissing: c.Bool("allow-missing")}
	switch s := c.String("output"); s {
	case "", "-":
	default:
		return o, usagef("--output takes '-' only, not %s", quoteArg(s)).hint("--dir says where files go")
	}
	switch s := c.String("overwrite"); s {
	case "":
	case "never":
		o.Overwrite = transfer.OverwriteNever
	case "rename":
		o.Overwrite = transfer.OverwriteRename
	case "always":
		o.Overwrite = transfer.OverwriteAlways
	case "resume":
		o.Overwrite = transfer.OverwriteResume
	default:
		return o, usagef("--overwrite takes never, rename, always or resume, not %s", quoteArg(s))
	}
	if s := c.String("max-size"); s != "" {
		n, err := units.ParseSize(s)
		if o.MaxSize = int64(n); err != nil || n < 1 {
			return o, usagef("--max-size must be a size, as 10GiB, not %s", quoteArg(s))
		}
	}
	if c.Bool("yes") {
		return o, nil
	}
	if !isTerminal(io.In) {
		return o, usagef("there is no terminal to ask on whether to accept").hint("--yes accepts without asking")
	}
	a := &asker{in: bufio.NewReader(io.In), io: io}
	o.Accept = a.accept
	o.Conflict = a.conflict
	return o, nil
}

// openDir opens the target directory, or creates it if its parent is there.
func openDir(dir string) (*os.Root, error) {
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, withHint(pathError("create the target directory", dir, err), "--dir names it; its parent must exist and be writable")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, withHint(pathError("open the target directory", dir, err), "--dir must name a directory")
	}
	// Writable? Better told now than after the sender has come.
	if err := probe(root); err != nil {
		root.Close()
		return nil, withHint(pathError("write to the target directory", dir, err), "--dir must name a directory that you may write to")
	}
	return root, nil
}

// writeProbe is made and removed to see whether that is possible. It has always
// the same name, of those that no entry may have, so that what a killed run left
// of it goes with the next.
const writeProbe = "wherry-write-probe.wherry-part"

func probe(root *os.Root) error {
	if err := root.Mkdir(writeProbe, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := root.Remove(writeProbe); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // another receiver may have removed it; whoever may not is told
	}
	return nil
}

// An asker asks the person at the terminal.
type asker struct {
	mu sync.Mutex
	in *bufio.Reader
	io stdio
}

// accept shows every path with its size, and asks.
func (a *asker) accept(ctx context.Context, offer transfer.Offer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := bufio.NewWriter(a.io.Err)
	fmt.Fprintf(w, "%s offers %s, %s:\n", offer.Peer, count(offer.Totals.Files, "file"), units.FormatBytes(offer.Totals.Bytes))
	for e := range offer.Entries {
		switch {
		case e.Kind == transfer.Dir:
			fmt.Fprintf(w, "  %10s  %s/\n", "", safetext.Clean(e.Path))
		case e.Kind == transfer.Symlink:
			fmt.Fprintf(w, "  %10s  %s -> %s\n", "link", safetext.Clean(e.Path), safetext.Clean(e.Target))
		case e.Size == transfer.UnknownSize:
			fmt.Fprintf(w, "  %10s  %s\n", "?", safetext.Clean(e.Path))
		default:
			fmt.Fprintf(w, "  %10s  %s\n", units.FormatBytes(e.Size), safetext.Clean(e.Path))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	answer, err := a.ask(ctx, "accept? [y/N] ")
	if err != nil {
		return err
	}
	if answer != "y" && answer != "yes" {
		return transfer.ErrDeclined
	}
	return nil
}

func (a *asker) conflict(ctx context.Context, c transfer.Conflict) (transfer.Overwrite, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	digest := func(d [32]byte) string {
		if !c.Hashed {
			return "not compared, the sizes differ"
		}
		return fmt.Sprintf("blake3 %x…", d[:8])
	}
	fmt.Fprintf(a.io.Err, "%s is there already, with other content:\n", safetext.Quote(c.Entry.Path))
	fmt.Fprintf(a.io.Err, "  here  %12d bytes  %s  %s\n", c.Size, c.ModTime.Format("2006-01-02 15:04:05"), digest(c.Ours))
	fmt.Fprintf(a.io.Err, "  new   %12d bytes  %s  %s\n", c.Entry.Size, c.Entry.ModTime.Format("2006-01-02 15:04:05"), digest(c.Digest))
	for {
		answer, err := a.ask(ctx, "[k]eep what is here, [r]eplace it, take both and re[n]ame the new one? ")
		if err != nil {
			return 0, err
		}
		switch answer {
		case "k", "keep", "":
			return transfer.OverwriteNever, nil
		case "r", "replace":
			return transfer.OverwriteAlways, nil
		case "n", "rename":
			return transfer.OverwriteRename, nil
		}
	}
}

// ask reads a short answer.
func (a *asker) ask(ctx context.Context, question string) (string, error) {
	answer, err := askLine(ctx, a.in, a.io.Err, question)
	if errors.Is(err, errNoAnswer) {
		return "", transfer.ErrDeclined
	}
	return strings.ToLower(answer), err
}

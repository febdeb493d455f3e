package main

import (
	"embed"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/testdata"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

func demoCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:        "demo",
		Usage:       "the whole story on one machine, no set-up",
		Description: "Lays out a small tree, copies it over a real connection on loopback, and shows what\narrived and what the connection was like. Everything is removed at the end.",
		Flags:       []cli.Flag{quietFlag()},
		Action:      func(c *cli.Context) error { return demo(c, io) },
	}
}

func demo(c *cli.Context, io stdio) error {
	if c.NArg() > 0 {
		return usagef("demo takes no arguments, not %s", quoteArg(c.Args().First()))
	}
	ctx := c.Context
	work, err := os.MkdirTemp("", "wherry-demo-")
	if err != nil {
		return fmt.Errorf("make a place for the demo: %w", err)
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "pier")
	if err := layOut(testdata.Demo, "demo", tree); err != nil {
		return fmt.Errorf("lay out the demo's tree: %w", err)
	}
	inbox := filepath.Join(work, "inbox")
	root, err := openDir(inbox)
	if err != nil {
		return err
	}
	defer root.Close()

	ln, err := socket.Listen(ctx, "127.0.0.1:0", socket.Options{})
	if err != nil {
		return err
	}
	defer ln.Close()
	addr := ln.Addr().String()
	fmt.Fprintf(io.Out, "1. a receiver listens on %s:   wherry receive --listen %s --dir inbox --plain --yes\n", addr, addr)
	fmt.Fprintf(io.Out, "2. a sender sends a tree to it:       wherry send --to %s --plain pier\n\n", addr)

	type received struct {
		result transfer.Result
		err    error
	}
	got := make(chan received, 1)
	go func() {
		conn, err := ln.Accept(ctx)
		if err != nil {
			got <- received{err: err}
			return
		}
		result, err := transfer.Receive(ctx, conn, transfer.ReceiveOptions{Dir: root})
		got <- received{result, err}
	}()
	src, err := transfer.NewSource([]string{tree}, transfer.SourceOptions{})
	if err != nil {
		return err
	}
	defer src.Close()
	d := socket.Dialer{}
	var conn net.Conn
	if conn, err = d.DialContext(ctx, "tcp", addr); err != nil {
		return err
	}
	m := startMeasure(conn)
	rows := []string{}
	sent, err := transfer.Send(ctx, conn, src, transfer.SendOptions{Trace: &transfer.Trace{
		Closing: m.stop,
		Finished: func(e *transfer.Entry, d treehash.Digest, _ bool) {
			rows = append(rows, fmt.Sprintf("   %-36s %10s  %x…", quotePath(e.Path), formatBytes(e.Size), d[:8]))
		},
	}})
	r := <-got
	if err == nil {
		err = r.err
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "   %-36s %10s  %s\n", "file", "size", "BLAKE3, computed on both ends")
	for _, row := range rows {
		fmt.Fprintln(io.Out, row)
	}
	fmt.Fprintf(io.Out, "\n   %s, %s in %s (%s), limited by %s\n", count(sent.Files, "file"), formatBytes(sent.Bytes), formatDuration(sent.Elapsed),
		formatRate(float64(sent.Moved)/sent.Elapsed.Seconds()), m.limiter(true, sent.Waited))
	if m.known {
		fmt.Fprintf(io.Out, "   the kernel says: %s, RTT %s, %d segments, %d retransmitted\n", m.after.Congestion, formatDuration(m.after.RTT),
			m.after.SegmentsSent, m.after.Retransmits)
	}
	same, err := equalTrees(tree, filepath.Join(inbox, "pier"))
	if err != nil {
		return err
	}
	if !same {
		return &transfer.VerifyError{Path: "pier"}
	}
	fmt.Fprintf(io.Out, "3. both trees were read again from disk: they are equal\n")
	return nil
}

// layOut copies the embedded tree to disk, with the odds and ends that an
// embedded tree cannot hold.
func layOut(from embed.FS, top, to string) error {
	err := fs.WalkDir(from, top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, filepath.FromSlash(p))
		if err != nil {
			return err
		}
		name := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		b, err := from.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o644)
	})
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(to, "empty-berth"), 0o755); err != nil {
		return err
	}
	cargo := make([]byte, 8<<20)
	for i := range cargo {
		cargo[i] = byte(i * i >> 8)
	}
	if err := os.WriteFile(filepath.Join(to, "cargo.bin"), cargo, 0o644); err != nil {
		return err
	}
	old := time.Date(1954, 3, 1, 12, 0, 0, 0, time.UTC)
	return os.Chtimes(filepath.Join(to, "cargo.bin"), old, old)
}

// equalTrees compares two trees by names, kinds, modes, times and content.
func equalTrees(a, b string) (bool, error) {
	read := func(dir string) (map[string]string, error) {
		out := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			text := fmt.Sprint(info.Mode(), info.ModTime().UnixNano())
			if info.Mode().IsRegular() {
				content, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				text += string(content)
			}
			out[rel] = text
			return nil
		})
		return out, err
	}
	left, err := read(a)
	if err != nil {
		return false, err
	}
	right, err := read(b)
	if err != nil || len(left) != len(right) {
		return false, err
	}
	for p, text := range left {
		if right[p] != text {
			return false, nil
		}
	}
	return true, nil
}

package main

import (
	"embed"
	"fmt"
	discard "io" // io is our own files here
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/testdata"
	"github.com/wherry-net/wherry/transfer"
)

func demoCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:        "demo",
		Usage:       "the whole story on one machine, no set-up",
		Description: "Copies a small tree over real connections on loopback, by TCP and by UDP on a bad link,\nsets UDP beside TCP on links that lose packets, and looks up a name from the root on name\nservers of its own. What is left at the end is the report of the third part, in a\ndirectory that it names.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "leave the report in `DIR` (default: a new one among the temporary files)"},
			quietFlag(),
		},
		Action: func(c *cli.Context) error { return demo(c, io) },
	}
}

func demo(c *cli.Context, io stdio) error {
	if c.NArg() > 0 {
		return usagef("demo takes no arguments, not %s", quoteArg(c.Args().First()))
	}
	if c.Bool("quiet") {
		io.Out = discard.Discard
	}
	ctx := c.Context
	work, err := os.MkdirTemp("", "wherry-demo-")
	if err != nil {
		return fmt.Errorf("make a place for the demo: %w", err)
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "pier")
	if err := layOut(tree); err != nil {
		return fmt.Errorf("lay out the demo's tree: %w", err)
	}
	inbox := filepath.Join(work, "inbox")
	root, err := openDir(inbox)
	if err != nil {
		return err
	}
	defer root.Close()

	fmt.Fprintln(io.Out, "1. A tree over TCP, on loopback:")
	if err := demoCopy(ctx, io, tree, root, nil); err != nil {
		return err
	}
	fmt.Fprintln(io.Out, "\n2. The same over UDP, on a link that loses 5% and takes 10 ms each way:")
	bad := netem.Config{Seed: 7, Loss: 0.05, Delay: 10 * time.Millisecond}
	if err := os.RemoveAll(filepath.Join(inbox, "pier")); err != nil {
		return err
	}
	if err := demoCopy(ctx, io, tree, root, &bad); err != nil {
		return err
	}
	same, err := equalTrees(tree, filepath.Join(inbox, "pier"))
	if err != nil {
		return err
	}
	if !same {
		return &transfer.VerifyError{Path: "pier"}
	}
	fmt.Fprintln(io.Out, "   both trees were read again from disk: they are equal")
	fmt.Fprintln(io.Out, "\n3. UDP beside TCP on links of 50 Mbit/s and 10 ms each way, in the simulator:")
	if err := demoReport(ctx, io, c.String("out")); err != nil {
		return err
	}
	fmt.Fprintln(io.Out, "\n4. A name, from the root down, on name servers of our own, with its chain of trust:")
	return demoLookup(ctx, io, filepath.Join(work, "zones"))
}

// layOutFiles copies an embedded tree to disk.
func layOutFiles(from embed.FS, top, to string) error {
	return fs.WalkDir(from, top, func(p string, d fs.DirEntry, err error) error {
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
}

// layOut copies the demo's tree to disk, with the odds and ends that an embedded
// tree cannot hold.
func layOut(to string) error {
	if err := layOutFiles(testdata.Demo, "demo", to); err != nil {
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

package main

import (
	"bytes"
	"fmt"
	goio "io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve/zoneserver"
	"github.com/wherry-net/wherry/socket/safetext"
)

func labDNSCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:      "dns",
		Usage:     "serve a directory of zone files as a whole hierarchy of name servers",
		ArgsUsage: "DIR",
		Description: "Every file NAME.zone in DIR is a zone (root.zone is the root) and gets a server with an\n" +
			"address of its own in 127.0.0.0/8: port 53 where that is allowed, else another, which the\n" +
			"hints file then carries. All zones are signed anew at each start, but for those that say\n" +
			"';wherry: unsigned'. When everything answers it prints 'ready', and runs until stopped:\n\n" +
			"   wherry lab dns testdata/zones --hints hints --anchor anchor\n" +
			"   wherry lookup --trace --root-hints hints www.example.com\n" +
			"   wherry lookup --dnssec --root-hints hints --trust-anchor anchor www.example.com",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "hints", Usage: "write root hints to `FILE`, for lookup --root-hints"},
			&cli.StringFlag{Name: "anchor", Usage: "write the root's trust anchor to `FILE`, for lookup --trust-anchor"},
			jsonFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error { return labDNS(c, io) },
	}
}

func labDNS(c *cli.Context, io stdio) error {
	p := printerFor(c, io)
	if c.NArg() != 1 {
		return usagef("lab dns takes one directory of zone files, not %d arguments", c.NArg())
	}
	h, err := zoneserver.Load(c.Args().First())
	if err != nil {
		return p.fail(err)
	}
	if err := h.Sign(time.Now()); err != nil {
		return p.fail(err)
	}
	if err := h.Listen(); err != nil {
		return p.fail(err)
	}
	if err := writeTo(c.String("hints"), h.WriteHints); err != nil {
		return p.fail(err)
	}
	if err := writeTo(c.String("anchor"), h.WriteAnchors); err != nil {
		return p.fail(err)
	}
	for _, z := range h.Zones {
		e := zoneEvent{Event: "zone", Zone: z.Name, Port: h.Port, Signed: z.Signed(), Directive: z.Directive}
		for _, a := range z.Addrs() {
			e.Addresses = append(e.Addresses, a.String())
		}
		p.Event(e)
		state := "signed"
		if !z.Signed() {
			state = "unsigned"
		}
		if z.Directive != "" && z.Directive != state {
			state += ", " + z.Directive
		}
		p.Say("%-28s %-32s %s", safetext.Clean(z.Name), strings.Join(e.Addresses, " "), state)
	}
	if h.Port != 53 {
		p.Say("port 53 is not to be had; all servers listen on port %d", h.Port)
	}
	if p.o.JSON {
		p.Event(readyEvent{Event: "ready", Port: h.Port})
	} else if !p.o.Quiet {
		fmt.Fprintln(io.Out, "ready")
	}
	return p.fail(h.Serve(c.Context))
}

type zoneEvent struct {
	Event     string   `json:"event"`
	Zone      string   `json:"zone"`
	Addresses []string `json:"addresses"`
	Port      uint16   `json:"port"`
	Signed    bool     `json:"signed"`
	Directive string   `json:"directive,omitempty"`
}

type readyEvent struct {
	Event string `json:"event"`
	Port  uint16 `json:"port"`
}

// writeTo writes a whole small file, or nothing if no file is named.
func writeTo(file string, write func(goio.Writer) error) error {
	if file == "" {
		return nil
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return pathError("write", file, err)
	}
	return nil
}

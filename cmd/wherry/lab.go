package main

import "github.com/urfave/cli/v2"

func labCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:  "lab",
		Usage: "experiments: servers and links made for trying things out",
		Subcommands: []*cli.Command{
			labLinkCommand(io),
			labOnCommand(),
			labInsideCommand(),
			labDNSCommand(io),
			labDissectorCommand(io),
		},
	}
}

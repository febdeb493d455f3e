package main

import "github.com/urfave/cli/v2"

func labCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:  "lab",
		Usage: "experiments: servers and links made for trying things out",
		Subcommands: []*cli.Command{
			labRunCommand(io),
			labSimCommand(io),
			labLinkCommand(io),
			labOnCommand(),
			labInsideCommand(),
			labRelayCommand(io),
			labDNSCommand(io),
			labDissectorCommand(io),
		},
	}
}

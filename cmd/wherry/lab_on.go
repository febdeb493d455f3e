package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/lab/box"
)

func labOnCommand() *cli.Command {
	return &cli.Command{
		Name:      "on",
		Usage:     "run a command on a host of the link that this runs in",
		ArgsUsage: "a|b -- CMD [ARGUMENTS...]",
		Description: "Inside 'wherry lab link', runs CMD on host A or B with this command's input, output and\n" +
			"directory, waits for it, and ends as it ends.\n\n" +
			"   wherry lab link --delay 20ms -- sh -c 'wherry lab on b -- wherry echo & wherry ping $WHERRY_B'",
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return usagef("lab on takes a host and a command: lab on b -- CMD")
			}
			h, err := box.ParseHost(c.Args().First())
			if err != nil {
				return usagef("lab on: %w", err)
			}
			run := c.Args().Tail()
			path, err := lookCommand(run[0])
			if err != nil {
				return err
			}
			err = box.Exec(h, path, run, os.Environ())
			return err
		},
	}
}

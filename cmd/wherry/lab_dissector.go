package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

func labDissectorCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:  "dissector",
		Usage: "print a dissector in Lua, with which Wireshark reads wherry's packets",
		Description: "Wireshark and tshark then name every field of reliable UDP, on any port\n" +
			"(-o is for those that they take for another protocol's):\n\n" +
			"   wherry lab dissector > wherry.lua\n" +
			"   wherry send --udp --pcap x.pcapng --to HOST FILE\n" +
			"   wireshark -X lua_script:wherry.lua -o udp.try_heuristic_first:TRUE x.pcapng\n\n" +
			"Filters: 'wherry.number == 17', 'wherry.ack.largest > 100', 'frame.comment' (what an\n" +
			"impairment did to a packet).",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("lab dissector takes no arguments, not %s", quoteArg(c.Args().First()))
			}
			_, err := fmt.Fprint(io.Out, arq.Dissector)
			return err
		},
	}
}

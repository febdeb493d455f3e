package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
)

// Flags that send and receive share, with the same meaning at both.
func meetingFlags() []cli.Flag {
	return append(append(codeFlags(), udpFlags()...), []cli.Flag{
		&cli.StringFlag{Name: "listen", Usage: "wait for the other end on `ADDR`, as :7557 or 192.0.2.1:7557"},
		&cli.BoolFlag{Name: "plain", Usage: "neither pairing nor encryption: for labs and trusted wires; both ends must say it"},
		&cli.DurationFlag{Name: "timeout", Usage: "give up when nothing moves for `DUR`", Value: transfer.DefaultTimeout, DefaultText: transfer.DefaultTimeout.String()},
		rateFlag(),
		&cli.IntFlag{Name: "streams", Usage: "use up to `N` TCP connections at once, the smaller number of both ends'", DefaultText: "1, or 4 where a round trip takes 20 ms and more"},
		traceFlag(), pcapFlag(),
		&cli.StringFlag{Name: "congestion", Usage: "congestion control by `NAME`: over TCP one of the kernel's, as cubic or bbr; over UDP model, cubic, or fixed at --rate"},
		&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
		&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
		&cli.StringFlag{Name: "source", Usage: "dial from the local address `IP`"},
		&cli.StringFlag{Name: "dscp", Usage: "mark packets with the DiffServ class `CLASS`, as af21, cs1, ef or 0 to 63"},
		&cli.StringFlag{Name: "send-buffer", Usage: "the kernel's send buffer, as `SIZE` 4MiB (default: the system tunes it)"},
		&cli.StringFlag{Name: "receive-buffer", Usage: "the kernel's receive buffer, as `SIZE` 4MiB (default: the system tunes it)"},
		jsonFlag(), quietFlag(),
	}...)
}

// streamsFlag reads --streams. Reliable UDP fills a path by itself.
func streamsFlag(c *cli.Context) (int, error) {
	n := c.Int("streams")
	switch {
	case c.Bool("udp") && c.IsSet("streams") && n != 1:
		return 0, usagef("--streams is for TCP: one reliable UDP connection fills the path")
	case c.Bool("udp"):
		return 1, nil
	case c.IsSet("streams") && (n < 1 || n > transfer.MaxStreams):
		return 0, usagef("--streams must be 1 to %d, not %d", transfer.MaxStreams, n)
	}
	return n, nil
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON Lines on standard output, and nothing else there"}
}

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print errors only"}
}

func printerFor(c *cli.Context, io stdio) *printer {
	if io.parsed != nil {
		io.parsed()
	}
	return newPrinter(io, printOptions{JSON: c.Bool("json"), Quiet: c.Bool("quiet")})
}

func socketOptions(c *cli.Context) (o socket.Options, err error) {
	switch {
	case c.Bool("ipv4") && c.Bool("ipv6"):
		return o, usagef("--ipv4 and --ipv6 leave no address")
	case c.Bool("ipv4"):
		o.Family = socket.IPv4
	case c.Bool("ipv6"):
		o.Family = socket.IPv6
	}
	if !c.Bool("udp") {
		o.Congestion = c.String("congestion")
	}
	if s := c.String("source"); s != "" {
		hp, err := socket.ParseHostPort(s, 0)
		ip, ok := hp.IP()
		if err != nil || !ok {
			return o, usagef("--source needs an IP address of this machine, not %s", quoteArg(s))
		}
		o.Source = ip
	}
	if s := c.String("dscp"); s != "" {
		if o.DSCP, err = socket.ParseDSCP(s); err != nil {
			return o, usagef("--dscp: %w", err)
		}
	}
	if o.SendBuffer, err = sizeFlag(c, "send-buffer"); err != nil {
		return o, err
	}
	if o.ReceiveBuffer, err = sizeFlag(c, "receive-buffer"); err != nil {
		return o, err
	}
	if err := o.Check(); err != nil {
		return o, usagef("%w", err)
	}
	return o, nil
}

func sizeFlag(c *cli.Context, name string) (int, error) {
	s := c.String(name)
	if s == "" {
		return 0, nil
	}
	n, err := units.ParseSize(s)
	if err != nil || n < 1 || n > 1<<30 {
		return 0, usagef("--%s must be a size between 1B and 1GiB, as 4MiB, not %s", name, quoteArg(s))
	}
	return int(n), nil
}

// noColor follows https://no-color.org.
func noColor() bool { return os.Getenv("NO_COLOR") != "" }

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/resolve/format"
)

// --file: a list of names. What this file does is to make of the command line
// what lookup_bulk.go runs.
func bulkMode() lookupMode {
	return lookupMode{
		flag: "file",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "ask for every name in `FILE`, a line each ('-' is standard input), and print csv, json or short; a line may end in a type"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "with --file: write to `FILE`, not to standard output"},
			&cli.BoolFlag{Name: "resume", Usage: "with --file: go on with what --output has"},
			&cli.BoolFlag{Name: "ordered", Usage: "with --file: print in the order of the list, not as answers come"},
			&cli.Float64Flag{Name: "qps", Usage: "with --file or --worker: send each server at most `N` queries a second (default: no limit)"},
			&cli.IntFlag{Name: "concurrency", Usage: "with --file or --worker: have at most `N` names under way (default: as many as the servers keep up with)"},
		},
		run: func(c *cli.Context, l *lookup) error {
			if c.IsSet("via") {
				via, err := viaFlag(c, l.io, false)
				if err != nil {
					return err
				}
				if len(l.upstreams) > 0 {
					return usagef("with --via the workers choose their servers").hint("give @SERVER to 'wherry lookup --worker'")
				}
				b, err := l.bulkList(c)
				if err != nil {
					return err
				}
				return runFleetLookup(c.Context, l.io, b, via)
			}
			b, err := l.bulk(c)
			if err != nil {
				return err
			}
			for _, s := range b.Servers {
				if x, ok := s.Exchanger.(*clientExchanger); ok {
					defer x.client.Close()
				}
			}
			return runBulkLookup(c.Context, l.io, b)
		},
	}
}

// bulk makes of the lookup what it means for a list, and whom to ask.
func (l *lookup) bulk(c *cli.Context) (bulkLookup, error) {
	b, err := l.bulkList(c)
	if err != nil {
		return b, err
	}
	ups := l.upstreams
	if len(ups) == 0 {
		if ups, err = l.resolver(nil).Upstreams("."); err != nil {
			return b, err
		}
	}
	for _, u := range ups {
		s, err := l.bulkServer(c.Context, u)
		if err != nil {
			return b, err
		}
		b.Servers = append(b.Servers, s)
	}
	return b, nil
}

// bulkList is bulk without the servers.
func (l *lookup) bulkList(c *cli.Context) (bulkLookup, error) {
	b := bulkLookup{file: c.String("file"), output: c.String("output"), resume: c.Bool("resume"), quiet: l.quiet}
	if b.file == "" && !c.Bool("worker") {
		return b, usagef("--file needs the name of a file, or '-'")
	}
	switch {
	case l.kind == format.JSON:
		b.Format = bulk.JSON
	case l.kind == format.Short:
		b.Format = bulk.Text
	case l.kind != format.CSV && c.IsSet("format"):
		return b, usagef("--file prints csv, json or short, not %s", quoteArg(c.String("format")))
	}
	var err error
	// With a list there is no name on the command line, so a single word there
	// is the type.
	switch {
	case len(l.names) == 1 && !l.typeGiven && c.Args().Present():
		word := slices.DeleteFunc(c.Args().Slice(), func(s string) bool { return s[0] == '@' })
		if len(word) != 1 || !l.isType(word[0]) {
			return b, usagef("with --file the names come from the file, not from the command line")
		}
		l.types, l.typeGiven = nil, false
		l.addType(word[0])
	case len(l.names) > 0:
		return b, usagef("with --file the names come from the file, not from the command line")
	}
	if len(l.types) > 1 {
		return b, usagef("--file takes one --type").hint("a line of the list may name its own type: example.com MX")
	}
	if len(l.types) == 1 {
		if resolve.IsTransfer(l.types[0]) {
			return b, usagef("--file cannot transfer zones")
		}
		b.Type = l.types[0]
	}
	switch {
	case l.class != resolve.ClassIN:
		return b, usagef("--file asks in class IN only")
	case l.cache != nil:
		return b, usagef("--file and --cache do not go together: a list has little to gain from it")
	}
	if b.QPS = c.Float64("qps"); c.IsSet("qps") && !(b.QPS > 0 && b.QPS <= 1e9) {
		return b, usagef("--qps must be more than 0, not %v", b.QPS)
	}
	if b.Concurrency = c.Int("concurrency"); c.IsSet("concurrency") && (b.Concurrency < 1 || b.Concurrency > bulk.MaxConcurrency) {
		return b, usagef("--concurrency must be 1 to %d, not %d", bulk.MaxConcurrency, b.Concurrency)
	}
	if c.IsSet("retries") {
		if b.Retries = l.options.Tries - 1; b.Retries == 0 {
			b.Retries = -1
		}
	}
	b.GiveUp = l.options.Timeout
	if b.BufSize = int(l.options.BufSize); l.options.NoEDNS {
		b.BufSize = -1
	}
	b.Ordered = c.Bool("ordered")
	b.DNSSEC, b.CheckingDisabled = l.options.DNSSEC, l.options.CheckingDisabled
	b.NoRecurse, b.MixCase = l.options.NoRecurse, l.options.RandomCase
	b.Dial = l.options.Dialer.DialContext
	if s := c.String("source"); s != "" {
		if b.Local, err = netip.ParseAddr(s); err != nil {
			return b, usagef("--source needs an IP address, not %s", quoteArg(s))
		}
	}
	return b, nil
}

// bulkServer chooses how a server is asked: plain UDP and TCP at full speed,
// all else through the client that single lookups use.
func (l *lookup) bulkServer(ctx context.Context, u resolve.Upstream) (bulk.Server, error) {
	o := &l.options
	plain := !o.NSID && !o.AuthenticData && !o.KeepTruncated && !o.ClientSubnet.IsValid() && o.Cookies == nil && o.Padding <= 0
	if u.Scheme == resolve.MDNS {
		return bulk.Server{}, usagef("--file cannot ask by multicast")
	}
	if !plain || u.Scheme != resolve.UDP && u.Scheme != resolve.TCP {
		return bulk.Server{Name: u.String(), Exchanger: &clientExchanger{resolve.NewClient(u, o)}}, nil
	}
	addr, err := netip.ParseAddr(u.Host)
	if err != nil {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Host)
		if err != nil {
			return bulk.Server{}, fmt.Errorf("look up the server %s: %w", u, err)
		}
		addr = addrs[0].Unmap()
	}
	s := bulk.Server{Addr: netip.AddrPortFrom(addr, u.Port), Name: u.String()}
	if u.Scheme == resolve.TCP {
		s.Exchanger = &bulk.TCP{Addr: s.Addr, Dial: o.Dialer.DialContext}
	}
	return s, nil
}

// clientExchanger has a client of resolve ask for a list.
type clientExchanger struct{ client *resolve.Client }

func (x *clientExchanger) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	name, qtype, err := bulk.Question(query)
	if err != nil {
		return nil, err
	}
	r, err := x.client.Query(ctx, resolve.Query{Name: name, Type: qtype, Class: resolve.ClassIN})
	if err != nil {
		return nil, err
	}
	return r.Wire, nil
}

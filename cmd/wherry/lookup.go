package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/cache"
	"github.com/wherry-net/wherry/resolve/format"
	"github.com/wherry-net/wherry/resolve/overquic"
	"github.com/wherry-net/wherry/socket"
)

// A lookupMode is a way of looking up with a file of its own here: it takes
// over when the flag that it is named for is given.
type lookupMode struct {
	flag  string
	flags []cli.Flag // the mode's own flags, that one among them
	run   func(c *cli.Context, l *lookup) error
}

// lookupModes are tried in order.
func lookupModes() []lookupMode {
	return append([]lookupMode{cacheListMode(), workerMode(), bulkMode(), compareMode(), waitMode()}, rootModes()...)
}

func lookupCommand(io stdio) *cli.Command {
	var modeFlags []cli.Flag
	for _, m := range lookupModes() {
		modeFlags = append(modeFlags, m.flags...)
	}
	return &cli.Command{
		Name:      "lookup",
		Usage:     "ask the domain name system",
		ArgsUsage: "NAME [TYPE...] [@SERVER...]   (without NAME: an interactive prompt)",
		Description: "Without TYPE, addresses (A and AAAA) are asked for; for an IP address or a prefix\n" +
			"such as 192.0.2.0/28 the names that it stands for. Without @SERVER the system's\n" +
			"resolvers are asked, and its hosts file and search list heeded. A server is an\n" +
			"address or a name, with a port if need be, after one of udp:// tcp:// tls://\n" +
			"https:// h3:// quic://; tls://192.0.2.1#dns.example names whom the certificate\n" +
			"must be for. Several servers are asked each.\n\n" +
			"   wherry lookup example.com MX TXT\n" +
			"   wherry lookup www.example.com AAAA @192.0.2.53 @tls://dns.example --json\n" +
			"   wherry lookup example.com AXFR @ns1.example.com --tsig-file key\n" +
			"   wherry lookup --file names.txt --type MX @192.0.2.53 --output mx.csv\n\n" +
			"With several questions of one type list the exit code is that of the worst\n" +
			"answer; where the types were not given, or an address prefix was, the best.",
		Flags:  append(lookupFlags(), modeFlags...),
		Action: func(c *cli.Context) error { return runLookup(c, io) },
	}
}

func lookupFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "type", Aliases: []string{"t"}, Usage: "ask for records of type `T`, as MX, TYPE65280 or IXFR=SERIAL; may be repeated"},
		&cli.StringSliceFlag{Name: "server", Aliases: []string{"s"}, Usage: "ask the server `S`, as @S does; may be repeated"},
		&cli.StringFlag{Name: "class", Usage: "ask in class `CLASS`: IN, CH or HS", Value: "IN"},
		&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "print as `FORMAT`: nslookup, dig, short, table, json or csv", Value: "nslookup"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line, with the members of RFC 8427 (--format json)"},
		&cli.BoolFlag{Name: "short", Usage: "print the data of records only (--format short)"},
		&cli.BoolFlag{Name: "reverse", Aliases: []string{"x"}, Usage: "take NAME for an address or prefix, and nothing else"},
		&cli.BoolFlag{Name: "no-search", Usage: "take the name as it is, without the search list"},
		&cli.BoolFlag{Name: "no-hosts", Usage: "ask servers even for names that the hosts file has"},
		&cli.DurationFlag{Name: "timeout", Usage: "give up on a question after `DUR` (default: what the system is set to, else 10s)"},
		&cli.IntFlag{Name: "retries", Usage: "ask a silent server `N` times more", Value: 2, DefaultText: "what the system is set to, else 2"},
		&cli.IntFlag{Name: "bufsize", Usage: "tell servers to send up to `BYTES` by UDP; 0 leaves EDNS out", Value: 1232},
		&cli.BoolFlag{Name: "nsid", Usage: "ask for the server's identity (RFC 5001)"},
		&cli.StringFlag{Name: "ecs", Usage: "ask on behalf of the network `PREFIX`, as 192.0.2.0/24; 0 asks the server to tell none (RFC 7871)"},
		&cli.BoolFlag{Name: "cookie", Usage: "send DNS cookies and check the server's (RFC 7873)"},
		&cli.IntFlag{Name: "padding", Usage: "pad queries to a multiple of `BYTES` (default: 128 on encrypted transports)"},
		&cli.BoolFlag{Name: "do", Usage: "ask for DNSSEC's signatures too (DO)"},
		&cli.BoolFlag{Name: "cd", Usage: "ask the server not to validate (CD)"},
		&cli.BoolFlag{Name: "ad", Usage: "ask the server to tell whether it validated (AD)"},
		&cli.BoolFlag{Name: "norecurse", Usage: "ask for what the server itself knows (no RD)"},
		&cli.BoolFlag{Name: "0x20", Usage: "send the name in random case and take only answers that repeat it"},
		&cli.BoolFlag{Name: "ignore", Usage: "take a truncated answer, without asking again over TCP"},
		&cli.StringFlag{Name: "ca", Usage: "trust the certificate authorities in `FILE` (PEM), not the system's"},
		&cli.StringFlag{Name: "tsig-file", Usage: "sign zone transfers with the key in `FILE`: BIND's form, or [ALGORITHM:]NAME:SECRET"},
		&cli.StringFlag{Name: "cache", Usage: "answer from `FILE` what it holds, and keep new answers there"},
		&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
		&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
		&cli.StringFlag{Name: "source", Usage: "ask from the local address `IP`"},
		quietFlag(),
	}
}

// A lookup is what the command line asks for.
type lookup struct {
	io     stdio
	kind   format.Kind
	quiet  bool
	colour bool

	names     []string // more than one for a prefix
	types     []uint16
	typeGiven bool // the types were, not only supposed
	class     uint16
	serial    *uint32 // of IXFR=SERIAL
	upstreams []resolve.Upstream

	options   resolve.Options
	noSearch  bool
	hosts     string
	cacheFile string
	cache     *cache.Cache
	tsig      *resolve.TSIGKey
}

func runLookup(c *cli.Context, io stdio) error {
	if err := strayDetail(c); err != nil {
		return err
	}
	l, err := lookupFrom(c, io)
	if err != nil {
		return err
	}
	defer func() {
		if l.cache != nil {
			if err := l.cache.Save(l.cacheFile); err != nil {
				l.warn(err)
			}
		}
	}()
	for _, m := range lookupModes() {
		if c.IsSet(m.flag) {
			return m.run(c, l)
		}
	}
	if len(l.names) == 0 {
		if !isTerminal(io.In) || !isTerminal(io.Out) {
			return usagef("look up what? No name was given").hint("wherry lookup NAME [TYPE...] [@SERVER...]")
		}
		return interactive(c.Context, l)
	}
	for _, t := range l.types {
		if resolve.IsTransfer(t) {
			return l.transfer(c.Context)
		}
	}
	return l.ask(c.Context)
}

func lookupFrom(c *cli.Context, io stdio) (*lookup, error) {
	l := &lookup{io: io, quiet: c.Bool("quiet"), colour: isTerminal(io.Out) && !noColor()}
	var err error
	if l.kind, err = format.ParseKind(c.String("format")); err != nil {
		return nil, usagef("--format: %w", err)
	}
	switch {
	case c.Bool("json") && c.Bool("short"):
		return nil, usagef("--json and --short are two formats: give one of them")
	case c.Bool("json"):
		l.kind = format.JSON
	case c.Bool("short"):
		l.kind = format.Short
	}
	var ok bool
	if l.class, ok = resolve.ParseClass(c.String("class")); !ok {
		return nil, usagef("--class: there is no class %s", quoteArg(c.String("class"))).hint("known are IN, CH and HS")
	}
	var words []string
	for _, a := range c.Args().Slice() {
		if strings.HasPrefix(a, "@") {
			err = l.addServer(a)
		} else {
			words = append(words, a)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, s := range c.StringSlice("server") {
		if err := l.addServer(s); err != nil {
			return nil, err
		}
	}
	for _, t := range c.StringSlice("type") {
		if !l.addType(t) {
			return nil, unknownType("--type: ", t)
		}
	}
	if err := l.setOptions(c); err != nil {
		return nil, err
	}
	// As with dig, the type may stand before the name.
	if len(words) > 1 && l.isType(words[0]) && !l.isType(words[1]) {
		words[0], words[1] = words[1], words[0]
	}
	if len(words) == 0 {
		return l, nil
	}
	for _, w := range words[1:] {
		if cl, ok := resolve.ParseClass(w); ok && !l.isType(w) {
			l.class = cl
		} else if !l.addType(w) {
			return nil, unknownType("", w)
		}
	}
	return l, l.setName(words[0], c.Bool("reverse"))
}

func unknownType(lead, t string) error {
	e := usagef("%sthere is no record type %s", lead, quoteArg(t))
	if _, err := resolve.ParseUpstream(t); err == nil && strings.ContainsAny(t, ".:") {
		return e.hint("a server has an '@' before it: @" + resolve.Escape(t))
	}
	return e.hint("types go by name (MX, TXT, HTTPS) or as TYPE with a number; names are looked up one a call, or from a --file")
}

// setName takes the name to look up; an address or prefix stands for the
// reverse names.
func (l *lookup) setName(name string, reverse bool) error {
	isAddr := resolve.IsAddress(name)
	switch {
	case reverse && !isAddr:
		return usagef("--reverse needs an IP address or a prefix, not %s", quoteArg(name))
	case isAddr && (reverse || !l.typeGiven || len(l.types) == 1 && l.types[0] == resolve.TypePTR):
		names, err := resolve.ReverseNames(name)
		if err != nil {
			return usagef("%w", err).hint("ask for smaller prefixes one by one")
		}
		l.names = names
		if !l.typeGiven {
			l.types = []uint16{resolve.TypePTR}
		}
		l.noSearch = true
		return nil
	}
	// A name may hold a slash (RFC 2317), but this one is meant as a prefix.
	if host, _, ok := strings.Cut(name, "/"); ok && !isAddr && resolve.IsAddress(host) {
		return usagef("%s is not a prefix: its length is wrong", quoteArg(name))
	}
	if _, err := resolve.ParseName(name); err != nil {
		return usagef("%w", err)
	}
	l.names = []string{name}
	if !l.typeGiven {
		l.types = []uint16{resolve.TypeA, resolve.TypeAAAA}
		if l.class != resolve.ClassIN {
			l.types = []uint16{resolve.TypeTXT} // what servers tell of themselves
		}
	}
	return nil
}

func (l *lookup) addServer(s string) error {
	u, err := resolve.ParseUpstream(s)
	if err != nil {
		return usagef("%w", err)
	}
	l.upstreams = append(l.upstreams, u)
	return nil
}

func (l *lookup) isType(s string) bool {
	t, _, _ := strings.Cut(s, "=")
	_, ok := resolve.ParseType(t)
	return ok
}

// addType takes a type, or IXFR=SERIAL.
func (l *lookup) addType(s string) bool {
	name, serial, hasSerial := strings.Cut(s, "=")
	t, ok := resolve.ParseType(name)
	if !ok || hasSerial && t != resolve.TypeIXFR {
		return false
	}
	if hasSerial {
		n, err := strconv.ParseUint(serial, 10, 32)
		if err != nil {
			return false
		}
		v := uint32(n)
		l.serial = &v
	}
	l.types, l.typeGiven = append(l.types, t), true
	return true
}

func (l *lookup) setOptions(c *cli.Context) error {
	o := &l.options
	var so socket.Options
	switch {
	case c.Bool("ipv4") && c.Bool("ipv6"):
		return usagef("--ipv4 and --ipv6 leave no address")
	case c.Bool("ipv4"):
		so.Family = socket.IPv4
	case c.Bool("ipv6"):
		so.Family = socket.IPv6
	}
	if s := c.String("source"); s != "" {
		hp, err := socket.ParseHostPort(s, 0)
		ip, ok := hp.IP()
		if err != nil || !ok {
			return usagef("--source needs an IP address of this machine, not %s", quoteArg(s))
		}
		so.Source = ip
	}
	if err := so.Check(); err != nil {
		return usagef("%w", err)
	}
	o.Dialer = &socket.Dialer{Options: so, Timeout: -1} // the query's own deadline bounds it
	o.Transports = overquic.Transports()

	if o.Timeout = c.Duration("timeout"); c.IsSet("timeout") && o.Timeout <= 0 {
		return usagef("--timeout must be longer than 0, not %v", o.Timeout)
	}
	if c.IsSet("retries") {
		if n := c.Int("retries"); n < 0 || n > 100 {
			return usagef("--retries must be 0 to 100, not %d", n)
		}
		o.Tries = c.Int("retries") + 1
	}
	switch n := c.Int("bufsize"); {
	case n == 0:
		o.NoEDNS = true
	case n < 512 || n > 65535:
		return usagef("--bufsize must be 512 to 65535, or 0 for no EDNS, not %d", n)
	default:
		o.BufSize = uint16(n)
	}
	if c.IsSet("padding") {
		if o.Padding = c.Int("padding"); o.Padding < 0 || o.Padding > 1024 {
			return usagef("--padding must be 0 to 1024, not %d", o.Padding)
		}
		if o.Padding == 0 {
			o.Padding = -1
		}
	}
	if s := c.String("ecs"); s != "" {
		p, err := resolve.ParseClientSubnet(s)
		if err != nil {
			return usagef("--ecs: %w", err)
		}
		o.ClientSubnet = p
	}
	if c.Bool("cookie") {
		o.Cookies = new(resolve.CookieJar)
	}
	if o.NoEDNS && (c.Bool("nsid") || c.Bool("do") || o.ClientSubnet.IsValid() || o.Cookies != nil || o.Padding > 0) {
		return usagef("--bufsize 0 leaves EDNS out, which --nsid, --ecs, --cookie, --padding and --do need")
	}
	o.NSID, o.DNSSEC = c.Bool("nsid"), c.Bool("do")
	o.CheckingDisabled, o.AuthenticData = c.Bool("cd"), c.Bool("ad")
	o.NoRecurse, o.RandomCase, o.KeepTruncated = c.Bool("norecurse"), c.Bool("0x20"), c.Bool("ignore")
	l.noSearch = c.Bool("no-search")
	if c.Bool("no-hosts") {
		l.hosts = "-"
	}
	if path := c.String("ca"); path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return pathError("read", path, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return usagef("--ca: there is no certificate in %s", quoteArg(path))
		}
		o.TLS = &tls.Config{RootCAs: pool}
	}
	if path := c.String("tsig-file"); path != "" {
		f, err := os.Open(path)
		if err != nil {
			return pathError("read", path, err)
		}
		defer f.Close()
		if l.tsig, err = resolve.ParseTSIGKey(f); err != nil {
			return usagef("--tsig-file %s: %w", quoteArg(path), err)
		}
	}
	if l.cacheFile = c.String("cache"); l.cacheFile != "" {
		l.cache = new(cache.Cache)
		if err := l.cache.Load(l.cacheFile); err != nil {
			l.cache = nil // and above all, do not write there
			return pathError("read the cache", c.String("cache"), err)
		}
	}
	return nil
}

// resolver returns a resolver that asks one server, or the system's if u is
// nil.
func (l *lookup) resolver(u *resolve.Upstream) *resolve.Resolver {
	r := &resolve.Resolver{Options: l.options, NoSearch: l.noSearch, HostsFile: l.hosts, Cache: l.cache}
	if u != nil {
		r.Servers = []resolve.Upstream{*u}
	}
	return r
}

// resolvers returns one for each server that was named, or the system's.
func (l *lookup) resolvers() []*resolve.Resolver {
	if len(l.upstreams) == 0 {
		return []*resolve.Resolver{l.resolver(nil)}
	}
	var rs []*resolve.Resolver
	for i := range l.upstreams {
		rs = append(rs, l.resolver(&l.upstreams[i]))
	}
	return rs
}

// ask is the plain case: every name, every type, every server.
func (l *lookup) ask(ctx context.Context) error {
	rs := l.resolvers()
	var qs []resolve.Question
	for _, r := range rs {
		defer r.Close()
		for _, n := range l.names {
			for _, t := range l.types {
				qs = append(qs, resolve.Question{Name: n, Type: t, Class: l.class, Resolver: r})
			}
		}
	}
	p := format.New(l.kind, l.io.Out, format.Options{Colour: l.colour})
	verdict := worstAnswer
	if !l.typeGiven || len(l.names) > 1 {
		verdict = bestAnswer
	}
	var decisive *resolve.Result
	var werr error
	rs[0].LookupAll(ctx, qs, 0, func(_ int, r *resolve.Result) bool {
		decisive = verdict(decisive, r)
		werr = p.Print(r)
		return werr == nil && ctx.Err() == nil
	})
	if err := errors.Join(werr, p.Close()); err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	if decisive != nil && ctx.Err() != nil && decisive.Outcome == resolve.Failed {
		return &lookupInterrupted{ctx.Err()}
	}
	return l.outcome(decisive)
}

// worstAnswer and bestAnswer choose which of two results the exit code tells.
func worstAnswer(a, b *resolve.Result) *resolve.Result {
	if a == nil || b.Outcome > a.Outcome {
		return b
	}
	return a
}

func bestAnswer(a, b *resolve.Result) *resolve.Result {
	if a == nil || b.Outcome < a.Outcome {
		return b
	}
	return a
}

// outcome turns a result into the error that decides the exit code, having
// told what there is to tell beyond the formats' own words.
func (l *lookup) outcome(r *resolve.Result) error {
	if r == nil || r.Outcome == resolve.Found {
		return nil
	}
	err := error(&answerError{r})
	f := classify(err)
	switch l.kind {
	case format.JSON: // its status and error members say it
	case format.Short, format.CSV:
		fmt.Fprintf(l.io.Err, "wherry: %s\n", f.message)
		l.hint(f.hint)
	default: // it is told on standard output
		l.hint(f.hint)
	}
	return &shownError{err}
}

func (l *lookup) hint(s string) {
	if s != "" && !l.quiet {
		fmt.Fprintf(l.io.Err, "hint: %s\n", s)
	}
}

func (l *lookup) warn(err error) {
	if !l.quiet {
		fmt.Fprintf(l.io.Err, "warning: %s\n", oneLine(err))
	}
}

// answerError is a result that is not an answer.
type answerError struct{ res *resolve.Result }

func (e *answerError) Error() string { return format.Sentence(e.res) }
func (e *answerError) Unwrap() error { return e.res.Err }

// lookupInterrupted is Ctrl-C while names were looked up.
type lookupInterrupted struct{ err error }

func (e *lookupInterrupted) Error() string { return "interrupted" }
func (e *lookupInterrupted) Unwrap() error { return e.err }

// outcomeIs matches results without the records asked for.
func outcomeIs(o resolve.Outcome) func(error) bool {
	return func(err error) bool {
		var a *answerError
		return errors.As(err, &a) && a.res.Outcome == o
	}
}

// wrongCertificate matches a name server's certificate that is not to be
// trusted.
func wrongCertificate(err error) bool {
	return as[*resolve.ServerError](err) && as[*tls.CertificateVerificationError](err)
}

// lookupRules are the part of the table in exit.go that is about names.
var lookupRules = []rule{
	{as[*lookupInterrupted], exitInterrupted, "interrupted", ""},
	{outcomeIs(resolve.NoData), exitNoRecord, "nodata", "ask for another type, as MX or TXT"},
	{outcomeIs(resolve.Referral), exitNoRecord, "referral", "ask one of the servers that it refers to, or leave --norecurse out"},
	{outcomeIs(resolve.NXDomain), exitNXDomain, "nxdomain", "check the spelling"},
	{outcomeIs(resolve.Refused), exitServer, "refused", "ask another server, with @SERVER; one that serves its own zones only refuses all else"},
	{outcomeIs(resolve.ServFail), exitServer, "servfail", "--cd tells whether DNSSEC is what fails; another server, with @SERVER, may do better"},
	{outcomeIs(resolve.OtherRcode), exitServer, "rcode", "--format dig shows the whole answer"},
	{as[*compareError], exitServer, "differ", ""},
	{as[*resolve.TransferError], exitRefused, "refused", "zone transfers need leave: --tsig-file FILE signs them with a key that the server knows"},
	{is(resolve.ErrTSIG), exitVerify, "tsig", "check the key's name, algorithm and secret, and both clocks"},
	{wrongCertificate, exitVerify, "certificate", "the certificate must be for the server's name: give that as tls://ADDRESS#NAME; --ca FILE trusts another authority"},
	{as[*resolve.NameError], exitUsage, "usage", ""},
	{as[*resolve.UpstreamError], exitUsage, "usage", ""},
	{as[*resolve.TimeoutError], exitNetwork, "timeout", "is that a name server, and does a firewall let UDP port 53 through? tcp://ADDRESS tries without UDP; --timeout waits longer"},
	{as[*resolve.HTTPError], exitNetwork, "http", "is the path right? Most servers use https://NAME/dns-query"},
	{is(resolve.ErrNoServers), exitNetwork, "no-servers", "name a server, as @192.0.2.53"},
	{is(resolve.ErrMalformed), exitNetwork, "malformed", "another server, with @SERVER, may do better"},
	{is(resolve.ErrMismatch), exitNetwork, "mismatch", "another server, with @SERVER, may do better"},
	{is(cache.ErrFormat), exitUsage, "usage", "--cache needs a file that wherry wrote, or a new name"},
	{as[*resolve.ServerError], exitNetwork, "network", "is a name server listening there? Ports follow the address, as @192.0.2.1:5353"},
}

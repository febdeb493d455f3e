package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"rsc.io/qr"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer/web"
)

func serveCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "share a directory with browsers, curl and wget",
		ArgsUsage: "[DIR]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":" + strconv.Itoa(socket.DefaultPort), Usage: "`ADDR` to listen on, [HOST]:PORT"},
			&cli.BoolFlag{Name: "upload", Usage: "take files too, by the page's form and by PUT"},
			&cli.StringFlag{Name: "max-size", Usage: "take no upload larger than `SIZE`, as 100MiB"},
			&cli.BoolFlag{Name: "plain", Usage: "HTTP without TLS: for labs and trusted wires"},
			&cli.BoolFlag{Name: "no-token", Usage: "let everybody in who reaches the address"},
			&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
			&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
			jsonFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("serve takes one directory, and got %d arguments", c.NArg()).hint("serve the directory above them")
			}
			dir := c.Args().First()
			if dir == "" {
				dir = "."
			}
			s := webService{address: c.String("listen"), plain: c.Bool("plain")}
			s.server.Upload = c.Bool("upload")
			if v := c.String("max-size"); v != "" {
				n, err := units.ParseSize(v)
				if err != nil || n < 1 {
					return usagef("--max-size must be a size, as 100MiB, not %s", quoteArg(v))
				}
				if !s.server.Upload {
					return usagef("--max-size limits uploads, which are off").hint("turn them on with --upload")
				}
				s.server.MaxSize = int64(n)
			}
			if !c.Bool("no-token") {
				s.server.Token = web.NewToken()
			}
			var err error
			if s.options, err = socketOptions(c); err != nil {
				return err
			}
			s.out = printerFor(c, io)
			return s.run(c.Context, dir)
		},
	}
}

// webService is a web server on one port and what it prints.
type webService struct {
	address string
	plain   bool
	options socket.Options
	server  web.Server
	out     *printer
}

type webStart struct {
	Event       string   `json:"event"`
	Listen      string   `json:"listen"`
	URLs        []string `json:"urls"`
	Fingerprint string   `json:"sha256,omitempty"`
	Pin         string   `json:"pinnedpubkey,omitempty"`
	Upload      bool     `json:"upload"`
}

type webRequest struct {
	Event   string  `json:"event"`
	Peer    string  `json:"peer"`
	Method  string  `json:"method"`
	Path    string  `json:"path"`
	Status  int     `json:"status"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	BLAKE3  string  `json:"blake3,omitempty"`
}

// run serves dir until ctx ends, which is how it is meant to end: that is no
// error.
func (s *webService) run(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return fmt.Errorf("serve %s: %w", quoteArg(dir), err)
	}
	defer root.Close()
	s.server.Root = root
	if abs, err := filepath.Abs(dir); err == nil && filepath.Base(abs) != string(filepath.Separator) {
		s.server.Title = filepath.Base(abs)
	}
	hp, err := socket.ParseHostPort(s.address, socket.DefaultPort)
	if err != nil {
		return &usageError{err: err}
	}
	l, err := socket.Listen(ctx, hp.String(), s.options)
	if err != nil {
		return err
	}
	defer l.Close()

	hosts := reachable(l.Addr().(*net.TCPAddr).AddrPort(), s.options.Family)
	var cert *tls.Certificate
	start := webStart{Event: "start", Listen: l.Addr().String(), Upload: s.server.Upload}
	if !s.plain {
		c, err := web.NewCertificate(time.Now(), addrs(hosts))
		if err != nil {
			return err
		}
		cert, start.Fingerprint, start.Pin = &c, web.Fingerprint(&c), web.PublicKeyPin(&c)
	}
	for _, h := range hosts {
		start.URLs = append(start.URLs, s.url(h, start.Fingerprint))
	}
	s.announce(start)

	s.server.Trace = &web.Trace{Served: s.served}
	return s.server.Serve(ctx, l.NetListener(), cert)
}

// url is where a client finds the directory. The fingerprint stands in the
// fragment, which a browser keeps to itself.
func (s *webService) url(h netip.AddrPort, fingerprint string) string {
	u := "http://" + h.String() + "/"
	if !s.plain {
		u = "https://" + h.String() + "/"
	}
	if s.server.Token != "" {
		u += s.server.Token + "/"
	}
	if fingerprint != "" {
		u += "#sha256=" + fingerprint
	}
	return u
}

func (s *webService) announce(start webStart) {
	s.out.Event(start)
	verb := "serving"
	if s.server.Upload {
		verb = "serving, and taking files for,"
	}
	s.out.Say("%s %s at", verb, safetext.Quote(s.server.Title))
	for _, u := range start.URLs {
		s.out.Say("  %s", u)
	}
	if start.Pin != "" {
		s.out.Say("the certificate is made by this server alone; its SHA-256 stands behind the #")
		s.out.Say("curl: --insecure --pinnedpubkey %s", start.Pin)
	}
	if s.out.live && len(start.URLs) > 0 {
		if code, err := qr.Encode(start.URLs[0], qr.L); err == nil {
			s.out.Say("%s", drawQR(code))
		}
	}
}

// served tells of one request. A line for each of a stranger's would fill the
// terminal; those who lack the token never come here.
func (s *webService) served(r web.Served) {
	s.out.Event(webRequest{Event: "request", Peer: r.Peer, Method: r.Method, Path: jsonName(r.Path), Status: r.Status, Bytes: r.Bytes, Seconds: r.Took.Seconds(), BLAKE3: r.BLAKE3})
	s.out.Say("%s %s %s: %d, %s in %v", r.Peer, safetext.Clean(r.Method), safetext.Quote("/"+r.Path), r.Status, units.FormatBytes(r.Bytes), r.Took.Round(time.Millisecond))
}

// reachable is the addresses under which a listener can be reached, those of a
// network before loopback's.
func reachable(at netip.AddrPort, family socket.Family) []netip.AddrPort {
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if !at.Addr().IsUnspecified() {
		return []netip.AddrPort{at}
	}
	var out, local []netip.AddrPort
	all, _ := net.InterfaceAddrs() // without them there is loopback
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := p.Addr().Unmap()
		switch {
		case ip.Is4() && family == socket.IPv6, ip.Is6() && (family == socket.IPv4 || at.Addr().Is4()):
		case ip.IsLoopback():
			local = append(local, netip.AddrPortFrom(ip, at.Port()))
		case ip.IsGlobalUnicast():
			out = append(out, netip.AddrPortFrom(ip, at.Port()))
		}
	}
	if len(out) == 0 {
		return local
	}
	return out
}

func addrs(hosts []netip.AddrPort) []netip.Addr {
	out := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	for _, h := range hosts {
		if !h.Addr().IsLoopback() {
			out = append(out, h.Addr())
		}
	}
	return out
}

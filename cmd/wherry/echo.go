package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/echo"
)

func echoCommand(io stdio) *cli.Command {
	return &cli.Command{
		Name:  "echo",
		Usage: "send back whatever arrives, over TCP and UDP; for ping",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":" + strconv.Itoa(socket.DefaultPort), Usage: "`ADDR` to listen on, [HOST]:PORT"},
			&cli.BoolFlag{Name: "tcp", Usage: "TCP only"},
			&cli.BoolFlag{Name: "udp", Usage: "UDP only"},
			&cli.IntFlag{Name: "max-clients", Value: echo.DefaultMaxClients, Usage: "serve `N` TCP clients at once and turn others away"},
			&cli.DurationFlag{Name: "timeout", Value: echo.DefaultIdleTimeout, Usage: "drop a TCP client that is silent for `DUR`"},
			&cli.BoolFlag{Name: "ipv4", Aliases: []string{"4"}, Usage: "use IPv4 only"},
			&cli.BoolFlag{Name: "ipv6", Aliases: []string{"6"}, Usage: "use IPv6 only"},
			jsonFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("echo takes no argument, and got %s", quoteArg(c.Args().First())).hint("name the address with --listen")
			}
			s := echoService{address: c.String("listen"), tcp: c.Bool("tcp"), udp: c.Bool("udp")}
			if !s.tcp && !s.udp {
				s.tcp, s.udp = true, true
			}
			s.server.MaxClients, s.server.IdleTimeout = c.Int("max-clients"), c.Duration("timeout")
			if s.server.MaxClients < 1 {
				return usagef("--max-clients %d is less than 1", s.server.MaxClients)
			}
			if s.server.IdleTimeout <= 0 {
				return usagef("--timeout %v is not above zero", s.server.IdleTimeout)
			}
			var err error
			if s.options, err = socketOptions(c); err != nil {
				return err
			}
			s.out = printerFor(c, io)
			return s.run(c.Context)
		},
	}
}

// echoService is an echo server on one port and what it prints.
type echoService struct {
	address  string
	tcp, udp bool
	options  socket.Options
	server   echo.Server
	out      *printer
}

type echoStart struct {
	Event string `json:"event"`
	TCP   string `json:"tcp,omitempty"`
	UDP   string `json:"udp,omitempty"`
}

type echoClient struct {
	Event   string  `json:"event"`
	Peer    string  `json:"peer"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

type echoDone struct {
	Event         string  `json:"event"`
	Role          string  `json:"role"`
	Seconds       float64 `json:"seconds"`
	Connections   int64   `json:"connections"`
	Refused       int64   `json:"refused"`
	Bytes         int64   `json:"bytes"`
	Datagrams     int64   `json:"datagrams"`
	DatagramBytes int64   `json:"datagram_bytes"`
	Unanswered    int64   `json:"unanswered"`
}

// run serves until ctx ends, which is how it is meant to end: that is no error.
func (s *echoService) run(ctx context.Context) error {
	start := echoStart{Event: "start"}
	hp, err := socket.ParseHostPort(s.address, socket.DefaultPort)
	if err != nil {
		return &usageError{err: err}
	}
	var l *socket.Listener
	if s.tcp {
		if l, err = socket.Listen(ctx, hp.String(), s.options); err != nil {
			return err
		}
		defer l.Close()
		start.TCP = l.Addr().String()
		// With port 0 both get the one that TCP was given.
		hp.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	}
	var pc *net.UDPConn
	if s.udp {
		if pc, err = socket.ListenUDP(ctx, hp.String(), s.options); err != nil {
			return err
		}
		defer pc.Close()
		start.UDP = pc.LocalAddr().String()
	}
	begin := time.Now()
	s.server.Trace = s.trace()
	switch {
	case s.tcp && s.udp:
		s.tell(start, "echo: TCP and UDP on %s", start.TCP)
	case s.tcp:
		s.tell(start, "echo: TCP on %s", start.TCP)
	default:
		s.tell(start, "echo: UDP on %s", start.UDP)
	}

	// When one ends for good the other is of no use.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var tcpErr, udpErr error
	if s.tcp {
		wg.Go(func() { defer cancel(); tcpErr = s.server.ServeTCP(ctx, l) })
	}
	if s.udp {
		wg.Go(func() { defer cancel(); udpErr = s.server.ServeUDP(ctx, pc) })
	}
	wg.Wait()

	st := s.server.Stats()
	s.tell(echoDone{
		Event: "done", Role: "echo", Seconds: time.Since(begin).Seconds(),
		Connections: st.Connections, Refused: st.Refused, Bytes: st.Bytes,
		Datagrams: st.Datagrams, DatagramBytes: st.DatagramBytes, Unanswered: st.Unanswered,
	}, "echo: %d connections (%d turned away), %d bytes; %d datagrams (%d unanswered), %d bytes",
		st.Connections, st.Refused, st.Bytes, st.Datagrams, st.Unanswered, st.DatagramBytes)
	for _, err := range []error{tcpErr, udpErr} {
		if err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("echo: %w", err)
		}
	}
	return nil
}

// tell prints v as JSON or the rest as text; the printer does one of them.
func (s *echoService) tell(v any, format string, args ...any) {
	s.out.Event(v)
	s.out.Say(format, args...)
}

// trace tells of TCP clients. Datagrams are only counted: one line for each
// would let anybody fill the terminal or the disk that the output goes to.
func (s *echoService) trace() *echo.ServerTrace {
	return &echo.ServerTrace{
		Connected: func(client net.Addr) {
			s.tell(struct {
				Event string `json:"event"`
				Peer  string `json:"peer"`
			}{"connected", client.String()}, "%s connected", client)
		},
		Closed: func(client net.Addr, n int64, d time.Duration, err error) {
			e := echoClient{Event: "closed", Peer: client.String(), Bytes: n, Seconds: d.Seconds()}
			why := ""
			if err != nil {
				e.Error = oneLine(err)
				if kind := socket.Kind(err); kind != nil {
					e.Error = kind.Error()
				}
				why = ": " + e.Error
			}
			s.tell(e, "%s closed after %d bytes in %v%s", client, n, d.Round(time.Millisecond), why)
		},
		Refused: func(client net.Addr) {
			s.tell(struct {
				Event string `json:"event"`
				Peer  string `json:"peer"`
			}{"refused", client.String()}, "%s turned away: there are %d clients already", client, s.server.MaxClients)
		},
	}
}

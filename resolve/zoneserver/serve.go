package zoneserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

type sock struct {
	addr netip.Addr
	udp  net.PacketConn
	tcp  net.Listener
}

// Listen binds UDP and TCP sockets for all addresses, on one port: h.Port if
// that is set, else 53 if it may be had, else the first free from 5300 on.
func (h *Hierarchy) Listen() error {
	if h.Port != 0 {
		return h.listen(h.Port)
	}
	var first error
	for _, port := range append([]uint16{53}, candidates()...) {
		err := h.listen(port)
		if err == nil {
			h.Port = port
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("no port is free on all of the zones' addresses: %w", first)
}

func candidates() []uint16 {
	var out []uint16
	for p := uint16(5300); p < 5400; p++ {
		if p != 5353 && p != 5355 { // mDNS and LLMNR
			out = append(out, p)
		}
	}
	return out
}

func (h *Hierarchy) listen(port uint16) (err error) {
	var socks []sock
	defer func() {
		if err != nil {
			closeAll(socks)
		}
	}()
	for _, a := range h.addrs() {
		at := net.JoinHostPort(a.String(), strconv.Itoa(int(port)))
		u, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		socks = append(socks, sock{addr: a, udp: u})
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		socks[len(socks)-1].tcp = l
	}
	h.socks = socks
	return nil
}

func closeAll(socks []sock) {
	for _, s := range socks {
		s.udp.Close()
		if s.tcp != nil {
			s.tcp.Close()
		}
	}
}

func (h *Hierarchy) addrs() []netip.Addr {
	var out []netip.Addr
	for a := range h.byAddr {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out
}

// Serve answers queries until the context ends, then closes the sockets and
// returns nil. Listen comes first.
func (h *Hierarchy) Serve(ctx context.Context) error {
	if len(h.socks) == 0 {
		return errNotListening
	}
	var servers []*dns.Server
	for _, s := range h.socks {
		handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := h.Reply(s.addr, q)
			if m == nil {
				return
			}
			if w.RemoteAddr().Network() == "udp" {
				size := dns.MinMsgSize
				if opt := q.IsEdns0(); opt != nil {
					size = max(size, min(int(opt.UDPSize()), 1232))
				}
				m.Truncate(size)
			}
			// A client that has gone away is no matter of the server's.
			_ = w.WriteMsg(m)
		})
		servers = append(servers, &dns.Server{PacketConn: s.udp, Handler: handler},
			&dns.Server{Listener: s.tcp, Handler: handler, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
				IdleTimeout: func() time.Duration { return 10 * time.Second }})
	}
	errs := make(chan error, len(servers))
	var started, done sync.WaitGroup
	for _, s := range servers {
		started.Add(1)
		done.Add(1)
		var once sync.Once
		s.NotifyStartedFunc = func() { once.Do(started.Done) }
		go func() {
			defer done.Done()
			err := s.ActivateAndServe()
			once.Do(started.Done)
			errs <- err
		}()
	}
	started.Wait()
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
		if err == nil {
			err = errors.New("a server stopped by itself")
		}
	}
	for _, s := range servers {
		// Fails only for a server that has stopped already.
		_ = s.Shutdown()
	}
	closeAll(h.socks)
	done.Wait()
	return err
}

// WriteHints writes the root's servers in the form that resolvers read as root
// hints, with a ";port=N" line if the port is not 53.
func (h *Hierarchy) WriteHints(w io.Writer) error {
	root := h.Zones[0]
	text := "; root hints of a hierarchy on loopback addresses\n"
	if h.Port != 0 && h.Port != 53 {
		text += fmt.Sprintf(";port=%d\n", h.Port)
	}
	for _, ns := range root.nsNames(".") {
		text += fmt.Sprintf("%-24s 3600000 IN NS %s\n", ".", ns)
		for _, a := range loopback(h.owner(ns), ns) {
			text += fmt.Sprintf("%-24s 3600000 IN A  %s\n", ns, a)
		}
	}
	_, err := io.WriteString(w, text)
	return err
}

// WriteAnchors writes the trust anchor of the root as a DS record, or a comment
// if the root is not signed. Sign comes first.
func (h *Hierarchy) WriteAnchors(w io.Writer) error {
	root := h.Zones[0]
	if root.ksk == nil {
		_, err := fmt.Fprintln(w, "; the root is not signed")
		return err
	}
	_, err := fmt.Fprintln(w, root.ksk.rr.ToDS(dns.SHA256))
	return err
}

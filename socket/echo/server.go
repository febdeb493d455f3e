package echo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket"
)

const (
	// DefaultMaxClients is how many TCP clients a Server has at once.
	DefaultMaxClients = 1024
	// DefaultIdleTimeout is how long a TCP client may send nothing, or not read
	// what it is sent.
	DefaultIdleTimeout = 2 * time.Minute

	tcpBuffer = 32 << 10
	// Larger than any UDP payload, so that none is cut short: what would go
	// back is not what came.
	udpBuffer = 64 << 10
)

// Server echoes. Its zero value is ready for use. ServeTCP and ServeUDP may run
// at the same time, on several sockets each.
type Server struct {
	MaxClients  int           // TCP clients at once; 0 means DefaultMaxClients
	IdleTimeout time.Duration // 0 means DefaultIdleTimeout
	Trace       *ServerTrace  // may be nil

	clients     atomic.Int64
	connections atomic.Int64
	refused     atomic.Int64
	bytes       atomic.Int64
	datagrams   atomic.Int64
	dgramBytes  atomic.Int64
	unanswered  atomic.Int64
}

// ServerTrace is told what a server does. Each func may be nil; they are called
// from several goroutines at once.
type ServerTrace struct {
	Connected func(client net.Addr)
	// Closed has the bytes echoed and why it ended: nil when the client closed.
	Closed   func(client net.Addr, bytes int64, d time.Duration, err error)
	Refused  func(client net.Addr) // there were MaxClients already
	Datagram func(client netip.AddrPort, size int, answered bool)
}

// ServerStats are a server's counts since its start.
type ServerStats struct {
	Clients       int64 // TCP clients now
	Connections   int64 // TCP clients in all
	Refused       int64 // TCP clients turned away
	Bytes         int64 // echoed over TCP
	Datagrams     int64 // echoed
	DatagramBytes int64
	Unanswered    int64 // datagrams not echoed: forged, most likely, or the send failed
}

// Stats returns the counts so far.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Clients:       s.clients.Load(),
		Connections:   s.connections.Load(),
		Refused:       s.refused.Load(),
		Bytes:         s.bytes.Load(),
		Datagrams:     s.datagrams.Load(),
		DatagramBytes: s.dgramBytes.Load(),
		Unanswered:    s.unanswered.Load(),
	}
}

// ServeTCP echoes on what l accepts until ctx ends, which closes all clients;
// then it returns the context's error. It does not close l.
func (s *Server) ServeTCP(ctx context.Context, l *socket.Listener) error {
	limit := int64(s.MaxClients)
	if limit <= 0 {
		limit = DefaultMaxClients
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	// Also when Accept fails for good, the clients go.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		if s.clients.Add(1) > limit {
			s.clients.Add(-1)
			s.refused.Add(1)
			if s.Trace != nil && s.Trace.Refused != nil {
				s.Trace.Refused(c.RemoteAddr())
			}
			c.Close()
			continue
		}
		s.connections.Add(1)
		wg.Go(func() { s.client(ctx, c) })
	}
}

// client echoes on one connection until the client closes its end, is idle for
// too long, or ctx ends.
func (s *Server) client(ctx context.Context, c *socket.Conn) {
	start := time.Now()
	if s.Trace != nil && s.Trace.Connected != nil {
		s.Trace.Connected(c.RemoteAddr())
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	n, err := s.copy(c)
	stop()
	c.Close()
	s.clients.Add(-1)
	if cause := ctx.Err(); cause != nil {
		err = cause
	}
	if s.Trace != nil && s.Trace.Closed != nil {
		s.Trace.Closed(c.RemoteAddr(), n, time.Since(start), err)
	}
}

func (s *Server) copy(c net.Conn) (total int64, err error) {
	idle := s.IdleTimeout
	if idle <= 0 {
		idle = DefaultIdleTimeout
	}
	buf := make([]byte, tcpBuffer)
	for {
		// One deadline for both: a client that sends and does not read is as
		// idle as one that does not send.
		if err := c.SetDeadline(time.Now().Add(idle)); err != nil {
			return total, err
		}
		n, err := c.Read(buf)
		if n > 0 {
			w, werr := c.Write(buf[:n])
			total += int64(w)
			s.bytes.Add(int64(w))
			if werr != nil {
				return total, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// ServeUDP echoes datagrams on pc until ctx ends; then it returns the context's
// error. It does not close pc.
func (s *Server) ServeUDP(ctx context.Context, pc *net.UDPConn) error {
	own := uint16(0)
	if a, ok := pc.LocalAddr().(*net.UDPAddr); ok {
		own = uint16(a.Port)
	}
	stop := context.AfterFunc(ctx, func() { pc.SetReadDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() {
			pc.SetReadDeadline(time.Time{})
		}
	}()
	buf := make([]byte, udpBuffer)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case socket.Kind(err) == socket.ErrLost, socket.Kind(err) == socket.ErrRefused:
			// Windows reports here that an earlier answer found nobody.
			continue
		case err != nil:
			return err
		}
		answered := answerable(from, own)
		if answered {
			// A failure (no route back, a full queue) concerns one client.
			_, err := pc.WriteToUDPAddrPort(buf[:n], from)
			answered = err == nil
		}
		if answered {
			s.datagrams.Add(1)
			s.dgramBytes.Add(int64(n))
		} else {
			s.unanswered.Add(1)
		}
		if s.Trace != nil && s.Trace.Datagram != nil {
			s.Trace.Datagram(from, n, answered)
		}
	}
}

// answerable reports whether a datagram may come from a client. Clients use
// ephemeral ports (RFC 6335); a source below 1024 is a service (echo, chargen,
// DNS, NTP), and our own port another echo server, either of which may answer
// our answer. A source that is not one host would have us send to many.
func answerable(from netip.AddrPort, own uint16) bool {
	ip := from.Addr().Unmap()
	return from.Port() >= 1024 && from.Port() != own &&
		!ip.IsMulticast() && !ip.IsUnspecified() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

package iterate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/socket"
)

// Transport is how a query travels.
type Transport uint8

// The transports of authoritative servers.
const (
	UDP Transport = iota
	TCP
)

func (t Transport) String() string {
	if t == TCP {
		return "tcp"
	}
	return "udp"
}

// MarshalText makes a Transport its name in JSON.
func (t Transport) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Exchanger is the seam between the resolver and the network: it sends one
// query to one server and returns the reply and how long that took. It does not
// retry, and it returns whatever came with the query's ID; the resolver judges
// it. The context carries the deadline of this one exchange.
type Exchanger interface {
	Exchange(ctx context.Context, server netip.AddrPort, query *dns.Msg, tr Transport) (*dns.Msg, time.Duration, error)
}

// Network is the Exchanger on real sockets: a fresh connected UDP socket a
// query, so that the port is as hard to guess as the kernel makes it (RFC 5452)
// and datagrams from other addresses never arrive.
type Network struct {
	Dialer socket.Dialer
}

// Exchange implements Exchanger.
func (n *Network) Exchange(ctx context.Context, server netip.AddrPort, query *dns.Msg, tr Transport) (*dns.Msg, time.Duration, error) {
	wire, err := query.Pack()
	if err != nil {
		return nil, 0, fmt.Errorf("packing the query: %w", err)
	}
	start := time.Now()
	conn, err := n.Dialer.DialContext(ctx, tr.String(), server.String())
	if err != nil {
		return nil, time.Since(start), err
	}
	defer conn.Close()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = start.Add(5 * time.Second)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, 0, err
	}
	stop := context.AfterFunc(ctx, func() {
		if ctx.Err() == context.Canceled { // of deadlines the socket knows
			conn.SetDeadline(time.Unix(1, 0))
		}
	})
	defer stop()
	if tr == TCP {
		wire = append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, time.Since(start), err
	}
	buf := make([]byte, dns.MaxMsgSize)
	late := false
	for {
		size, err := readMessage(conn, tr, buf)
		if tr == UDP && !late && errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != context.Canceled {
			// A process that was stopped meanwhile, or had to wait for the
			// processor, finds the deadline past before it has looked at
			// what arrived in time.
			late = true
			conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			continue
		}
		if err != nil {
			return nil, time.Since(start), err
		}
		// Anything that is not for this query is somebody else's guess.
		if size < 12 || binary.BigEndian.Uint16(buf) != query.Id || buf[2]&0x80 == 0 {
			if tr == TCP {
				return nil, time.Since(start), errors.New("the reply is for another query")
			}
			continue
		}
		m := new(dns.Msg)
		if err := m.Unpack(buf[:size]); err != nil {
			return nil, time.Since(start), fmt.Errorf("malformed reply: %w", err)
		}
		return m, time.Since(start), nil
	}
}

func readMessage(conn net.Conn, tr Transport, buf []byte) (int, error) {
	if tr == UDP {
		return conn.Read(buf)
	}
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return 0, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	return io.ReadFull(conn, buf[:n])
}

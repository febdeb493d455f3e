package bulk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// fakeNet is a network in memory for tests in a synctest bubble: time there
// costs nothing, so that tests may lose packets, be slow and be silent.
type fakeNet struct {
	t *testing.T

	mu      sync.Mutex
	rng     *rand.Rand
	socks   map[netip.AddrPort]*fakeConn
	servers map[netip.AddrPort]*fakeServer
	port    uint16
}

// fakeServer answers queries on a fakeNet. Packets to it and from it take
// delay each way and are lost with probability loss.
type fakeServer struct {
	delay time.Duration
	loss  float64

	// handle is given each query that arrives, and may call reply any number
	// of times, from any address.
	handle func(q *query)
	// stream answers over TCP; nil refuses connections.
	stream func(msg []byte) []byte

	mu       sync.Mutex
	arrived  int
	sources  map[netip.AddrPort]int
	arrivals []time.Time
	dials    int
}

// query is one packet that came to a fakeServer.
type query struct {
	net    *fakeNet
	server *fakeServer
	addr   netip.AddrPort // of the server
	from   netip.AddrPort
	msg    []byte
	n      int // 0 is the first to arrive
}

// reply sends b back after wait, as if from addr.
func (q *query) reply(b []byte, wait time.Duration, addr netip.AddrPort) {
	if q.net.lost(q.server.loss) {
		return
	}
	b = append([]byte(nil), b...)
	time.AfterFunc(q.server.delay+wait, func() {
		q.net.mu.Lock()
		c := q.net.socks[q.from]
		q.net.mu.Unlock()
		if c != nil {
			c.deliver(b, addr)
		}
	})
}

func newFakeNet(t *testing.T) *fakeNet {
	return &fakeNet{
		t: t, rng: rand.New(rand.NewPCG(1, 2)), port: 1000,
		socks:   make(map[netip.AddrPort]*fakeConn),
		servers: make(map[netip.AddrPort]*fakeServer),
	}
}

func (n *fakeNet) add(addr string, s *fakeServer) Server {
	a := netip.MustParseAddrPort(addr)
	s.sources = make(map[netip.AddrPort]int)
	n.servers[a] = s
	return Server{Addr: a}
}

func (n *fakeNet) lost(p float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.Float64() < p
}

func (n *fakeNet) intn(k int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rng.IntN(k)
}

func (n *fakeNet) listen(_ context.Context, network, address string) (net.PacketConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.port++
	c := &fakeConn{
		net: n, addr: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.100"), n.port),
		in: make(chan fakePacket, 1<<14), closed: make(chan struct{}),
	}
	n.socks[c.addr] = c
	return c, nil
}

func (n *fakeNet) dial(_ context.Context, network, address string) (net.Conn, error) {
	s := n.servers[netip.MustParseAddrPort(address)]
	if s == nil || s.stream == nil {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", os.ErrPermission)}
	}
	s.mu.Lock()
	s.dials++
	s.mu.Unlock()
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		for {
			var prefix [2]byte
			if _, err := io.ReadFull(server, prefix[:]); err != nil {
				return
			}
			msg := make([]byte, binary.BigEndian.Uint16(prefix[:]))
			if _, err := io.ReadFull(server, msg); err != nil {
				return
			}
			answer := s.stream(msg)
			if answer == nil {
				return
			}
			out := binary.BigEndian.AppendUint16(nil, uint16(len(answer)))
			if _, err := server.Write(append(out, answer...)); err != nil {
				return
			}
		}
	}()
	return client, nil
}

type fakePacket struct {
	b    []byte
	from netip.AddrPort
}

// fakeConn is a socket on a fakeNet.
type fakeConn struct {
	net    *fakeNet
	addr   netip.AddrPort
	in     chan fakePacket
	closed chan struct{}
	once   sync.Once
}

func (c *fakeConn) deliver(b []byte, from netip.AddrPort) {
	select {
	case c.in <- fakePacket{b, from}:
	default: // the buffer is full, as can happen to the best
	}
}

func (c *fakeConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-c.in:
		return copy(b, p.b), net.UDPAddrFromAddrPort(p.from), nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *fakeConn) WriteTo(b []byte, to net.Addr) (int, error) {
	addr := to.(*net.UDPAddr).AddrPort()
	s := c.net.servers[addr]
	if s == nil || c.net.lost(s.loss) {
		return len(b), nil
	}
	q := &query{net: c.net, server: s, addr: addr, from: c.addr, msg: append([]byte(nil), b...)}
	time.AfterFunc(s.delay, func() {
		s.mu.Lock()
		q.n = s.arrived
		s.arrived++
		s.sources[q.from]++
		s.arrivals = append(s.arrivals, time.Now())
		s.mu.Unlock()
		if s.handle != nil {
			s.handle(q)
		}
	})
	return len(b), nil
}

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *fakeConn) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(c.addr) }
func (c *fakeConn) SetDeadline(time.Time) error      { return nil }
func (c *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

// addressOf is the address that the tests' servers have for a name hN: the
// truth that results are compared with.
func addressOf(n int) string { return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255) }

// answer makes the right answer to a query for hN.example: its address, or
// NXDOMAIN for any other name.
func answer(msg []byte) []byte {
	var q dns.Msg
	if err := q.Unpack(msg); err != nil || len(q.Question) != 1 {
		return nil
	}
	var m dns.Msg
	m.SetReply(&q)
	var n int
	if _, err := fmt.Sscanf(strings.ToLower(q.Question[0].Name), "h%d.", &n); err != nil {
		m.Rcode = dns.RcodeNameError
	} else {
		rr, err := dns.NewRR(fmt.Sprintf("%s 300 IN A %s", q.Question[0].Name, addressOf(n)))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// withRcode makes an answer of nothing but a response code.
func withRcode(msg []byte, rcode int) []byte {
	b := answer(msg)
	var m dns.Msg
	if err := m.Unpack(b); err != nil {
		panic(err)
	}
	m.Answer, m.Rcode = nil, rcode
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

package dnstest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// A Handler gets a query as it came and sends as many packets back as it
// likes. It runs in a goroutine of its own for each query; n counts them from
// 0. Over TCP, send writes one message with its length before it.
type Handler func(n int, query []byte, send func([]byte))

// A FaultServer answers from this process, in whatever way its handlers say.
type FaultServer struct {
	Addr netip.AddrPort

	mu      sync.Mutex
	udp     int
	tcp     int
	udpConn net.PacketConn
	tcpLn   net.Listener
	wg      sync.WaitGroup
}

// NewFaultServer starts a server whose UDP and TCP queries the handlers
// answer; a nil handler keeps silent, or for TCP refuses connections.
func NewFaultServer(t testing.TB, udp, tcp Handler) *FaultServer {
	t.Helper()
	s := &FaultServer{}
	// Nobody may take the port for TCP if we do not.
	a := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(sockettest.FreePort(t))))
	var err error
	if s.udpConn, err = net.ListenPacket("udp4", a); err != nil {
		t.Fatal(err)
	}
	s.Addr = s.udpConn.LocalAddr().(*net.UDPAddr).AddrPort()
	if tcp != nil {
		if s.tcpLn, err = net.Listen("tcp4", a); err != nil {
			s.udpConn.Close()
			t.Fatal(err)
		}
		s.wg.Go(func() { s.serveTCP(tcp) })
	}
	s.wg.Go(func() { s.serveUDP(udp) })
	t.Cleanup(func() {
		s.udpConn.Close()
		if s.tcpLn != nil {
			s.tcpLn.Close()
		}
		s.wg.Wait()
	})
	return s
}

// Queries returns how many queries came over UDP and TCP.
func (s *FaultServer) Queries() (udp, tcp int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.udp, s.tcp
}

func (s *FaultServer) serveUDP(h Handler) {
	buf := make([]byte, 65535)
	for {
		n, from, err := s.udpConn.ReadFrom(buf)
		if err != nil {
			return
		}
		q := append([]byte(nil), buf[:n]...)
		s.mu.Lock()
		i := s.udp
		s.udp++
		s.mu.Unlock()
		if h != nil {
			s.wg.Go(func() { h(i, q, func(b []byte) { s.udpConn.WriteTo(b, from) }) })
		}
	}
}

func (s *FaultServer) serveTCP(h Handler) {
	for {
		c, err := s.tcpLn.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer c.Close()
			dc := &dns.Conn{Conn: c}
			buf := make([]byte, 65535)
			for {
				n, err := dc.Read(buf)
				if err != nil {
					return
				}
				s.mu.Lock()
				i := s.tcp
				s.tcp++
				s.mu.Unlock()
				closed := false
				h(i, append([]byte(nil), buf[:n]...), func(b []byte) {
					if b == nil { // the handler hangs up
						closed = true
						return
					}
					out := binary.BigEndian.AppendUint16(nil, uint16(len(b)))
					c.Write(append(out, b...))
				})
				if closed {
					return
				}
			}
		})
	}
}

// Answer returns the packed answer to query with the given records, in zone
// file syntax, in its answer section. change, if not nil, may spoil it.
func Answer(query []byte, change func(*dns.Msg), records ...string) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil {
		return nil
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if q.IsEdns0() != nil {
		m.SetEdns0(1232, false)
	}
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err) // a mistake in the test
		}
		m.Answer = append(m.Answer, rr)
	}
	if change != nil {
		change(m)
	}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

package bulk

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

const (
	batchSize = 64   // packets a system call
	rxSize    = 4096 // what fits no buffer is truncated, and asked for over TCP
)

// txBatch is a run of queries to be sent from one socket. They stand one after
// the other in arena, so that the system can be given several at once.
type txBatch struct {
	arena []byte
	pkts  []txPacket
}

type txPacket struct {
	off, n int
	server *server
}

func newTxBatch() *txBatch {
	return &txBatch{arena: make([]byte, 0, batchSize*maxQueryLen), pkts: make([]txPacket, 0, batchSize)}
}

func (t *txBatch) full() bool { return len(t.pkts) == cap(t.pkts) }
func (t *txBatch) reset()     { t.arena, t.pkts = t.arena[:0], t.pkts[:0] }

func (t *txBatch) add(srv *server, id, flags uint16, name []byte, qtype, bufsize uint16, do bool) {
	off := len(t.arena)
	t.arena = appendQuery(t.arena, id, flags, name, qtype, bufsize, do)
	t.pkts = append(t.pkts, txPacket{off, len(t.arena) - off, srv})
}

func (t *txBatch) bytes(i int) []byte { return t.arena[t.pkts[i].off:][:t.pkts[i].n] }

// rxPacket is one packet received. Its bytes are good until the next receive.
type rxPacket struct {
	b    []byte
	from netip.AddrPort // not set on a connected socket
}

const (
	portTries  = 8
	portLow    = 16 << 10
	sockBuffer = 2 << 20
)

// openUDP opens a socket on a random port, connected to the server if there
// is to be only one: the kernel then drops what comes from elsewhere, tells
// when nobody is there, and sends faster.
func openUDP(ctx context.Context, opt *Options, server netip.AddrPort) (net.PacketConn, error) {
	network, host := "udp", ""
	if server.IsValid() && opt.Local.IsValid() && opt.Local.Is4() != server.Addr().Unmap().Is4() {
		return nil, fmt.Errorf("opening a UDP socket: local address %s cannot reach %s", opt.Local, server)
	}
	if opt.Local.IsValid() {
		host = opt.Local.String()
	}
	var lastErr error
	for try := range portTries + 1 {
		port := 0 // in the end, whatever the system has
		if try < portTries {
			var b [2]byte
			rand.Read(b[:])
			port = portLow + int(binary.BigEndian.Uint16(b[:]))%(1<<16-portLow)
		}
		local := net.JoinHostPort(host, fmt.Sprint(port))
		var conn net.PacketConn
		var err error
		switch {
		case opt.Listen != nil:
			conn, err = opt.Listen(ctx, network, local)
		case server.IsValid():
			var la *net.UDPAddr
			if la, err = net.ResolveUDPAddr(network, local); err == nil {
				conn, err = net.DialUDP(network, la, net.UDPAddrFromAddrPort(server))
			}
		default:
			conn, err = (&net.ListenConfig{}).ListenPacket(ctx, network, local)
		}
		if err == nil {
			if c, ok := conn.(*net.UDPConn); ok {
				// A smaller buffer than wished for only costs repeats.
				_ = c.SetReadBuffer(sockBuffer)
				_ = c.SetWriteBuffer(sockBuffer)
			}
			return conn, nil
		}
		lastErr = err
	}
	return nil, fmt.Errorf("opening a UDP socket: %w", lastErr)
}

package datagram

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
)

// MaxMessage is the room that [Message.Buf] needs for whatever may arrive.
const MaxMessage = 1 << 16

// ECN is the two ECN bits of an IP header (RFC 3168).
type ECN uint8

// ECN code points.
const (
	NotECT ECN = 0
	ECT1   ECN = 1
	ECT0   ECN = 2
	CE     ECN = 3
)

// A Message is a datagram, or a train of them.
type Message struct {
	// Buf holds what is sent, and receives what is read.
	Buf []byte
	// N is the number of bytes read into Buf. WriteBatch ignores it.
	N int
	// Segment is the size of each datagram in the message but the last, which
	// may be shorter. 0, or at least the length, is a single datagram.
	Segment int
	// Single makes the datagrams leave one by one even where the kernel could
	// cut the train.
	Single bool
	// Addr is the peer. WriteBatch ignores it on a connected socket. IPv4
	// addresses are never in their mapped form when read, and may be when
	// written.
	Addr netip.AddrPort
	// Local is the address at this end on which the message arrived, and from
	// which the answer should leave on a host that has several. The zero Addr
	// leaves it to the system. Known on Linux only, and not on connected
	// sockets, which have but one.
	Local netip.Addr
	// ECN is that of every datagram in the message. Linux only; elsewhere it
	// is NotECT and writing it does nothing.
	ECN ECN
}

// A Mode is a way to send and receive.
type Mode int

// Modes; a Conn that cannot do one does the next.
const (
	Segmented Mode = iota
	Batched
	Plain
)

func (m Mode) String() string {
	return [...]string{"segmented", "batched", "plain"}[min(max(m, 0), Plain)]
}

// Options says how a socket is opened. The zero value is the default.
type Options struct {
	// Mode is the best way to use: Segmented if zero.
	Mode Mode
	// RecvBuffer and SendBuffer are the kernel's, in bytes. Zero means
	// DefaultRecvBuffer and DefaultSendBuffer. What was granted is in
	// [Conn.Buffers].
	RecvBuffer, SendBuffer int
	// Control is called for the socket before it is bound, as in
	// [net.ListenConfig].
	Control func(network, address string, c syscall.RawConn) error
	// Sent, if not nil, is called for each datagram that WriteBatch takes,
	// before it leaves. payload must not be kept. fate is what an impaired link
	// decided on it; nil without one.
	Sent func(c *Conn, m *Message, payload []byte, fate *netem.Decision)
	// Impair, when it impairs anything, is what happens to everything that
	// this socket sends. Its Header must be zero.
	Impair *netem.Config
}

// Default sizes of the kernel's buffers. The receive buffer holds what comes
// while the reading goroutine waits for a processor: 10 ms at 1 GB/s, with the
// kernel's overhead of about a half. The send buffer is short: what lies in it
// cannot be paced any more.
const (
	DefaultRecvBuffer = 16 << 20
	DefaultSendBuffer = 2 << 20
)

// Stats counts what a Conn has done. Datagrams and bytes of UDP payload.
type Stats struct {
	Sent, SentBytes         uint64
	Received, ReceivedBytes uint64
	SendCalls, RecvCalls    uint64 // system calls
	// HostDrops are datagrams (or joined trains of them) that this host
	// dropped for lack of room in the receive buffer. Linux only.
	HostDrops uint64
	Truncated uint64 // arrived longer than Buf
	// What the host refused to send, and what was not an error therefore.
	TooLong   uint64 // EMSGSIZE, from the interface or, by ICMP, from the path
	NoBuffers uint64 // ENOBUFS
	Forbidden uint64 // EPERM
	// Unsegmented counts trains that were sent again singly.
	Unsegmented uint64
}

type counters struct {
	sent, sentBytes, received, receivedBytes, sendCalls, recvCalls atomic.Uint64
	hostDrops, truncated, tooLong, noBuffers, forbidden, unseg     atomic.Uint64
}

// Conn is a UDP socket. See the package documentation for what may be called
// at once.
type Conn struct {
	udp    *net.UDPConn
	mode   Mode
	peer   netip.AddrPort // of a connected socket
	gso    segmentation
	count  counters
	impair *impaired
	sent   func(c *Conn, m *Message, payload []byte, fate *netem.Decision) // may be nil

	//lint:ignore U1000 used on Linux, empty elsewhere
	sys system // what the batched modes of this system need

	closeOnce sync.Once
	closeErr  error
}

// Listen opens a socket that takes datagrams from everybody. network is "udp"
// (a wildcard address takes IPv4 and IPv6), "udp4" or "udp6"; address is
// host:port as in [net.ListenPacket].
func Listen(ctx context.Context, network, address string, o Options) (*Conn, error) {
	lc := net.ListenConfig{Control: o.Control}
	pc, err := lc.ListenPacket(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return open(pc.(*net.UDPConn), netip.AddrPort{}, o)
}

// Dial opens a socket that is connected to one peer: it takes datagrams from
// nobody else, and an ICMP message that says that the peer is not there comes
// as an error from either direction. local may be the zero Addr.
func Dial(ctx context.Context, peer netip.AddrPort, local netip.Addr, o Options) (*Conn, error) {
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	d := net.Dialer{Control: o.Control}
	if local.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	c, err := d.DialContext(ctx, "udp", peer.String())
	if err != nil {
		return nil, err
	}
	return open(c.(*net.UDPConn), peer, o)
}

func open(udp *net.UDPConn, peer netip.AddrPort, o Options) (*Conn, error) {
	c := &Conn{udp: udp, peer: peer, mode: o.Mode, sent: o.Sent}
	if o.RecvBuffer == 0 {
		o.RecvBuffer = DefaultRecvBuffer
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = DefaultSendBuffer
	}
	if err := c.setup(o); err != nil {
		udp.Close()
		return nil, fmt.Errorf("set up UDP socket %v: %w", udp.LocalAddr(), err)
	}
	if o.Impair != nil && o.Impair.Impairs() {
		var err error
		if c.impair, err = newImpaired(c, *o.Impair); err != nil {
			udp.Close()
			return nil, err
		}
	}
	return c, nil
}

// Mode is the way that is in use.
func (c *Conn) Mode() Mode { return c.mode }

// LocalAddr is the address that the socket is bound to.
func (c *Conn) LocalAddr() netip.AddrPort {
	a := c.udp.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Peer is the address that the socket is connected to, or the zero AddrPort.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// SetReadDeadline sets the time after which ReadBatch fails with an error that
// wraps [os.ErrDeadlineExceeded]. The zero Time means never.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.udp.SetReadDeadline(t) }

// SetWriteDeadline is the like for WriteBatch.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.udp.SetWriteDeadline(t) }

// SyscallConn gives access to the socket, for options.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return c.udp.SyscallConn() }

// Close closes the socket. Calls that wait return an error that wraps
// [net.ErrClosed]. What still is on an impaired link is lost.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		c.closeErr = c.udp.Close()
		if c.impair != nil {
			c.impair.close()
		}
	})
	return c.closeErr
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	n := &c.count
	return Stats{
		Sent: n.sent.Load(), SentBytes: n.sentBytes.Load(),
		Received: n.received.Load(), ReceivedBytes: n.receivedBytes.Load(),
		SendCalls: n.sendCalls.Load(), RecvCalls: n.recvCalls.Load(),
		HostDrops: n.hostDrops.Load(), Truncated: n.truncated.Load(),
		TooLong: n.tooLong.Load(), NoBuffers: n.noBuffers.Load(), Forbidden: n.forbidden.Load(),
		Unsegmented: n.unseg.Load(),
	}
}

// LinkStats returns the counters of the impaired link, if there is one.
func (c *Conn) LinkStats() (netem.Stats, bool) {
	if c.impair == nil {
		return netem.Stats{}, false
	}
	return c.impair.stats(), true
}

// ReadBatch waits until something has arrived and fills as many of ms as it can
// without waiting for more. It sets all fields but Buf.
func (c *Conn) ReadBatch(ms []Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	n, err := c.readBatch(ms)
	for i := range ms[:n] {
		c.count.received.Add(uint64(ms[i].datagrams(ms[i].N)))
		c.count.receivedBytes.Add(uint64(ms[i].N))
	}
	return n, err
}

// WriteBatch sends ms in order. It returns how many were dealt with: sent, or
// dropped by the host as the package documentation explains. With an error, that
// is the number before the message that failed.
func (c *Conn) WriteBatch(ms []Message) (int, error) {
	if c.impair != nil {
		return c.impair.push(ms)
	}
	if c.sent != nil {
		for i := range ms {
			m := &ms[i]
			for b, one := m.next(m.Buf); one != nil; b, one = m.next(b) {
				c.sent(c, m, one, nil)
			}
		}
	}
	return c.writeBatch(ms)
}

// next cuts the first datagram off b, a rest of the message.
func (m *Message) next(b []byte) (rest, one []byte) {
	if len(b) == 0 {
		return nil, nil
	}
	if m.Segment > 0 && len(b) > m.Segment {
		return b[m.Segment:], b[:m.Segment]
	}
	return nil, b
}

// datagrams is how many of them the first n bytes of the message are.
func (m *Message) datagrams(n int) int {
	if m.Segment <= 0 || n <= m.Segment {
		return 1
	}
	return (n + m.Segment - 1) / m.Segment
}

// dropped decides by a send error of one datagram whether it counts as lost on
// the way.
func (c *Conn) dropped(err error) bool {
	switch {
	case isTooLong(err):
		c.count.tooLong.Add(1)
	case errors.Is(err, syscall.ENOBUFS):
		c.count.noBuffers.Add(1)
	case errors.Is(err, syscall.EPERM) && c.count.sent.Load() > 0:
		// Before anything was ever sent, a rule forbids us altogether.
		c.count.forbidden.Add(1)
	default:
		return false
	}
	return true
}

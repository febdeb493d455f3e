package datagram

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
)

// impaired is a link between a Conn and its socket, and the goroutine that
// carries over what has arrived.
type impaired struct {
	c     *Conn
	timer *Timer
	start time.Time
	done  chan struct{}

	mu     sync.Mutex
	link   *netem.Link
	fate   netem.Decision // on the last packet pushed, if somebody wants to know
	pkt    []byte         // scratch for push
	wake   time.Duration  // what the timer is set to
	zones  []string       // of IPv6 addresses, which do not fit the header
	failed error          // of the last send; told to the next push
}

// linkHeader travels with each packet: where to and how. The link neither
// counts nor corrupts it.
const linkHeader = 16 + 16 + 2 + 1 + 1

func newImpaired(c *Conn, cfg netem.Config) (*impaired, error) {
	if cfg.Header != 0 {
		return nil, errors.New("impaired socket: Header is not the caller's to use")
	}
	cfg.Header = linkHeader
	i := &impaired{c: c, start: time.Now(), done: make(chan struct{}), pkt: make([]byte, linkHeader+MaxMessage), wake: -1, zones: []string{""}}
	if c.sent != nil {
		trace := cfg.Trace
		cfg.Trace = &netem.Trace{Packet: func(d netem.Decision) {
			i.fate = d
			if trace != nil && trace.Packet != nil {
				trace.Packet(d)
			}
		}}
	}
	var err error
	if i.link, err = netem.New(cfg); err != nil {
		return nil, err
	}
	if i.timer, err = NewTimer(); err != nil {
		return nil, err
	}
	go i.carry()
	return i, nil
}

// push puts what was to be sent onto the link.
func (i *impaired) push(ms []Message) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.failed; err != nil {
		if !errors.Is(err, net.ErrClosed) {
			i.failed = nil
		}
		return 0, err
	}
	now := time.Since(i.start)
	for k := range ms {
		m := &ms[k]
		i.header(m)
		for b, more := m.Buf, true; more; {
			one := b
			if m.Segment > 0 && len(b) > m.Segment {
				one, b = b[:m.Segment], b[m.Segment:]
			} else {
				more = false
			}
			n := copy(i.pkt[linkHeader:], one)
			i.link.Push(now, i.pkt[:linkHeader+n])
			if i.c.sent != nil {
				i.c.sent(i.c, m, one, &i.fate)
			}
		}
	}
	if at, ok := i.link.Next(); ok && (i.wake < 0 || at < i.wake) {
		i.wake = at
		i.timer.Set(at - now)
	}
	return len(ms), nil
}

// header writes m's address and marks to the front of the scratch packet.
func (i *impaired) header(m *Message) {
	to, local := m.Addr.Addr(), m.Local
	a, l := [16]byte{}, [16]byte{}
	if to.IsValid() {
		a = to.As16()
	}
	if local.IsValid() {
		l = local.As16()
	}
	zone := 0
	for zone < len(i.zones) && i.zones[zone] != to.Zone() {
		zone++
	}
	if zone == len(i.zones) {
		if zone > 63 { // so many link-local interfaces there are not
			zone = 0
		} else {
			i.zones = append(i.zones, to.Zone())
		}
	}
	copy(i.pkt[0:], a[:])
	copy(i.pkt[16:], l[:])
	binary.BigEndian.PutUint16(i.pkt[32:], m.Addr.Port())
	i.pkt[34] = byte(m.ECN) | byte(zone)<<2
	i.pkt[35] = 0
	if to.IsValid() {
		i.pkt[35] |= 1
	}
	if local.IsValid() {
		i.pkt[35] |= 2
	}
}

// parse is the reverse of header.
func (i *impaired) parse(p []byte) Message {
	m := Message{Buf: p[linkHeader:], ECN: ECN(p[34] & 3)}
	if p[35]&1 != 0 {
		a := netip.AddrFrom16([16]byte(p[:16])).Unmap()
		if z := i.zones[p[34]>>2]; z != "" {
			a = a.WithZone(z)
		}
		m.Addr = netip.AddrPortFrom(a, binary.BigEndian.Uint16(p[32:]))
	}
	if p[35]&2 != 0 {
		m.Local = netip.AddrFrom16([16]byte(p[16:32])).Unmap()
	}
	return m
}

// carry sends what has crossed the link, in batches.
func (i *impaired) carry() {
	defer close(i.done)
	const room = 32
	buf := make([]byte, linkHeader+MaxMessage)
	ms := make([]Message, 0, room)
	for i.timer.Wait() == nil {
		for more := true; more; {
			ms = ms[:0]
			i.mu.Lock()
			now := time.Since(i.start)
			rest := buf
			for len(ms) < room {
				// What does not fit waits for the next batch, which has all
				// of the buffer and with it room for any datagram.
				if i.link.NextLen() > len(rest) && len(ms) > 0 {
					break
				}
				n, ok := i.link.Pop(now, rest)
				if !ok {
					break
				}
				ms = append(ms, i.parse(rest[:n]))
				rest = rest[n:]
			}
			i.wake = -1
			if len(ms) == 0 {
				more = false
				if at, ok := i.link.Next(); ok {
					i.wake = at
					i.timer.Set(at - now)
				}
			}
			i.mu.Unlock()
			if len(ms) > 0 {
				if _, err := i.c.writeBatch(ms); err != nil {
					i.mu.Lock()
					i.failed = fmt.Errorf("send across the impaired link: %w", err)
					i.mu.Unlock()
				}
			}
		}
	}
}

func (i *impaired) stats() netem.Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.link.Stats()
}

func (i *impaired) close() {
	i.timer.Close()
	<-i.done
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failed = fmt.Errorf("impaired link: %w", net.ErrClosed)
}

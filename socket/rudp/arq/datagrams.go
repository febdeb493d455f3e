package arq

import (
	"encoding/binary"
	"errors"
	"time"
)

// DefaultDatagramRate is 20 Mbit/s in bytes/s: two datagrams of 1200 bytes a
// millisecond, of which the socket buffers of all systems hold many
// milliseconds' worth, and which most networks carry. Nothing slows a sender
// of datagrams down but this.
const DefaultDatagramRate = 20e6 / 8

// Bounds of the memory for datagrams that wait, each way.
const (
	datagramSendQueue = 256 << 10
	datagramRecvQueue = 16 << 20
)

// Errors of datagrams.
var (
	// ErrNoDatagrams: the connection does not run NoARQ.
	ErrNoDatagrams = errors.New("connection carries no datagrams")
	// ErrTooLarge: more than Conn.MaxDatagramPayload.
	ErrTooLarge = errors.New("datagram too large")
)

// Datagram is one that arrived.
type Datagram struct {
	// Number counts the datagrams that were sent, from 1.
	Number uint64
	// Sent is when the sender sent it, by the sender's clock; Arrived when
	// it arrived, by this end's. Both are counted from the start of Unix
	// time if [Config.Epoch] is.
	Sent, Arrived time.Duration
	// Data is what was sent.
	Data []byte
}

// datagramFlow carries datagrams beside the stream: each is sent once, at a
// fixed rate, and nobody acknowledges it (compare RFC 9221, whose datagrams
// are acknowledged and feel congestion control).
type datagramFlow struct {
	epoch   time.Duration
	pacer   pacer
	release time.Duration // when the next may be sent, or never
	out, in datagramQueue
	sent    uint64
	meter   meter
}

// datagramQueue is a queue of datagrams in memory that is used again.
type datagramQueue struct {
	q     []Datagram
	head  int
	bytes int
	limit int
	free  [][]byte
}

func newDatagramFlow(now time.Duration, cfg *Config) *datagramFlow {
	f := &datagramFlow{epoch: cfg.Epoch, release: never}
	f.pacer.rate, f.pacer.last = cfg.DatagramRate, now
	if f.pacer.rate <= 0 {
		f.pacer.rate = DefaultDatagramRate
	}
	f.out.limit, f.in.limit = datagramSendQueue, datagramRecvQueue
	return f
}

func (q *datagramQueue) empty() bool { return q.head == len(q.q) }

// push takes in a copy of d, if there is room.
func (q *datagramQueue) push(d Datagram) bool {
	// What a datagram costs beside its bytes counts too.
	if q.bytes+len(d.Data)+64 > q.limit {
		return false
	}
	var b []byte
	if n := len(q.free); n > 0 {
		b, q.free = q.free[n-1], q.free[:n-1]
	}
	d.Data = append(b[:0], d.Data...)
	if q.head > 0 && len(q.q) == cap(q.q) {
		q.q = q.q[:copy(q.q, q.q[q.head:])]
		q.head = 0
	}
	q.q = append(q.q, d)
	q.bytes += len(d.Data) + 64
	return true
}

func (q *datagramQueue) first() *Datagram { return &q.q[q.head] }

// pop drops the first.
func (q *datagramQueue) pop() {
	d := &q.q[q.head]
	q.bytes -= len(d.Data) + 64
	if len(q.free) < 256 {
		q.free = append(q.free, d.Data)
	}
	d.Data = nil
	if q.head++; q.head == len(q.q) {
		q.q, q.head = q.q[:0], 0
	}
}

// MaxDatagramPayload is how many bytes [Conn.SendDatagram] takes at most.
func (c *Conn) MaxDatagramPayload() int { return c.pmtu.size - headerLen - datagramFrameLen }

// SendDatagram queues a copy of b to be sent once. It reports false while the
// queue is full. Datagrams are numbered from 1 in the order of the calls.
func (c *Conn) SendDatagram(b []byte) (bool, error) {
	switch {
	case c.datagrams == nil:
		return false, ErrNoDatagrams
	case c.state >= StateClosing || c.closeSent:
		return false, c.writeErr()
	case len(b) > c.MaxDatagramPayload():
		return false, ErrTooLarge
	}
	return c.datagrams.out.push(Datagram{Data: b}), nil
}

// DatagramsQueued is how many datagrams wait to be sent.
func (c *Conn) DatagramsQueued() int {
	if c.datagrams == nil {
		return 0
	}
	return len(c.datagrams.out.q) - c.datagrams.out.head
}

// ReceiveDatagram takes the first datagram that waits, and reports whether
// there was one. Its Data is in buf, cut off where buf is too short.
func (c *Conn) ReceiveDatagram(buf []byte) (d Datagram, ok bool) {
	if c.datagrams == nil || c.datagrams.in.empty() {
		return d, false
	}
	d = *c.datagrams.in.first()
	d.Data = buf[:copy(buf, d.Data)]
	c.datagrams.in.pop()
	return d, true
}

// ExpectDatagrams tells that the peer has sent so many, which it says on the
// stream, so that those lost at the end are counted.
func (c *Conn) ExpectDatagrams(n uint64) {
	if c.datagrams != nil {
		c.datagrams.meter.expect(n)
	}
}

// Datagrams reports what became of the datagrams that the peer sent.
func (c *Conn) Datagrams() DatagramReport {
	if c.datagrams == nil {
		return DatagramReport{}
	}
	return c.datagrams.meter.report()
}

// take takes in a datagram frame.
func (f *datagramFlow) take(now time.Duration, fr *frame) {
	// A stamp is bounded so that differences of times do not overflow.
	sent := time.Duration(min(fr.stamp, 1<<52)) * time.Microsecond
	d := Datagram{Number: fr.number, Sent: sent, Arrived: f.epoch + now, Data: fr.data}
	if !f.meter.arrived(d.Number, d.Sent, d.Arrived) {
		return
	}
	if !f.in.push(d) {
		f.meter.overflow()
	}
}

// pollDatagrams fills buf with datagrams of one size, one a packet.
func (c *Conn) pollDatagrams(now time.Duration, buf []byte) Transmit {
	f := c.datagrams
	f.pacer.refill(now, c.pmtu.size)
	f.release = never
	n, size := 0, 0
	for !f.out.empty() {
		d := f.out.first()
		w := headerLen + datagramFrameLen + len(d.Data)
		if size == 0 {
			size = w
		}
		if w > size || n+w > len(buf) || c.sent.full() {
			f.release = now
			break
		}
		if !f.pacer.ready(w) {
			f.release = f.pacer.release(now, w)
			break
		}
		f.pacer.spend(w)
		c.writeDatagram(now, buf[n:n+w], d.Data)
		f.out.pop()
		n += w
		if w < size {
			if !f.out.empty() {
				f.release = now
			}
			break
		}
	}
	if n == 0 {
		return Transmit{}
	}
	return Transmit{N: n, SegmentSize: min(size, n), To: c.addr, ECN: NotECT}
}

// writeDatagram writes a packet with nothing but a datagram, whose frame comes
// first, where [DatagramNumber] looks for it.
func (c *Conn) writeDatagram(now time.Duration, b, data []byte) {
	f := c.datagrams
	f.sent++
	number := c.sent.next
	p := c.sent.push()
	p.time, p.state, p.size = now, packetIgnored, uint16(len(b))
	putHeader(b, header{version: Version, typ: typeData, dest: c.remote, number: number})
	out := append(b[:headerLen], byte(frameDatagram))
	out = binary.BigEndian.AppendUint64(out, f.sent)
	out = binary.BigEndian.AppendUint64(out, uint64((f.epoch+now)/time.Microsecond))
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
	seal(append(out, data...))
	c.settle(now)
	c.stats.PacketsSent++
	c.stats.BytesSent += uint64(len(b))
	c.stats.DatagramsSent++
	c.traceSent(PacketEvent{Now: now, Type: "data", Number: number, Size: len(b), Datagram: f.sent})
}

// DatagramNumber returns the number of the datagram that a UDP payload
// carries, and false if it carries none. Used as the Index of a netem.Config
// it makes what happens to a datagram depend on its number alone, whatever
// else is sent.
func DatagramNumber(b []byte) (number uint64, ok bool) {
	if len(b) < headerLen+datagramFrameLen || b[0] != magic || packetType(b[2]) != typeData || frameType(b[headerLen]) != frameDatagram {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[headerLen+1:]), true
}

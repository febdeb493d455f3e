package bulk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// An Exchanger asks one server one question. The query is a whole message
// without length prefix, and so is the answer, which the caller may keep. The
// answer must be the one to this query and no other: with many exchanges at a
// time on one connection it is the Exchanger that tells them apart. It should
// reuse connections, and must be safe for use by many goroutines at once.
type Exchanger interface {
	Exchange(ctx context.Context, query []byte) ([]byte, error)
}

// Question returns the name, in presentation format, and the type that a query
// given to an [Exchanger] is for.
func Question(query []byte) (name string, qtype uint16, err error) {
	m := message(query)
	if len(m) < headerLen || m.qdcount() != 1 {
		return "", 0, errWire
	}
	wire, next, err := m.appendName(nil, headerLen)
	if err != nil || next+4 > len(m) {
		return "", 0, errWire
	}
	return string(appendNameText(nil, wire)), binary.BigEndian.Uint16(m[next:]), nil
}

// TCP is an [Exchanger] over a small pool of TCP connections with many queries
// on each (RFC 7766). Connections are made when they are needed and remade
// when the server has closed them.
type TCP struct {
	Addr netip.AddrPort

	// Dial opens a connection; nil is a plain [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Conns is how many connections there may be; 0 is 4.
	Conns int

	mu    sync.Mutex
	conns []*tcpConn
	turn  int
}

// tcpIdle is how long a connection without a query in flight is kept. RFC
// 7766, 6.2.3 asks clients to close before the server has to.
const tcpIdle = 5 * time.Second

// tcpResend is how many connections a query is sent on at most.
const tcpResend = 16

var errConnClosed = errors.New("connection closed by the server")

// Exchange implements [Exchanger].
func (t *TCP) Exchange(ctx context.Context, query []byte) ([]byte, error) {
	if len(query) < headerLen || len(query) > 0xffff {
		return nil, fmt.Errorf("asking %s over TCP: a query of %d octets", t.Addr, len(query))
	}
	for try := 1; ; try++ {
		c := t.get()
		answer, err := c.exchange(ctx, query)
		if err == nil {
			return answer, nil
		}
		t.drop(c)
		// A server may close a connection when it likes (RFC 7766, 6.2.4), some
		// do so after every few answers, and the queries that are then on
		// their way are to be sent again. Without any answer it is a failure.
		if !c.useful() || try >= tcpResend || ctx.Err() != nil {
			return nil, fmt.Errorf("asking %s over TCP: %w", t.Addr, err)
		}
	}
}

// Close closes all connections. Exchanges under way fail.
func (t *TCP) Close() error {
	t.mu.Lock()
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()
	for _, c := range conns {
		c.fail(net.ErrClosed)
	}
	return nil
}

func (t *TCP) get() *tcpConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	most := t.Conns
	if most <= 0 {
		most = 4
	}
	if len(t.conns) < most {
		c := &tcpConn{pool: t, waiting: make(map[uint16]chan []byte)}
		t.conns = append(t.conns, c)
		return c
	}
	t.turn++
	return t.conns[t.turn%len(t.conns)]
}

func (t *TCP) drop(c *tcpConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, d := range t.conns {
		if d == c && c.broken() {
			t.conns = append(t.conns[:i], t.conns[i+1:]...)
			return
		}
	}
}

// tcpConn is one connection and the queries on it, told apart by ID.
type tcpConn struct {
	pool *TCP
	dial sync.Once

	write sync.Mutex

	mu      sync.Mutex
	conn    net.Conn
	err     error
	nextID  uint16
	served  int
	waiting map[uint16]chan []byte
}

func (c *tcpConn) broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

func (c *tcpConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.conn != nil {
		c.conn.Close()
	}
	for id, ch := range c.waiting {
		delete(c.waiting, id)
		close(ch)
	}
}

// useful reports whether there was an answer on the connection.
func (c *tcpConn) useful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.served > 0
}

// exchange sends the query under an ID of the connection's own and waits for
// the answer.
func (c *tcpConn) exchange(ctx context.Context, query []byte) (answer []byte, err error) {
	c.dial.Do(func() { c.open(ctx) })
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	if len(c.waiting) >= 1<<12 {
		defer c.mu.Unlock()
		return nil, errors.New("too many queries on one connection")
	}
	for c.waiting[c.nextID] != nil {
		c.nextID++
	}
	id := c.nextID
	c.nextID++
	ch := make(chan []byte, 1)
	c.waiting[id] = ch
	c.conn.SetReadDeadline(time.Time{})
	c.mu.Unlock()

	framed := make([]byte, 2+len(query))
	binary.BigEndian.PutUint16(framed, uint16(len(query)))
	copy(framed[2:], query)
	binary.BigEndian.PutUint16(framed[2:], id)
	c.write.Lock()
	if deadline, ok := ctx.Deadline(); ok {
		c.conn.SetWriteDeadline(deadline)
	}
	_, err = c.conn.Write(framed)
	c.write.Unlock()
	if err != nil {
		c.fail(err)
		return nil, err
	}
	select {
	case answer = <-ch:
		if answer == nil {
			return nil, c.err // set before ch was closed
		}
		copy(answer, query[:2])
		return answer, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return nil, ctx.Err()
	}
}

func (c *tcpConn) open(ctx context.Context) {
	dial := c.pool.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", c.pool.Addr.String())
	c.mu.Lock()
	if err == nil && c.err != nil { // the pool was closed meanwhile
		conn.Close()
		err = c.err
	}
	c.conn, c.err = conn, err
	c.mu.Unlock()
	if err == nil {
		go c.readAnswers(conn)
	}
}

func (c *tcpConn) readAnswers(conn net.Conn) {
	var prefix [2]byte
	for {
		if _, err := io.ReadFull(conn, prefix[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = errConnClosed
			}
			c.fail(err)
			return
		}
		n := int(binary.BigEndian.Uint16(prefix[:]))
		if n < headerLen {
			c.fail(errWire)
			return
		}
		answer := make([]byte, n)
		if _, err := io.ReadFull(conn, answer); err != nil {
			c.fail(err)
			return
		}
		id := message(answer).id()
		c.mu.Lock()
		c.served++
		ch := c.waiting[id]
		delete(c.waiting, id)
		if len(c.waiting) == 0 {
			conn.SetReadDeadline(time.Now().Add(tcpIdle))
		}
		c.mu.Unlock()
		if ch != nil {
			ch <- answer
		}
	}
}

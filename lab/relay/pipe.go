package relay

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
)

// A pipe is one direction of the link: datagrams of all clients share it. Each
// carries its client's number in front, which the link neither counts nor
// corrupts.
type pipe struct {
	deliver func(ds []delivery)
	timer   *datagram.Timer
	start   time.Time

	mu   sync.Mutex
	link *netem.Link
	pkt  []byte // scratch for push
	wake time.Duration
}

const idLen = 8

// A delivery is a datagram that has crossed the link.
type delivery struct {
	id   uint64
	data []byte
}

func newPipe(cfg netem.Config, start time.Time, deliver func([]delivery)) (*pipe, error) {
	cfg.Header = idLen
	link, err := netem.New(cfg)
	if err != nil {
		return nil, err
	}
	t, err := datagram.NewTimer()
	if err != nil {
		return nil, err
	}
	return &pipe{deliver: deliver, timer: t, start: start, link: link, pkt: make([]byte, idLen+datagram.MaxMessage), wake: -1}, nil
}

// push puts what came in one message onto the link, datagram by datagram.
func (p *pipe) push(id uint64, b []byte, segment int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.start)
	binary.BigEndian.PutUint64(p.pkt, id)
	for more := true; more; {
		one := b
		if segment > 0 && len(b) > segment {
			one, b = b[:segment], b[segment:]
		} else {
			more = false
		}
		n := copy(p.pkt[idLen:], one)
		p.link.Push(now, p.pkt[:idLen+n])
	}
	if at, ok := p.link.Next(); ok && (p.wake < 0 || at < p.wake) {
		p.wake = at
		p.timer.Set(at - now)
	}
}

// run delivers what has arrived until the pipe is closed.
func (p *pipe) run() {
	const most = 32
	buf := make([]byte, 2*(idLen+datagram.MaxMessage))
	ds := make([]delivery, 0, most)
	for p.timer.Wait() == nil {
		for {
			ds = ds[:0]
			rest := buf
			p.mu.Lock()
			now := time.Since(p.start)
			// What does not fit waits for the next round.
			for len(ds) < most && p.link.NextLen() <= len(rest) {
				n, ok := p.link.Pop(now, rest)
				if !ok {
					break
				}
				ds = append(ds, delivery{binary.BigEndian.Uint64(rest), rest[idLen:n]})
				rest = rest[n:]
			}
			p.wake = -1
			if len(ds) == 0 {
				if at, ok := p.link.Next(); ok {
					p.wake = at
					p.timer.Set(at - now)
				}
			}
			p.mu.Unlock()
			if len(ds) == 0 {
				break
			}
			p.deliver(ds)
		}
	}
}

func (p *pipe) stats() netem.Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link.Stats()
}

func (p *pipe) close() { _ = p.timer.Close() }

package zmtp

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket"
)

const (
	// maxSubscriptions and maxSubscription bound what a SUB may have a PUB remember.
	maxSubscriptions = 64
	maxSubscription  = 255
)

// peer is a connection of a socket.
type peer struct {
	id      PeerID
	s       *Socket
	c       *conn
	trusted atomic.Bool
	wake    chan struct{} // there is something to write
	gone    chan struct{} // closed when it is

	once sync.Once
	err  error // after gone

	// With s.mu:
	queue    [][][]byte // messages that wait
	writing  bool       // one more is being written, or lies in the buffer
	controls [][]byte   // commands that wait, in their frames
	pong     []byte     // the answer to the last ping
	wishes   [][]byte   // a SUB's, of its PUB
}

// push puts a message into the queue, if there is room. s.mu is held.
func (p *peer) push(frames [][]byte) bool {
	if len(p.queue) >= p.s.o.HWM {
		return false
	}
	p.queue = append(p.queue, frames)
	p.wakeUp()
	return true
}

func (p *peer) control(b []byte) {
	p.controls = append(p.controls, b)
	p.wakeUp()
}

func (p *peer) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// wants reports whether the peer has subscribed to it. s.mu is held.
func (p *peer) wants(topic []byte) bool {
	for _, w := range p.wishes {
		if bytes.HasPrefix(topic, w) {
			return true
		}
	}
	return false
}

// subscription says to a PUB what is wished, in its version's way.
func (p *peer) subscription(prefix []byte) []byte {
	if p.c.minor == 0 {
		return append(appendFrameHeader(nil, 0, 1+len(prefix)), append([]byte{1}, prefix...)...)
	}
	return command{"SUBSCRIBE", prefix}.append(nil)
}

func (p *peer) limits() limits {
	l := limits{p.s.o.MaxMessage, p.s.o.MaxFrames}
	if !p.trusted.Load() {
		l.bytes = min(l.bytes, p.s.o.Stranger)
	}
	return l
}

// reading receives until the connection breaks.
func (p *peer) reading() {
	defer p.s.wg.Done()
	if !p.trusted.Load() {
		late := time.AfterFunc(p.s.o.Handshake, func() {
			if !p.trusted.Load() {
				p.fail(errStranger)
			}
		})
		defer late.Stop()
	}
	for {
		frames, cmd, err := p.c.read(p.limits)
		if err == nil && cmd != nil {
			err = p.command(cmd)
		} else if err == nil {
			err = p.message(frames)
		}
		if err != nil {
			p.fail(err)
			break
		}
	}
	if down := p.s.o.Trace.Down; down != nil {
		down(p.id, p.err)
	}
}

var errStranger = errors.New("the peer has not said in time who it is")

func (p *peer) message(frames [][]byte) error {
	switch {
	case p.s.typ == PUB:
		if len(frames) == 1 && len(frames[0]) > 0 && frames[0][0] <= 1 {
			return p.subscribe(frames[0][1:], frames[0][0] == 1)
		}
		return nil
	case !p.s.typ.receives():
		return nil // as libzmq does: a PULL has nothing to say
	case p.s.typ == SUB && !p.s.wished(frames[0]):
		return nil
	}
	select {
	case p.s.in <- Message{p.id, frames}:
		return nil
	case <-p.gone:
		return p.err
	case <-p.s.ctx.Done():
		return ErrClosed
	}
}

// wished reports whether a SUB has subscribed to it.
func (s *Socket) wished(topic []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.subs {
		if bytes.HasPrefix(topic, w) {
			return true
		}
	}
	return false
}

func (p *peer) command(c *command) error {
	switch c.name {
	case "PING":
		if len(c.body) < 2 || len(c.body) > 2+16 {
			return malformed("a PING")
		}
		p.s.mu.Lock()
		p.pong = command{"PONG", c.body[2:]}.append(nil)
		p.wakeUp()
		p.s.mu.Unlock()
	case "SUBSCRIBE":
		return p.subscribe(c.body, true)
	case "CANCEL":
		return p.subscribe(c.body, false)
	case "ERROR":
		return &RefusedError{reason(c.body)}
	}
	return nil // PONG, and what later versions may say
}

func (p *peer) subscribe(prefix []byte, on bool) error {
	if p.s.typ != PUB {
		return nil
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if on {
		if len(p.wishes) >= maxSubscriptions || len(prefix) > maxSubscription {
			return malformed("so many or so long subscriptions")
		}
		p.wishes = append(p.wishes, bytes.Clone(prefix))
		p.s.tell()
		return nil
	}
	for i, w := range p.wishes {
		if bytes.Equal(w, prefix) {
			p.wishes = append(p.wishes[:i], p.wishes[i+1:]...)
			break
		}
	}
	return nil
}

// writingLoop sends what is queued, and pings, until the connection breaks.
func (p *peer) writingLoop() {
	defer p.s.wg.Done()
	tick := time.NewTicker(p.s.o.Heartbeat)
	defer tick.Stop()
	var ping []byte
	if p.c.minor > 0 {
		// The peer may take us for dead after as long as we would it.
		ttl := min(p.s.o.Silence/(100*time.Millisecond), 0xffff)
		ping = command{"PING", []byte{byte(ttl >> 8), byte(ttl)}}.append(nil)
	}
	for {
		frames, raw := p.next()
		var err error
		switch {
		case frames != nil:
			err = p.c.write(frames)
		case raw != nil:
			_, err = p.c.w.Write(raw)
		default:
			if err = p.c.w.Flush(); err != nil {
				break
			}
			p.idle()
			select {
			case <-p.wake:
			case <-p.gone:
				return
			case <-tick.C:
				_, err = p.c.w.Write(ping)
			}
		}
		if err != nil {
			p.fail(err)
			return
		}
	}
}

// next takes what is to be written next: commands before messages.
func (p *peer) next() (frames [][]byte, raw []byte) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	switch {
	case p.pong != nil:
		raw, p.pong = p.pong, nil
	case len(p.controls) > 0:
		raw, p.controls = p.controls[0], p.controls[1:]
	case len(p.queue) > 0:
		frames = p.queue[0]
		p.queue[0] = nil
		p.queue = p.queue[1:]
		p.writing = true
		if len(p.queue) == p.s.o.HWM-1 {
			p.s.tell()
		}
	}
	return frames, raw
}

// idle says that everything is with the kernel.
func (p *peer) idle() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.writing && len(p.queue) == 0 {
		p.writing = false
		p.s.tell()
	}
}

// fail ends the peer. The first error is the one that is told.
func (p *peer) fail(err error) {
	p.once.Do(func() {
		switch {
		case errors.Is(err, io.EOF):
			err = socket.ErrLost
		case socket.Kind(err) != nil:
			err = socket.Kind(err)
		}
		p.err = err
		close(p.gone)
		p.c.nc.Close()
		p.s.mu.Lock()
		p.s.remove(p)
		p.s.mu.Unlock()
	})
}

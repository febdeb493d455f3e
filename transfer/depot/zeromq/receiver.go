package zeromq

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
	"github.com/wherry-net/wherry/transfer/depot"
)

// ReceiverOptions says how to receive. The zero value is the default.
type ReceiverOptions struct {
	// Timeout is how long the sender may be away before that is an error; 0 is 30 s.
	Timeout time.Duration
	// Away is called when the connection is lost, with nil when it is back.
	Away func(err error)
	// Socket is for tests.
	Socket zmtp.Options
}

// ErrEnded is matched by errors of a sender that has ended before everything was here.
var ErrEnded = errors.New("the sender has ended")

// ErrAnew is matched by errors of a sender that was started anew: the transfer has to
// be, too, and goes on with what is here.
var ErrAnew = errors.New("the sender was started anew")

// A Receiver is a receiver's end, a [depot.Cursor].
type Receiver struct {
	addr    string
	key     psk.Key
	o       ReceiverOptions
	id      string
	peer    net.Addr
	pattern Pattern
	ctx     context.Context // its cause is the final error
	fail    context.CancelCauseFunc
	wg      sync.WaitGroup
	sub     *zmtp.Socket // nil for Pair

	mu          sync.Mutex
	link        *link // nil while there is none
	holds       int   // the portion that is being landed; -1: none
	taken       int   // the portion that was given, -1: none yet
	all         bool  // there are no more portions
	window      ahead
	subscribing bool
	known       bool // the sender has the receipt
	changed     chan struct{}
}

// link is what lasts as long as a connection.
type link struct {
	s       *zmtp.Socket
	pattern Pattern
	gone    context.Context
	session *psk.Session
	topic   [8]byte
	there   int64
	peer    net.Addr

	mu sync.Mutex // messages leave as they are sealed
}

// Dial connects to the sender at addr, a host and port. Errors of this first connection
// are not retried; they match [psk.ErrSecret] or [zmtp.ErrProtocol], or are of the
// network.
func Dial(ctx context.Context, addr string, key psk.Key, o ReceiverOptions) (*Receiver, error) {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	r := &Receiver{addr: addr, key: key, o: o, id: rand.Text(), holds: -1, taken: -1, window: newAhead(), changed: make(chan struct{})}
	r.ctx, r.fail = context.WithCancelCause(context.Background())
	l, err := r.connect(ctx)
	if err != nil {
		r.fail(err)
		return nil, err
	}
	r.peer = l.peer
	r.pattern = l.pattern
	if l.pattern == PubSub {
		so := o.Socket
		so.MaxMessage, so.MaxFrames = depot.MaxMessage+64, 2
		r.sub = zmtp.New(zmtp.SUB, so)
		if err := r.sub.Subscribe(l.topic[:]); err != nil {
			r.fail(err)
			return nil, err
		}
		r.wg.Go(r.hearPub)
	}
	r.begin(l)
	r.wg.Go(func() { r.run(l) })
	return r, nil
}

// Addr is the sender's.
func (r *Receiver) Addr() net.Addr { return r.peer }

// handshake is [zmtp.Options]' default; what is to be said takes as long.
const handshake = 10 * time.Second

func (r *Receiver) connect(ctx context.Context) (*link, error) {
	l, err := r.try(ctx, zmtp.DEALER)
	if no := (*zmtp.RefusedError)(nil); errors.As(err, &no) {
		// One that sends to one has a PAIR alone.
		l, err = r.try(ctx, zmtp.PAIR)
	}
	return l, err
}

func (r *Receiver) try(ctx context.Context, typ zmtp.Type) (*link, error) {
	gone, down := context.WithCancelCause(r.ctx)
	l := &link{gone: gone}
	so := r.o.Socket
	so.MaxMessage, so.MaxFrames, so.Retry = depot.MaxMessage+64, 2, -1
	so.Trace = &zmtp.Trace{Up: func(p zmtp.Peer) { l.peer = p.Addr }, Down: func(_ zmtp.PeerID, err error) { down(err) }}
	l.s = zmtp.New(typ, so)
	if err := l.s.Connect(ctx, r.addr); err != nil {
		l.s.Close()
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { down(context.Cause(ctx)) })()
	if err := l.greet(r.key, cmp.Or(so.Handshake, handshake)); err != nil {
		l.s.Close()
		return nil, fmt.Errorf("join the sender at %s: %w", r.addr, err)
	}
	return l, nil
}

// greet begins the session and hears what the sender offers.
func (l *link) greet(key psk.Key, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(l.gone, timeout, socket.ErrTimeout)
	defer cancel()
	comer := psk.NewComer(key)
	if err := l.s.Send(ctx, comer.Hello()); err != nil {
		return err
	}
	m, err := l.s.Receive(ctx)
	if err != nil {
		return err
	}
	if l.session, err = comer.Welcomed(m.Frames[0]); err != nil {
		return err
	}
	if err := l.say(number(kAt, 0)); err != nil {
		return err
	}
	if m, err = l.s.Receive(ctx); err != nil {
		return err
	}
	p, err := l.session.Open(m.Frames[0])
	if err != nil {
		return err
	}
	if len(p) != 3+8+8 || p[0] != kInfo || p[1] != version || p[2] > byte(Share) {
		return errSay
	}
	l.pattern = Pattern(p[2])
	copy(l.topic[:], p[3:])
	l.there = int64(binary.BigEndian.Uint64(p[11:]))
	return nil
}

func number(kind byte, n int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, uint64(n))
}

func (l *link) say(m []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Send(l.gone, l.session.Seal(nil, m))
}

// begin makes l the link.
func (r *Receiver) begin(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.link = l
	r.window.asked = map[int64]bool{} // of the last link; they do not come
	r.window.there(l.there, l.pattern != PubSub || !r.subscribing)
	if r.subscribing {
		_ = l.say([]byte{kSubscribed})
	}
	_ = l.say(number(kAt, r.window.at))
	if r.holds >= 0 {
		_ = l.say(portion(kHolds, r.holds))
	}
	r.ask()
	r.wake()
}

// wake wakes Next and Done. r.mu is held.
func (r *Receiver) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// run takes what comes over one link after the other.
func (r *Receiver) run(l *link) {
	for {
		err := r.hear(l)
		r.mu.Lock()
		r.link = nil
		r.mu.Unlock()
		l.s.Close()
		if r.ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrEnded) {
			r.fail(fmt.Errorf("%w: %s", err, r.addr))
			return
		}
		err = fmt.Errorf("the sender at %s is gone: %w", r.addr, err)
		if r.o.Away != nil {
			r.o.Away(err)
		}
		last := l.topic
		if l, err = r.again(); err != nil {
			r.fail(err)
			return
		}
		if l.topic != last {
			l.s.Close()
			r.fail(fmt.Errorf("%w: %s", ErrAnew, r.addr))
			return
		}
		r.begin(l)
		if r.o.Away != nil {
			r.o.Away(nil)
		}
	}
}

// again connects until it succeeds, or has taken too long.
func (r *Receiver) again() (*link, error) {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.o.Timeout, socket.ErrTimeout)
	defer cancel()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 3*time.Second) {
		l, err := r.connect(ctx)
		if err == nil {
			return l, nil
		}
		if errors.Is(err, psk.ErrSecret) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, fmt.Errorf("the sender at %s does not come back: %w", r.addr, err)
		}
	}
}

// hear takes what the sender says to this receiver.
func (r *Receiver) hear(l *link) error {
	for {
		m, err := l.s.Receive(l.gone)
		if err != nil {
			return err
		}
		p, err := l.session.Open(m.Frames[0])
		if err != nil {
			return err
		}
		if len(p) == 0 {
			return errSay
		}
		kind, p := p[0], p[1:]
		switch {
		case kind == kPosition && len(p) == 8:
			r.mu.Lock()
			r.window.there(int64(binary.BigEndian.Uint64(p)), l.pattern != PubSub || !r.subscribing)
			r.ask()
			r.mu.Unlock()
		case kind == kMessage && len(p) == 8 && len(m.Frames) == 2:
			n := int64(binary.BigEndian.Uint64(p))
			if depot.Number(m.Frames[1]) != n {
				return errSay
			}
			r.mu.Lock()
			r.window.answer(n, m.Frames[1])
			r.ask()
			r.wake()
			r.mu.Unlock()
		case kind == kTake && len(p) == 4, kind == kAll:
			r.mu.Lock()
			if kind == kAll {
				r.all = true
			} else {
				r.taken = int(binary.BigEndian.Uint32(p))
			}
			r.wake()
			r.mu.Unlock()
		case kind == kKnown:
			r.mu.Lock()
			r.known = true
			r.wake()
			r.mu.Unlock()
		case kind == kEnd:
			return ErrEnded
		default:
			return errSay
		}
	}
}

// hearPub takes what the sender says to all.
func (r *Receiver) hearPub() {
	for {
		m, err := r.sub.Receive(r.ctx)
		if err != nil {
			return
		}
		if len(m.Frames) != 2 || len(m.Frames[0]) != 16 {
			continue
		}
		n := int64(binary.BigEndian.Uint64(m.Frames[0][8:]))
		if n < 0 || depot.Number(m.Frames[1]) != n {
			continue
		}
		r.mu.Lock()
		r.window.published(n, m.Frames[1])
		r.ask()
		r.wake()
		r.mu.Unlock()
	}
}

// ask asks for what does not come by itself, and subscribes when what remains does.
// r.mu is held.
func (r *Receiver) ask() {
	l := r.link
	if l == nil {
		return
	}
	for {
		from, count := r.window.missing()
		if count == 0 {
			break
		}
		_ = l.say(binary.BigEndian.AppendUint32(number(kGet, from), uint32(count))) // if it fails the link is gone
	}
	if r.sub == nil || r.subscribing || !r.window.near() {
		return
	}
	r.subscribing = true
	r.wg.Go(func() {
		for wait := 100 * time.Millisecond; r.sub.Connect(r.ctx, r.addr) != nil; wait = min(2*wait, 3*time.Second) {
			select {
			case <-time.After(wait):
			case <-r.ctx.Done():
				return
			}
		}
		r.mu.Lock()
		l := r.link
		r.mu.Unlock()
		if l != nil {
			_ = l.say([]byte{kSubscribed})
		}
	})
}

// Seek is [depot.Cursor]'s.
func (r *Receiver) Seek(_ context.Context, offset int64) error {
	if offset < 0 {
		return fmt.Errorf("seek message %d: a receiver does not know the last", offset) // not reached: it never does
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window.seek(offset)
	if r.link != nil {
		_ = r.link.say(number(kAt, offset))
	}
	r.ask()
	return nil
}

// Next is [depot.Cursor]'s.
func (r *Receiver) Next(ctx context.Context) (depot.Message, error) {
	for {
		r.mu.Lock()
		n, msg := r.window.next()
		if msg != nil {
			if r.link != nil && r.window.at%8 == 0 {
				_ = r.link.say(number(kAt, r.window.at))
			}
			r.ask()
		}
		changed := r.changed
		r.mu.Unlock()
		if msg != nil {
			return depot.Message{Offset: n, Body: msg}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return depot.Message{}, ctx.Err()
		case <-r.ctx.Done():
			return depot.Message{}, context.Cause(r.ctx)
		}
	}
}

// Done gives the sender the receipt, and returns when it has it. The ID is set here.
func (r *Receiver) Done(ctx context.Context, receipt Receipt) error {
	receipt.ID = r.id
	receipt.Error = receipt.Error[:min(len(receipt.Error), 500)]
	b, err := json.Marshal(receipt)
	if err != nil {
		return err
	}
	var told *link
	for {
		r.mu.Lock()
		l, changed, known := r.link, r.changed, r.known
		r.mu.Unlock()
		if known {
			return nil
		}
		if l != nil && l != told {
			told = l
			_ = l.say(append([]byte{kReceipt}, b...))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("tell the sender at %s: %w", r.addr, context.Cause(ctx))
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		}
	}
}

// Close ends the connections.
func (r *Receiver) Close() error {
	r.fail(zmtp.ErrClosed)
	if r.sub != nil {
		r.sub.Close()
	}
	r.wg.Wait()
	return nil
}

package zeromq

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
	"github.com/wherry-net/wherry/transfer/depot"
)

// A Pattern is one of ZeroMQ's.
type Pattern int

// The patterns.
const (
	PubSub Pattern = iota // to all receivers
	Pair                  // to one
	Share                 // each file to one of the receivers
)

const (
	version = 1
	// window is how many messages a receiver takes ahead: 16 MiB.
	window = 64
	// lead is how far a PUB is ahead of the slowest that it waits for.
	lead = window / 2
	// maxSay is the longest of the sealed messages, a receipt.
	maxSay = 4 << 10
	// mark is the number of depot's messages without content.
	mark = 1<<63 - 1
)

const (
	kInfo, kPosition, kMessage, kKnown, kEnd = 'I', 'P', 'M', 'K', 'E'
	kTake, kAll                              = 'T', 'Z'
	kSubscribed, kAt, kGet, kReceipt         = 'S', 'A', 'G', 'R'
	kNext, kHolds, kFinished                 = 'N', 'H', 'F'
)

// NewKey makes of a code's words the key of the sessions.
func NewKey(words string) psk.Key { return psk.NewKey(words, "files") }

// A Spool is where a sender keeps the log, as an os.File is. It grows to the length of
// the log.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// SenderOptions says how to send. The zero value is the default.
type SenderOptions struct {
	Pattern Pattern
	// Patience is how long the PUB waits for a receiver that makes no progress; 0 is
	// 2 s.
	Patience time.Duration
	Trace    *SenderTrace
	// Socket is for tests.
	Socket zmtp.Options
}

// SenderTrace tells of receivers. Its functions may be called by several goroutines at
// once; each may be nil.
type SenderTrace struct {
	Joined   func(addr net.Addr)
	Left     func(addr net.Addr, err error) // before it was done
	Received func(addr net.Addr, r Receipt)
	Refused  func(addr net.Addr, err error)
	Behind   func(addr net.Addr) // the PUB does not wait for it any more
	Shared   func()              // with Share: receivers have said that they have all of it
}

// A Receipt is what a receiver says when it has done.
type Receipt struct {
	ID     string `json:"id"`    // of the receiver, random: it may say so twice
	Files  int    `json:"files"` // that it has
	Bytes  int64  `json:"bytes"`
	Failed int    `json:"failed,omitempty"` // that it has not
	Error  string `json:"error,omitempty"`  // why it has not everything
}

// A Sender is a sender's end: the log of [depot.Plan.Leave], which may be used once.
type Sender struct {
	key   psk.Key
	o     SenderOptions
	spool Spool
	topic [8]byte
	ctrl  *zmtp.Socket
	pub   *zmtp.Socket // nil for Pair
	e     *zmtp.Endpoint
	ctx   context.Context
	end   context.CancelFunc
	wg    sync.WaitGroup
	mark  []byte

	mu        sync.Mutex
	sizes     []int32 // of the messages that are in the spool
	published int64
	failed    error // reading or writing the spool
	peers     map[zmtp.PeerID]*receiver
	known     map[string]bool // the receipts that have come
	shares    shares
	changed   chan struct{}
}

// A receiver as its sender sees it.
type receiver struct {
	addr       net.Addr
	session    *psk.Session
	proven     bool
	subscribed bool
	behind     bool // not waited for
	done       bool
	at         int64
	moved      time.Time    // when at last changed
	holds      map[int]bool // portions, with Share
	waiting    bool         // for a portion
}

// Listen binds addr, a host and port, for receivers to connect to.
func Listen(ctx context.Context, addr string, key psk.Key, spool Spool, o SenderOptions) (*Sender, error) {
	if o.Patience <= 0 {
		o.Patience = 2 * time.Second
	}
	if o.Trace == nil {
		o.Trace = &SenderTrace{}
	}
	s := &Sender{key: key, o: o, spool: spool, peers: map[zmtp.PeerID]*receiver{}, known: map[string]bool{}, changed: make(chan struct{})}
	_, _ = rand.Read(s.topic[:])
	s.ctx, s.end = context.WithCancel(context.Background())
	so := o.Socket
	so.MaxMessage, so.Stranger, so.MaxFrames, so.HWM = maxSay, 256, 1, 4*window
	so.Trace = &zmtp.Trace{Up: s.up, Down: s.down, Refused: o.Trace.Refused}
	var sockets []*zmtp.Socket
	switch o.Pattern {
	case Pair:
		so.Trace.Refused = func(addr net.Addr, err error) {
			// Every receiver tries a DEALER first, and then a PAIR.
			if !errors.Is(err, zmtp.ErrIncompatible) && o.Trace.Refused != nil {
				o.Trace.Refused(addr, err)
			}
		}
		s.ctrl = zmtp.New(zmtp.PAIR, so)
		sockets = append(sockets, s.ctrl)
	case Share:
		s.ctrl = zmtp.New(zmtp.ROUTER, so)
		sockets = append(sockets, s.ctrl)
	default:
		s.ctrl = zmtp.New(zmtp.ROUTER, so)
		po := o.Socket
		po.MaxMessage, po.MaxFrames, po.HWM = maxSay, 1, lead
		po.Trace = &zmtp.Trace{Refused: o.Trace.Refused}
		s.pub = zmtp.New(zmtp.PUB, po)
		sockets = append(sockets, s.ctrl, s.pub)
	}
	var err error
	if s.e, err = zmtp.Bind(ctx, addr, socket.Options{}, sockets...); err != nil {
		s.Close()
		return nil, err
	}
	s.wg.Go(s.receive)
	s.wg.Go(s.tell)
	if s.pub != nil {
		s.wg.Go(s.publish)
	}
	return s, nil
}

// Addr is what it listens on.
func (s *Sender) Addr() net.Addr { return s.e.Addr() }

// Append is [depot.Appender]'s: the message is in the spool when it returns.
func (s *Sender) Append(ctx context.Context, n int64, msg []byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if n == mark {
		s.mark = msg
		return nil
	}
	s.mu.Lock()
	next, failed := int64(len(s.sizes)), s.failed
	s.mu.Unlock()
	switch {
	case failed != nil:
		return failed
	case n != next:
		return fmt.Errorf("keep message %d of the log: it is at %d", n, next) // not reached: Leave writes in order
	}
	if _, err := s.spool.WriteAt(msg, n*depot.MaxMessage); err != nil {
		return fmt.Errorf("keep what is sent until everybody has it: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes = append(s.sizes, int32(len(msg)))
	s.tellAll()
	return nil
}

// Flush is [depot.Appender]'s.
func (s *Sender) Flush(context.Context) error { return nil }

// Seek is [depot.Cursor]'s. An earlier run has left nothing: there is the mark alone.
func (s *Sender) Seek(context.Context, int64) error { return nil }

// Next is [depot.Cursor]'s.
func (s *Sender) Next(context.Context) (depot.Message, error) {
	return depot.Message{Body: s.mark}, nil
}

// Finish tells the receivers that it ends, and closes.
func (s *Sender) Finish(ctx context.Context) {
	s.e.Close()
	s.mu.Lock()
	for id, r := range s.peers {
		if r.proven {
			s.say(id, r, []byte{kEnd}, nil)
		} else {
			s.ctrl.Drop(id)
		}
	}
	s.mu.Unlock()
	s.end()
	s.wg.Wait()
	_ = s.ctrl.Shutdown(ctx) // who takes no leave finds out
	s.Close()
}

// Close ends all connections.
func (s *Sender) Close() error {
	s.end()
	if s.e != nil {
		s.e.Close()
	}
	s.ctrl.Close()
	if s.pub != nil {
		s.pub.Close()
	}
	s.wg.Wait()
	return nil
}

// tellAll wakes the goroutines. s.mu is held.
func (s *Sender) tellAll() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Sender) up(p zmtp.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[p.ID] = &receiver{addr: p.Addr, moved: time.Now(), holds: map[int]bool{}}
}

func (s *Sender) down(id zmtp.PeerID, err error) {
	s.mu.Lock()
	r := s.peers[id]
	delete(s.peers, id)
	for i := range r.holds {
		s.shares.free(i)
	}
	s.deal()
	s.tellAll()
	s.mu.Unlock()
	if f := s.o.Trace.Left; f != nil && r.proven && !r.done && s.ctx.Err() == nil {
		f(r.addr, err)
	}
}

// say seals and sends, and never waits: who does not read goes. s.mu is held.
func (s *Sender) say(id zmtp.PeerID, r *receiver, m, msg []byte) {
	frames := [][]byte{r.session.Seal(nil, m)}
	if msg != nil {
		frames = append(frames, msg)
	}
	s.raw(id, frames...)
}

func (s *Sender) raw(id zmtp.PeerID, frames ...[]byte) {
	var err error
	if s.o.Pattern == Pair {
		err = s.ctrl.Send(now, frames...)
	} else {
		err = s.ctrl.SendTo(now, id, frames...)
	}
	if err != nil && !errors.Is(err, zmtp.ErrNoPeer) {
		s.ctrl.Drop(id)
	}
}

// now is over: what would have to wait fails.
var now = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// there is how many messages may be asked for. s.mu is held.
func (s *Sender) there() int64 {
	if s.pub == nil {
		return int64(len(s.sizes))
	}
	return s.published
}

// receive takes what receivers say.
func (s *Sender) receive() {
	for {
		m, err := s.ctrl.Receive(s.ctx)
		if err != nil {
			return
		}
		then, err := s.hear(m)
		if err != nil {
			s.mu.Lock()
			r := s.peers[m.Peer]
			s.mu.Unlock()
			s.ctrl.Drop(m.Peer)
			if f := s.o.Trace.Refused; f != nil && r != nil {
				f(r.addr, err)
			}
		}
		if then != nil {
			then()
		}
	}
}

var errSay = errors.New("the other end says what wherry does not")

// hear takes one message; then is to be called without the lock.
func (s *Sender) hear(m zmtp.Message) (then func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.peers[m.Peer]
	if r == nil {
		return nil, nil
	}
	if r.session == nil {
		session, welcome, err := psk.Welcome(s.key, m.Frames[0])
		if err != nil {
			return nil, err
		}
		r.session = session
		s.raw(m.Peer, welcome)
		return nil, nil
	}
	p, err := r.session.Open(m.Frames[0])
	if err != nil {
		return nil, err
	}
	if !r.proven {
		r.proven = true
		s.ctrl.Trust(m.Peer)
		info := append([]byte{kInfo, version, byte(s.o.Pattern)}, s.topic[:]...)
		s.say(m.Peer, r, binary.BigEndian.AppendUint64(info, uint64(s.there())), nil)
		if s.o.Trace.Joined != nil {
			then = func() { s.o.Trace.Joined(r.addr) }
		}
	}
	if len(p) == 0 {
		return then, errSay
	}
	kind, p := p[0], p[1:]
	switch {
	case kind == kAt && len(p) == 8:
		n := int64(binary.BigEndian.Uint64(p))
		if n < 0 {
			return then, errSay
		}
		if n != r.at {
			r.at, r.moved = n, time.Now()
		}
		if r.behind && r.at >= s.published-lead/2 {
			r.behind = false
		}
		s.tellAll()
	case kind == kSubscribed && len(p) == 0:
		r.subscribed, r.moved = true, time.Now()
		s.tellAll()
	case kind == kGet && len(p) == 12:
		from, count := int64(binary.BigEndian.Uint64(p)), int64(binary.BigEndian.Uint32(p[8:]))
		if from < 0 || count > window || from+count > s.there() {
			return then, errSay
		}
		for n := from; n < from+count; n++ {
			msg, err := s.load(n)
			if err != nil {
				return then, err
			}
			s.say(m.Peer, r, binary.BigEndian.AppendUint64([]byte{kMessage}, uint64(n)), msg)
		}
	case s.o.Pattern == Share && len(p) == 4 && (kind == kNext || kind == kHolds || kind == kFinished):
		if !s.share(r, kind, int(binary.BigEndian.Uint32(p))) {
			return then, errSay
		}
		if kind == kFinished && s.shares.left == 0 && s.o.Trace.Shared != nil {
			then = s.o.Trace.Shared
		}
	case kind == kReceipt:
		var receipt Receipt
		if json.Unmarshal(p, &receipt) != nil || receipt.ID == "" || len(receipt.ID) > 64 {
			return then, errSay
		}
		r.done = true
		s.say(m.Peer, r, []byte{kKnown}, nil)
		s.tellAll()
		if !s.known[receipt.ID] && s.o.Trace.Received != nil && len(s.known) < maxReceivers {
			s.known[receipt.ID] = true
			first := then
			then = func() {
				if first != nil {
					first()
				}
				s.o.Trace.Received(r.addr, receipt)
			}
		}
	default:
		return then, errSay
	}
	return then, nil
}

// maxReceivers bounds whose receipts are remembered.
const maxReceivers = 100_000

// load reads message n from the spool. s.mu is held; what it reads was written a
// moment ago, or is on this machine's disk.
func (s *Sender) load(n int64) ([]byte, error) {
	b := make([]byte, s.sizes[n])
	if _, err := s.spool.ReadAt(b, n*depot.MaxMessage); err != nil {
		s.failed = fmt.Errorf("read what is kept until everybody has it: %w", err)
		return nil, s.failed
	}
	return b, nil
}

// tell tells receivers how far it is: now and then where the PUB tells better, at once
// for a PAIR.
func (s *Sender) tell() {
	every := 200 * time.Millisecond
	if s.pub == nil {
		every = 5 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	told := map[zmtp.PeerID]int64{}
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		p := s.there()
		for id := range told {
			if s.peers[id] == nil {
				delete(told, id)
			}
		}
		for id, r := range s.peers {
			// Of a PUB it is told again and again: what has not come when it was told
			// twice, the PUB has dropped.
			if last, ok := told[id]; r.proven && !r.done && (!ok || last != p || s.pub != nil) {
				told[id] = p
				s.say(id, r, binary.BigEndian.AppendUint64([]byte{kPosition}, uint64(p)), nil)
			}
		}
		s.mu.Unlock()
	}
}

// publish has the PUB bring the log, at the pace of who receives it.
func (s *Sender) publish() {
	for {
		s.mu.Lock()
		wait, changed := s.pace(), s.changed
		var msg []byte
		n := s.published
		var err error
		if wait == 0 {
			msg, err = s.load(n)
		}
		s.mu.Unlock()
		if err != nil {
			return // Append tells it, or receivers that are refused
		}
		if msg == nil {
			var late <-chan time.Time
			if wait > 0 {
				late = time.After(wait)
			}
			select {
			case <-changed:
			case <-late:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		if err := s.pub.Send(s.ctx, binary.BigEndian.AppendUint64(s.topic[:len(s.topic):len(s.topic)], uint64(n)), msg); err != nil {
			return
		}
		s.mu.Lock()
		s.published = n + 1
		s.mu.Unlock()
	}
}

// pace is 0 if the next message may be published, how long to wait at most if somebody
// is slow, and less than 0 if there is nothing to do. s.mu is held.
func (s *Sender) pace() time.Duration {
	if s.published >= int64(len(s.sizes)) {
		return -1
	}
	var wait time.Duration
	listening := false
	for _, r := range s.peers {
		if !r.subscribed || r.behind || r.done {
			continue
		}
		if s.published-r.at >= lead {
			left := s.o.Patience - time.Since(r.moved)
			if left <= 0 {
				r.behind = true
				if f := s.o.Trace.Behind; f != nil {
					go f(r.addr)
				}
				continue
			}
			if wait == 0 || left < wait {
				wait = left
			}
		}
		listening = true
	}
	if !listening {
		return -1
	}
	return wait
}

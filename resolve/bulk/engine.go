package bulk

import (
	"math/rand/v2"
	"net/netip"
	"sync"
)

// A slot is one name on its way to its result:
//
//	         fill                    receive
//	(free) --------> flying ------------------------------> (free)
//	                 |  ^  \ truncated                        ^
//	         timeout |  |   '-----------.                     |
//	                 v  | fill          v   takeStream        |
//	              queued on          queued on ---> exchanging
//	              a socket           a server  <--- waiting <--' failed
//
// Whatever the way, it comes to finish, and only there: that is what makes
// every name have one result.
type slot struct {
	next, prev int32 // slot number + 1; of the wheel, a queue or the free list
	expires    int64 // tick
	sent       int64 // when the latest attempt was sent
	first      int64 // when the first was
	seq, line  uint64

	state     slotState
	armed     bool
	plain     bool // ask without EDNS: the server did not understand it
	truncated bool // UDP had too little room
	n         uint8
	attempts  uint8
	tcpTries  uint8
	qtype     uint16
	id        uint16
	oldID     uint16
	server    int32
	sock      int32
	oldSock   int32 // -1 if there is no attempt before this one that may still be answered
	oldServer int32
	oldSent   int64
	tried     uint64 // servers, by number modulo 64, that said no

	text string // the line, where the name does not give it back
	name [maxNameLen]byte
}

type slotState uint8

const (
	stateFree slotState = iota
	stateFlying
	stateQueued
	stateExchanging
	stateWaiting
)

func (s *slot) wire() []byte { return s.name[:s.n] }

// queue is a list of slots, first in first out.
type queue struct{ head, tail int32 }

func (q *queue) empty() bool { return q.head == 0 }

func (q *queue) push(slots []slot, i int32) {
	slots[i].next = 0
	if q.tail != 0 {
		slots[q.tail-1].next = i + 1
	} else {
		q.head = i + 1
	}
	q.tail = i + 1
}

func (q *queue) pop(slots []slot) int32 {
	i := q.head - 1
	if q.head = slots[i].next; q.head == 0 {
		q.tail = 0
	}
	slots[i].next = 0
	return i
}

// server is what the engine knows of one server.
type server struct {
	index    int32
	name     string
	addr     netip.AddrPort
	exchange bool // names go by an Exchanger, not by UDP
	socks    []int32
	ctl      control
	bucket   bucket
	inflight int
	stream   queue // waiting for an Exchanger, because of truncation or from the start

	firstSent  int64
	lastAnswer int64
	unanswered int // attempts without answer since the last one
	refused    int // of them, those that the host refused
	silent     bool
	probeAt    int64
}

// sock is one UDP socket as the engine sees it: the IDs in flight on it and
// the queries that wait to be sent from it again.
type sock struct {
	index  int32
	server int32 // the one that it is connected to, or -1
	turn   int32 // whose turn it is, where it is connected to none
	retry  queue
	nretry int
	ids    [1 << 16]int32 // slot number + 1
}

// engine holds every name in flight and decides all that happens to it. It
// does no input or output and reads no clock: times are nanoseconds since the
// run began. Its fields are guarded by mu; packets are received, sent and
// printed outside of it.
type engine struct {
	mu      sync.Mutex
	opt     *Options
	slots   []slot
	free    queue
	nfree   int
	servers []*server
	socks   []*sock
	wheel   wheel
	rng     *rand.ChaCha8
	src     source
	order   *order // nil unless results are wanted in order
	flags   uint16 // of every query
	seq     uint64
	stats   Stats
	ended   bool  // the list has ended
	stopped bool  // nothing more is to be started
	dead    bool  // no server answers any more
	looked  int64 // when expire was last called
	turn    int32
}

// source hands out the names of the list. next reports false if there is none
// at the moment; ended, that there will never be one again.
type source interface {
	next() (it *item, name []byte, ok bool)
	ended() bool
}

const (
	silentAfter  = 15e9 // no answer for this long, and the server counts as silent
	refusedAfter = 3e9  // or this long, if its host says that nobody is there
	silentLeast  = 8    // unanswered attempts that it takes besides
	refusedLeast = 3    // or refusals: many closed ports are told of as one
	probeSilent  = 5e9
	stoppedAfter = 1e9 // between two looks at the clock, that are some ms apart, and the process was stopped
	tcpTries     = 3
)

func newEngine(opt *Options, seed [32]byte, src source, ord *order) *engine {
	e := &engine{opt: opt, src: src, order: ord, rng: rand.NewChaCha8(seed)}
	e.slots = make([]slot, opt.Concurrency)
	for i := range e.slots {
		e.free.push(e.slots, int32(i))
	}
	e.nfree = len(e.slots)
	if !opt.NoRecurse {
		e.flags |= flagRD
	}
	if opt.CheckingDisabled {
		e.flags |= flagCD
	}
	for i, s := range opt.Servers {
		e.servers = append(e.servers, &server{
			index:    int32(i),
			name:     s.label(),
			addr:     netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port()),
			exchange: s.Exchanger != nil,
			ctl:      newControl(opt.Concurrency),
			bucket:   bucket{rate: opt.QPS},
		})
	}
	return e
}

func (e *engine) addSock(srv int32) *sock {
	s := &sock{index: int32(len(e.socks)), server: srv}
	e.socks = append(e.socks, s)
	for _, v := range e.servers {
		if (srv < 0 || srv == v.index) && !v.exchange {
			v.socks = append(v.socks, s.index)
		}
	}
	return s
}

// room reports whether srv may be sent one query more at now.
func (e *engine) room(srv *server, now int64) bool {
	if srv.silent {
		if now < srv.probeAt {
			return false
		}
		srv.probeAt = now + probeSilent
		return true
	}
	if srv.inflight >= int(srv.ctl.window) {
		srv.ctl.full = true
		return false
	}
	return srv.bucket.has(now)
}

// admit takes the next name of the list into a slot. Lines that are no name
// get their result here. It reports false if nothing may be or is there to be
// started.
func (e *engine) admit(out *outbox) (int32, bool) {
	for {
		if e.stopped || e.ended || e.free.empty() || out.full() || (e.order != nil && !e.order.room(e.seq)) {
			return 0, false
		}
		it, name, ok := e.src.next()
		if !ok {
			e.ended = e.src.ended()
			return 0, false
		}
		seq := e.seq
		e.seq++
		if it.bad != nil || e.dead {
			r := out.add()
			*r = result{seq: seq, line: it.line, qtype: it.qtype, server: -1, text: it.text, status: statusNotAsked}
			if it.bad != nil {
				r.status, r.why = statusMalformed, it.bad
			} else {
				r.setName(name)
			}
			e.count(r)
			continue
		}
		i := e.free.pop(e.slots)
		e.nfree--
		s := &e.slots[i]
		s.seq, s.line, s.qtype, s.text = seq, it.line, it.qtype, it.text
		s.n = uint8(copy(s.name[:], name))
		s.plain, s.truncated = e.opt.BufSize == 0, false
		s.attempts, s.tcpTries, s.tried = 0, 0, 0
		s.sock, s.oldSock = -1, -1
		if e.opt.MixCase {
			e.mixCase(s.name[:s.n])
		}
		return i, true
	}
}

// mixCase gives each letter a random case, which the answer must repeat: a bit
// a letter more for a spoofer to guess (draft-vixie-dnsext-dns0x20).
func (e *engine) mixCase(name []byte) {
	var bits uint64
	for i, c := range name {
		if i%64 == 0 {
			bits = e.rng.Uint64()
		}
		if c|0x20 >= 'a' && c|0x20 <= 'z' && bits>>(i%64)&1 != 0 {
			name[i] = c ^ 0x20
		}
	}
}

// fill puts queries that may be sent from sk at now into tx, those that are
// sent again before new ones.
func (e *engine) fill(now int64, sk *sock, tx *txBatch, out *outbox) {
	if e.stopped {
		return
	}
	for n := sk.nretry; n > 0 && !tx.full(); n-- {
		i := sk.retry.pop(e.slots)
		sk.nretry--
		s := &e.slots[i]
		srv := e.servers[s.server]
		if srv.silent && e.alive() > 0 {
			e.requeue(now, i)
			continue
		}
		if !e.room(srv, now) {
			sk.retry.push(e.slots, i)
			sk.nretry++
			if sk.server >= 0 {
				break
			}
			continue // another server's may go
		}
		e.send(now, i, srv, sk, tx)
	}
	for !tx.full() {
		srv := e.pick(now, sk)
		if srv == nil {
			return
		}
		i, ok := e.admit(out)
		if !ok {
			return
		}
		e.send(now, i, srv, sk, tx)
	}
}

// pick chooses the server of a new query from sk.
func (e *engine) pick(now int64, sk *sock) *server {
	if sk.server >= 0 {
		if srv := e.servers[sk.server]; e.room(srv, now) {
			return srv
		}
		return nil
	}
	for range e.servers {
		srv := e.servers[sk.turn]
		sk.turn = (sk.turn + 1) % int32(len(e.servers))
		if !srv.exchange && e.room(srv, now) {
			return srv
		}
	}
	return nil
}

func (e *engine) send(now int64, i int32, srv *server, sk *sock, tx *txBatch) {
	s := &e.slots[i]
	srv.bucket.take(now)
	s.server, s.sock, s.sent, s.state = srv.index, sk.index, now, stateFlying
	s.attempts++
	r := uint16(e.rng.Uint64())
	for sk.ids[r] != 0 { // at most one ID in four is taken: Options sees to it
		r++
	}
	s.id = r
	sk.ids[r] = i + 1
	srv.inflight++
	srv.ctl.sent(now)
	e.stats.Sent++
	if s.attempts > 1 {
		e.stats.Retries++
	}
	if srv.firstSent == 0 {
		srv.firstSent = now
	}
	if s.attempts == 1 {
		s.first = now
	}
	wait := srv.ctl.rto()
	if s.attempts > 3 {
		// Chance alone seldom loses three in a row.
		wait <<= min(s.attempts-3, 16)
	}
	wait = min(wait, int64(e.opt.Timeout))
	if e.opt.GiveUp > 0 {
		wait = min(wait, s.first+int64(e.opt.GiveUp)-now)
	}
	e.wheel.arm(e.slots, i, now+wait)
	bufsize := uint16(e.opt.BufSize)
	if s.plain {
		bufsize = 0
	}
	tx.add(srv, s.id, e.flags, s.wire(), s.qtype, bufsize, e.opt.DNSSEC)
}

// idle reports that the list has ended and every name has its result.
func (e *engine) idle() bool { return e.ended && e.nfree == len(e.slots) }

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
	ended   bool // the list has ended
	stopped bool // nothing more is to be started
	dead    bool // no server answers any more
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

// forget makes the engine deaf to the attempts that were sent for s.
func (e *engine) forget(s *slot) {
	if s.sock >= 0 {
		e.socks[s.sock].ids[s.id] = 0
		s.sock = -1
	}
	if s.oldSock >= 0 {
		e.socks[s.oldSock].ids[s.oldID] = 0
		s.oldSock = -1
	}
}

// receive takes a packet that came to sk from server number from (-1 if from
// none that was asked). It reports whether the packet's name has its result,
// which is then in out and refers to the packet's bytes.
func (e *engine) receive(now int64, sk *sock, from int32, pkt []byte, out *outbox) bool {
	e.stats.Received++
	if len(pkt) < headerLen || from < 0 {
		e.stats.Strays++
		return false
	}
	m := message(pkt)
	n := sk.ids[m.id()]
	if n == 0 {
		// Most often the second answer to a question that was asked twice.
		e.stats.Late++
		return false
	}
	s := &e.slots[n-1]
	current := s.sock == sk.index && s.id == m.id()
	asked, sent := s.server, s.sent
	if !current {
		asked, sent = s.oldServer, s.oldSent
	}
	if asked != from || !m.answersQuestion(s.wire(), s.qtype, e.opt.MixCase) {
		e.bareError(now, n-1, from, asked, m)
		return false
	}
	tc := m.flags()&flagTC != 0
	found := false
	if !tc {
		var err error
		if found, err = m.checkAnswers(headerLen+int(s.n)+4, s.qtype); err != nil {
			e.stats.Strays++
			return false
		}
	}
	srv := e.servers[from]
	e.heard(srv, now, sent)
	if s.state == stateFlying && !current {
		// The answer that is still awaited is not wanted any more.
		e.servers[s.server].ctl.unsent(s.sent)
	}
	e.release(n - 1)
	switch {
	case tc:
		e.stats.Truncated++
		s.truncated = true
		e.forget(s)
		e.toStream(n-1, srv)
		return false
	case e.again(now, n-1, srv, m.rcode()):
		return false
	}
	e.finish(n-1, out, pkt, found, now-sent, false)
	return true
}

// bareError deals with a packet whose ID is in flight but whose question is
// not the one asked. A server that cannot parse a query may send the header
// back alone, which is worth a try without EDNS; any other such packet is
// counted and not believed.
func (e *engine) bareError(now int64, i, from, asked int32, m message) {
	s := &e.slots[i]
	if from == asked && s.state == stateFlying && m.flags()&(flagQR|maskOpcode) == flagQR && m.qdcount() == 0 &&
		!s.plain && (m.rcode() == rcodeFormErr || m.rcode() == rcodeNotImp) {
		e.release(i)
		e.forget(s)
		s.plain = true
		e.requeue(now, i)
		return
	}
	e.stats.Strays++
}

// heard notes a sign of life.
func (e *engine) heard(srv *server, now, sent int64) {
	srv.ctl.answered(now, sent)
	srv.lastAnswer, srv.unanswered, srv.refused = now, 0, 0
	if srv.silent {
		srv.silent = false
		e.opt.Trace.silent(srv.name, false)
	}
}

// release takes a slot out of whatever it waits in, so that it can go on.
func (e *engine) release(i int32) {
	s := &e.slots[i]
	switch s.state {
	case stateFlying:
		e.servers[s.server].inflight--
		e.wheel.disarm(e.slots, i)
	case stateWaiting:
		e.wheel.disarm(e.slots, i)
	case stateQueued:
		if s.sock >= 0 || s.oldSock >= 0 {
			e.unqueue(i)
		}
	}
}

// unqueue removes a slot from the queue of the socket that was to send it
// again. Queues are short and this is rare: an answer came after all in the
// few milliseconds that the slot waited.
func (e *engine) unqueue(i int32) {
	for _, sk := range e.socks {
		if sk.retry.remove(e.slots, i) {
			sk.nretry--
			return
		}
	}
	for _, srv := range e.servers {
		if srv.stream.remove(e.slots, i) {
			return
		}
	}
}

func (q *queue) remove(slots []slot, i int32) bool {
	prev := int32(0)
	for n := q.head; n != 0; prev, n = n, slots[n-1].next {
		if n != i+1 {
			continue
		}
		next := slots[i].next
		if prev == 0 {
			q.head = next
		} else {
			slots[prev-1].next = next
		}
		if q.tail == n {
			q.tail = prev
		}
		slots[i].next = 0
		return true
	}
	return false
}

// again decides whether an answer with this rcode is worth another try, and
// if so starts it.
func (e *engine) again(now int64, i int32, srv *server, rcode uint8) bool {
	s := &e.slots[i]
	switch rcode {
	case rcodeNoError, rcodeNXDomain:
		return false
	case rcodeFormErr, rcodeNotImp:
		if !s.plain {
			e.forget(s)
			s.plain = true
			e.enqueue(i, srv)
			return true
		}
	}
	// It is that server's opinion. Another one may know better.
	s.tried |= 1 << (srv.index % 64)
	if int(s.attempts) > e.opt.Retries {
		return false
	}
	if next := e.nextServer(s); next != nil && s.tried>>(next.index%64)&1 == 0 {
		e.forget(s)
		e.enqueue(i, next)
		return true
	}
	return false
}

// timedOut takes up a slot whose time is over.
func (e *engine) timedOut(now int64, i int32, out *outbox) {
	s := &e.slots[i]
	if s.state == stateWaiting {
		if e.dead {
			e.finish(i, out, nil, false, 0, false)
			return
		}
		e.requeue(now, i)
		return
	}
	srv := e.servers[s.server]
	srv.inflight--
	e.stats.Timeouts++
	e.unanswered(srv, now)
	if int(s.attempts) > e.opt.Retries || e.dead || e.late(now, s) {
		e.finish(i, out, nil, false, now-s.sent, false)
		return
	}
	e.requeue(now, i)
}

// late reports whether s has had all the time that a name may have.
func (e *engine) late(now int64, s *slot) bool {
	return e.opt.GiveUp > 0 && now-s.first >= int64(e.opt.GiveUp)
}

// unanswered notes an attempt that brought nothing, and judges the server.
func (e *engine) unanswered(srv *server, now int64) {
	srv.unanswered++
	if srv.silent || srv.unanswered < silentLeast {
		return
	}
	quiet := now - max(srv.lastAnswer, srv.firstSent)
	if quiet < refusedAfter || (quiet < silentAfter && srv.refused < refusedLeast) {
		return
	}
	srv.silent, srv.probeAt = true, now+probeSilent
	e.opt.Trace.silent(srv.name, true)
	e.dead = e.alive() == 0
}

func (e *engine) alive() (n int) {
	for _, srv := range e.servers {
		if !srv.silent {
			n++
		}
	}
	return n
}

// nextServer chooses who is asked next about s: the one after the last asked
// that is not silent and has not said no, if there is one.
func (e *engine) nextServer(s *slot) *server {
	n := int32(len(e.servers))
	var fallback *server
	for k := int32(1); k <= n; k++ {
		srv := e.servers[(s.server+k)%n]
		if srv.silent {
			continue
		}
		if s.tried>>(srv.index%64)&1 == 0 {
			return srv
		}
		if fallback == nil {
			fallback = srv
		}
	}
	if fallback == nil {
		fallback = e.servers[s.server]
	}
	return fallback
}

// requeue arranges another attempt, from another port and, if there are
// several, at another server. The attempt before stays known: its answer is
// as good, should it come late.
func (e *engine) requeue(now int64, i int32) {
	s := &e.slots[i]
	if s.truncated {
		e.toStream(i, e.servers[s.server])
		return
	}
	e.enqueue(i, e.nextServer(s))
}

func (e *engine) enqueue(i int32, srv *server) {
	s := &e.slots[i]
	if srv.exchange {
		e.forget(s)
		e.toStream(i, srv)
		return
	}
	last := s.sock
	if last >= 0 {
		if s.oldSock >= 0 {
			e.socks[s.oldSock].ids[s.oldID] = 0
		}
		s.oldSock, s.oldID, s.oldServer, s.oldSent = s.sock, s.id, s.server, s.sent
		s.sock = -1
	}
	k := int(e.rng.Uint64() % uint64(len(srv.socks)))
	if srv.socks[k] == last {
		k = (k + 1) % len(srv.socks)
	}
	sk := e.socks[srv.socks[k]]
	s.server, s.state = srv.index, stateQueued
	sk.retry.push(e.slots, i)
	sk.nretry++
}

func (e *engine) toStream(i int32, srv *server) {
	s := &e.slots[i]
	s.server, s.state = srv.index, stateQueued
	srv.stream.push(e.slots, i)
}

// takeStream takes a name that is to be asked of srv by its Exchanger.
func (e *engine) takeStream(now int64, srv *server, out *outbox) (int32, bool) {
	if e.stopped || !srv.bucket.has(now) {
		return 0, false
	}
	var i int32
	switch {
	case !srv.stream.empty():
		i = srv.stream.pop(e.slots)
	case srv.exchange && e.room(srv, now):
		var ok bool
		if i, ok = e.admit(out); !ok {
			return 0, false
		}
	default:
		return 0, false
	}
	srv.bucket.take(now)
	s := &e.slots[i]
	s.server, s.sent, s.state = srv.index, now, stateExchanging
	if s.truncated {
		s.tcpTries++
		e.stats.TCP++
	} else {
		s.attempts++
		if s.attempts > 1 {
			e.stats.Retries++
		}
	}
	if s.attempts == 1 && !s.truncated {
		s.first = now
	}
	srv.inflight++
	srv.ctl.sent(now)
	e.stats.Sent++
	if srv.firstSent == 0 {
		srv.firstSent = now
	}
	return i, true
}

// exchanged takes the outcome of an exchange. A nil packet is a failure, which
// refused says more of. It reports whether the name has its result.
func (e *engine) exchanged(now int64, i int32, pkt []byte, timeout, refused bool, out *outbox) {
	s := &e.slots[i]
	srv := e.servers[s.server]
	srv.inflight--
	s.state = stateWaiting
	m := message(pkt)
	if len(pkt) >= headerLen && m.answersQuestion(s.wire(), s.qtype, e.opt.MixCase) {
		if found, err := m.checkAnswers(headerLen+int(s.n)+4, s.qtype); err == nil {
			e.stats.Received++
			e.heard(srv, now, s.sent)
			if !e.again(now, i, srv, m.rcode()) {
				e.finish(i, out, pkt, found, now-s.sent, true)
			}
			return
		}
	}
	if pkt != nil {
		e.stats.Strays++
	}
	if timeout {
		e.stats.Timeouts++
	}
	if refused {
		srv.refused++
	}
	if !s.truncated {
		e.unanswered(srv, now)
	}
	if e.dead || e.late(now, s) || (s.truncated && s.tcpTries >= tcpTries) || (!s.truncated && int(s.attempts) > e.opt.Retries) {
		e.finish(i, out, nil, false, now-s.sent, false)
		if !timeout && !s.truncated {
			out.last().status = statusNetwork
		}
		return
	}
	// A refusal comes at once; what comes after it should not.
	wait := int64(0)
	if !timeout {
		wait = int64(100e6) << min(s.attempts+s.tcpTries, 5)
		if e.opt.GiveUp > 0 {
			wait = max(0, min(wait, s.first+int64(e.opt.GiveUp)-now))
		}
	}
	e.wheel.arm(e.slots, i, now+wait)
}

// finish turns a slot into a result and frees it. pkt is the answer, or nil if
// there is none.
func (e *engine) finish(i int32, out *outbox, pkt []byte, found bool, rtt int64, stream bool) {
	s := &e.slots[i]
	r := out.add()
	*r = result{
		seq: s.seq, line: s.line, qtype: s.qtype, server: s.server, text: s.text,
		pkt: pkt, rtt: rtt, stream: stream, attempts: s.attempts,
	}
	switch {
	case pkt == nil && s.truncated:
		r.status = statusTruncated
		r.setName(s.wire())
	case pkt == nil:
		r.status = statusTimeout
		r.setName(s.wire())
	case message(pkt).rcode() != 0:
		r.status = status(message(pkt).rcode())
	case !found:
		r.status = statusNoData
	}
	r.nameLen = s.n
	e.count(r)
	e.forget(s)
	s.text = ""
	s.state = stateFree
	e.free.push(e.slots, i)
	e.nfree++
}

func (e *engine) count(r *result) {
	e.stats.Results++
	switch {
	case r.status == statusNoError:
		e.stats.Answered++
	case r.status == statusNoData:
		e.stats.NoData++
	case r.status == rcodeNXDomain:
		e.stats.NXDomain++
	case r.status == statusMalformed:
		e.stats.Malformed++
	default:
		e.stats.Failed++
	}
}

// idle reports that the list has ended and every name has its result.
func (e *engine) idle() bool { return e.ended && e.nfree == len(e.slots) }

// expire takes up every slot whose time is over at now. If no server answers
// any more, it ends those that wait to be sent again, too.
func (e *engine) expire(now int64, out *outbox) {
	e.wheel.expire(e.slots, now, func(i int32) { e.timedOut(now, i, out) })
	if !e.dead {
		return
	}
	for _, sk := range e.socks {
		for !sk.retry.empty() {
			e.finish(sk.retry.pop(e.slots), out, nil, false, 0, false)
		}
		sk.nretry = 0
	}
	for _, srv := range e.servers {
		for !srv.stream.empty() {
			e.finish(srv.stream.pop(e.slots), out, nil, false, 0, false)
		}
	}
}

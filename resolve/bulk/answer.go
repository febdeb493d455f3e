package bulk

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

package bulk

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

// notice finds out that the process was stopped for a while, by a user or by a
// busy host: expire is called much more often than this. A server is not to be
// called silent for a time in which nobody listened to it, and whose answers may
// still lie in the sockets.
func (e *engine) notice(now int64) {
	gap := now - e.looked
	e.looked = now
	if gap < stoppedAfter {
		return
	}
	for _, srv := range e.servers {
		if srv.firstSent != 0 {
			srv.lastAnswer = min(now, max(srv.lastAnswer, srv.firstSent)+gap)
		}
	}
}

// unanswered notes an attempt that brought nothing, and judges the server.
func (e *engine) unanswered(srv *server, now int64) {
	e.notice(now)
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

// expire takes up every slot whose time is over at now. If no server answers
// any more, it ends those that wait to be sent again, too.
func (e *engine) expire(now int64, out *outbox) {
	e.notice(now)
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

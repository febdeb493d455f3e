package transfer

import (
	"errors"
	"path"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// receive reads what the peer says until it is done.
func (s *sender) receive() error {
	decided := false // as s.decided, which others read
	for {
		t, n, err := s.link.next()
		if err != nil {
			return err
		}
		p, err := s.link.payload(n)
		if err != nil {
			return err
		}
		switch {
		case t == frameDecisions && !decided:
			if err = decodeDecisions(p, s.decide); err == nil {
				s.open()
			}
		case t == frameDecisionsEnd && !decided && n == 0:
			decided = true
			s.mu.Lock()
			s.decided = true
			s.result.Waited.Peer = time.Since(s.start)
			if s.trace.Accepted != nil {
				s.trace.Accepted(s.asked)
			}
			s.mu.Unlock()
			s.feeder.close()
		case t == frameReceipts:
			err = decodeReceipts(p, s.receipt)
		case t == frameDatagrams && s.datagrams != nil:
			var came uint64
			if came, err = decodeCount(p); err == nil {
				s.mu.Lock()
				s.result.DatagramsLost = s.result.DatagramsSent - min(came, s.result.DatagramsSent)
				s.mu.Unlock()
			}
		case t == frameDone && decided && limitAllowed(s.limits, n):
			s.result.Limiter = limitText(p)
			return s.finish()
		default:
			err = protocolErrorf("an unexpected %v frame", t)
		}
		if err != nil {
			return err
		}
	}
}

func (s *sender) decide(c decision) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.First+c.Count > s.entries.n {
		return protocolErrorf("a decision about an entry that was not sent")
	}
	if c.Verb == verbSkip {
		for i := c.First; i < c.First+c.Count; i++ {
			if send, compared := s.wanted[i]; compared && !send {
				delete(s.wanted, i)
			}
		}
		return nil
	}
	for i := c.First; i < c.First+c.Count; i++ {
		e := s.entries.at(i)
		if e.Kind != File {
			return protocolErrorf("it asks for the content of %s, a %v", path.Base(e.Path), e.Kind)
		}
		if s.wanted[i] || s.settled[i] {
			return protocolErrorf("it asks for a file twice")
		}
		switch c.Verb {
		case verbHave:
			if e.Size < 0 || c.Group+int64(len(c.CVs)) > treehash.Groups(e.Size) {
				return protocolErrorf("it has more of a file than there is")
			}
			s.feeder.know(i, c.Group, c.CVs)
		case verbCompare:
			if _, twice := s.wanted[i]; twice || e.Size < 0 {
				return protocolErrorf("it compares a file twice, or a pipe")
			}
			s.wanted[i] = false
			j := job{entry: i, e: e, compare: true}
			if f, ok := s.memory.ends[i]; ok {
				j.known = &fileEnd{Entry: i, Status: statusHash, Size: f.size, Digest: f.digest}
			}
			s.feeder.push(j)
		case verbSend:
			s.wanted[i] = true
			s.asked.Count(e)
			s.feeder.push(job{entry: i, e: e})
		}
	}
	return nil
}

func (s *sender) receipt(r receipt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	send, known := s.wanted[r.Entry]
	switch {
	case r.Entry >= s.entries.n || s.entries.at(r.Entry).Kind != File:
		return protocolErrorf("a receipt for something that is not a file")
	case s.settled[r.Entry]:
		return protocolErrorf("a second receipt for a file")
	case r.Status == statusRefused && !send: // decided by size, or by the digest
	case r.Status == statusHad && known && !send:
	case !send || r.Status == statusRefused || r.Status == statusHad:
		return protocolErrorf("a receipt for a file that it did not ask for")
	}
	end, read := s.sent[r.Entry]
	if known && !read {
		return protocolErrorf("a receipt for a file that has not been sent yet")
	}
	delete(s.wanted, r.Entry)
	delete(s.sent, r.Entry)
	s.settled[r.Entry] = true
	e := s.entries.at(r.Entry)
	switch r.Status {
	case statusDone, statusHad:
		if !read || r.Digest != end.Digest {
			return &VerifyError{Path: e.Path}
		}
		s.result.Files++
		s.result.Bytes += end.Size
		f, known := s.memory.ends[r.Entry]
		if !known {
			f = sentFile{size: end.Size, sent: end.Sent, had: r.Status == statusHad}
		}
		s.result.Resumed += f.size - f.sent
		if f.had {
			s.result.Had++
		}
		if s.trace.Finished != nil && !f.told {
			s.trace.Finished(e, r.Digest, f.had)
		}
		if known {
			f.told = true
			s.memory.ends[r.Entry] = f
		}
	case statusHoles:
		if s.datagrams == nil {
			return protocolErrorf("a receipt with holes for what went on the stream")
		}
		if s.result.Holes++; s.hole == "" {
			s.hole = quoteMissing(e, r.Text)
		}
		if s.trace.Warning != nil {
			s.trace.Warning(e.Path, errors.New(r.Text))
		}
	case statusMissing:
		return &VerifyError{Path: e.Path}
	case statusRefused:
		s.result.Refused++
		s.fail(e, &RefusedError{Reason: r.Text, Err: ErrExists}, r.Text)
	case statusFailed:
		if read && end.Status == statusFailed {
			r.Text = end.Text // told when it happened, and counted now
		}
		s.fail(e, errors.New(r.Text), r.Text)
	}
	return nil
}

// fail counts a file that did not arrive; s.mu is held.
func (s *sender) fail(e *Entry, why error, text string) {
	s.result.Failed++
	if s.failure == "" {
		s.failure = describeFailure(e, text)
	}
	if s.trace.Warning != nil {
		s.trace.Warning(e.Path, why)
	}
}

func (s *sender) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owed() {
		return protocolErrorf("it is done, but owes receipts")
	}
	if s.result.Refused > 0 {
		return &RefusedError{Reason: s.failure, Err: ErrExists}
	}
	if s.result.Failed > 0 {
		return &IncompleteError{Failed: s.result.Failed, First: s.failure}
	}
	if s.result.Holes > 0 && !s.allowMissing {
		return &MissingError{Files: s.result.Holes, First: s.hole}
	}
	return nil
}

// owed reports whether the peer has yet to tell what became of a file; s.mu is held.
func (s *sender) owed() bool {
	for _, send := range s.wanted {
		if send {
			return true
		}
	}
	return false
}

package pairing

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A connection that both ends have proved the code on vouches for others between
// the same two: from its TLS exporter both derive a ticket, which nobody else has,
// and the end that dials shows it on a TLS channel of its own, bound to that by its
// exporter as the PAKE is. Somebody in the middle has two channels with two
// exporters, and what he passes on fits neither. A ticket is a key of 256 bits and
// no code, so trying one is no guess; it is good as long as its connection is open.

const (
	joinLabel   = "EXPORTER-wherry-join"
	ticketIDLen = 16
	joinMACLen  = sha256.Size
)

// ErrNotJoined says that the end which listens knows no open connection that the
// ticket is of. Nothing was guessed. Somebody who sits between the ends causes the
// same.
var ErrNotJoined = errors.New("the further connection belongs to none that is open")

// A ticketID names a ticket, and is no secret from the peer.
type ticketID [ticketIDLen]byte

// A ticket is what a connection lends to others.
type ticket struct {
	id  ticketID
	key [32]byte
}

func ticketOf(c *tls.Conn) (t ticket, err error) {
	state := c.ConnectionState()
	b, err := state.ExportKeyingMaterial(joinLabel, nil, len(t.id)+len(t.key))
	if err != nil {
		return ticket{}, fmt.Errorf("ticket for further connections: %w", err)
	}
	copy(t.id[:], b)
	copy(t.key[:], b[len(t.id):])
	return t, nil
}

// proof is what a side shows on the channel that binding is of.
func (t ticket) proof(side string, binding []byte) []byte {
	m := hmac.New(sha256.New, t.key[:])
	m.Write([]byte(alpn + " " + side + " joins"))
	m.Write(binding)
	return m.Sum(nil)
}

// tickets are those of a Listener's open connections.
type tickets struct {
	mu   sync.Mutex
	keys map[ticketID]ticket
}

// vouch makes the connection that the PAKE has proved vouch for others until it is
// closed, if it is a Listener's.
func (h *handshake) vouch() error {
	s := h.cfg.tickets
	if s == nil {
		return nil
	}
	t, err := ticketOf(h.tls)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = map[ticketID]ticket{}
	}
	s.keys[t.id] = t
	h.closed = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.keys, t.id)
	})
	return nil
}

func (s *tickets) find(id ticketID) (t ticket, ok bool) {
	if s == nil {
		return ticket{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok = s.keys[id]
	return t, ok
}

// Join makes a further connection to c's peer private, over conn, which this end has
// dialed to the same [Listener]; c must be open. It takes two round trips, proves the
// peer as c did, and is no guess at the code. On an error conn is closed.
func (c *Conn) Join(ctx context.Context, conn net.Conn, cfg Config) (*Conn, error) {
	t, err := ticketOf(c.tls)
	if err != nil {
		conn.Close()
		return nil, err
	}
	h := startClient(ctx, conn, cfg)
	return h.finish(h.join(t))
}

func (h *handshake) join(t ticket) error {
	binding, err := h.channel()
	if err != nil {
		return err
	}
	if err := h.send(msgJoin, append(t.id[:], t.proof("dialer", binding)...)); err != nil {
		return h.classify(err)
	}
	proof, err := h.receive(msgJoin, joinMACLen)
	if err != nil {
		return h.classify(err)
	}
	if !hmac.Equal(proof, t.proof("listener", binding)) {
		return ErrNotJoined
	}
	return nil
}

// joined answers a dialer that shows a ticket.
func (h *handshake) joined(body, binding []byte) error {
	t, ok := h.cfg.tickets.find(ticketID(body[:ticketIDLen]))
	if !ok || !hmac.Equal(body[ticketIDLen:], t.proof("dialer", binding)) {
		h.refuse(ErrNotJoined)
		return ErrNotJoined
	}
	if err := h.send(msgJoin, t.proof("listener", binding)); err != nil {
		return h.classify(err)
	}
	return nil // and vouches for none: only a PAKE begins
}

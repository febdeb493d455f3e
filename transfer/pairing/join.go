package pairing

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// A connection that both ends have proved the code on vouches for others between
// the same two: from its TLS exporter both derive a ticket, which nobody else has,
// and each proves on the further one, in the messages of TLS, that it has that, bound
// to the channel as the proofs of the code are. A ticket is good as long as its
// connection is open.

const (
	joinLabel   = "EXPORTER-wherry-join"
	joinPrefix  = "wherry-join/"
	ticketIDLen = 16
	joinMACLen  = sha256.Size
)

// ErrNotJoined says that the end which listens knows no open connection that the
// ticket is of, or does not have that itself. Nothing was guessed. Somebody who sits
// between the ends causes the same.
var ErrNotJoined = errors.New("the further connection belongs to none that is open")

// A ticketID names a ticket. It is no secret.
type ticketID [ticketIDLen]byte

// A ticket is what a connection lends to others.
type ticket struct {
	id  ticketID
	key [32]byte
}

func ticketOf(c *tls.Conn) (*ticket, error) {
	state := c.ConnectionState()
	t := new(ticket)
	b, err := state.ExportKeyingMaterial(joinLabel, nil, len(t.id)+len(t.key))
	if err != nil {
		return nil, fmt.Errorf("ticket for further connections: %w", err)
	}
	copy(t.id[:], b)
	copy(t.key[:], b[len(t.id):])
	return t, nil
}

// proof is what a side shows for what it is bound to, by bindKey or bindChannel.
func (t *ticket) proof(side string, binding []byte) []byte {
	m := hmac.New(sha256.New, t.key[:])
	m.Write([]byte(alpn + " " + side + " joins"))
	m.Write(binding)
	return m.Sum(nil)
}

func (t *ticket) offer() string {
	return joinPrefix + base64.RawURLEncoding.EncodeToString(t.id[:])
}

// joinOffered finds a ticket's name among the protocols that a dialer offers. One of
// another length is nobody's.
func joinOffered(protocols []string) (id ticketID, ok bool) {
	for _, p := range protocols {
		if s, ok := strings.CutPrefix(p, joinPrefix); ok {
			if b, err := base64.RawURLEncoding.DecodeString(s); err == nil && len(b) == len(id) {
				id = ticketID(b)
			}
			return id, true
		}
	}
	return id, false
}

// tickets are those of a Listener's open connections.
type tickets struct {
	mu   sync.Mutex
	keys map[ticketID]*ticket
}

// find gives the ticket of that name, or nil.
func (s *tickets) find(id ticketID) *ticket {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[id]
}

// vouch makes the connection that the code was proved on vouch for others until it
// is closed, if it is a Listener's.
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
		s.keys = map[ticketID]*ticket{}
	}
	s.keys[t.id] = t
	h.closed = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.keys, t.id)
	})
	return nil
}

// Join makes a further connection to c's peer private, over conn, which this end has
// dialed to the same [Listener]. c must be open, and something must have come from
// the peer on it, who so has taken this end's proof. It takes one round trip, proves
// the peer as c did, and is no guess at the code. On an error conn is closed.
func (c *Conn) Join(ctx context.Context, conn net.Conn, cfg Config) (*Conn, error) {
	t, err := ticketOf(c.tls)
	if err != nil {
		conn.Close()
		return nil, err
	}
	h := startClient(ctx, conn, cfg, t.offer())
	return h.finish(h.join(t))
}

func (h *handshake) join(t *ticket) error {
	binding, err := h.channel()
	if err != nil {
		return err
	}
	proof, key, err := readAnswer(h.tls.ConnectionState(), joinMACLen)
	if err != nil {
		return err
	}
	if !hmac.Equal(proof, t.proof("listener", bindKey(key))) {
		return ErrNotJoined
	}
	if err := h.send(msgJoin, t.proof("dialer", bindChannel(binding))); err != nil {
		return h.classify(err)
	}
	return nil
}

// joined waits for the proof of a dialer that joins by t. Its connection vouches for
// none in turn.
func (h *handshake) joined(t *ticket, binding []byte) error {
	proof, err := h.receive(msgJoin, joinMACLen)
	if err != nil {
		return h.classify(err)
	}
	if !hmac.Equal(proof, t.proof("dialer", bindChannel(binding))) {
		return ErrNotJoined
	}
	return nil
}

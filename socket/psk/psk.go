// Package psk makes messages between two programs private, and known to be from the
// other, where both know one secret (a pre-shared key): for connections that neither
// encrypt nor authenticate, as those of package zmtp.
//
// The connection must bring messages whole and in order, as TCP does; one that is
// lost, repeated, moved or changed ends the session. There is no I/O here.
//
// The end that has come says hello, the other welcomes it, and then both seal:
//
//	comer                                      host
//	"wherry psk 1", Nc (32 bytes)  ─────────▶
//	                               ◀─────────  "wherry psk 1", Nh (32 bytes), P (16 bytes)
//	sealed messages                ◀────────▶  sealed messages
//
// Nc and Nh are random. The keys, and P, which shows that the host has the secret, are
// of HKDF-SHA-256 (RFC 5869)
//
//	secret = scrypt(words, salt "wherry psk 1 " + purpose, N=2^15, r=8, p=1, 32 bytes)
//	K_comer | K_host | P = HKDF(secret, salt Nc | Nh, info "wherry psk 1", 32 + 32 + 16 bytes)
//
// and a message is ChaCha20-Poly1305 (RFC 8439) with the key of the end that seals it,
// the nonce being four zeros and its number as 8 bytes, big-endian, from 0, and no
// additional data. That the first opens shows the host that the comer has the secret.
// The random numbers make each session's keys its own: nothing can be played again.
//
// Whoever hears a session, or says hello, can try secrets at leisure: so a secret has
// to be long, and scrypt makes each guess dear. There is no forward secrecy: who
// learns the secret reads what was recorded.
package psk

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/scrypt"
)

// Errors of a peer.
var (
	// ErrSecret: it has another secret.
	ErrSecret = errors.New("the other end has another code")
	// ErrProtocol: it does not speak this protocol.
	ErrProtocol = errors.New("the other end does not say hello as wherry does")
	// ErrSeal: what came is not what the peer has sealed, or not next.
	ErrSeal = errors.New("a message is not as the other end has sealed it")
)

const (
	label     = "wherry psk 1"
	nonceSize = 32
	proofSize = 16
	// HelloSize is the length of a hello.
	HelloSize = len(label) + nonceSize
	// WelcomeSize is the length of a welcome.
	WelcomeSize = HelloSize + proofSize
	// Overhead is what sealing adds to a message.
	Overhead = chacha20poly1305.Overhead
)

// A Key is made of the secret.
type Key struct{ secret [32]byte }

// NewKey stretches words, which takes a tenth of a second and 32 MiB. Keys for
// different purposes have nothing in common.
func NewKey(words, purpose string) Key {
	b, err := scrypt.Key([]byte(words), []byte(label+" "+purpose), 1<<15, 8, 1, 32)
	if err != nil {
		panic(err) // not reached: the parameters are good
	}
	return Key{[32]byte(b)}
}

// String does not show the key.
func (Key) String() string { return "psk.Key" }

// GoString is String.
func (Key) GoString() string { return "psk.Key" }

// A Comer is who says hello, until it is welcomed.
type Comer struct {
	key   Key
	hello []byte
}

// NewComer begins a session.
func NewComer(k Key) *Comer {
	c := &Comer{key: k, hello: append(make([]byte, 0, HelloSize), label...)}
	c.hello = c.hello[:HelloSize]
	_, _ = rand.Read(c.hello[len(label):]) // it never fails
	return c
}

// Hello is what to send.
func (c *Comer) Hello() []byte { return c.hello }

// Welcomed reads the answer. An error matches [ErrSecret] or [ErrProtocol].
func (c *Comer) Welcomed(welcome []byte) (*Session, error) {
	if len(welcome) != WelcomeSize || !bytes.HasPrefix(welcome, []byte(label)) {
		return nil, ErrProtocol
	}
	comer, host, proof := c.key.derive(c.hello[len(label):], welcome[len(label):HelloSize])
	if subtle.ConstantTimeCompare(proof, welcome[HelloSize:]) != 1 {
		return nil, ErrSecret
	}
	return newSession(comer, host), nil
}

// Welcome answers a hello, whose error matches [ErrProtocol].
func Welcome(k Key, hello []byte) (*Session, []byte, error) {
	if len(hello) != HelloSize || !bytes.HasPrefix(hello, []byte(label)) {
		return nil, nil, ErrProtocol
	}
	welcome := append(make([]byte, 0, WelcomeSize), label...)
	welcome = welcome[:HelloSize]
	_, _ = rand.Read(welcome[len(label):])
	comer, host, proof := k.derive(hello[len(label):], welcome[len(label):])
	return newSession(host, comer), append(welcome, proof...), nil
}

func (k Key) derive(comer, host []byte) (kc, kh, proof []byte) {
	salt := append(append(make([]byte, 0, 2*nonceSize), comer...), host...)
	b, err := hkdf.Key(sha256.New, k.secret[:], salt, label, 2*chacha20poly1305.KeySize+proofSize)
	if err != nil {
		panic(err) // not reached: that is not too long
	}
	return b[:32], b[32:64], b[64:]
}

// A Session seals and opens messages. Seal and Open may each be called by one
// goroutine at a time.
type Session struct {
	out, in         cipher.AEAD
	sealed, opened  uint64
	broken          error // why nothing opens any more
	outBuf, inNonce [chacha20poly1305.NonceSize]byte
}

func newSession(out, in []byte) *Session {
	aead := func(key []byte) cipher.AEAD {
		a, err := chacha20poly1305.New(key)
		if err != nil {
			panic(err) // not reached: the key's length is right
		}
		return a
	}
	return &Session{out: aead(out), in: aead(in)}
}

// Seal appends the next message to dst. Messages are to be sent in the order in which
// they are sealed.
func (s *Session) Seal(dst, message []byte) []byte {
	binary.BigEndian.PutUint64(s.outBuf[4:], s.sealed)
	s.sealed++
	return s.out.Seal(dst, s.outBuf[:], message, nil)
}

// Open returns the next message, in the memory of sealed. An error matches
// [ErrSeal], or of the first message [ErrSecret], and nothing opens after it: who can
// put one message between others gets no second try.
func (s *Session) Open(sealed []byte) ([]byte, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	binary.BigEndian.PutUint64(s.inNonce[4:], s.opened)
	plain, err := s.in.Open(sealed[:0], s.inNonce[:], sealed, nil)
	switch {
	case err != nil && s.opened == 0:
		s.broken = ErrSecret
	case err != nil:
		s.broken = fmt.Errorf("%w: message %d", ErrSeal, s.opened)
	default:
		s.opened++
	}
	return plain, s.broken
}

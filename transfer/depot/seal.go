package depot

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// ChunkSize is how many bytes of a log each message but the last has.
	ChunkSize = 256 << 10
	// Overhead is what sealing adds: the nonce and the tag.
	Overhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	// MaxMessage is the length of the longest message.
	MaxMessage = ChunkSize + Overhead
	// padding: the last chunk is filled up to a multiple of it.
	padding = 4 << 10
)

// mark is the number of a message that has no content: a sender that comes back
// finds the end of the log by it.
const mark = 1<<63 - 1

// errStrange: a message that nobody with the key has sealed, or for another place.
var errStrange = errors.New("the message is not of this offer")

type runID = [16]byte

// A sealer seals the messages of one run of a sender.
type sealer struct {
	aead  cipher.AEAD
	run   runID // the first part of each nonce: two runs never use the same
	offer offerID
}

type offerID = [16]byte

func newAEAD(key *[chacha20poly1305.KeySize]byte) cipher.AEAD {
	a, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // the key has another length
	}
	return a
}

const label = "wherry depot 1"

// additional is what is authenticated with message n and not sent: the first one
// tells the offer to which all others are bound.
func additional(n int64, offer *offerID) []byte {
	b := append(make([]byte, 0, 64), label...)
	if n == 0 || n == mark {
		return b
	}
	return append(b, offer[:]...)
}

// seal makes message n of plain, which it overwrites: it must have room for a nonce
// before it, which is the beginning of buf, and for the tag behind it.
func (s *sealer) seal(n int64, buf []byte) []byte {
	const head = chacha20poly1305.NonceSizeX
	copy(buf, s.run[:])
	binary.BigEndian.PutUint64(buf[len(s.run):], uint64(n))
	return s.aead.Seal(buf[:head], buf[:head], buf[head:], additional(n, &s.offer))
}

// Number is the number of a sealed message, which is not yet known to be true; less
// than 0 if it is no message.
func Number(msg []byte) int64 {
	if len(msg) < Overhead || len(msg) > MaxMessage {
		return -1
	}
	n := binary.BigEndian.Uint64(msg[len(runID{}):])
	if n > mark {
		return -1
	}
	return int64(n)
}

// open is what seal has sealed, in place of msg.
func open(aead cipher.AEAD, msg []byte, offer *offerID) ([]byte, error) {
	n := Number(msg)
	if n < 0 {
		return nil, errStrange
	}
	head := msg[:chacha20poly1305.NonceSizeX]
	plain, err := aead.Open(msg[len(head):len(head)], head, msg[len(head):], additional(n, offer))
	if err != nil {
		return nil, errStrange
	}
	return plain, nil
}

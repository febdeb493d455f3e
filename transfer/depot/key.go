package depot

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/wherry-net/wherry/transfer/pairing"
)

// MinWords is how many words a code must have: 88 bits, if they were drawn.
const MinWords = 8

// ErrShortCode is matched by errors of a code that has not enough words.
var ErrShortCode = errors.New("the code is too short for what a carrier keeps")

// A Key is what all holders of an offer's code have in common.
type Key struct {
	name    string
	content [chacha20poly1305.KeySize]byte
	receipt [chacha20poly1305.KeySize]byte
}

// The cost of stretching a code: OWASP's for Argon2id, 19 MiB twice. A drawn code
// needs none; this is for those whose words somebody has chosen.
const (
	stretchTime   = 2
	stretchMemory = 19 << 10 // KiB
)

// NewCode draws a code that is long enough.
func NewCode() (pairing.Code, error) { return pairing.NewLongCode(MinWords) }

// NewKey makes the key from a code; its number does not matter. The error matches
// [ErrShortCode] if the code has fewer than [MinWords] words: whoever runs the
// carrier can try all of the shorter ones, and nobody would notice.
func NewKey(c pairing.Code) (Key, error) {
	words := c.WithNumber(0).Reveal()
	if n := strings.Count(words, "-") + 1; words == "" || n < MinWords {
		return Key{}, fmt.Errorf("%w: it must have %d words or more", ErrShortCode, MinWords)
	}
	secret := argon2.IDKey([]byte(words), []byte("wherry depot 1, code words"), stretchTime, stretchMemory, 1, 32)
	var k Key
	derive := func(what string, n int) []byte {
		b, err := hkdf.Expand(sha256.New, secret, "wherry depot 1, "+what, n)
		if err != nil {
			panic(err) // more than 8 KiB were asked for
		}
		return b
	}
	copy(k.content[:], derive("content", len(k.content)))
	copy(k.receipt[:], derive("receipts", len(k.receipt)))
	k.name = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(derive("name", 20)))
	return k, nil
}

// Name is what the carrier knows the offer by, in a to z and 2 to 7; it tells
// nothing of the code or the key.
func (k *Key) Name() string { return k.name }

// String does not show the key.
func (k Key) String() string { return "depot key of " + k.name }

// GoString is String.
func (k Key) GoString() string { return k.String() }

func random16() (id [16]byte) {
	_, _ = rand.Read(id[:]) // it never fails
	return id
}

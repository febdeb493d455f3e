package spake2

import (
	"errors"
	"fmt"
	"io"

	"filippo.io/bigmod"
	"golang.org/x/crypto/argon2"
)

const (
	// scalarLen is the length of a scalar modulo the group's order, in bytes.
	scalarLen = 32

	// stretchedLen is how much the memory-hard function gives. RFC 9382,
	// section 3.2, asks for at least 64 bits more than the order has, so that
	// the reduction's bias is negligible; 48 bytes are 128 bits more.
	stretchedLen = 48

	// Argon2id (RFC 9106): 8 MiB, one pass, one lane. SPAKE2 leaves nothing to
	// search offline, so this is a second line: should the discrete logarithm of M
	// or N become known, each guess still costs this much. That is no more than a
	// second line, for two words are searched within hours at five times the cost
	// as well; and whoever dials pays it in each transfer, before anything moves,
	// and again in memory.
	stretchTime    = 1
	stretchMemory  = 8 * 1024 // KiB
	stretchThreads = 1
)

// order is n, the order of P-256 (SEC 2, section 2.4.2), big-endian.
var order = [scalarLen]byte{
	0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
	0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
}

// A Password is a stretched password: the scalar w of RFC 9382. It is as secret
// as what it was made from. It may be used for any number of runs, and by
// several goroutines at once.
type Password struct{ w [scalarLen]byte }

// String hides the scalar.
func (*Password) String() string { return "[redacted]" }

// GoString hides the scalar.
func (*Password) GoString() string { return "[redacted]" }

// Stretch makes a Password by Argon2id (RFC 9106; 8 MiB, some 10 ms). Both
// ends must use the same salt; a protocol's name will do, since it only has to
// keep protocols apart.
func Stretch(password, salt []byte) (*Password, error) {
	if len(password) == 0 {
		return nil, errors.New("spake2: empty password")
	}
	wide := argon2.IDKey(password, salt, stretchTime, stretchMemory, stretchThreads, stretchedLen)
	defer clear(wide)
	return reduce(wide)
}

// reduce gives wide modulo n, in constant time.
func reduce(wide []byte) (*Password, error) {
	// bigmod wants a number below the modulus that it is loaded for: one byte
	// more, all ones, holds any.
	room := make([]byte, len(wide)+1)
	for i := range room {
		room[i] = 0xff
	}
	big, err := bigmod.NewModulus(room)
	if err != nil {
		return nil, fmt.Errorf("spake2: reducing the password: %w", err)
	}
	n, err := bigmod.NewModulus(order[:])
	if err != nil {
		return nil, fmt.Errorf("spake2: reducing the password: %w", err)
	}
	x, err := bigmod.NewNat().SetBytes(wide, big)
	if err != nil {
		return nil, fmt.Errorf("spake2: reducing the password: %w", err)
	}
	w := bigmod.NewNat().Mod(x, n)
	if w.IsZero() == 1 { // probability 2^-256; w*M would be the identity
		return nil, errors.New("spake2: the password stretches to zero")
	}
	return &Password{w: [scalarLen]byte(w.Bytes(n))}, nil
}

// randomScalar draws from [1, n-1] without bias, by rejection. How often it
// rejects tells nothing about what it keeps.
func randomScalar(rand io.Reader) ([scalarLen]byte, error) {
	n, err := bigmod.NewModulus(order[:])
	if err != nil {
		return [scalarLen]byte{}, fmt.Errorf("spake2: drawing a scalar: %w", err)
	}
	// A draw fails with probability 2^-32: eight in a row mean a broken source.
	for range 8 {
		var b [scalarLen]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return [scalarLen]byte{}, fmt.Errorf("spake2: drawing a scalar: %w", err)
		}
		x, err := bigmod.NewNat().SetBytes(b[:], n)
		if err == nil && x.IsZero() == 0 {
			return b, nil
		}
	}
	return [scalarLen]byte{}, errors.New("spake2: the random source gives no scalar")
}

package spake2

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"filippo.io/nistec"
)

const (
	// ShareLen is the length of a share (pA, pB) in bytes: an uncompressed
	// SEC 1 point.
	ShareLen = 65
	// ConfirmationLen is the length of a confirmation (cA, cB) in bytes.
	ConfirmationLen = sha256.Size
	// KeyLen is the length of the shared key Ke in bytes.
	KeyLen = sha256.Size / 2
)

// M and N for P-256 (RFC 9382, section 4), compressed. Nobody knows their
// discrete logarithms: they come from hashing a seed.
var (
	pointM = []byte{
		0x02, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55, 0xba, 0x9d,
		0xd7, 0x24, 0x25, 0x79, 0xf2, 0x99, 0x3b, 0x64, 0xe1, 0x6e, 0xf3,
		0xdc, 0xab, 0x95, 0xaf, 0xd4, 0x97, 0x33, 0x3d, 0x8f, 0xa1, 0x2f,
	}
	pointN = []byte{
		0x03, 0xd8, 0xbb, 0xd6, 0xc6, 0x39, 0xc6, 0x29, 0x37, 0xb0, 0x4d,
		0x99, 0x7f, 0x38, 0xc3, 0x77, 0x07, 0x19, 0xc6, 0x29, 0xd7, 0x01,
		0x4d, 0x49, 0xa2, 0x4b, 0x4f, 0x98, 0xba, 0xa1, 0x29, 0x2b, 0x49,
	}
)

var (
	// ErrShare says that the peer's share is no point that an honest peer would
	// send: the wrong length, not on the curve, the identity, or one that makes
	// the shared point the identity.
	ErrShare = errors.New("spake2: invalid share")
	// ErrConfirmation says that the peer did not prove the same password, the
	// same identities and the same AAD.
	ErrConfirmation = errors.New("spake2: confirmation does not match")
	// ErrUsed says that an Exchange was asked for a second agreement.
	ErrUsed = errors.New("spake2: exchange already used")
)

// A Side is the end of the exchange that a party is: A uses M, B uses N, so a
// message that is sent back to its maker proves nothing.
type Side int

const (
	A Side = iota // A, by convention the one who speaks first
	B             // B, the one who answers
)

// An Exchange is one run of the protocol at one end. It is for one goroutine.
type Exchange struct {
	side  Side
	w     [scalarLen]byte
	x     [scalarLen]byte
	share [ShareLen]byte
	used  bool
}

// New starts a run, with a fresh secret from crypto/rand.
func New(side Side, p *Password) (*Exchange, error) { return newExchange(side, p, rand.Reader) }

func newExchange(side Side, p *Password, rand io.Reader) (*Exchange, error) {
	if side != A && side != B {
		return nil, fmt.Errorf("spake2: no such side: %d", side)
	}
	x, err := randomScalar(rand)
	if err != nil {
		return nil, err
	}
	return withScalar(side, p, x)
}

func withScalar(side Side, p *Password, x [scalarLen]byte) (*Exchange, error) {
	e := &Exchange{side: side, w: p.w, x: x}
	blind, err := mask(side, p.w[:])
	if err != nil {
		return nil, err
	}
	xG, err := nistec.NewP256Point().ScalarBaseMult(x[:])
	if err != nil {
		return nil, fmt.Errorf("spake2: making the share: %w", err)
	}
	share := nistec.NewP256Point().Add(xG, blind).Bytes()
	if len(share) != ShareLen {
		// The identity, with probability 2^-256.
		return nil, errors.New("spake2: the share is the identity")
	}
	e.share = [ShareLen]byte(share)
	return e, nil
}

// mask is w*M for side A, w*N for side B.
func mask(side Side, w []byte) (*nistec.P256Point, error) {
	enc := pointM
	if side == B {
		enc = pointN
	}
	p, err := nistec.NewP256Point().SetBytes(enc)
	if err != nil {
		return nil, fmt.Errorf("spake2: the group's constant: %w", err)
	}
	q, err := nistec.NewP256Point().ScalarMult(p, w)
	if err != nil {
		return nil, fmt.Errorf("spake2: masking: %w", err)
	}
	return q, nil
}

// Share is this end's message: pA or pB, [ShareLen] bytes.
func (e *Exchange) Share() []byte { return append([]byte(nil), e.share[:]...) }

// Agree takes the peer's share and ends the run, whether it succeeds or not: a
// second guess needs a second Exchange. An error is [ErrShare] or [ErrUsed].
//
// A peer who sends w'*M or w'*N for a guess w' sees the difference between a
// right guess (the shared point is the identity, ErrShare) and a wrong one. So
// a caller must count the run as a guess whatever Agree returns.
func (e *Exchange) Agree(peerShare []byte) (*Agreement, error) {
	if e.used {
		return nil, ErrUsed
	}
	e.used = true
	defer func() { clear(e.x[:]); clear(e.w[:]) }()

	// nistec also takes compressed points and the one-byte identity, which
	// this protocol does not use.
	if len(peerShare) != ShareLen || peerShare[0] != 4 {
		return nil, ErrShare
	}
	peer, err := nistec.NewP256Point().SetBytes(peerShare)
	if err != nil {
		return nil, ErrShare // not on the curve, or not reduced
	}
	blind, err := mask(1-e.side, e.w[:])
	if err != nil {
		return nil, err
	}
	blind.Negate(blind)
	k, err := nistec.NewP256Point().ScalarMult(nistec.NewP256Point().Add(peer, blind), e.x[:])
	if err != nil {
		return nil, fmt.Errorf("spake2: the shared point: %w", err)
	}
	a := &Agreement{side: e.side, w: e.w, own: e.share, peer: [ShareLen]byte(peerShare)}
	if a.k = k.Bytes(); len(a.k) != ShareLen {
		return nil, ErrShare // the identity
	}
	return a, nil
}

// An Agreement is what a run leaves: the shared point, not yet confirmed by
// anybody.
type Agreement struct {
	side      Side
	w         [scalarLen]byte
	own, peer [ShareLen]byte
	k         []byte
}

// Keys derives the keys and confirmations for the given identities and AAD
// (section 4). It may be called for several identities: they are no part of
// the password, so this tests no further guess.
func (a *Agreement) Keys(identityA, identityB, aad []byte) (*Keys, error) {
	pA, pB := a.own[:], a.peer[:]
	if a.side == B {
		pA, pB = pB, pA
	}
	var tt []byte
	for _, part := range [][]byte{identityA, identityB, pA, pB, a.k, a.w[:]} {
		tt = binary.LittleEndian.AppendUint64(tt, uint64(len(part)))
		tt = append(tt, part...)
	}
	hash := sha256.Sum256(tt)
	info := "ConfirmationKeys" + string(aad)
	kc, err := hkdf.Key(sha256.New, hash[KeyLen:], nil, info, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("spake2: deriving the confirmation keys: %w", err)
	}
	cA, cB := mac(kc[:len(kc)/2], tt), mac(kc[len(kc)/2:], tt)
	k := &Keys{key: hash[:KeyLen], own: cA, peer: cB}
	if a.side == B {
		k.own, k.peer = cB, cA
	}
	return k, nil
}

func mac(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)
}

// Keys is the result of a run under one pair of identities.
type Keys struct{ key, own, peer []byte }

// Confirmation is what this end sends to prove itself, [ConfirmationLen] bytes.
// It lets a peer who does not know the password test one guess.
func (k *Keys) Confirmation() []byte { return append([]byte(nil), k.own...) }

// Verify checks the peer's confirmation in constant time; the error is
// [ErrConfirmation].
func (k *Keys) Verify(confirmation []byte) error {
	if subtle.ConstantTimeCompare(confirmation, k.peer) != 1 {
		return ErrConfirmation
	}
	return nil
}

// Key is the shared key Ke, [KeyLen] bytes. It means nothing before Verify has
// succeeded.
func (k *Keys) Key() []byte { return append([]byte(nil), k.key...) }

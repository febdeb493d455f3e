package pairing

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// A DatagramConn carries datagrams beside a connection, numbered from 1 in the
// order in which they are sent.
type DatagramConn interface {
	SendDatagram(ctx context.Context, b []byte) error
	FlushDatagrams(ctx context.Context) error
	ReadDatagram(ctx context.Context, b []byte) (n int, number uint64, err error)
	MaxDatagramPayload() int
	ExpectDatagrams(n uint64)
}

// SealedDatagrams encrypts and authenticates datagrams, which the connection
// itself carries past TLS, with AES-256-GCM under a key from the TLS exporter
// (RFC 8446, 7.5). The nonce is the datagram's number, which never repeats: a
// connection's key is its own, and only the end that sends the files uses it.
// Numbers and time stamps travel in the clear and only the number is
// authenticated, so whoever is on the path can lie about times, as he can delay
// and drop. One goroutine may send and one receive.
type SealedDatagrams struct {
	DatagramConn
	aead cipher.AEAD
	sent uint64
	out  []byte
	bad  uint64
}

const datagramLabel = "EXPORTER-wherry-datagrams"

// SealDatagrams seals the datagrams of the connection under c.
func (c *Conn) SealDatagrams(under DatagramConn) (*SealedDatagrams, error) {
	state := c.ConnectionState()
	key, err := state.ExportKeyingMaterial(datagramLabel, nil, 32)
	if err != nil {
		return nil, fmt.Errorf("key for datagrams: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key for datagrams: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key for datagrams: %w", err)
	}
	return &SealedDatagrams{DatagramConn: under, aead: aead}, nil
}

func nonce(number uint64) (n [12]byte) {
	binary.BigEndian.PutUint64(n[4:], number)
	return n
}

// SendDatagram seals b and queues it. After an error nothing more can be sent.
func (s *SealedDatagrams) SendDatagram(ctx context.Context, b []byte) error {
	s.sent++
	n := nonce(s.sent)
	s.out = s.aead.Seal(s.out[:0], n[:], b, nil)
	return s.DatagramConn.SendDatagram(ctx, s.out)
}

// ReadDatagram waits for a datagram that the peer has sealed; others are
// dropped. b must have room for the seal, too.
func (s *SealedDatagrams) ReadDatagram(ctx context.Context, b []byte) (n int, number uint64, err error) {
	for {
		n, number, err := s.DatagramConn.ReadDatagram(ctx, b)
		if err != nil {
			return 0, 0, err
		}
		iv := nonce(number)
		if p, err := s.aead.Open(b[:0], iv[:], b[:n], nil); err == nil {
			return len(p), number, nil
		}
		s.bad++
	}
}

// MaxDatagramPayload is what a datagram holds besides its seal.
func (s *SealedDatagrams) MaxDatagramPayload() int {
	return s.DatagramConn.MaxDatagramPayload() - s.aead.Overhead()
}

// Forged is how many datagrams were dropped because their seal was broken.
func (s *SealedDatagrams) Forged() uint64 { return s.bad }

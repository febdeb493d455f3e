package pairing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/wherry-net/wherry/transfer/pairing/spake2"
)

// The dialer's share travels in its ClientHello, as the name of a protocol that no
// listener chooses, and the listener's answer in its certificate: so they cost no
// round trip of their own, and what is on the wire is TLS to the bit.

// sharePrefix begins the name that holds the dialer's share. It is followed by the
// share in base64url.
const sharePrefix = "wherry-share/"

func offerShare(share []byte) string {
	return sharePrefix + base64.RawURLEncoding.EncodeToString(share)
}

// shareOffered finds the dialer's share among the protocols that it offers; nil
// means that there is none. Whether it is any good is for spake2 to say.
func shareOffered(protocols []string) []byte {
	for _, p := range protocols {
		if s, ok := strings.CutPrefix(p, sharePrefix); ok {
			if share, err := base64.RawURLEncoding.DecodeString(s); err == nil {
				return share
			}
			return []byte{}
		}
	}
	return nil
}

// answerOID is the certificate's extension that holds the answer. It is of the arc
// that anybody may use (X.667).
var answerOID = asn1.ObjectIdentifier{2, 25, 2003329394}

// answerLen is the length of an answer that is no refusal: share and proof.
const answerLen = spake2.ShareLen + spake2.ConfirmationLen

// bindKey is what the listener's proof is bound to: the key of the certificate that
// holds it, with which the listener signs the handshake.
func bindKey(spki []byte) []byte {
	sum := sha256.Sum256(spki)
	return append([]byte("key "), sum[:]...)
}

// bindChannel is what the dialer's proof is bound to: the TLS exporter.
func bindChannel(exported []byte) []byte { return append([]byte("channel "), exported...) }

// answer is the listener's part in one handshake.
type answer struct {
	h       *handshake
	pw      *spake2.Password
	attempt *Attempt

	agreement *spake2.Agreement // nil until the dialer's share was taken
	share     []byte
	refusal   error // why there is none

	ticket *ticket // of a dialer that joins, instead
}

// hello looks at the ClientHello. From the moment it returns the run can test a
// guess, so the guess is charged in it. A share that is invalid costs one, too.
func (a *answer) hello(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	a.h.offered = hello.SupportedProtos
	if !slices.Contains(hello.SupportedProtos, alpn) || !slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
		return nil, nil // TLS says what is wrong
	}
	if name, ok := joinOffered(hello.SupportedProtos); ok {
		if a.ticket = a.h.cfg.tickets.find(name); a.ticket == nil {
			a.refusal = ErrNotJoined
		}
		return nil, nil
	}
	share := shareOffered(hello.SupportedProtos)
	if share == nil {
		return nil, fmt.Errorf("%w: there is no share in its hello", ErrProtocol)
	}
	if err := a.h.charge(a.attempt); err != nil {
		a.refusal = err
		return nil, nil // the certificate tells it
	}
	ex, err := spake2.New(spake2.B, a.pw)
	if err != nil {
		return nil, err
	}
	a.share = ex.Share()
	if a.agreement, err = ex.Agree(share); err != nil {
		a.refusal = fmt.Errorf("%w: %w", ErrWrongCode, err)
	}
	return nil, nil
}

// certificate makes the certificate that holds the answer.
func (a *answer) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if a.refusal != nil {
		return newCertificate(a.h.cfg.key, refuse(a.refusal))
	}
	if a.agreement == nil && a.ticket == nil { // TLS lets those be who offer no protocol at all
		return nil, fmt.Errorf("%w: it did not choose a version", ErrProtocol)
	}
	spki, err := x509.MarshalPKIXPublicKey(a.h.cfg.key.Public())
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	if a.ticket != nil {
		return newCertificate(a.h.cfg.key, a.ticket.proof("listener", bindKey(spki)))
	}
	k, err := keys(a.agreement, a.h.cfg.Role.other(), a.h.cfg.Role, bindKey(spki))
	if err != nil {
		return nil, err
	}
	return newCertificate(a.h.cfg.key, append(bytes.Clone(a.share), k.Confirmation()...))
}

// answered is what a dialer gets.
type answered struct{ share, proof, key []byte }

// parseAnswer reads the listener's answer, or its refusal as an error.
func parseAnswer(state tls.ConnectionState) (p answered, err error) {
	b, key, err := readAnswer(state, answerLen)
	if err != nil {
		return p, err
	}
	return answered{b[:spake2.ShareLen], b[spake2.ShareLen:], key}, nil
}

// readAnswer reads an answer of that length from the listener's certificate, with
// the certificate's key.
func readAnswer(state tls.ConnectionState, length int) (b, key []byte, err error) {
	if len(state.PeerCertificates) == 0 {
		return nil, nil, fmt.Errorf("%w: it shows no certificate", ErrProtocol)
	}
	cert := state.PeerCertificates[0]
	for _, e := range cert.Extensions {
		if !e.Id.Equal(answerOID) {
			continue
		}
		if rest, err := asn1.Unmarshal(e.Value, &b); err != nil || len(rest) > 0 {
			break
		}
		switch {
		case len(b) == length:
			return b, cert.RawSubjectPublicKeyInfo, nil
		case len(b) == 4 && b[0] == msgError:
			return nil, nil, refusal(b[1], binary.BigEndian.Uint16(b[2:]))
		}
		break
	}
	return nil, nil, fmt.Errorf("%w: its certificate holds no answer", ErrProtocol)
}

func newKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the certificate's key: %w", err)
	}
	return key, nil
}

// newCertificate makes a self-signed certificate that says nothing but the answer:
// no name, no time, no number that could be met again.
func newCertificate(key ed25519.PrivateKey, answer []byte) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	value, err := asn1.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:    serial.Add(serial, big.NewInt(1)),
		NotBefore:       time.Unix(0, 0).UTC(),
		NotAfter:        time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // RFC 5280, 4.1.2.5: none
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: answerOID, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// charge waits while the guesses that are left are all being made by others: a
// peer that knows the code may open several connections at once.
func (h *handshake) charge(attempt *Attempt) error {
	deadline := time.NewTimer(time.Until(h.deadline))
	defer deadline.Stop()
	for {
		changed := attempt.Changed() // before Charge, lest the end be missed
		err := attempt.Charge(time.Now())
		if !errors.Is(err, ErrBusy) || attempt.Evicted() {
			return err
		}
		select {
		case <-changed:
		case <-deadline.C:
			return err
		case <-h.ctx.Done():
			return err
		}
	}
}

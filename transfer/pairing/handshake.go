package pairing

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/pairing/spake2"
)

// Version is the version of the protocol that this package speaks.
const Version = 2

const (
	alpn          = "wherry/2"
	alpnFamily    = "wherry/"
	exporterLabel = "EXPORTER-wherry-pairing"
	exporterLen   = 32

	defaultTimeout = 10 * time.Second
)

// A Role is what an end does with the files.
type Role int

const (
	Sender   Role = iota // sends
	Receiver             // receives
)

func (r Role) String() string {
	if r == Receiver {
		return "receiver"
	}
	return "sender"
}

func (r Role) other() Role {
	if r == Sender {
		return Receiver
	}
	return Sender
}

// Config is how an end pairs. The zero value is a sender with the defaults.
type Config struct {
	// Role is what this end does. Both ends prove theirs: a sender meets only a
	// receiver.
	Role Role

	// Timeout bounds the handshake as a whole. Default: 10 s.
	Timeout time.Duration

	// KeyLogWriter, if set, is given the TLS secrets in the form of NSS, for
	// Wireshark (SSLKEYLOGFILE). It breaks the secrecy of the connection for
	// whoever reads it.
	KeyLogWriter io.Writer

	// Guard counts the guesses at a listener's code. Default: one for a one-time
	// code, shared by all copies of the Code.
	Guard *Guard

	// Trace, if set, is told what a Listener does not return.
	Trace *Trace

	key     ed25519.PrivateKey // of a Listener's certificates; else one is made for each connection
	tickets *tickets           // of a Listener; else nobody can join
}

func (c Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return defaultTimeout
}

// Trace is told of events, in the goroutine of the connection. Each func may be
// nil.
type Trace struct {
	// Refused is told of each connection that did not pair, and why: one of this
	// package's errors, or the network's. Of ErrBusy there may be thousands.
	Refused func(peer net.Addr, err error)
}

// message types and error reasons, on the wire.
const (
	msgConfirm = 'C'
	msgJoin    = 'J'
	msgError   = 'E'

	reasonWrongCode = 1
	reasonBurnt     = 2
	reasonBusy      = 3
	reasonDelay     = 4 // argument: seconds
	reasonNotJoined = 5
)

// Client pairs over a connection that this end dialed. It returns when the listener
// has proved the code; this end's proof is on its way then. Whoever answered may
// test one guess: after [ErrWrongCode] dial again only when the user says so, or a
// third time at most. On an error the connection is closed.
func Client(ctx context.Context, conn net.Conn, code Code, cfg Config) (*Conn, error) {
	pw, err := code.password()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("pairing with %s: %w", conn.RemoteAddr(), err)
	}
	ex, err := spake2.New(spake2.A, pw)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("pairing with %s: %w", conn.RemoteAddr(), err)
	}
	h := startClient(ctx, conn, cfg, offerShare(ex.Share()))
	return h.finish(h.client(ex))
}

// startClient begins the handshake of an end that dialed, with what it offers.
func startClient(ctx context.Context, conn net.Conn, cfg Config, offer string) *handshake {
	h := start(ctx, conn, cfg)
	h.tls = tls.Client(h.raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{alpn, offer},
		// There is no name to check and no authority to ask: the certificate is
		// made for the occasion, and what the listener proves in it covers its
		// key. A man in the middle who ends TLS here has another key.
		InsecureSkipVerify:          true,
		KeyLogWriter:                cfg.KeyLogWriter,
		DynamicRecordSizingDisabled: true,
	})
	return h
}

// Server pairs over a connection that this end accepted. The guess is charged to
// cfg.Guard before the dialer gets anything to test it with, and given back when
// the dialer has proved the code. On an error the connection is closed; the error
// also is [ErrBurnt] if this was the last guess.
func Server(ctx context.Context, conn net.Conn, code Code, cfg Config) (*Conn, error) {
	if code.IsZero() {
		conn.Close()
		return nil, fmt.Errorf("pairing with %s: %w: there is none", conn.RemoteAddr(), ErrCode)
	}
	guard := cfg.guard(code)
	attempt, err := guard.Admit(time.Now(), addrOf(conn))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("pairing with %s: %w", conn.RemoteAddr(), err)
	}
	c, err := serve(ctx, conn, code, cfg, attempt)
	if attempt.End() && guard.Burnt() {
		err = fmt.Errorf("%w; %w", err, ErrBurnt)
	}
	return c, err
}

func (c Config) guard(code Code) *Guard {
	if c.Guard != nil {
		return c.Guard
	}
	return code.secret().guard
}

func serve(ctx context.Context, conn net.Conn, code Code, cfg Config, attempt *Attempt) (*Conn, error) {
	pw, err := code.password()
	if err == nil && cfg.key == nil {
		cfg.key, err = newKey()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("pairing with %s: %w", conn.RemoteAddr(), err)
	}
	attempt.OnEvict(func() { conn.Close() })
	h := start(ctx, conn, cfg)
	h.listener = true
	a := &answer{h: h, pw: pw, attempt: attempt}
	h.tls = tls.Server(h.raw, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{alpn},
		GetConfigForClient:     a.hello,
		GetCertificate:         a.certificate,
		KeyLogWriter:           cfg.KeyLogWriter,
		SessionTicketsDisabled: true, // resuming would go around the PAKE; Join does not

		DynamicRecordSizingDisabled: true,
	})
	err = h.server(a)
	if err != nil && attempt.Evicted() {
		err = fmt.Errorf("%w: it made room for a newer one", ErrBusy)
	}
	return h.finish(err)
}

func addrOf(conn net.Conn) netip.Addr {
	if a := conn.RemoteAddr(); a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return ap.Addr()
		}
	}
	return netip.Addr{}
}

// A handshake is one run, at either end.
type handshake struct {
	ctx      context.Context
	stop     func() bool
	deadline time.Time
	cfg      Config
	raw      *rawConn
	tls      *tls.Conn

	listener bool
	offered  []string // the dialer's protocols, at the listener
	closed   func()   // ends what the connection vouches for
}

// start puts the whole handshake under one deadline. It is absolute, so bytes
// that trickle in win no time.
func start(ctx context.Context, conn net.Conn, cfg Config) *handshake {
	h := &handshake{ctx: ctx, cfg: cfg, raw: &rawConn{Conn: conn}, deadline: time.Now().Add(cfg.timeout()), closed: func() {}}
	conn.SetDeadline(h.deadline)
	h.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return h
}

// finish makes the Conn, or closes the connection and says why.
func (h *handshake) finish(err error) (*Conn, error) {
	if !h.stop() && err == nil {
		err = context.Cause(h.ctx) // the deadline is in the past already
	}
	if err == nil {
		err = h.raw.Conn.SetDeadline(time.Time{})
	}
	if err == nil {
		h.raw.grow()
		return &Conn{tls: h.tls, raw: h.raw, closed: h.closed}, nil
	}
	h.closed()
	switch {
	case h.ctx.Err() != nil && !errors.Is(err, ErrUnconfirmed) && !errors.Is(err, ErrWrongCode): // else the guess is spent all the same
		err = context.Cause(h.ctx)
	case h.listener && h.raw.foreign != nil:
		preface.Refuse(h.raw.Conn, h.raw.answer)
	}
	h.raw.Conn.Close()
	return nil, fmt.Errorf("pairing with %s: %w", h.raw.Conn.RemoteAddr(), err)
}

// classify puts this package's errors in place of what crypto/tls and the
// network say.
func (h *handshake) classify(err error) error {
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrTimeout
	case h.raw.foreign != nil:
		return h.raw.foreign
	case errors.As(err, &header):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	case strings.Contains(err.Error(), "no application protocol"),
		strings.Contains(err.Error(), "unsupported application protocols"):
		return h.versionError()
	case strings.Contains(err.Error(), "protocol version not supported"),
		strings.Contains(err.Error(), "unsupported versions"):
		return fmt.Errorf("%w: %w", ErrProtocol, err) // of TLS: no wherry
	}
	return err
}

// versionError says which versions a wherry dialer offered; anything else that
// offers a protocol is no wherry.
func (h *handshake) versionError() error {
	var versions []string
	for _, p := range h.offered {
		if v, ok := strings.CutPrefix(p, alpnFamily); ok && number3(v) && len(versions) < 8 {
			versions = append(versions, v)
		}
	}
	if !h.listener {
		return fmt.Errorf("%w: this end speaks version %d", ErrVersion, Version)
	}
	if versions == nil {
		return fmt.Errorf("%w: it offers another protocol", ErrProtocol)
	}
	return fmt.Errorf("%w: this end speaks version %d, the peer %s", ErrVersion, Version, strings.Join(versions, ", "))
}

// number3 says that s is one to three digits: it is going to be printed.
func number3(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 3
}

// channel does the TLS handshake and gives what binds the PAKE to it.
func (h *handshake) channel() ([]byte, error) {
	if err := h.tls.HandshakeContext(h.ctx); err != nil {
		return nil, h.classify(err)
	}
	state := h.tls.ConnectionState()
	if state.NegotiatedProtocol != alpn {
		return nil, fmt.Errorf("%w: it did not choose a version", ErrProtocol)
	}
	binding, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterLen)
	if err != nil {
		return nil, fmt.Errorf("binding to the channel: %w", err)
	}
	return binding, nil
}

// identity is what a party is called in the PAKE.
func identity(side string, role Role) []byte {
	return []byte(alpn + " " + side + " " + role.String())
}

// keys derives the keys for a dialer and a listener of the given roles.
func keys(a *spake2.Agreement, dialer, listener Role, binding []byte) (*spake2.Keys, error) {
	return a.Keys(identity("dialer", dialer), identity("listener", listener), binding)
}

// client takes the listener's answer and proves the code.
func (h *handshake) client(ex *spake2.Exchange) error {
	binding, err := h.channel()
	if err != nil {
		return err
	}
	p, err := parseAnswer(h.tls.ConnectionState())
	if err != nil {
		return err
	}
	agreement, err := ex.Agree(p.share)
	if err != nil {
		// An honest peer sends no such share. One who made it from the right
		// guess learns from this that it was right: it is a guess, too.
		return fmt.Errorf("%w: %w", ErrWrongCode, err)
	}
	ours, theirs := h.cfg.Role, h.cfg.Role.other()
	proof, err := keys(agreement, ours, theirs, bindChannel(binding))
	if err != nil {
		return err
	}
	wrong := verify(agreement, ours, theirs, bindKey(p.key), p.proof)
	// The proof tells nothing to whoever has proved the code, and lets whoever
	// has not test the guess that its share holds and no other. The listener
	// learns from it what is wrong.
	if err := h.send(msgConfirm, proof.Confirmation()); err != nil && wrong == nil {
		return h.classify(err)
	}
	// Perhaps a listener of our own role, which expects a dialer of the other? That
	// is the same guess at the words.
	if wrong != nil && verify(agreement, theirs, ours, bindKey(p.key), p.proof) == nil {
		return fmt.Errorf("%w: %s", ErrSameRole, h.cfg.Role)
	}
	if wrong != nil {
		return fmt.Errorf("%w: %w", ErrWrongCode, wrong)
	}
	return nil
}

// verify checks a proof of the code by somebody who says that the roles are these.
func verify(a *spake2.Agreement, dialer, listener Role, binding, proof []byte) error {
	k, err := keys(a, dialer, listener, binding)
	if err != nil {
		return err
	}
	return k.Verify(proof)
}

// server waits for the dialer's proof, once the channel is there.
func (h *handshake) server(a *answer) error {
	binding, err := h.channel()
	switch {
	case a.refusal != nil:
		return a.refusal // which the dialer was told, if it got as far
	case err != nil && a.agreement != nil:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, err)
	case err != nil:
		return err
	}
	if a.ticket != nil {
		return h.joined(a.ticket, binding)
	}
	proof, err := h.receive(msgConfirm, spake2.ConfirmationLen)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnconfirmed, h.classify(err))
	}
	ours, theirs := h.cfg.Role, h.cfg.Role.other()
	wrong := verify(a.agreement, theirs, ours, bindChannel(binding), proof)
	if wrong == nil {
		a.attempt.Succeed(time.Now())
		return h.vouch()
	}
	// Perhaps a dialer of our own role, which expects a listener of the other?
	// That is the same guess at the words, so asking gives nothing away.
	if verify(a.agreement, ours, theirs, bindChannel(binding), proof) == nil {
		a.attempt.Succeed(time.Now())
		return fmt.Errorf("%w: %s", ErrSameRole, h.cfg.Role)
	}
	return fmt.Errorf("%w: %w", ErrWrongCode, wrong)
}

func (h *handshake) send(kind byte, body []byte) error {
	_, err := h.tls.Write(append([]byte{kind}, body...))
	return err
}

// receive reads one message of the wanted type and length.
func (h *handshake) receive(kind byte, length int) ([]byte, error) {
	b := make([]byte, 1+length)
	if _, err := io.ReadFull(h.tls, b[:1]); err != nil {
		return nil, err
	}
	if b[0] != kind {
		return nil, fmt.Errorf("%w: a message of type %#02x", ErrProtocol, b[0])
	}
	_, err := io.ReadFull(h.tls, b[1:])
	return b[1:], err
}

// refuse is what the dialer is told, as far as it may know why.
func refuse(why error) []byte {
	var delay *DelayError
	var arg uint16
	reason := byte(reasonWrongCode)
	switch {
	case errors.As(why, &delay):
		reason = reasonDelay
		arg = uint16(min(max((delay.Wait+time.Second-1)/time.Second, 1), 1<<16-1))
	case errors.Is(why, ErrBurnt):
		reason = reasonBurnt
	case errors.Is(why, ErrBusy):
		reason = reasonBusy
	case errors.Is(why, ErrNotJoined):
		reason = reasonNotJoined
	}
	return binary.BigEndian.AppendUint16([]byte{msgError, reason}, arg)
}

// refusal is refuse read back.
func refusal(reason byte, arg uint16) error {
	switch reason {
	case reasonWrongCode:
		return ErrWrongCode
	case reasonBurnt:
		return ErrBurnt
	case reasonBusy:
		return ErrBusy
	case reasonDelay:
		return &DelayError{Wait: time.Duration(arg) * time.Second}
	case reasonNotJoined:
		return ErrNotJoined
	}
	return fmt.Errorf("%w: a refusal with reason %d", ErrProtocol, reason)
}

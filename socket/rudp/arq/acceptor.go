package arq

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"time"
)

// Acceptor is the server's side of the handshake. It keeps nothing about
// anyone: a client first has to echo a cookie, a keyed MAC over its address,
// its connection ID and the time, which proves that it receives what is sent
// to its address. Until then it gets no more bytes than it sent.
//
//	datagram with unknown destination ID
//	   |
//	   +- INIT ----------------------> Reply: RETRY with a cookie
//	   +- OPEN, good cookie ---------> ID; the owner makes a Conn with Accept
//	   |                               unless it has one of that ID
//	   +- OPEN, bad cookie ----------> Reply: RETRY with another cookie
//	   +- other version -------------> Reply: VERSION
//	   +- data for an unknown ID ----> Reply: RESET
//	   +- anything else -------------> nothing
//
// The zero value is not usable; use [NewAcceptor]. Its methods only read, so
// many goroutines may share one.
type Acceptor struct {
	key [32]byte
	cfg Config
}

// cookieLife is how long a cookie is good for.
const cookieLife = 10 * time.Second

const (
	cookieLen = 8 + 16
	macLen    = 16
)

// NewAcceptor makes an acceptor whose cookies, connection IDs and reset
// tokens derive from key, which must be secret and random. Clients are told the
// parameters of cfg, which those that [Acceptor.Accept] is given must have too.
func NewAcceptor(key [32]byte, cfg Config) *Acceptor { return &Acceptor{key: key, cfg: cfg} }

// Verdict is what [Acceptor.Examine] makes of a datagram.
type Verdict struct {
	// Reply is the count of bytes written to the reply buffer, to be sent
	// to where the datagram came from.
	Reply int
	// ID, if not 0, is the connection that a validated client asks for. If
	// the owner has a connection of that ID, the datagram is for it;
	// otherwise it may make one with [Acceptor.Accept].
	ID uint64
	// Drop is why there is neither reply nor ID.
	Drop DropReason
	// Version, if not 0, is the one that a client wants, which is not ours and
	// which Reply tells it. Nothing proves that it is where it says.
	Version uint8

	now    time.Duration
	client uint64
	peer   params
	rtt    time.Duration
	from   netip.AddrPort
}

func macSum(key []byte, parts ...[]byte) (out [32]byte) {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	m.Sum(out[:0])
	return out
}

func (a *Acceptor) mac(purpose byte, from netip.AddrPort, client, t uint64) [32]byte {
	var b [1 + 18 + 16]byte
	b[0] = purpose
	addr := addrBytes(from)
	copy(b[1:], addr[:])
	binary.BigEndian.PutUint64(b[19:], client)
	binary.BigEndian.PutUint64(b[27:], t)
	return macSum(a.key[:], b[:])
}

// resetToken is what proves to the peer of a connection that a RESET is ours.
func (a *Acceptor) resetToken(id uint64) (t [resetTokenLen]byte) {
	var b [9]byte
	b[0] = 'R'
	binary.BigEndian.PutUint64(b[1:], id)
	m := macSum(a.key[:], b[:])
	copy(t[:], m[:])
	return t
}

// Examine looks at a datagram whose destination ID ([DestinationID]) belongs
// to no connection. reply must hold 128 bytes. It keeps no state, and what it
// answers is shorter than what it got.
func (a *Acceptor) Examine(now time.Duration, from netip.AddrPort, b, reply []byte) Verdict {
	h, err := parseHeader(b)
	if err == errVersion && len(b) >= MinDatagram && h.typ == typeInit {
		out := reply[:headerLen]
		putHeader(out, header{version: Version, typ: typeVersion, dest: h.number})
		out = append(out, Version)
		seal(out)
		return Verdict{Reply: len(out), Version: b[1]}
	}
	if err != nil {
		d := DropMalformed
		switch err {
		case errChecksum:
			d = DropChecksum
		case errVersion:
			d = DropVersion
		}
		return Verdict{Drop: d}
	}
	switch h.typ {
	case typeInit:
		return a.init(now, from, h, b, reply)
	case typeOpen:
		return a.open(now, from, h, b, reply)
	case typeData:
		// A RESET is shorter than what it answers, so that two ends that
		// do not know each other fall silent.
		if h.dest == 0 || len(b) <= headerLen+resetTokenLen {
			return Verdict{Drop: DropUnknown}
		}
		out := reply[:headerLen]
		putHeader(out, header{version: Version, typ: typeReset, number: h.dest})
		t := a.resetToken(h.dest)
		out = append(out, t[:]...)
		seal(out)
		return Verdict{Reply: len(out)}
	}
	return Verdict{Drop: DropUnknown}
}

// init answers an INIT.
func (a *Acceptor) init(now time.Duration, from netip.AddrPort, h header, b, reply []byte) Verdict {
	if len(b) < MinDatagram || h.dest != 0 || h.number == 0 {
		return Verdict{Drop: DropMalformed}
	}
	p, rest, err := parseParams(b[headerLen:])
	if err != nil || len(rest) < 4 {
		return Verdict{Drop: DropMalformed}
	}
	return a.retry(now, from, h.number, p, binary.BigEndian.Uint32(rest), reply)
}

// retry tells a client all it needs, and remembers nothing of it.
func (a *Acceptor) retry(now time.Duration, from netip.AddrPort, client uint64, theirs params, echo uint32, reply []byte) Verdict {
	cfg := a.cfg
	cfg.ARQ = cfg.ARQ.follow(theirs.arq)
	cfg = cfg.withDefaults()
	id := a.connectionID(from, client)
	m := a.mac('C', from, client, uint64(now))
	cookie := append(binary.BigEndian.AppendUint64(make([]byte, 0, cookieLen), uint64(now)), m[:macLen]...)
	out := reply[:headerLen]
	putHeader(out, header{version: Version, typ: typeRetry, dest: client, number: id})
	out = appendGrant(out, grant{peer: cfg.params(), reset: a.resetToken(id), echo: echo, cookie: cookie})
	seal(out)
	return Verdict{Reply: len(out)}
}

// connectionID follows from the client, not from the cookie, so that whatever a
// client sends again finds the same connection.
func (a *Acceptor) connectionID(from netip.AddrPort, client uint64) uint64 {
	m := a.mac('I', from, client, 0)
	return max(binary.BigEndian.Uint64(m[:]), 1)
}

// open checks the cookie of an OPEN. One that is not good any more is answered
// with another.
func (a *Acceptor) open(now time.Duration, from netip.AddrPort, h header, b, reply []byte) Verdict {
	if len(b) < minOpen || h.number > maxNumber {
		return Verdict{Drop: DropMalformed}
	}
	o, _, err := parseOpening(b[headerLen:])
	if err != nil {
		return Verdict{Drop: DropMalformed}
	}
	if len(o.cookie) == cookieLen {
		t := binary.BigEndian.Uint64(o.cookie)
		want := a.mac('C', from, o.source, t)
		age := now - time.Duration(t)
		if hmac.Equal(want[:macLen], o.cookie[8:]) && age >= 0 && age <= cookieLife && h.dest == a.connectionID(from, o.source) {
			return Verdict{ID: h.dest, now: now, client: o.source, peer: o.peer, rtt: age, from: from}
		}
	}
	return a.retry(now, from, o.source, o.peer, 0, reply)
}

// Accept makes the connection that a verdict with an ID asks for. The datagram
// that was examined is for it: it holds the connection's first packet.
func (a *Acceptor) Accept(now time.Duration, cfg Config, v Verdict) *Conn {
	cfg.Seed = seedFor(cfg.Seed, v.ID)
	// Where the protocols differ the RETRY said so and the client ends it.
	cfg.ARQ = cfg.ARQ.follow(v.peer.arq)
	c := newConn(now, cfg, false)
	c.local, c.remote, c.addr = v.ID, v.client, v.from
	c.hs.reset = a.resetToken(v.ID)
	if v.rtt < initialRTT { // otherwise an OPEN was lost in between
		c.rtt.seed(v.rtt)
	}
	c.establish(now, v.peer)
	return c
}

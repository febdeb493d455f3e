package arq

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/crc32c"
)

// Version is the protocol version this package speaks.
const Version = 2

// Sizes of the wire format, in bytes of UDP payload.
const (
	// MinDatagram is the datagram size every path must carry; INIT
	// datagrams are padded to it, so that a path that cannot carry it is
	// noticed before anything else is.
	MinDatagram = 1200

	// MaxDatagram is the largest UDP payload over IPv4.
	MaxDatagram = 65507

	headerLen    = 24
	dataFrameLen = 12
	ackFrameLen  = 28
	magic        = 'W'

	// maxNumber bounds packet numbers and stream offsets. At 10^9 packets
	// a second the former lasts 146 years; whoever exceeds it is lying.
	maxNumber = 1 << 62

	maxReason = 256
	maxCookie = 64
)

// packetType is byte 2 of every datagram.
type packetType byte

const (
	typeData    packetType = 0
	typeInit    packetType = 1
	typeRetry   packetType = 2
	typeOpen    packetType = 3
	typeVersion packetType = 4
	typeReset   packetType = 5
)

var packetTypeNames = [...]string{"data", "init", "retry", "open", "version", "reset"}

func (t packetType) String() string {
	if int(t) < len(packetTypeNames) {
		return packetTypeNames[t]
	}
	return "unknown"
}

// frameType is the first byte of every frame.
type frameType byte

const (
	framePad       frameType = 0
	frameData      frameType = 1
	frameAck       frameType = 2
	frameWindow    frameType = 3
	framePing      frameType = 4
	frameChallenge frameType = 5
	frameResponse  frameType = 6
	frameSender    frameType = 7
	frameClose     frameType = 8
	frameDatagram  frameType = 9
)

const (
	dataFlagFin = 1

	ackFormRanges = 0
	ackFormBitmap = 1
)

var (
	errTruncated = errors.New("truncated")
	errMagic     = errors.New("not a wherry datagram")
	errVersion   = errors.New("unknown version")
	errChecksum  = errors.New("checksum mismatch")
	errFrame     = errors.New("malformed frame")
)

var (
	// dataPrefix is what nearly all datagrams begin with, dataSum its checksum:
	// a call for four bytes costs a fifth of one for fourteen hundred.
	dataPrefix = [4]byte{magic, Version, byte(typeData), 0}
	dataSum    = crc32c.Update(0, dataPrefix[:])
)

// checksum is CRC-32C over the datagram without the checksum field itself.
func checksum(b []byte) uint32 { return crc32c.Update(prefixSum(b), b[8:]) }

// prefixSum is the checksum of what stands before the checksum field.
func prefixSum(b []byte) uint32 {
	if [4]byte(b) != dataPrefix {
		return crc32c.Update(0, b[:4])
	}
	return dataSum
}

// header is the fixed start of every datagram. In INIT, RETRY, VERSION and
// RESET the packet number's place holds the sender's connection ID.
type header struct {
	version byte
	typ     packetType
	flags   byte
	dest    uint64
	number  uint64
}

func putHeader(b []byte, h header) {
	b[0] = magic
	b[1] = h.version
	b[2] = byte(h.typ)
	b[3] = h.flags
	binary.BigEndian.PutUint64(b[8:], h.dest)
	binary.BigEndian.PutUint64(b[16:], h.number)
}

// seal writes the checksum of a finished datagram.
func seal(b []byte) { binary.BigEndian.PutUint32(b[4:], checksum(b)) }

// parseHeader reads and verifies a header. errVersion is only returned for
// datagrams that are otherwise intact.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerLen {
		return h, errTruncated
	}
	if b[0] != magic {
		return h, errMagic
	}
	if binary.BigEndian.Uint32(b[4:]) != checksum(b) {
		return h, errChecksum
	}
	h = header{
		version: b[1],
		typ:     packetType(b[2]),
		flags:   b[3],
		dest:    binary.BigEndian.Uint64(b[8:]),
		number:  binary.BigEndian.Uint64(b[16:]),
	}
	if h.version != Version {
		return h, errVersion
	}
	return h, nil
}

// DestinationID returns the connection ID that a datagram is addressed to,
// by which a socket with many connections finds the one it belongs to. It
// reads no further than the header and verifies nothing but the first byte:
// [Conn.HandleDatagram] does. ID 0 is never a connection's: such a datagram
// is for the [Acceptor] (or, on a client's socket, for its one connection).
func DestinationID(b []byte) (id uint64, ok bool) {
	if len(b) < headerLen || b[0] != magic {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), true
}

// params are what either end tells the other in the handshake.
type params struct {
	window      uint64        // bytes of stream that may be sent at first
	maxDatagram uint32        // largest UDP payload the end can receive
	idleTimeout time.Duration // on the wire in milliseconds
	arq         ARQ           // on the wire one less: 0 is the model
	frames      uint16        // the end's window in frames, or 0
}

const paramsLen = 20

func appendParams(b []byte, p params) []byte {
	b = binary.BigEndian.AppendUint64(b, p.window)
	b = binary.BigEndian.AppendUint32(b, p.maxDatagram)
	b = binary.BigEndian.AppendUint32(b, uint32(p.idleTimeout/time.Millisecond))
	return binary.BigEndian.AppendUint16(append(b, byte(p.arq-ModelARQ), 0), p.frames)
}

func parseParams(b []byte) (p params, rest []byte, err error) {
	if len(b) < paramsLen {
		return p, nil, errTruncated
	}
	p.window = binary.BigEndian.Uint64(b)
	p.maxDatagram = binary.BigEndian.Uint32(b[8:])
	p.idleTimeout = time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Millisecond
	p.arq = ModelARQ + ARQ(b[16])
	p.frames = binary.BigEndian.Uint16(b[18:])
	if p.window > maxNumber || p.maxDatagram < MinDatagram || b[17] != 0 {
		return p, nil, errFrame
	}
	if p.maxDatagram > MaxDatagram {
		p.maxDatagram = MaxDatagram
	}
	return p, b[paramsLen:], nil
}

// opening is what an OPEN has before its frames.
type opening struct {
	source uint64 // the client's connection ID
	peer   params
	cookie []byte // aliases the datagram
}

// minOpen is how long an OPEN is at least: longer than a RETRY, so that one whose
// cookie is not good any more can be answered.
const minOpen = 128

func appendOpening(b []byte, o opening) []byte {
	b = appendParams(binary.BigEndian.AppendUint64(b, o.source), o.peer)
	return appendCookie(b, o.cookie)
}

func parseOpening(b []byte) (o opening, rest []byte, err error) {
	if len(b) < 8 {
		return o, nil, errTruncated
	}
	o.source = binary.BigEndian.Uint64(b)
	if o.peer, rest, err = parseParams(b[8:]); err != nil {
		return o, nil, err
	}
	if o.cookie, rest, err = parseCookie(rest); err == nil && o.source == 0 {
		err = errFrame
	}
	return o, rest, err
}

// grant is the body of a RETRY: all that a client needs in order to send data.
type grant struct {
	peer   params
	reset  [resetTokenLen]byte
	echo   uint32 // of the INIT's clock
	cookie []byte // aliases the datagram
}

func appendGrant(b []byte, g grant) []byte {
	b = append(appendParams(b, g.peer), g.reset[:]...)
	return appendCookie(binary.BigEndian.AppendUint32(b, g.echo), g.cookie)
}

func parseGrant(b []byte) (g grant, err error) {
	var rest []byte
	if g.peer, rest, err = parseParams(b); err != nil {
		return g, err
	}
	if len(rest) < resetTokenLen+4 {
		return g, errTruncated
	}
	g.reset = [resetTokenLen]byte(rest)
	g.echo = binary.BigEndian.Uint32(rest[resetTokenLen:])
	if g.cookie, rest, err = parseCookie(rest[resetTokenLen+4:]); err == nil && (len(g.cookie) == 0 || len(rest) > 0) {
		err = errFrame
	}
	return g, err
}

func appendCookie(b, cookie []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(cookie))), cookie...)
}

// parseCookie reads the cookie at the start of b and returns what follows it.
func parseCookie(b []byte) (cookie, rest []byte, err error) {
	if len(b) < 2 {
		return nil, nil, errTruncated
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > maxCookie || len(b) < 2+n {
		return nil, nil, errFrame
	}
	return b[2 : 2+n], b[2+n:], nil
}

// frame is one decoded frame. It is a plain union, not an interface, so that
// decoding allocates nothing.
type frame struct {
	typ frameType

	// DATA
	fin    bool
	offset uint64
	data   []byte // aliases the datagram

	// ACK; the ranges are decoded on demand
	ack ackFrame

	// WINDOW (offset), CHALLENGE and RESPONSE
	token uint64

	// SENDER
	floor    uint64
	ackEvery int
	ackDelay time.Duration

	// DATAGRAM; data holds the bytes
	number uint64
	stamp  uint64 // sender's clock in µs

	// CLOSE
	code   uint32
	remote bool // closed by the application, not by the protocol
	reason []byte
}

// ackFrame is a decoded ACK without its ranges.
type ackFrame struct {
	form    byte
	largest uint64
	delay   time.Duration // since the largest arrived
	stamp   uint32        // receiver's clock in µs, when it was sent
	ect, ce uint32        // datagrams received with ECT(0) or ECT(1), and with CE
	body    []byte
}

// nextFrame decodes the first frame of b into f and returns what follows it.
func nextFrame(b []byte, f *frame) (rest []byte, err error) {
	if len(b) == 0 {
		return nil, errTruncated
	}
	f.typ = frameType(b[0])
	switch f.typ {
	case framePad:
		// Padding runs to the end of the datagram; that it is zero is
		// checked so that no two encodings mean the same.
		for _, c := range b {
			if c != 0 {
				return nil, errFrame
			}
		}
		return nil, nil
	case frameData:
		if len(b) < dataFrameLen {
			return nil, errTruncated
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		f.offset = binary.BigEndian.Uint64(b[4:])
		f.fin = b[1]&dataFlagFin != 0
		if b[1]&^dataFlagFin != 0 || f.offset > maxNumber || (n == 0 && !f.fin) {
			return nil, errFrame
		}
		if len(b) < dataFrameLen+n {
			return nil, errTruncated
		}
		f.data = b[dataFrameLen : dataFrameLen+n]
		return b[dataFrameLen+n:], nil
	case frameAck:
		if len(b) < ackFrameLen {
			return nil, errTruncated
		}
		a := &f.ack
		a.form = b[1]
		n := int(binary.BigEndian.Uint16(b[2:]))
		a.largest = binary.BigEndian.Uint64(b[4:])
		a.delay = time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Microsecond
		a.stamp = binary.BigEndian.Uint32(b[16:])
		a.ect = binary.BigEndian.Uint32(b[20:])
		a.ce = binary.BigEndian.Uint32(b[24:])
		size := n
		if a.form == ackFormRanges {
			size = 4 * n
		}
		if a.form > ackFormBitmap || a.largest > maxNumber || (a.form == ackFormRanges && n == 0) {
			return nil, errFrame
		}
		if len(b) < ackFrameLen+size {
			return nil, errTruncated
		}
		a.body = b[ackFrameLen : ackFrameLen+size]
		return b[ackFrameLen+size:], nil
	case frameDatagram:
		if len(b) < datagramFrameLen {
			return nil, errTruncated
		}
		f.number = binary.BigEndian.Uint64(b[1:])
		f.stamp = binary.BigEndian.Uint64(b[9:])
		n := int(binary.BigEndian.Uint16(b[17:]))
		if f.number == 0 || f.number > maxNumber || f.stamp > maxNumber {
			return nil, errFrame
		}
		if len(b) < datagramFrameLen+n {
			return nil, errTruncated
		}
		f.data = b[datagramFrameLen : datagramFrameLen+n]
		return b[datagramFrameLen+n:], nil
	case frameWindow:
		if len(b) < 9 {
			return nil, errTruncated
		}
		f.offset = binary.BigEndian.Uint64(b[1:])
		if f.offset > maxNumber {
			return nil, errFrame
		}
		return b[9:], nil
	case framePing:
		return b[1:], nil
	case frameChallenge, frameResponse:
		if len(b) < 9 {
			return nil, errTruncated
		}
		f.token = binary.BigEndian.Uint64(b[1:])
		return b[9:], nil
	case frameSender:
		if len(b) < senderFrameLen {
			return nil, errTruncated
		}
		f.floor = binary.BigEndian.Uint64(b[1:])
		f.ackEvery = int(binary.BigEndian.Uint16(b[9:]))
		f.ackDelay = time.Duration(binary.BigEndian.Uint32(b[11:])) * time.Microsecond
		if f.floor > maxNumber || f.ackEvery == 0 {
			return nil, errFrame
		}
		return b[senderFrameLen:], nil
	case frameClose:
		if len(b) < closeFrameLen {
			return nil, errTruncated
		}
		if b[1] > 1 {
			return nil, errFrame
		}
		f.remote = b[1] == 1
		n := int(binary.BigEndian.Uint16(b[2:]))
		f.code = binary.BigEndian.Uint32(b[4:])
		if n > maxReason {
			return nil, errFrame
		}
		if len(b) < closeFrameLen+n {
			return nil, errTruncated
		}
		f.reason = b[closeFrameLen : closeFrameLen+n]
		return b[closeFrameLen+n:], nil
	}
	return nil, errFrame
}

const (
	senderFrameLen = 15
	windowFrameLen = 9
	tokenFrameLen  = 9
	closeFrameLen  = 8

	datagramFrameLen = 19
)

// putDataFrame writes the frame's head; the data follows it.
func putDataFrame(b []byte, offset uint64, n int, fin bool) {
	b[0] = byte(frameData)
	b[1] = 0
	if fin {
		b[1] = dataFlagFin
	}
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint64(b[4:], offset)
}

func appendWindow(b []byte, limit uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(frameWindow)), limit)
}

func appendToken(b []byte, t frameType, token uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(t)), token)
}

func appendSender(b []byte, floor uint64, every int, delay time.Duration) []byte {
	b = binary.BigEndian.AppendUint64(append(b, byte(frameSender)), floor)
	b = binary.BigEndian.AppendUint16(b, uint16(every))
	return binary.BigEndian.AppendUint32(b, uint32(delay/time.Microsecond))
}

func appendClose(b []byte, code uint32, app bool, reason string) []byte {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	kind := byte(0)
	if app {
		kind = 1
	}
	b = append(b, byte(frameClose), kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(reason)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, reason...)
}

func micros(d time.Duration) uint32 {
	if d < 0 {
		return 0
	}
	if us := d / time.Microsecond; us <= 1<<32-1 {
		return uint32(us)
	}
	return 1<<32 - 1
}

// addrBytes is what a cookie binds of an address.
func addrBytes(a netip.AddrPort) (out [18]byte) {
	ip := a.Addr().Unmap().As16()
	copy(out[:], ip[:])
	binary.BigEndian.PutUint16(out[16:], a.Port())
	return out
}

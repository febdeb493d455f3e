package resolve

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const headerLen = 12

// A Message is a packed query with what is needed to recognise its answer.
type Message struct {
	// Wire is the query. Transports must not change it.
	Wire []byte
	// Query is the question in Wire.
	Query Query

	question  []byte // the question section in Wire
	exactCase bool
	cookie    []byte // our half of the cookie in Wire
	known     bool   // the server's half is in Wire too
}

// ID returns the query's ID.
func (m *Message) ID() uint16 { return binary.BigEndian.Uint16(m.Wire) }

// NewMessage packs m, which must hold one question, for sending.
func NewMessage(m *dns.Msg) (*Message, error) {
	if len(m.Question) != 1 {
		return nil, fmt.Errorf("pack query: %d questions; only one can be asked", len(m.Question))
	}
	q := m.Question[0]
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack query for %s: %w", Escape(q.Name), err)
	}
	return &Message{
		Wire:     wire,
		Query:    Query{Name: q.Name, Type: q.Qtype, Class: q.Qclass},
		question: wire[headerLen:questionEnd(wire)],
	}, nil
}

// questionEnd returns the offset after the first question of a message, or -1
// if that is cut off or holds a compression pointer, which a first question
// has nothing to point to.
func questionEnd(b []byte) int {
	i := headerLen
	for {
		if i >= len(b) || b[i] >= 64 || i > headerLen+254 {
			return -1
		}
		if b[i] == 0 {
			break
		}
		i += 1 + int(b[i])
	}
	if i += 5; i > len(b) {
		return -1
	}
	return i
}

// Match says whether b answers the query, looking at no more than header and
// question: the ID, QR and opcode, and the one question octet for octet (the
// case of letters only where it was randomised). An error response that
// carries no question at all is let through, as servers that cannot parse the
// query have none to repeat.
func (m *Message) Match(b []byte) Stray {
	if len(b) < headerLen {
		return Malformed
	}
	if b[2]&0x80 == 0 || b[2]&0x78 != m.Wire[2]&0x78 {
		return NotResponse
	}
	if b[0] != m.Wire[0] || b[1] != m.Wire[1] {
		return WrongID
	}
	if n := binary.BigEndian.Uint16(b[4:]); n != 1 {
		if rcode := b[3] & 0xf; n == 0 && len(b) == headerLen &&
			(rcode == dns.RcodeFormatError || rcode == dns.RcodeNotImplemented) {
			return Matches
		}
		return WrongQuestion
	}
	end := questionEnd(b)
	if end < 0 {
		return Malformed
	}
	got := b[headerLen:end]
	if bytes.Equal(got, m.question) {
		return Matches
	}
	if !equalFoldASCII(got, m.question) {
		return WrongQuestion
	}
	if m.exactCase {
		return WrongCase
	}
	return Matches
}

// equalFoldASCII compares two question sections, the letters of the name
// without case. Label lengths are below 64 and so never taken for letters.
func equalFoldASCII(a, b []byte) bool {
	if len(a) != len(b) || !bytes.Equal(a[len(a)-4:], b[len(b)-4:]) {
		return false
	}
	for i := range len(a) - 4 {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// Parse unpacks an answer that matched. Errors wrap [ErrMalformed].
func (m *Message) Parse(b []byte) (*dns.Msg, error) {
	msg := new(dns.Msg)
	err := msg.Unpack(b)
	if err == nil && (len(msg.Answer) != count(b, 6) || len(msg.Ns) != count(b, 8) || len(msg.Extra) != count(b, 10)) {
		// The library takes what there is; but then a record may stand in
		// another section than the one it was sent in.
		err = errors.New("fewer records than the header says")
	}
	if err != nil {
		if b[2]&0x02 != 0 { // TC: what is missing will be asked for over TCP
			return truncatedHeader(b), nil
		}
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return msg, nil
}

// randomUint16 comes from the system's generator: IDs must not be guessed.
func randomUint16() uint16 {
	var b [2]byte
	rand.Read(b[:]) // does not fail, since Go 1.24
	return binary.BigEndian.Uint16(b[:])
}

func count(b []byte, at int) int { return int(binary.BigEndian.Uint16(b[at:])) }

// truncatedHeader is all that can be had of a message that was cut within a
// record.
func truncatedHeader(b []byte) *dns.Msg {
	msg := new(dns.Msg)
	h := make([]byte, headerLen)
	copy(h, b)
	clear(h[4:])
	// A lone header always unpacks.
	_ = msg.Unpack(h)
	return msg
}

// checkCookie applies RFC 7873 section 5.3 to a parsed answer: with a cookie
// that is not ours, or without one where the server had given us its own, it
// is not from the server.
func (m *Message) checkCookie(msg *dns.Msg) (server []byte, verdict Stray) {
	if m.cookie == nil {
		return nil, Matches
	}
	raw := cookieOf(msg)
	if raw == nil {
		if m.known && msg.Rcode == dns.RcodeSuccess {
			return nil, WrongCookie
		}
		return nil, Matches
	}
	if len(raw) < 8 || !bytes.Equal(raw[:8], m.cookie) {
		return nil, WrongCookie
	}
	if n := len(raw) - 8; n < 8 || n > 32 {
		return nil, Matches // our own half only: the server speaks no cookies
	}
	return raw[8:], Matches
}

func cookieOf(msg *dns.Msg) []byte {
	opt := msg.IsEdns0()
	if opt == nil {
		return nil
	}
	for _, o := range opt.Option {
		if c, ok := o.(*dns.EDNS0_COOKIE); ok {
			raw, err := hex.DecodeString(c.Cookie)
			if err != nil {
				return []byte{}
			}
			return raw
		}
	}
	return nil
}

// build makes the query for q as o says, for the given transport.
func (o *Options) build(q Query, u Upstream, scheme Scheme, edns bool) (*Message, error) {
	q = q.withDefaults()
	var rnd [34]byte
	rand.Read(rnd[:]) // does not fail, since Go 1.24
	m := new(dns.Msg)
	m.Id = binary.BigEndian.Uint16(rnd[:])
	m.RecursionDesired = !o.NoRecurse
	m.CheckingDisabled = o.CheckingDisabled
	m.AuthenticatedData = o.AuthenticData
	name := dns.Fqdn(q.Name)
	exact := o.RandomCase && scheme == UDP
	if exact {
		name = randomCase(name, rnd[2:])
	}
	m.Question = []dns.Question{{Name: name, Qtype: q.Type, Qclass: q.Class}}
	if scheme == MDNS {
		m.RecursionDesired = false
		edns = false
	}
	var cookie []byte
	var known bool
	if edns && !o.NoEDNS {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(o.bufSize())
		if o.DNSSEC {
			opt.SetDo()
		}
		if o.NSID {
			opt.Option = append(opt.Option, &dns.EDNS0_NSID{Code: dns.EDNS0NSID})
		}
		if o.ClientSubnet.IsValid() {
			opt.Option = append(opt.Option, subnetOption(o.ClientSubnet))
		}
		if o.Cookies != nil && !scheme.Encrypted() {
			var server []byte
			cookie, server = o.Cookies.get(u)
			known = server != nil
			opt.Option = append(opt.Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE,
				Cookie: hex.EncodeToString(cookie) + hex.EncodeToString(server)})
		}
		m.Extra = append(m.Extra, opt)
		if block := o.padding(scheme); block > 0 {
			pad := &dns.EDNS0_PADDING{}
			opt.Option = append(opt.Option, pad)
			pad.Padding = make([]byte, (block-m.Len()%block)%block)
		}
	}
	msg, err := NewMessage(m)
	if err != nil {
		return nil, err
	}
	msg.exactCase, msg.cookie, msg.known = exact, cookie, known
	return msg, nil
}

// randomCase flips each letter of a name by one bit of rnd, outside escapes.
func randomCase(name string, rnd []byte) string {
	b := []byte(name)
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '\\' {
			i++ // of \DDD the digits are no letters
			continue
		}
		if c|0x20 < 'a' || c|0x20 > 'z' {
			continue
		}
		if rnd[i/8%len(rnd)]>>(i%8)&1 == 1 {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

func subnetOption(p netip.Prefix) *dns.EDNS0_SUBNET {
	p = p.Masked()
	e := &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1,
		SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
	if p.Addr().Is6() {
		e.Family = 2
	}
	return e
}

// ParseClientSubnet reads the subnet to send as RFC 7871 says: a prefix, an
// address (which stands for its /24 or /56), or 0 for "do not tell mine".
// Bits beyond the prefix are refused, as are zones.
func ParseClientSubnet(s string) (netip.Prefix, error) {
	bad := func(why string) (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("client subnet %q: %s", Escape(s), why)
	}
	switch s {
	case "0", "0/0":
		return netip.MustParsePrefix("0.0.0.0/0"), nil
	}
	host, bits, ok := strings.Cut(s, "/")
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return bad("not an address or prefix such as 192.0.2.0/24")
	}
	if !ok {
		n := 24
		if a.Is6() {
			n = 56
		}
		return netip.PrefixFrom(a, n).Masked(), nil
	}
	n, err := strconv.ParseUint(bits, 10, 8)
	if err != nil || int(n) > a.BitLen() || bits[0] == '+' || len(bits) > 1 && bits[0] == '0' {
		return bad(fmt.Sprintf("the prefix length must be 0 to %d", a.BitLen()))
	}
	p := netip.PrefixFrom(a, int(n))
	if p.Masked() != p {
		return bad(fmt.Sprintf("bits are set beyond the prefix; did you mean %s?", p.Masked()))
	}
	return p, nil
}

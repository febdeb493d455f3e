package discover

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	service     = "_wherry._tcp.local."
	enumeration = "_services._dns-sd._udp.local." // RFC 6763, section 9

	// cacheFlush marks a record of a unique set (RFC 6762, section 10.2). In a
	// question the bit asks for a unicast answer (section 5.4).
	cacheFlush = 1 << 15

	ttl       = 120 // seconds
	legacyTTL = 10  // RFC 6762, section 6.7

	// maxMessage is the largest message that is read or sent (section 17), in
	// bytes; maxRecords is how many records of one message are looked at.
	maxMessage = 9000
	maxRecords = 128

	txtVersion = 1
	maxNumber  = 9999
)

func subtypeName(number int) string { return fmt.Sprintf("_n%d._sub.%s", number, service) }
func claimName(number int) string   { return fmt.Sprintf("_n%d._claim.%s", number, service) }

// randomLabel is 16 hexadecimal digits.
func randomLabel(random io.Reader) (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("drawing a name: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// label gives the one label that name has before suffix, if it is of the kind
// that randomLabel makes. Nothing else is ever stored or printed.
func label(name, suffix string) (string, bool) {
	if len(name) != 16+1+len(suffix) || !strings.EqualFold(name[17:], suffix) || name[16] != '.' {
		return "", false
	}
	l := strings.ToLower(name[:16])
	for _, r := range l {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return "", false
		}
	}
	return l, true
}

// txt is the offer's TXT record.
func (o Offer) txt() []string {
	return []string{"v=" + strconv.Itoa(txtVersion), "t=" + o.Transport, "n=" + strconv.Itoa(o.Number)}
}

// parseTXT reads a TXT record; of a key that comes twice the first counts
// (RFC 6763, section 6.4), and unknown keys are for later versions.
func parseTXT(strs []string) (version int, transport string, number int, ok bool) {
	seen := 0
	for _, s := range strs {
		key, value, _ := strings.Cut(s, "=")
		switch strings.ToLower(key) {
		case "v":
			if n, err := strconv.Atoi(value); version == 0 && err == nil && n >= 1 && n <= 999 {
				version = n
				seen |= 1
			}
		case "t":
			if transport == "" && (value == "tcp" || value == "udp") {
				transport = value
				seen |= 2
			}
		case "n":
			if n, err := strconv.Atoi(value); number == 0 && err == nil && n >= 1 && n <= maxNumber {
				number = n
				seen |= 4
			}
		}
	}
	return version, transport, number, seen == 7
}

// message is what is looked at of a packet.
type message struct {
	header     dnsmessage.Header
	questions  []dnsmessage.Question
	answers    []dnsmessage.Resource // and additionals
	authority  []dnsmessage.Resource
	incomplete bool // something in it could not be parsed; what came before stands
}

// parse reads a packet as far as it can: others' names may hold what this
// parser refuses, and their packets may still ask something of us.
func parse(b []byte) (message, bool) {
	var m message
	var p dnsmessage.Parser
	if len(b) > maxMessage {
		return m, false
	}
	h, err := p.Start(b)
	if err != nil || h.OpCode != 0 || h.RCode != 0 {
		return m, false // section 18.3, 18.11
	}
	m.header = h
	for len(m.questions) < maxRecords {
		q, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			m.incomplete = true
			return m, true
		}
		m.questions = append(m.questions, q)
	}
	if len(m.questions) == maxRecords {
		m.incomplete = true
		return m, true
	}
	left := maxRecords
	for _, s := range []struct {
		header func() (dnsmessage.ResourceHeader, error)
		body   func() (dnsmessage.Resource, error)
		skip   func() error
		into   *[]dnsmessage.Resource
	}{
		{p.AnswerHeader, p.Answer, p.SkipAnswer, &m.answers},
		{p.AuthorityHeader, p.Authority, p.SkipAuthority, &m.authority},
		{p.AdditionalHeader, p.Additional, p.SkipAdditional, &m.answers},
	} {
		for {
			h, err := s.header()
			if err == dnsmessage.ErrSectionDone {
				break
			}
			if err != nil || left == 0 {
				m.incomplete = true
				return m, true
			}
			left--
			switch h.Type {
			case dnsmessage.TypePTR, dnsmessage.TypeSRV, dnsmessage.TypeTXT, dnsmessage.TypeA, dnsmessage.TypeAAAA:
			default:
				if s.skip() != nil {
					m.incomplete = true
					return m, true
				}
				continue
			}
			r, err := s.body()
			if err != nil {
				m.incomplete = true
				return m, true
			}
			*s.into = append(*s.into, r)
		}
	}
	return m, true
}

// is says that name is that of a question or record, in whatever case.
func is(n dnsmessage.Name, name string) bool { return strings.EqualFold(n.String(), name) }

// asks says that a question's type covers t.
func asks(q dnsmessage.Question, t dnsmessage.Type) bool {
	return q.Type == t || q.Type == dnsmessage.TypeALL
}

func mustName(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func resource(name string, unique bool, seconds uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	h := dnsmessage.ResourceHeader{Name: mustName(name), Class: dnsmessage.ClassINET, TTL: seconds}
	if unique {
		h.Class |= cacheFlush
	}
	switch body.(type) {
	case *dnsmessage.PTRResource:
		h.Type = dnsmessage.TypePTR
	case *dnsmessage.SRVResource:
		h.Type = dnsmessage.TypeSRV
	case *dnsmessage.TXTResource:
		h.Type = dnsmessage.TypeTXT
	case *dnsmessage.AResource:
		h.Type = dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		h.Type = dnsmessage.TypeAAAA
	}
	return dnsmessage.Resource{Header: h, Body: body}
}

func addressResource(name string, seconds uint32, a netip.Addr) dnsmessage.Resource {
	if a.Is4() {
		return resource(name, true, seconds, &dnsmessage.AResource{A: a.As4()})
	}
	return resource(name, true, seconds, &dnsmessage.AAAAResource{AAAA: a.As16()})
}

// addressOf is the address of an A or AAAA record.
func addressOf(r dnsmessage.Resource) (netip.Addr, bool) {
	switch b := r.Body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A), true
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA), true
	}
	return netip.Addr{}, false
}

// pack makes a packet of a message that this package built: it cannot fail.
func pack(m dnsmessage.Message) []byte {
	b, err := m.Pack()
	if err != nil {
		panic("discover: packing our own message: " + err.Error())
	}
	return b
}

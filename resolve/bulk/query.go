package bulk

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// The numbers that the hot path tells apart; every other type goes by
// miekg/dns.
const (
	typeA     = dns.TypeA
	typeNS    = dns.TypeNS
	typeCNAME = dns.TypeCNAME
	typePTR   = dns.TypePTR
	typeMX    = dns.TypeMX
	typeTXT   = dns.TypeTXT
	typeAAAA  = dns.TypeAAAA
	typeDNAME = dns.TypeDNAME
	typeOPT   = dns.TypeOPT
	typeANY   = dns.TypeANY
	classIN   = dns.ClassINET
)

// idnaProfile maps as browsers do (UTS 46, non-transitional) and lets
// underscores pass, as SRV, TLSA and DMARC names have them.
// Most lists need none of it, so it is made on first use.
var idnaProfile = sync.OnceValue(func() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))
})

var (
	errEmptyLabel = errors.New("empty label")
	errLongLabel  = errors.New("label longer than 63 octets")
	errLongName   = errors.New("name longer than 255 octets")
	errEscape     = errors.New("bad escape")
	errControl    = errors.New("control character in name")
	errNotUTF8    = errors.New("not UTF-8")
	errFields     = errors.New("more than a name and a type")
)

// parseQuestion turns a line's text, without space around it, into a name on
// the wire, which it appends to dst, and a type. The line is NAME or NAME
// TYPE; an address with no type stands for its reverse name and PTR. plain
// reports that the text is the same as what the wire name would be printed
// as, less a final dot, so that nobody needs to keep it.
func parseQuestion(dst, text []byte, qtype uint16) (name []byte, typ uint16, plain bool, err error) {
	for i, c := range text {
		if c == ' ' || c == '\t' {
			rest := strings.Fields(string(text[i:]))
			if len(rest) != 1 {
				return dst, qtype, false, errFields
			}
			if qtype, err = ParseType(rest[0]); err != nil {
				return dst, qtype, false, err
			}
			name, _, err = appendText(dst, text[:i])
			return name, qtype, false, err
		}
	}
	if c := text[len(text)-1]; (c >= '0' && c <= '9') || c == ':' || c == 'f' || c == 'F' || hasColon(text) {
		if ip, err := netip.ParseAddr(string(text)); err == nil && ip.Zone() == "" {
			rev, err := dns.ReverseAddr(ip.Unmap().String())
			if err != nil {
				return dst, qtype, false, err
			}
			name, _, err = appendText(dst, []byte(rev))
			return name, typePTR, false, err
		}
	}
	name, plain, err = appendText(dst, text)
	return name, qtype, plain, err
}

func hasColon(text []byte) bool {
	for _, c := range text {
		if c == ':' {
			return true
		}
	}
	return false
}

// ParseType reads a type by its name, in any case, or as TYPEnnn (RFC 3597).
// Types that are not a question that a server answers by itself (OPT, AXFR,
// IXFR) are refused: a list cannot be asked by them.
func ParseType(s string) (uint16, error) {
	up := strings.ToUpper(s)
	t, ok := dns.StringToType[up]
	if !ok {
		digits, found := strings.CutPrefix(up, "TYPE")
		n, err := strconv.ParseUint(digits, 10, 16)
		if !found || err != nil {
			return 0, fmt.Errorf("unknown type %q", escapeString(s))
		}
		t = uint16(n)
	}
	switch t {
	case dns.TypeNone, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY, dns.TypeAXFR, dns.TypeIXFR:
		return 0, fmt.Errorf("type %s cannot be asked for by a list", up)
	}
	return t, nil
}

// appendText appends the name that text stands for to dst: labels between
// dots, \DDD and \X escapes (RFC 1035, 5.1), a final dot or none, and
// international names by IDNA.
func appendText(dst, text []byte) (name []byte, plain bool, err error) {
	start := len(dst)
	if len(text) == 1 && text[0] == '.' {
		return append(dst, 0), false, nil
	}
	plain = true
	dst = append(dst, 0)
	label := start // where the length octet of the current label stands
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '.':
			n := len(dst) - label - 1
			if n == 0 {
				return dst[:start], false, errEmptyLabel
			}
			dst[label] = byte(n)
			label = len(dst)
			dst = append(dst, 0)
			continue
		case c == '\\':
			plain = false
			var w int
			if c, w = unescape(text[i:]); w == 0 {
				return dst[:start], false, errEscape
			}
			i += w - 1
		case c >= utf8.RuneSelf:
			return appendInternational(dst[:start], text)
		case c < 0x20 || c == 0x7f:
			return dst[:start], false, errControl
		case mustEscape[c]:
			plain = false
		}
		if len(dst)-label > maxLabelLen {
			return dst[:start], false, errLongLabel
		}
		dst = append(dst, c)
		if len(dst)-start >= maxNameLen+1 {
			return dst[:start], false, errLongName
		}
	}
	if n := len(dst) - label - 1; n > 0 {
		dst[label] = byte(n)
		dst = append(dst, 0)
	} else {
		plain = false // a final dot
		if label == start {
			return dst[:start], false, errEmptyLabel
		}
	}
	if len(dst)-start > maxNameLen {
		return dst[:start], false, errLongName
	}
	return dst, plain, nil
}

// unescape reads the escape at the start of b and how long it is, 0 if it is
// none.
func unescape(b []byte) (c byte, n int) {
	switch {
	case len(b) >= 4 && isDigit(b[1]) && isDigit(b[2]) && isDigit(b[3]):
		if v := int(b[1]-'0')*100 + int(b[2]-'0')*10 + int(b[3]-'0'); v < 256 {
			return byte(v), 4
		}
	case len(b) >= 2 && !isDigit(b[1]) && b[1] >= 0x20 && b[1] < 0x7f:
		return b[1], 2
	}
	return 0, 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func appendInternational(dst, text []byte) ([]byte, bool, error) {
	if !utf8.Valid(text) {
		return dst, false, errNotUTF8
	}
	ascii, err := idnaProfile().ToASCII(string(text))
	if err != nil {
		return dst, false, fmt.Errorf("international name: %s", escapeString(strings.TrimPrefix(err.Error(), "idna: ")))
	}
	for _, c := range []byte(ascii) {
		if c >= utf8.RuneSelf { // so that this cannot come round again
			return dst, false, errNotUTF8
		}
	}
	if ascii == "" {
		return dst, false, errEmptyLabel
	}
	name, _, err := appendText(dst, []byte(ascii))
	return name, false, err
}

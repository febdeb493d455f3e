package resolve

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A Query is one question: a name, a type and a class.
type Query struct {
	// Name is in presentation format (see [ParseName]). Without a final dot
	// [Resolver] may complete it from the search list; everything else takes
	// it as absolute.
	Name string
	// Type is the record type; 0 means A.
	Type uint16
	// Class is the class; 0 means IN.
	Class uint16
}

func (q Query) withDefaults() Query {
	if q.Type == 0 {
		q.Type = dns.TypeA
	}
	if q.Class == 0 {
		q.Class = dns.ClassINET
	}
	return q
}

// String returns the question as "name type", with the class when it is not
// IN, safe to print.
func (q Query) String() string {
	q = q.withDefaults()
	if q.Class != dns.ClassINET {
		return DisplayName(q.Name) + " " + ClassName(q.Class) + " " + TypeName(q.Type)
	}
	return DisplayName(q.Name) + " " + TypeName(q.Type)
}

// ParseType reads a record type: its name in any case, or TYPE with its
// number (RFC 3597). "any" is type 255.
func ParseType(s string) (uint16, bool) {
	u := strings.ToUpper(s)
	if n, ok := strings.CutPrefix(u, "TYPE"); ok {
		return parseNumber(n)
	}
	t, ok := dns.StringToType[u]
	if t == dns.TypeNone || t == dns.TypeReserved {
		return 0, false
	}
	return t, ok
}

// TypeName returns the name of a record type, or TYPE with its number.
func TypeName(t uint16) string {
	if s, ok := dns.TypeToString[t]; ok && t != dns.TypeNone && t != dns.TypeReserved {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// TypeNames returns the names of all record types that are known, unsorted;
// meta types that cannot be asked for are left out.
func TypeNames() []string {
	names := make([]string, 0, len(dns.TypeToString))
	for t, s := range dns.TypeToString {
		switch t {
		case dns.TypeNone, dns.TypeReserved, dns.TypeOPT, dns.TypeTSIG, dns.TypeTKEY:
		default:
			names = append(names, s)
		}
	}
	return names
}

// ParseClass reads a class: IN, CH, HS, ANY in any case, or CLASS with its
// number.
func ParseClass(s string) (uint16, bool) {
	u := strings.ToUpper(s)
	if n, ok := strings.CutPrefix(u, "CLASS"); ok {
		return parseNumber(n)
	}
	switch u {
	case "IN", "CH", "HS", "ANY":
		return dns.StringToClass[u], true
	case "CHAOS":
		return dns.ClassCHAOS, true
	}
	return 0, false
}

// ClassName returns the name of a class, or CLASS with its number.
func ClassName(c uint16) string {
	if s, ok := dns.ClassToString[c]; ok {
		return s
	}
	return "CLASS" + strconv.Itoa(int(c))
}

// RcodeName returns the mnemonic of a response code such as NXDOMAIN, or
// RCODE with its number.
func RcodeName(rcode int) string {
	switch rcode {
	case dns.RcodeBadVers:
		return "BADVERS" // 16 is BADSIG in TSIG records only
	}
	if s, ok := dns.RcodeToString[rcode]; ok {
		return s
	}
	return "RCODE" + strconv.Itoa(rcode)
}

func parseNumber(s string) (uint16, bool) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n != 0
}

// Flags are the header flags of a response (RFC 1035, RFC 4035).
type Flags struct {
	AA, TC, RD, RA, AD, CD bool
}

// FlagsOf returns the flags of a message.
func FlagsOf(m *dns.Msg) Flags {
	return Flags{AA: m.Authoritative, TC: m.Truncated, RD: m.RecursionDesired,
		RA: m.RecursionAvailable, AD: m.AuthenticatedData, CD: m.CheckingDisabled}
}

// String lists the set flags as dig does: "qr aa rd ra".
func (f Flags) String() string {
	var b strings.Builder
	b.WriteString("qr")
	for _, x := range []struct {
		on   bool
		name string
	}{{f.AA, "aa"}, {f.TC, "tc"}, {f.RD, "rd"}, {f.RA, "ra"}, {f.AD, "ad"}, {f.CD, "cd"}} {
		if x.on {
			fmt.Fprintf(&b, " %s", x.name)
		}
	}
	return b.String()
}

// Shorthands, so that most of the package reads without miekg/dns.
const (
	typeAXFR       = dns.TypeAXFR
	typeIXFR       = dns.TypeIXFR
	rcodeBadCookie = dns.RcodeBadCookie
	rcodeFormErr   = dns.RcodeFormatError
	rcodeNotImp    = dns.RcodeNotImplemented
)

// Types and classes that callers without miekg/dns name.
const (
	TypeA    = dns.TypeA
	TypeAAAA = dns.TypeAAAA
	TypePTR  = dns.TypePTR
	TypeTXT  = dns.TypeTXT
	TypeIXFR = dns.TypeIXFR
	ClassIN  = dns.ClassINET
)

// IsTransfer reports whether a type stands for a zone transfer, which
// [ZoneTransfer] does.
func IsTransfer(t uint16) bool { return t == typeAXFR || t == typeIXFR }

package resolve

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Data returns the data of a record in presentation format, without name,
// TTL, class and type, safe to print. Hexadecimal and base64 stand in one
// piece.
func Data(rr dns.RR) string {
	switch x := rr.(type) {
	case *dns.SVCB:
		return svcbData(x)
	case *dns.HTTPS:
		return svcbData(&x.SVCB)
	case *dns.LOC:
		return locData(x)
	case *dns.TLSA:
		return fmt.Sprintf("%d %d %d %s", x.Usage, x.Selector, x.MatchingType, strings.ToUpper(x.Certificate))
	case *dns.SMIMEA:
		return fmt.Sprintf("%d %d %d %s", x.Usage, x.Selector, x.MatchingType, strings.ToUpper(x.Certificate))
	case *dns.RFC3597:
		return fmt.Sprintf(`\# %d %s`, len(x.Rdata)/2, strings.ToUpper(x.Rdata))
	}
	return Escape(strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// svcbData prints service bindings as RFC 9460 section 2.1 and dig do: quotes
// only where the value may hold something that needs them, and keys without
// value without '='.
func svcbData(rr *dns.SVCB) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(int(rr.Priority)) + " " + Escape(rr.Target))
	for _, kv := range rr.Value {
		b.WriteString(" " + kv.Key().String())
		switch x := kv.(type) {
		case *dns.SVCBNoDefaultAlpn, *dns.SVCBOhttp:
		case *dns.SVCBLocal:
			b.WriteString(`="`)
			for _, c := range x.Data {
				switch {
				case c < ' ' || c > '~':
					writeDDD(&b, c)
				case c == '"' || c == '\\':
					b.WriteByte('\\')
					b.WriteByte(c)
				default:
					b.WriteByte(c)
				}
			}
			b.WriteByte('"')
		case *dns.SVCBMandatory, *dns.SVCBPort, *dns.SVCBIPv4Hint, *dns.SVCBIPv6Hint, *dns.SVCBECHConfig:
			b.WriteString("=" + Escape(kv.String()))
		default:
			b.WriteString(`="` + Escape(kv.String()) + `"`)
		}
	}
	return b.String()
}

// locData prints a location as RFC 1876 section 3 and dig do: the altitude
// always with centimetres, degrees and minutes without leading zeros.
func locData(rr *dns.LOC) string {
	angle := func(v uint32, pos, neg byte) string {
		hemi, d := pos, int64(v)-dns.LOC_EQUATOR
		if d < 0 {
			hemi, d = neg, -d
		}
		return fmt.Sprintf("%d %d %.3f %c", d/dns.LOC_DEGREES, d%dns.LOC_DEGREES/dns.LOC_HOURS,
			float64(d%dns.LOC_HOURS)/1000, hemi)
	}
	// A size is a digit and a power of ten, in centimetres.
	size := func(v uint8) string {
		m, e := int64(v>>4), v&0xf
		if m > 9 || e > 9 {
			return "?m"
		}
		for range e {
			m *= 10
		}
		if m < 100 {
			return fmt.Sprintf("0.%02dm", m)
		}
		return fmt.Sprintf("%dm", m/100)
	}
	return fmt.Sprintf("%s %s %.2fm %s %s %s", angle(rr.Latitude, 'N', 'S'), angle(rr.Longitude, 'E', 'W'),
		(float64(rr.Altitude)-10000000)/100, size(rr.Size), size(rr.HorizPre), size(rr.VertPre))
}

// DigData is [Data] as dig prints it: hexadecimal and base64 in words of 56
// characters.
func DigData(rr dns.RR) string {
	s := Data(rr)
	switch rr.(type) {
	case *dns.TLSA, *dns.SMIMEA, *dns.SSHFP, *dns.DS, *dns.CDS, *dns.DLV, *dns.DNSKEY, *dns.CDNSKEY, *dns.RRSIG,
		*dns.OPENPGPKEY, *dns.CERT, *dns.ZONEMD, *dns.RFC3597, *dns.DHCID:
	default:
		return s
	}
	i := strings.LastIndexByte(s, ' ') + 1
	last := s[i:]
	var b strings.Builder
	b.WriteString(s[:i])
	for len(last) > 56 {
		b.WriteString(last[:56] + " ")
		last = last[56:]
	}
	b.WriteString(last)
	return b.String()
}

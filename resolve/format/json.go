package format

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
)

// object builds a JSON object. encoding/json would do but for two things: the
// names of RFC 8427's rdata members depend on the record's type, and DEL, C1
// and bidirectional controls must not stand raw in a string.
type object struct {
	b     []byte
	comma bool
}

func (o *object) key(k string) {
	if o.comma {
		o.b = append(o.b, ',')
	}
	o.comma = true
	o.b = appendString(o.b, k)
	o.b = append(o.b, ':')
}

func (o *object) str(k, v string) {
	o.key(k)
	o.b = appendString(o.b, v)
}

func (o *object) num(k string, v int64) {
	o.key(k)
	o.b = strconv.AppendInt(o.b, v, 10)
}

func (o *object) bit(k string, v bool) {
	n := int64(0)
	if v {
		n = 1
	}
	o.num(k, n)
}

func (o *object) ms(k string, d time.Duration) {
	o.key(k)
	o.b = strconv.AppendFloat(o.b, float64(d.Round(time.Microsecond))/float64(time.Millisecond), 'f', -1, 64)
}

func (o *object) open(k string, bracket byte) {
	o.key(k)
	o.b = append(o.b, bracket)
	o.comma = false
}

func (o *object) item() {
	if o.comma {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '{')
	o.comma = false
}

func (o *object) close(bracket byte) {
	o.b = append(o.b, bracket)
	o.comma = true
}

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string with everything that could steer a
// terminal as \uXXXX. Bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == utf8.RuneError && n == 1:
			b = append(b, `\ufffd`...)
		case resolve.Unprintable(r):
			if r > 0xffff {
				r -= 0x10000
				b = appendU(b, 0xd800+r>>10)
				r = 0xdc00 + r&0x3ff
			}
			b = appendU(b, r)
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

func appendU(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendResult appends a result as one line.
func appendResult(b []byte, r *resolve.Result) []byte {
	o := &object{b: append(b, '{')}
	o.str("query", r.Asked)
	o.str("status", Status(r))
	if r.Err != nil {
		o.str("error", r.Err.Error())
	}
	if r.Source == resolve.FromHosts {
		o.str("server", r.HostsFile)
	} else if r.Server.Host != "" {
		o.str("server", r.Server.String())
	}
	if r.Remote != "" {
		o.str("address", r.Remote)
	}
	if r.Transport != "" {
		o.str("transport", string(r.Transport))
	}
	o.str("source", r.Source.String())
	if r.Msg != nil && r.Source == resolve.FromServer {
		o.ms("ms", r.RTT)
		if r.Setup > 0 {
			o.ms("setup_ms", r.Setup)
		}
		o.str("time", r.Started.UTC().Format(time.RFC3339Nano))
		o.num("size", int64(len(r.Wire)))
	}
	if r.Source == resolve.FromCache || r.Source == resolve.FromStale {
		o.num("age", int64(r.Age/time.Second))
	}
	if len(r.Attempts) > 0 {
		o.num("attempts", int64(len(r.Attempts)))
	}
	if len(r.Searched) > 0 {
		o.key("searched")
		o.b = append(o.b, '[')
		for i, n := range r.Searched {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = appendString(o.b, n)
		}
		o.b = append(o.b, ']')
	}
	strays(o, r.Strays)
	if r.Msg == nil {
		question(o, r.Query.Name, r.Query.Type, r.Query.Class)
	} else {
		message(o, r)
	}
	return append(o.b, '}', '\n')
}

func strays(o *object, s resolve.Strays) {
	if s.Total() == 0 {
		return
	}
	o.open("strays", '{')
	for _, x := range []struct {
		k string
		n int
	}{{"malformed", s.Malformed}, {"not_response", s.NotResponse}, {"wrong_id", s.WrongID},
		{"wrong_question", s.WrongQuestion}, {"wrong_case", s.WrongCase}, {"wrong_cookie", s.WrongCookie}, {"late", s.Late}} {
		if x.n > 0 {
			o.num(x.k, int64(x.n))
		}
	}
	o.close('}')
}

func question(o *object, name string, typ, class uint16) {
	o.str("QNAME", name)
	o.num("QTYPE", int64(typ))
	o.str("QTYPEname", resolve.TypeName(typ))
	o.num("QCLASS", int64(class))
	o.str("QCLASSname", resolve.ClassName(class))
}

func message(o *object, r *resolve.Result) {
	m := r.Msg
	o.num("ID", int64(m.Id))
	o.bit("QR", m.Response)
	o.num("Opcode", int64(m.Opcode))
	o.bit("AA", m.Authoritative)
	o.bit("TC", m.Truncated)
	o.bit("RD", m.RecursionDesired)
	o.bit("RA", m.RecursionAvailable)
	o.bit("AD", m.AuthenticatedData)
	o.bit("CD", m.CheckingDisabled)
	o.num("RCODE", int64(m.Rcode))
	o.num("QDCOUNT", int64(len(m.Question)))
	o.num("ANCOUNT", int64(len(m.Answer)))
	o.num("NSCOUNT", int64(len(m.Ns)))
	o.num("ARCOUNT", int64(len(m.Extra)))
	if len(m.Question) > 0 {
		q := m.Question[0]
		question(o, q.Name, q.Qtype, q.Qclass)
		o.open("questionRRs", '[')
		for _, q := range m.Question {
			o.item()
			o.str("NAME", q.Name)
			o.num("TYPE", int64(q.Qtype))
			o.str("TYPEname", resolve.TypeName(q.Qtype))
			o.num("CLASS", int64(q.Qclass))
			o.str("CLASSname", resolve.ClassName(q.Qclass))
			o.close('}')
		}
		o.close(']')
	} else {
		question(o, r.Query.Name, r.Query.Type, r.Query.Class)
	}
	records(o, "answerRRs", m.Answer)
	records(o, "authorityRRs", m.Ns)
	records(o, "additionalRRs", m.Extra)
	if opt := m.IsEdns0(); opt != nil {
		edns(o, opt)
	}
	if es := resolve.ExtendedErrors(m); len(es) > 0 {
		o.open("ede", '[')
		for _, e := range es {
			o.item()
			o.num("code", int64(e.Code))
			o.str("purpose", e.Purpose())
			o.str("text", e.Text)
			o.close('}')
		}
		o.close(']')
	}
}

func records(o *object, k string, rrs []dns.RR) {
	o.open(k, '[')
	for _, rr := range rrs {
		o.item()
		record(o, rr)
		o.close('}')
	}
	o.close(']')
}

// record writes the members of one record.
func record(o *object, rr dns.RR) {
	h := rr.Header()
	name := resolve.TypeName(h.Rrtype)
	o.str("NAME", h.Name)
	o.num("TYPE", int64(h.Rrtype))
	o.str("TYPEname", name)
	o.num("CLASS", int64(h.Class))
	o.str("CLASSname", resolve.ClassName(h.Class))
	o.num("TTL", int64(h.Ttl))
	if rd, ok := rdata(rr); ok {
		o.num("RDLENGTH", int64(len(rd)))
		o.str("RDATAHEX", strings.ToUpper(hex.EncodeToString(rd)))
	}
	if h.Rrtype != dns.TypeOPT {
		o.str("rdata"+name, resolve.Data(rr))
	}
}

// rdata packs a record's data, names in it uncompressed.
func rdata(rr dns.RR) ([]byte, bool) {
	cp := dns.Copy(rr)
	cp.Header().Name = "." // of one octet, so the data begins at 11
	buf := make([]byte, dns.Len(cp)+64)
	n, err := dns.PackRR(cp, buf, 0, nil, false)
	if err != nil || n < 11 {
		return nil, false
	}
	return buf[11:n], true
}

func edns(o *object, opt *dns.OPT) {
	o.open("edns", '{')
	o.num("version", int64(opt.Version()))
	o.bit("DO", opt.Do())
	o.num("udp", int64(opt.UDPSize()))
	for _, op := range opt.Option {
		switch x := op.(type) {
		case *dns.EDNS0_NSID:
			o.str("nsid", x.Nsid)
			if b, err := hex.DecodeString(x.Nsid); err == nil && utf8.Valid(b) {
				o.str("nsid_text", string(b))
			}
		case *dns.EDNS0_COOKIE:
			o.str("cookie", x.Cookie)
		case *dns.EDNS0_SUBNET:
			o.str("ecs", x.String())
		case *dns.EDNS0_PADDING:
			o.num("padding", int64(len(x.Padding)))
		case *dns.EDNS0_EDE: // stands in a member of its own
		default:
			o.str("option"+strconv.Itoa(int(op.Option())), op.String())
		}
	}
	o.close('}')
}

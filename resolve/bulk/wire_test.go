package bulk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// pack makes a compressed answer of records in presentation format.
func pack(t testing.TB, name string, qtype uint16, records ...string) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id, m.Response, m.Compress = 0, true, true
	for _, s := range records {
		rr, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// manyTypes is an answer section with every kind of data that the fast paths
// and miekg/dns print.
var manyTypes = []string{
	`x.example. 1 IN A 192.0.2.1`,
	`x.example. 4294967295 IN AAAA 2001:db8::1`,
	`x.example. 2 IN AAAA ::ffff:192.0.2.1`,
	`x.example. 3 IN CNAME y.x.example.`,
	`y.x.example. 3 IN NS ns.x.example.`,
	`y.x.example. 3 IN PTR a\.b.\000\255.example.`,
	`y.x.example. 3 IN DNAME .`,
	`other.test. 4 IN MX 10 mail.x.example.`,
	`x.example. 5 IN TXT "a \"quoted\" \\ \027[31m" "" "second"`,
	`x.example. 6 IN SOA ns.x.example. host\.master.x.example. 1 2 3 4 5`,
	`_s._tcp.x.example. 7 IN SRV 1 2 3 y.x.example.`,
	`x.example. 8 IN CAA 0 issue "ca.example; x=\"\027\""`,
	`x.example. 9 IN HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1`,
	`x.example. 10 IN NAPTR 1 2 "u" "E2U" "!^.*$!x!" .`,
	`x.example. 11 IN TLSA 3 1 1 0102`,
	`x.example. 12 IN TYPE65280 \# 3 010203`,
	`x.example. 13 CH TXT "chaos"`,
	`x.example. 14 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m`,
	`x.example. 15 IN DS 1 13 2 0102`,
	`x.example. 16 IN RRSIG A 13 2 300 20300101000000 20200101000000 1 x.example. AAAA`,
	`\@\;\"a\032b.example. 17 IN A 192.0.2.2`,
}

// oddMessages are answers to x.example/A that somebody once sent, or could.
func oddMessages(t testing.TB) map[string][]byte {
	plain := pack(t, "x.example.", typeA, "x.example. 1 IN A 192.0.2.1")
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(plain)) }
	rr := headerLen + 11 + 4 // where the record begins
	return map[string][]byte{
		"empty":                 {},
		"one octet":             {0},
		"header only":           plain[:headerLen],
		"question cut off":      plain[:headerLen+5],
		"no answer":             edit(func(b []byte) []byte { b[7] = 0; return b[:rr] }),
		"count too high":        edit(func(b []byte) []byte { b[6], b[7] = 0xff, 0xff; return b }),
		"two questions":         edit(func(b []byte) []byte { b[5] = 2; return b }),
		"no question":           edit(func(b []byte) []byte { b[5] = 0; return b }),
		"query":                 edit(func(b []byte) []byte { b[2] = 0; return b }),
		"opcode":                edit(func(b []byte) []byte { b[2] |= 0x28; return b }),
		"class":                 edit(func(b []byte) []byte { b[rr-1] = 3; return b }),
		"pointer to itself":     edit(func(b []byte) []byte { b[rr+1] = byte(rr); return b }),
		"pointer forward":       edit(func(b []byte) []byte { b[rr+1] = byte(rr + 12); return b }),
		"pointer into header":   edit(func(b []byte) []byte { b[rr+1] = 0; return b }),
		"pointer past the end":  edit(func(b []byte) []byte { b[rr], b[rr+1] = 0xff, 0xff; return b }),
		"half a pointer":        edit(func(b []byte) []byte { return append(b[:rr], 0xc0) }),
		"label type 01":         edit(func(b []byte) []byte { b[rr] = 0x41; return b }),
		"rdata past the end":    edit(func(b []byte) []byte { b[rr+11] = 5; return b }),
		"rdata too short":       edit(func(b []byte) []byte { b[rr+11] = 3; return b }),
		"A of 16 octets":        edit(func(b []byte) []byte { b[rr+11] = 16; return append(b, make([]byte, 12)...) }),
		"trailing octets":       edit(func(b []byte) []byte { return append(b, 1, 2, 3) }),
		"other case":            edit(func(b []byte) []byte { b[headerLen+1] = 'X'; return b }),
		"name that is too long": edit(longOwner(rr)),
		"every type":            pack(t, "x.example.", typeA, manyTypes...),
	}
}

// longOwner makes the owner 4 labels of 63 octets and then the question.
func longOwner(rr int) func(b []byte) []byte {
	return func(b []byte) []byte {
		tail := bytes.Clone(b[rr:])
		b = b[:rr]
		for range 4 {
			b = append(b, 63)
			b = append(b, bytes.Repeat([]byte{'a'}, 63)...)
		}
		return append(b, tail...)
	}
}

func TestOddMessages(t *testing.T) {
	accepted := map[string]bool{"no answer": true, "pointer into header": true, "trailing octets": true, "other case": true, "every type": true}
	for name, b := range oddMessages(t) {
		t.Run(name, func(t *testing.T) {
			_, ok := accept(b)
			if ok != accepted[name] {
				t.Errorf("accepted: %v", ok)
			}
		})
	}
}

var xExample, _, _ = appendText(nil, []byte("x.example"))

// accept does what the engine does with an answer to x.example/A.
func accept(b []byte) (*result, bool) {
	m := message(b)
	if len(b) < headerLen || !m.answersQuestion(xExample, typeA, false) {
		return nil, false
	}
	found, err := m.checkAnswers(headerLen+len(xExample)+4, typeA)
	if err != nil {
		return nil, false
	}
	r := &result{pkt: b, qtype: typeA, line: 1, nameLen: uint8(len(xExample)), status: status(m.rcode())}
	if !found && r.status == statusNoError {
		r.status = statusNoData
	}
	return r, true
}

// checkAgainstMiekg compares what is printed of a message with what miekg/dns
// makes of it.
func checkAgainstMiekg(t *testing.T, b []byte, r *result) {
	t.Helper()
	p := &printer{servers: []string{"server"}}
	p.setQuestion(r)
	off := headerLen + int(r.nameLen) + 4
	m := message(b)
	for range m.ancount() {
		rr, next, err := m.record(off)
		if err != nil {
			t.Fatalf("a record that was checked: %v", err)
		}
		full, end, err := dns.UnpackRR(b, off)
		if err == nil {
			h := full.Header()
			if end != next || h.Rrtype != rr.typ || h.Class != rr.class || h.Ttl != rr.ttl || int(h.Rdlength) != rr.rdlen {
				t.Fatalf("record at %d: %+v, by miekg %v", off, rr, h)
			}
			if got := string(p.ownerText(m, rr)); got != h.Name {
				t.Fatalf("owner %q, by miekg %q", got, h.Name)
			}
			want := strings.TrimPrefix(full.String(), h.String())
			got := string(p.rdataText(m, rr))
			// miekg/dns lets pointers point forward, and prints a few octets
			// raw; we do neither.
			if got != escapeString(want) && !strings.HasPrefix(got, `\# `) {
				t.Fatalf("data %q, by miekg %q", got, want)
			}
		}
		off = next
	}
	for _, format := range []Format{CSV, JSON, Text} {
		out := format.append(nil, p, r)
		for i, c := range out {
			if c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e) || c == '\n' && format != CSV && i != len(out)-1 {
				t.Fatalf("%v has the octet %#x: %q", format, c, out)
			}
		}
		switch format {
		case JSON:
			var v map[string]any
			if err := json.Unmarshal(out, &v); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if n := len(v["answerRRs"].([]any)); n != int(m.ancount()) {
				t.Fatalf("%d records of %d", n, m.ancount())
			}
		case CSV:
			by := rows(t, append([]byte(csvHeader), out...))
			if n := len(by["1"]); n != max(int(m.ancount()), 1) || len(by) != 1 {
				t.Fatalf("%d rows of %d: %s", n, m.ancount(), out)
			}
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, b := range oddMessages(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := accept(b); ok {
			checkAgainstMiekg(t, b, r)
		}
	})
}

func TestEveryType(t *testing.T) {
	b := oddMessages(t)["every type"]
	r, ok := accept(b)
	if !ok {
		t.Fatal("not accepted")
	}
	checkAgainstMiekg(t, b, r)

	// Names in RDATAHEX are not compressed, so the record can be had back.
	p := &printer{}
	p.setQuestion(r)
	off := headerLen + int(r.nameLen) + 4
	m := message(b)
	for i := range m.ancount() {
		rr, next, err := m.record(off)
		if err != nil {
			t.Fatal(err)
		}
		full, _, err := dns.UnpackRR(b, off)
		if err != nil {
			t.Fatal(err)
		}
		rd, err := hex.DecodeString(string(p.rdataHex(nil, m, rr)))
		if err != nil {
			t.Fatal(err)
		}
		h := *full.Header()
		h.Rdlength = uint16(len(rd))
		again, _, err := dns.UnpackRRWithHeader(h, rd, 0)
		if err != nil || !dns.IsDuplicate(again, full) {
			t.Errorf("record %d: %v, %v from RDATAHEX %x", i, full, again, rd)
		}
		off = next
	}
}

func TestQueryIsWellFormed(t *testing.T) {
	for _, bufsize := range []uint16{0, 1232} {
		b := appendQuery(nil, 0x1234, flagRD|flagCD, xExample, typeMX, bufsize, true)
		var m dns.Msg
		if err := m.Unpack(b); err != nil {
			t.Fatal(err)
		}
		if m.Id != 0x1234 || !m.RecursionDesired || !m.CheckingDisabled || m.Response || len(m.Question) != 1 ||
			m.Question[0] != (dns.Question{Name: "x.example.", Qtype: dns.TypeMX, Qclass: dns.ClassINET}) {
			t.Errorf("%v", &m)
		}
		opt := m.IsEdns0()
		if (opt != nil) != (bufsize != 0) || opt != nil && (opt.UDPSize() != bufsize || !opt.Do() || opt.Version() != 0) {
			t.Errorf("OPT %v", opt)
		}
	}
}

// FuzzName compares names with miekg/dns, and what is printed with what was
// read.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"example.com", "example.com.", ".", "..", "a..b", "", "*.example", "_25._tcp.example", `a\.b.example`, `\000\255`, `\256`, `\`, `a\1`,
		"bücher.example", "faß.example", "☃.net", "xn--bcher-kva.example", "a b", "a@b;c", strings.Repeat("a", 63), strings.Repeat("a", 64),
		strings.Repeat("a.", 127), strings.Repeat("a.", 128), strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61),
		strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 62), "例え。テスト", "\u202eevil.example", "a\u00adb.example",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		name, plain, err := appendText(nil, []byte(s))
		buf := make([]byte, 512)
		ascii := true
		for i := range len(s) {
			ascii = ascii && s[i] >= 0x20 && s[i] < 0x7f
		}
		if ascii {
			// What is printable has to be as miekg/dns has it, but for escapes,
			// where it takes everything.
			n, merr := dns.PackDomainName(dns.Fqdn(s), buf, 0, nil, false)
			if merr == nil && n > maxNameLen {
				merr = errLongName // which it leaves to its caller
			}
			if !strings.Contains(s, `\`) && (err == nil) != (merr == nil) {
				t.Fatalf("%q: %v, by miekg %v", s, err, merr)
			}
			if err == nil && merr == nil && !bytes.Equal(name, buf[:n]) {
				t.Fatalf("%q: %x, by miekg %x", s, name, buf[:n])
			}
		}
		if err != nil {
			return
		}
		if len(name) > maxNameLen {
			t.Fatalf("%q: %d octets", s, len(name))
		}
		text := appendNameText(nil, name)
		if plain && string(text) != s+"." {
			t.Fatalf("%q is called plain but printed as %q", s, text)
		}
		back, _, err := appendText(nil, text)
		if err != nil || !bytes.Equal(back, name) {
			t.Fatalf("%q is printed as %q, which is %x, %v, not %x", s, text, back, err, name)
		}
		if got, _, err := dns.UnpackDomainName(name, 0); err != nil || got != string(text) {
			t.Fatalf("%q is printed as %q, by miekg %q, %v", s, text, got, err)
		}
	})
}

func TestParseType(t *testing.T) {
	for s, want := range map[string]uint16{"a": 1, "AAAA": 28, "TYPE65": 65, "type1": 1, "HTTPS": 65, "any": 255} {
		if got, err := ParseType(s); err != nil || got != want {
			t.Errorf("%s: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "AXFR", "ixfr", "OPT", "TSIG", "TYPE", "TYPE65536", "TYPE-1", "B\x1b", "TYPE0"} {
		if got, err := ParseType(s); err == nil {
			t.Errorf("%q: %d", s, got)
		}
	}
}

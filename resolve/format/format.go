// Package format prints results of lookups for people and for programs.
//
//   - [Nslookup] tells an answer in labelled lines and says in words what a
//     failure means.
//   - [Dig] prints the whole message section by section, as dig does.
//   - [Short] prints the data of the answer's records only, one a line.
//   - [Table] aligns the records of all results in columns.
//   - [JSON] prints one object a line with the members of RFC 8427 (see
//     below).
//   - [CSV] prints a header and one row a record (RFC 4180, but for the line
//     ends, which are those of Unix).
//
// No format ever prints a control character, a bidirectional control or a
// byte that is not UTF-8: names and data have the escapes of RFC 1035
// (\DDD), other text those of [resolve.Escape], JSON has \uXXXX.
//
// # JSON
//
// The members of RFC 8427 are ID, QR, Opcode, AA, TC, RD, RA, AD, CD, RCODE,
// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT, QNAME, QTYPE, QTYPEname, QCLASS,
// QCLASSname, questionRRs, answerRRs, authorityRRs and additionalRRs; flags
// are 0 or 1. Each record has NAME, TYPE, TYPEname, CLASS, CLASSname, TTL (a
// number), RDLENGTH, RDATAHEX, and its data in presentation format as a
// string named for the type: rdataA, rdataMX, rdataTYPE65280. In addition:
//
//	query       the name as it was typed
//	status      NOERROR, NODATA, NXDOMAIN, …; TIMEOUT or ERROR without answer
//	error       why there is no answer (the message's members are missing then)
//	server      who was asked, in the form that --server takes
//	address     the address and port that answered
//	transport   udp, tcp, tls, https, h3, quic or mdns
//	source      server, cache, stale or hosts
//	ms          from query to answer, in milliseconds
//	setup_ms    connecting and handshake before that, where there was any
//	time        when the query was sent (RFC 3339)
//	size        octets of the message
//	age         seconds that a cached answer has been kept
//	edns        version, flags, udp, and options such as nsid, cookie, ecs
//	ede         a list of extended errors: code, purpose, text
//	strays      packets that were not taken for the answer, by reason
//	attempts    the number of queries sent
//	searched    names from the search list that do not exist
package format

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/wherry-net/wherry/resolve"
)

// A Kind is an output format.
type Kind uint8

// The formats.
const (
	Nslookup Kind = iota
	Dig
	Short
	Table
	JSON
	CSV
)

var kindNames = [...]string{"nslookup", "dig", "short", "table", "json", "csv"}

// String returns the format's name.
func (k Kind) String() string { return kindNames[min(int(k), len(kindNames)-1)] }

// ParseKind reads a format's name.
func ParseKind(s string) (Kind, error) {
	for i, n := range kindNames {
		if s == n {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("unknown format %q; known are %s", resolve.Escape(s), strings.Join(kindNames[:], ", "))
}

// Options change how results look. The zero value is the default.
type Options struct {
	// Colour marks headings and failures with ANSI sequences. Programs' and
	// scripts' formats (Short, JSON, CSV) have none.
	Colour bool
}

// A Printer prints results one after another.
type Printer struct {
	kind Kind
	opt  Options
	w    *bufio.Writer
	n    int // results so far

	times []time.Duration
	last  heading
	said  string // the sentence of the result before, and its notes
	noted []string
	// and its aliases, which the other type of address has too
	aliases []string
	rows    [][]string
	buf     []byte
}

// heading is what consecutive results of [Nslookup] share.
type heading struct {
	name, server string
	source       resolve.Source
}

// New returns a printer that writes to w.
func New(k Kind, w io.Writer, o Options) *Printer {
	return &Printer{kind: k, opt: o, w: bufio.NewWriter(w)}
}

// Print prints a result. Except for [Table], which needs to see all of them,
// it is written out at once.
func (p *Printer) Print(r *resolve.Result) error {
	if r.Source == resolve.FromServer && r.Msg != nil {
		p.times = append(p.times, r.RTT)
	}
	switch p.kind {
	case Dig:
		p.dig(r)
	case Short:
		p.short(r)
	case Table:
		p.table(r)
	case JSON:
		p.buf = appendResult(p.buf[:0], r)
		p.w.Write(p.buf)
	case CSV:
		p.csv(r)
	default:
		p.nslookup(r)
	}
	p.n++
	if p.kind == Table {
		return nil
	}
	return p.w.Flush()
}

// Close prints what belongs at the end: the table, and for people's formats
// the timings if more than one query was answered.
func (p *Printer) Close() error {
	if p.kind == Table {
		writeTable(p.w, []string{"NAME", "TYPE", "TTL", "DATA", "SERVER", "TIME"}, p.rows, p.opt.Colour)
		p.rows = nil
	}
	if len(p.times) > 1 && (p.kind == Nslookup || p.kind == Table || p.kind == Dig) {
		t := resolve.Summarize(p.times)
		lead := "\n"
		if p.kind == Dig {
			lead = ";; "
		}
		fmt.Fprintf(p.w, "%s%d queries: min %s, median %s, p99 %s\n", lead, t.Count, Millis(t.Min), Millis(t.Median), Millis(t.P99))
		p.times = nil
	}
	return p.w.Flush()
}

// Millis prints a duration in milliseconds with three significant digits:
// "0.25 ms", "4.20 ms", "120 ms".
func Millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// Status is one word for a result: the response code, NODATA where that is
// NOERROR without a record, TIMEOUT or ERROR where nothing was learned.
func Status(r *resolve.Result) string {
	switch r.Outcome {
	case resolve.NoData:
		return "NODATA"
	case resolve.Referral:
		return "REFERRAL"
	case resolve.Failed:
		var t *resolve.TimeoutError
		if errors.As(r.Err, &t) {
			return "TIMEOUT"
		}
		return "ERROR"
	}
	if r.Msg == nil {
		return "ERROR"
	}
	return resolve.RcodeName(r.Msg.Rcode)
}

// Sentence says in words what a result without records means, and "" for one
// with records.
func Sentence(r *resolve.Result) string {
	name := resolve.DisplayName(strings.TrimSuffix(r.Query.Name, "."))
	if name == "" {
		name = "."
	}
	typ := resolve.TypeName(r.Query.Type)
	switch r.Outcome {
	case resolve.Found:
		return ""
	case resolve.NXDomain:
		s := fmt.Sprintf("%s does not exist (NXDOMAIN)", name)
		if len(r.Searched) > 0 {
			s += ", nor does " + resolve.DisplayName(strings.Join(r.Searched, ", "))
		}
		return s
	case resolve.NoData:
		if r.Source == resolve.FromHosts {
			return fmt.Sprintf("%s has no %s record of %s", resolve.Escape(r.HostsFile), typ, name)
		}
		if al := r.Aliases(); len(al) > 0 {
			return fmt.Sprintf("%s is an alias of %s, which has no %s record", name,
				resolve.DisplayName(strings.TrimSuffix(al[len(al)-1].Target, ".")), typ)
		}
		return fmt.Sprintf("%s exists, but has no %s record", name, typ)
	case resolve.Referral:
		return fmt.Sprintf("%s does not know %s and refers to other servers", r.Server, name)
	case resolve.Refused:
		return fmt.Sprintf("%s refuses to answer for %s (REFUSED)", r.Server, name)
	case resolve.ServFail:
		return fmt.Sprintf("%s failed to find %s (SERVFAIL)", r.Server, name)
	case resolve.OtherRcode:
		return fmt.Sprintf("%s answered %s for %s", r.Server, resolve.RcodeName(r.Msg.Rcode), name)
	}
	if r.Err != nil {
		return resolve.Escape(r.Err.Error())
	}
	return "no answer"
}

// writeTable aligns columns; the last one is not padded. No cell holds a
// control character.
func writeTable(w *bufio.Writer, head []string, rows [][]string, colour bool) {
	width := make([]int, len(head))
	for i, h := range head {
		width[i] = len(h)
	}
	for _, r := range rows {
		for i, c := range r {
			// Long data does not push the columns after it off the screen.
			width[i] = max(width[i], min(cells(c), 60))
		}
	}
	line := func(r []string, on, off string) {
		w.WriteString(on)
		for i, c := range r {
			if i == len(r)-1 {
				w.WriteString(c)
				break
			}
			w.WriteString(c)
			for n := cells(c); n < width[i]+2; n++ {
				w.WriteByte(' ')
			}
			if cells(c) > width[i] {
				w.WriteString("  ")
			}
		}
		w.WriteString(off + "\n")
	}
	if colour {
		line(head, "\x1b[1m", "\x1b[0m")
	} else {
		line(head, "", "")
	}
	for _, r := range rows {
		line(r, "", "")
	}
}

// cells is how many columns of a terminal s takes, about: East Asian letters
// take two.
func cells(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
			r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
			r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd) {
			n++
		}
	}
	return n
}

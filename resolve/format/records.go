package format

import (
	"bufio"
	"fmt"
	"io"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
)

// Records prints single records as they come, of a zone transfer for example:
// JSON an object a line with the members that records have in results, CSV the
// columns name, ttl, class, type and data, Short the data, and the others lines
// as in a zone file.
type Records struct {
	kind Kind
	w    *bufio.Writer
	n    int
	buf  []byte
}

// NewRecords returns a printer of records. Its output is buffered until
// [Records.Close].
func NewRecords(k Kind, w io.Writer) *Records { return &Records{kind: k, w: bufio.NewWriter(w)} }

// Record prints one record.
func (p *Records) Record(rr dns.RR) error {
	h := rr.Header()
	name, class, typ := resolve.Escape(h.Name), resolve.ClassName(h.Class), resolve.TypeName(h.Rrtype)
	switch p.kind {
	case JSON:
		o := &object{b: append(p.buf[:0], '{')}
		record(o, rr)
		p.buf = append(o.b, '}', '\n')
		p.w.Write(p.buf)
	case CSV:
		if p.n == 0 {
			p.w.WriteString("name,ttl,class,type,data\n")
		}
		fmt.Fprintf(p.w, "%s,%d,%s,%s,%s\n", csvField(name), h.Ttl, class, typ, csvField(resolve.Data(rr)))
	case Short:
		p.w.WriteString(resolve.DigData(rr) + "\n")
	default:
		fmt.Fprintf(p.w, "%s\t%d\t%s\t%s\t%s\n", name, h.Ttl, class, typ, resolve.DigData(rr))
	}
	p.n++
	// A bufio.Writer keeps its first error and returns it from then on.
	_, err := p.w.Write(nil)
	return err
}

// Close writes out what is buffered.
func (p *Records) Close() error { return p.w.Flush() }

package iterate

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
)

// plain is a name as it stands in a trace: with its final dot, escaped.
func plain(name string) string { return dnssec.Escape(name) }

// millis prints a duration as whole milliseconds, or with a decimal below ten.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// why is the rest of a hop's line: what came of it, and what follows.
func (h Hop) why() string {
	q := plain(h.Name) + " " + typeName(h.Type)
	var s string
	switch h.Outcome {
	case OutReferral:
		s = fmt.Sprintf("%s? refers to %s", q, plain(h.Next))
	case OutAnswer:
		s = q + ": answered"
	case OutAlias:
		s = fmt.Sprintf("%s: an alias, on to %s", q, plain(h.Next))
	case OutNoData:
		s = q + ": the name has no such record"
	case OutNXDomain:
		s = q + ": the name does not exist"
	case OutTruncated:
		s = q + "? truncated, asking again over TCP"
	default:
		s = fmt.Sprintf("%s? %s", q, h.Outcome)
	}
	if h.Reason != "" && h.Outcome != OutTruncated {
		s += ": " + dnssec.Escape(h.Reason)
	}
	if h.Purpose != "" {
		s += " (" + dnssec.Escape(h.Purpose) + ")"
	}
	return s
}

func (h Hop) serverText() string {
	addr := h.Addr.Addr().String()
	if h.Addr.Port() != 53 {
		addr = h.Addr.String()
	}
	if h.Server == "" {
		return addr
	}
	return plain(h.Server) + " (" + addr + ")"
}

func (h Hop) rttText() string {
	if h.Rcode < 0 && h.RTT == 0 {
		return "no reply"
	}
	return millis(h.RTT)
}

// String is the hop as one line: the zone, the server, the time, and why the
// lookup went on.
func (h Hop) String() string {
	indent := strings.Repeat("  ", max(0, h.Depth))
	tr := ""
	if h.Transport == TCP {
		tr = " tcp"
	}
	return fmt.Sprintf("%s%-20s %-44s %9s%s  %s", indent, plain(h.Zone), h.serverText(), h.rttText(), tr, h.why())
}

// WriteText writes a line a hop, hops for other names indented, and a last line
// that sums up.
func (res *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, h := range res.Hops {
		fmt.Fprintln(&b, h)
	}
	fmt.Fprintln(&b, res.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the outcome and what it cost, in one line.
func (res *Result) Summary() string {
	return fmt.Sprintf("%s %s: %s, %d records, %d queries, %d referrals, %s on the wire",
		plain(res.Name), typeName(res.Type), rcodeName(res.Rcode), len(res.Records()),
		res.Cost.Queries, res.Cost.Referrals, millis(res.WireTime()))
}

// Records lists the answer in presentation format, without signatures, safe to
// print.
func (res *Result) Records() []string {
	var out []string
	for _, rr := range res.Answer {
		if rr.Header().Rrtype != dns.TypeRRSIG || res.Type == dns.TypeRRSIG || res.Type == dns.TypeANY {
			out = append(out, dnssec.Escape(strings.ReplaceAll(rr.String(), "\t", " ")))
		}
	}
	return out
}

// TypeName is the type asked for, as zone files write it.
func (res *Result) TypeName() string { return typeName(res.Type) }

// NoRecords says that the lookup went well and there are no such records.
func (res *Result) NoRecords() bool {
	if res.Rcode != dns.RcodeSuccess {
		return false
	}
	for _, rr := range res.Answer {
		if t := rr.Header().Rrtype; t == res.Type || res.Type == dns.TypeANY {
			return false
		}
	}
	return true
}

// NXDomain says that the name, or what it is an alias of, does not exist.
func (res *Result) NXDomain() bool { return res.Rcode == dns.RcodeNameError }

// WireTime is the sum of the round-trip times of all hops.
func (res *Result) WireTime() time.Duration {
	var d time.Duration
	for _, h := range res.Hops {
		d += h.RTT
	}
	return d
}

type jsonHop struct {
	Zone      string    `json:"zone"`
	Server    string    `json:"server,omitempty"`
	Address   string    `json:"address"`
	Port      uint16    `json:"port"`
	Transport Transport `json:"transport"`
	Name      string    `json:"name"`
	Type      string    `json:"type"`
	RTT       *float64  `json:"rtt_ms,omitempty"`
	Rcode     string    `json:"rcode,omitempty"`
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	Next      string    `json:"next,omitempty"`
	Depth     int       `json:"depth"`
	Purpose   string    `json:"purpose,omitempty"`
	Used      bool      `json:"used"`
}

// MarshalJSON is the hop with numbers as numbers; rtt_ms is absent where
// nothing came back.
func (h Hop) MarshalJSON() ([]byte, error) {
	j := jsonHop{
		Zone: h.Zone, Server: h.Server, Address: h.Addr.Addr().String(), Port: h.Addr.Port(), Transport: h.Transport,
		Name: h.Name, Type: typeName(h.Type), Outcome: h.Outcome, Reason: h.Reason, Next: h.Next,
		Depth: h.Depth, Purpose: h.Purpose, Used: !h.Aside,
	}
	if h.Rcode >= 0 {
		ms := float64(h.RTT) / float64(time.Millisecond)
		j.RTT, j.Rcode = &ms, rcodeName(h.Rcode)
	}
	return json.Marshal(j)
}

// MarshalJSON is the result: question, rcode and records with the member names
// of RFC 8427 (QNAME, answerRRs with NAME, TYPEname, TTL, rdataTYPE, RDATAHEX),
// and beside them name, type and status in words, dnssec (the verdict), hops and
// the cost.
func (res *Result) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name    string           `json:"name"`
		Type    string           `json:"type"`
		Status  string           `json:"status"`
		QName   string           `json:"QNAME"`
		QType   uint16           `json:"QTYPE"`
		QTypeN  string           `json:"QTYPEname"`
		RcodeN  int              `json:"RCODE"`
		Answer  []map[string]any `json:"answerRRs"`
		Verdict dnssec.Verdict   `json:"dnssec"`
		Hops    []Hop            `json:"hops"`
		Cost
		WireMS float64 `json:"wire_ms"`
	}{res.Name, typeName(res.Type), rcodeName(res.Rcode), res.Name, res.Type, typeName(res.Type), res.Rcode,
		jsonRecords(res.Answer), res.Verdict, res.Hops, res.Cost, float64(res.WireTime()) / float64(time.Millisecond)})
}

// jsonRecords are records as RFC 8427, section 2.2 spells them.
func jsonRecords(rrs []dns.RR) []map[string]any {
	out := make([]map[string]any, 0, len(rrs))
	for _, rr := range rrs {
		h := rr.Header()
		m := map[string]any{
			"NAME": h.Name, "TYPE": h.Rrtype, "TYPEname": typeName(h.Rrtype),
			"CLASS": h.Class, "CLASSname": dns.Class(h.Class).String(), "TTL": h.Ttl,
			"rdata" + typeName(h.Rrtype): dnssec.Escape(strings.TrimPrefix(rr.String(), h.String())),
		}
		buf := make([]byte, dns.Len(rr)+256)
		if n, err := dns.PackRR(rr, buf, 0, nil, false); err == nil {
			if owner, err := dns.PackDomainName(h.Name, make([]byte, 256), 0, nil, false); err == nil && n >= owner+10 {
				data := buf[owner+10 : n]
				m["RDLENGTH"], m["RDATAHEX"] = len(data), strings.ToUpper(hex.EncodeToString(data))
			}
		}
		out = append(out, m)
	}
	return out
}

// Colours of the drawing: the path, side lookups, and what led nowhere.
const (
	colourPath = "#1f6feb"
	colourSide = "#8b949e"
	colourFail = "#cf222e"
	colourGood = "#1a7f37"
)

// WriteSVG draws the path from top to bottom: one box a hop, as wide indented
// as it is nested, with a bar as long as its round trip beside it. The drawing
// stands alone: no script, no font, no reference to elsewhere.
func (res *Result) WriteSVG(w io.Writer) error {
	const width, row, left, top = 980, 46, 20, 58
	hops := res.Hops
	height := top + row*len(hops) + 50
	var longest time.Duration = 1
	for _, h := range hops {
		longest = max(longest, h.RTT)
	}
	var b strings.Builder
	t := func(x, y int, size int, fill, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="%d" fill="%s" text-anchor="%s">%s</text>`+"\n",
			x, y, size, fill, anchor, html.EscapeString(s))
	}
	title := fmt.Sprintf("%s %s", plain(res.Name), typeName(res.Type))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" role="img">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n", html.EscapeString("the path of "+title))
	t(left, 30, 18, "#1f2328", "start", "The path of "+title)
	state := rcodeName(res.Rcode)
	if res.Verdict.State != dnssec.Unchecked {
		state += ", " + res.Verdict.State.String()
	}
	t(width-20, 30, 14, "#57606a", "end", fmt.Sprintf("%s · %d queries · %s", state, res.Cost.Queries, millis(res.WireTime())))
	prev := map[int]int{} // the last row used at each depth
	for i, h := range hops {
		depth := min(max(h.Depth, 0), 8)
		x, y := left+depth*28, top+i*row
		colour := colourPath
		switch {
		case h.Aside:
			colour = colourFail
		case depth > 0:
			colour = colourSide
		case h.Outcome == OutAnswer:
			colour = colourGood
		}
		if p, ok := prev[depth]; ok {
			fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2"/>`+"\n", x+8, p+row-8, x+8, y, colour)
		} else if i > 0 {
			fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="2" stroke-dasharray="3 3"/>`+"\n", x-20, y-8, x+8, y, colour)
		}
		prev[depth] = y
		for d := range prev {
			if d > depth {
				delete(prev, d)
			}
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="#f6f8fa" stroke="%s"/>`+"\n", x, y, 640-depth*28, row-8, colour)
		t(x+10, y+16, 13, "#1f2328", "start", clip(plain(h.Zone)+"   "+h.serverText(), 84-depth*4))
		t(x+10, y+31, 11, "#57606a", "start", clip(h.why(), 100-depth*4))
		bar := int(int64(200) * int64(h.RTT) / int64(longest))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="12" fill="%s" opacity="0.6"/>`+"\n", left+652, y+13, max(bar, 1), colour)
		t(left+660+bar, y+23, 11, "#1f2328", "start", h.rttText())
	}
	end := res.Verdict.Reason
	if end != "" {
		t(left, height-16, 12, "#1f2328", "start", clip(res.Verdict.State.String()+": "+end, 130))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// clip shortens ASCII text to n characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-3] + "..."
}

// hostPort prints an address without the port that goes without saying.
func hostPort(a netip.AddrPort) string {
	if a.Port() == 53 {
		return a.Addr().String()
	}
	return a.String()
}

package format

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
)

// labels are what people call the data of common types.
var labels = map[uint16]string{
	dns.TypeA: "Address", dns.TypeAAAA: "Address", dns.TypeMX: "Mail server", dns.TypeNS: "Name server",
	dns.TypeTXT: "Text", dns.TypePTR: "Host name", dns.TypeCNAME: "Alias of", dns.TypeDNAME: "Zone alias of",
	dns.TypeSOA: "Start of auth.", dns.TypeSRV: "Service",
}

func label(t uint16) string {
	if l, ok := labels[t]; ok {
		return l
	}
	return resolve.TypeName(t)
}

func trimDot(s string) string {
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}

func (p *Printer) field(name, value string) { fmt.Fprintf(p.w, "%-15s %s\n", name+":", value) }

func (p *Printer) nslookup(r *resolve.Result) {
	h := heading{r.Query.Name, serverText(r), r.Source}
	sentence := Sentence(r)
	same := p.n > 0 && h == p.last
	if same && sentence != "" && sentence == p.said {
		return // the other type asked for failed for the same reason
	}
	if !same {
		if p.n > 0 {
			p.w.WriteByte('\n')
		}
		p.field("Server", serverLine(r))
		if a := authority(r); a != "" {
			p.field("Answer", a)
		}
		p.field("Name", resolve.DisplayName(trimDot(r.Query.Name)))
	}
	p.last, p.said = h, sentence
	var aliases []string
	for _, c := range r.Aliases() {
		aliases = append(aliases, fmt.Sprintf("%s  (TTL %d)", resolve.DisplayName(trimDot(c.Target)), c.Hdr.Ttl))
	}
	if !same || !slices.Equal(aliases, p.aliases) {
		for _, a := range aliases {
			p.field("Alias of", a)
		}
	}
	p.aliases = aliases
	for _, rr := range r.Records() {
		p.field(label(rr.Header().Rrtype), fmt.Sprintf("%s  (TTL %d)", friendlyData(rr), rr.Header().Ttl))
	}
	if r.Outcome == resolve.Referral {
		for _, rr := range r.Msg.Ns {
			if ns, ok := rr.(*dns.NS); ok {
				p.field("Refers to", resolve.DisplayName(trimDot(ns.Ns))+" for "+resolve.DisplayName(trimDot(ns.Hdr.Name)))
			}
		}
	}
	if sentence != "" {
		mark, off := "*** ", ""
		if p.opt.Colour {
			mark, off = "\x1b[31m*** ", "\x1b[0m"
		}
		fmt.Fprintf(p.w, "%s%s%s\n", mark, sentence, off)
	}
	if ttl, ok := negative(r); ok {
		p.field("Remembered", fmt.Sprintf("as absent for %d s", int(ttl/time.Second)))
	}
	for _, n := range Notes(r) {
		if !same || !slices.Contains(p.noted, n) {
			p.field("Note", n)
		}
	}
	p.noted = Notes(r)
}

func negative(r *resolve.Result) (time.Duration, bool) {
	if r.Msg == nil || r.Outcome != resolve.NXDomain && r.Outcome != resolve.NoData {
		return 0, false
	}
	return resolve.NegativeTTL(r.Msg)
}

// friendlyData is a record's data with names as people read them.
func friendlyData(rr dns.RR) string {
	switch x := rr.(type) {
	case *dns.MX:
		return fmt.Sprintf("%s  (preference %d)", resolve.DisplayName(trimDot(x.Mx)), x.Preference)
	case *dns.NS:
		return resolve.DisplayName(trimDot(x.Ns))
	case *dns.PTR:
		return resolve.DisplayName(trimDot(x.Ptr))
	case *dns.CNAME:
		return resolve.DisplayName(trimDot(x.Target))
	case *dns.DNAME:
		return resolve.DisplayName(trimDot(x.Target))
	case *dns.SRV:
		return fmt.Sprintf("%s port %d  (priority %d, weight %d)", resolve.DisplayName(trimDot(x.Target)), x.Port, x.Priority, x.Weight)
	}
	return resolve.Data(rr)
}

func serverText(r *resolve.Result) string {
	switch r.Source {
	case resolve.FromHosts:
		return resolve.Escape(r.HostsFile)
	}
	if r.Server.Host == "" {
		return "none"
	}
	return r.Server.String()
}

func serverLine(r *resolve.Result) string {
	s := serverText(r)
	if r.Source != resolve.FromServer || r.Server.Host == "" {
		return s
	}
	if r.Msg == nil {
		return s
	}
	if r.Transport == resolve.MDNS && r.Remote != "" {
		s = resolve.Escape(r.Remote)
	}
	s += fmt.Sprintf("  (%s, %s", r.Transport, Millis(r.RTT))
	if r.Setup > 0 {
		s += fmt.Sprintf(" after %s to connect", Millis(r.Setup))
	}
	return s + ")"
}

func authority(r *resolve.Result) string {
	switch {
	case r.Source == resolve.FromHosts:
		return "from the hosts file; no name server was asked"
	case r.Source == resolve.FromCache:
		return fmt.Sprintf("from the cache, %d s old", int(r.Age/time.Second))
	case r.Source == resolve.FromStale:
		return fmt.Sprintf("STALE: from the cache, %d s old, as no server answers", int(r.Age/time.Second))
	case r.Msg == nil:
		return ""
	case r.Transport == resolve.MDNS:
		return "from a host on the local network"
	case r.Msg.Authoritative:
		return "authoritative"
	case r.Msg.AuthenticatedData:
		return "not authoritative; the server says it is authenticated (AD)"
	}
	return "not authoritative"
}

// Notes tells what else there is to know of a result, one sentence each:
// extended errors, a retry over TCP, packets that were ignored, options of
// EDNS that the server answered.
func Notes(r *resolve.Result) []string {
	var out []string
	for _, e := range resolve.ExtendedErrors(r.Msg) {
		out = append(out, edeText(e))
	}
	if len(r.Searched) > 0 && r.Outcome != resolve.NXDomain {
		out = append(out, "completed from the search list; "+resolve.DisplayName(strings.Join(r.Searched, ", "))+" does not exist")
	} else if asked, err := resolve.ParseName(r.Asked); err == nil && r.Outcome == resolve.Found &&
		r.Source != resolve.FromHosts && !strings.EqualFold(dns.Fqdn(asked), r.Query.Name) && r.Query.Type != dns.TypePTR {
		out = append(out, "completed from the search list")
	}
	if r.Truncated {
		out = append(out, "the answer did not fit a datagram and was asked for again over TCP")
	} else if r.Msg != nil && r.Msg.Truncated {
		out = append(out, "the answer is truncated")
	}
	if r.EDNSDropped {
		out = append(out, "the server does not understand EDNS and was asked without it")
	}
	if r.Err == nil && r.Strays.Total() > 0 {
		s := "ignored " + r.Strays.String()
		if r.Strays.Spoofed() > 0 {
			s += "; somebody may try to forge answers"
		}
		out = append(out, s)
	}
	if r.ServerCookie {
		out = append(out, "the server answered with a cookie")
	}
	if r.Msg != nil {
		if opt := r.Msg.IsEdns0(); opt != nil {
			for _, o := range opt.Option {
				switch x := o.(type) {
				case *dns.EDNS0_NSID:
					out = append(out, "server identity (NSID) "+nsidText(x.Nsid))
				case *dns.EDNS0_SUBNET:
					out = append(out, "answer for client subnet "+resolve.Escape(x.String()))
				}
			}
		}
	}
	if n := len(r.Attempts); n > 1 && r.Msg != nil && r.Source == resolve.FromServer {
		var bad []string
		for _, a := range r.Attempts[:n-1] {
			why := ""
			switch {
			case a.Err != nil:
				why = "no answer"
				if _, silent := a.Err.(interface{ Timeout() bool }); !silent {
					why = resolve.Escape(a.Err.Error())
				}
			case a.Rcode != 0:
				why = resolve.RcodeName(a.Rcode)
			default:
				continue
			}
			bad = append(bad, a.Server.String()+": "+why)
		}
		if len(bad) > 0 {
			out = append(out, "before: "+strings.Join(bad, "; "))
		}
	}
	return out
}

func edeText(e resolve.ExtendedError) string {
	s := fmt.Sprintf("extended error %d", e.Code)
	if p := e.Purpose(); p != "" {
		s += " (" + p + ")"
	}
	if e.Text != "" {
		s += ": " + resolve.Escape(e.Text)
	}
	return s
}

// nsidText shows an identity as text if it is one, else in hex.
func nsidText(h string) string {
	b, err := hex.DecodeString(h)
	if err != nil {
		return resolve.Escape(h)
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return h
		}
	}
	return `"` + string(b) + `"`
}

func (p *Printer) short(r *resolve.Result) {
	if r.Msg == nil {
		return
	}
	for _, rr := range r.Msg.Answer {
		fmt.Fprintln(p.w, resolve.DigData(rr))
	}
}

func (p *Printer) table(r *resolve.Result) {
	server, took := serverText(r), ""
	if r.Msg != nil && r.Source == resolve.FromServer {
		took = Millis(r.RTT)
	} else if r.Source != resolve.FromServer {
		took = r.Source.String()
	}
	if r.Msg == nil || len(r.Msg.Answer) == 0 {
		p.rows = append(p.rows, []string{resolve.DisplayName(r.Query.Name), resolve.TypeName(r.Query.Type), "", Sentence(r), server, took})
		return
	}
	for _, rr := range r.Msg.Answer {
		h := rr.Header()
		p.rows = append(p.rows, []string{resolve.DisplayName(h.Name), resolve.TypeName(h.Rrtype), fmt.Sprint(h.Ttl), resolve.Data(rr), server, took})
	}
	if r.Outcome != resolve.Found {
		p.rows = append(p.rows, []string{resolve.DisplayName(r.Query.Name), resolve.TypeName(r.Query.Type), "", Sentence(r), server, took})
	}
}

const csvHeader = "query,qtype,status,name,ttl,class,type,data,server,transport,ms\n"

func (p *Printer) csv(r *resolve.Result) {
	if p.n == 0 {
		p.w.WriteString(csvHeader)
	}
	ms := ""
	if r.Msg != nil && r.Source == resolve.FromServer {
		ms = fmt.Sprintf("%.3f", float64(r.RTT)/float64(time.Millisecond))
	}
	row := func(cells ...string) {
		lead := []string{resolve.Escape(r.Asked), resolve.TypeName(r.Query.Type), Status(r)}
		tail := []string{serverText(r), string(r.Transport), ms}
		if r.Source != resolve.FromServer {
			tail[1] = r.Source.String()
		}
		for i, c := range append(append(lead, cells...), tail...) {
			if i > 0 {
				p.w.WriteByte(',')
			}
			p.w.WriteString(csvField(c))
		}
		p.w.WriteByte('\n')
	}
	if r.Msg == nil || len(r.Msg.Answer) == 0 {
		why := ""
		if r.Err != nil {
			why = resolve.Escape(r.Err.Error())
		}
		row(resolve.Escape(r.Query.Name), "", "", "", why)
		return
	}
	for _, rr := range r.Msg.Answer {
		h := rr.Header()
		row(resolve.Escape(h.Name), fmt.Sprint(h.Ttl), resolve.ClassName(h.Class), resolve.TypeName(h.Rrtype), resolve.Data(rr))
	}
}

func csvField(s string) string {
	if strings.ContainsAny(s, `",`) || s != strings.TrimSpace(s) {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}

func (p *Printer) dig(r *resolve.Result) {
	w := p.w
	if p.n > 0 {
		fmt.Fprintln(w)
	}
	if r.Msg == nil {
		fmt.Fprintf(w, ";; %s\n", Sentence(r))
		return
	}
	m := r.Msg
	fmt.Fprintf(w, ";; ->>HEADER<<- opcode: %s, status: %s, id: %d\n",
		resolve.Escape(dns.OpcodeToString[m.Opcode]), resolve.RcodeName(m.Rcode), m.Id)
	fmt.Fprintf(w, ";; flags: %s; QUERY: %d, ANSWER: %d, AUTHORITY: %d, ADDITIONAL: %d\n\n",
		resolve.FlagsOf(m), len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra))
	if opt := m.IsEdns0(); opt != nil {
		p.digOPT(opt)
	}
	fmt.Fprintln(w, ";; QUESTION SECTION:")
	for _, q := range m.Question {
		fmt.Fprintf(w, ";%s\t\t%s\t%s\n", resolve.Escape(q.Name), resolve.ClassName(q.Qclass), resolve.TypeName(q.Qtype))
	}
	fmt.Fprintln(w)
	for _, s := range []struct {
		name string
		rrs  []dns.RR
	}{{"ANSWER", m.Answer}, {"AUTHORITY", m.Ns}, {"ADDITIONAL", m.Extra}} {
		printed := false
		for _, rr := range s.rrs {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			if !printed {
				fmt.Fprintf(w, ";; %s SECTION:\n", s.name)
				printed = true
			}
			h := rr.Header()
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", resolve.Escape(h.Name), h.Ttl, resolve.ClassName(h.Class), resolve.TypeName(h.Rrtype), resolve.DigData(rr))
		}
		if printed {
			fmt.Fprintln(w)
		}
	}
	switch r.Source {
	case resolve.FromServer:
		fmt.Fprintf(w, ";; Query time: %s\n", Millis(r.RTT))
		fmt.Fprintf(w, ";; SERVER: %s (%s) (%s)\n", resolve.Escape(r.Remote), r.Server, strings.ToUpper(string(r.Transport)))
		fmt.Fprintf(w, ";; WHEN: %s\n", r.Started.Format(time.RFC1123Z))
	default:
		fmt.Fprintf(w, ";; SOURCE: %s\n", authority(r))
	}
	fmt.Fprintf(w, ";; MSG SIZE  rcvd: %d\n", len(r.Wire))
	for _, n := range Notes(r) {
		fmt.Fprintf(w, ";; NOTE: %s\n", n)
	}
}

func (p *Printer) digOPT(opt *dns.OPT) {
	fmt.Fprintln(p.w, ";; OPT PSEUDOSECTION:")
	flags := ""
	if opt.Do() {
		flags = " do"
	}
	fmt.Fprintf(p.w, "; EDNS: version: %d, flags:%s; udp: %d\n", opt.Version(), flags, opt.UDPSize())
	for _, o := range opt.Option {
		switch x := o.(type) {
		case *dns.EDNS0_NSID:
			fmt.Fprintf(p.w, "; NSID: %s (%s)\n", resolve.Escape(x.Nsid), nsidText(x.Nsid))
		case *dns.EDNS0_COOKIE:
			fmt.Fprintf(p.w, "; COOKIE: %s\n", resolve.Escape(x.Cookie))
		case *dns.EDNS0_SUBNET:
			fmt.Fprintf(p.w, "; CLIENT-SUBNET: %s\n", resolve.Escape(x.String()))
		case *dns.EDNS0_PADDING:
			fmt.Fprintf(p.w, "; PAD: %d octets\n", len(x.Padding))
		case *dns.EDNS0_EDE:
			e := resolve.ExtendedError{Code: x.InfoCode, Text: x.ExtraText}
			fmt.Fprintf(p.w, "; EDE: %d (%s)", e.Code, e.Purpose())
			if e.Text != "" {
				fmt.Fprintf(p.w, ": (%s)", resolve.Escape(e.Text))
			}
			fmt.Fprintln(p.w)
		default:
			fmt.Fprintf(p.w, "; OPT=%d: %s\n", o.Option(), resolve.Escape(o.String()))
		}
	}
}

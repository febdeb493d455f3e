package format

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/cache"
)

// Compare prints a comparison: for people a table with a column for each
// server, differences marked, and a verdict; for JSON one object with the
// members "query", "verdict", "groups" (lists of servers that agree), "failed"
// and "results" (as a [Printer] prints them); for CSV a row for each record
// and server.
func Compare(w io.Writer, k Kind, c *resolve.Comparison, opt Options) error {
	bw := bufio.NewWriter(w)
	switch k {
	case JSON:
		compareJSON(bw, c)
		return bw.Flush()
	case CSV:
		fmt.Fprintln(bw, "query,qtype,server,status,data,has,agrees")
		major := majority(c)
		for i, r := range c.Results {
			agrees := slices.Contains(major, i)
			row := func(data string, has bool) {
				cells := []string{resolve.Escape(r.Asked), resolve.TypeName(c.Query.Type), r.Server.String(), Status(r), data, fmt.Sprint(has), fmt.Sprint(agrees)}
				for j, cell := range cells {
					cells[j] = csvField(cell)
				}
				fmt.Fprintln(bw, strings.Join(cells, ","))
			}
			for _, x := range c.Rows {
				row(rowText(x.RR, c.Query), x.Has[i])
			}
			if len(c.Rows) == 0 {
				row("", false)
			}
		}
		return bw.Flush()
	}
	red, bold, off := "", "", ""
	if opt.Colour {
		red, bold, off = "\x1b[31m", "\x1b[1m", "\x1b[0m"
	}
	head := []string{""}
	status, times := []string{"status"}, []string{"time"}
	major := majority(c)
	for i, r := range c.Results {
		name := r.Server.String()
		if !slices.Contains(major, i) && len(c.Groups) > 1 || r.Msg == nil {
			name += " !"
		}
		head = append(head, name)
		status = append(status, Status(r))
		if r.Msg == nil {
			times = append(times, "-")
		} else {
			times = append(times, Millis(r.RTT))
		}
	}
	rows := [][]string{status}
	for _, x := range c.Rows {
		first := rowText(x.RR, c.Query)
		row := []string{first}
		differs := false
		for i, has := range x.Has {
			switch {
			case c.Results[i].Msg == nil:
				row = append(row, "?")
			case has:
				row = append(row, "yes")
			default:
				differs = true
				row = append(row, "NO")
			}
		}
		if differs {
			row[0] = "* " + row[0]
		} else {
			row[0] = "  " + row[0]
		}
		rows = append(rows, row)
	}
	rows = append(rows, times)
	fmt.Fprintf(bw, "%s%s%s\n", bold, c.Query, off)
	writeTable(bw, head, rows, opt.Colour)
	bw.WriteByte('\n')
	mark := ""
	if c.Verdict() != resolve.Agree {
		mark = red
	} else {
		off = ""
	}
	fmt.Fprintf(bw, "%s%s%s\n", mark, VerdictSentence(c), off)
	return bw.Flush()
}

func majority(c *resolve.Comparison) []int {
	if len(c.Groups) == 0 {
		return nil
	}
	return c.Groups[0]
}

// rowText is a record for a comparison: its data, with owner and type where
// these are not what was asked.
func rowText(rr dns.RR, q resolve.Query) string {
	h := rr.Header()
	s := resolve.Data(rr)
	if h.Rrtype != q.Type {
		s = resolve.TypeName(h.Rrtype) + " " + s
	}
	return s
}

// VerdictSentence says in words what a comparison comes to.
func VerdictSentence(c *resolve.Comparison) string {
	answered := len(c.Results) - len(c.Failed)
	names := func(idx []int) string {
		s := make([]string, len(idx))
		for i, n := range idx {
			s[i] = c.Results[n].Server.String()
		}
		return strings.Join(s, ", ")
	}
	var out string
	switch c.Verdict() {
	case resolve.Agree:
		return fmt.Sprintf("All %d servers agree.", answered)
	case resolve.SomeDown:
		out = fmt.Sprintf("The %d servers that answered agree", answered)
	case resolve.Unknown:
		out = "There is nothing to compare: fewer than two servers answered"
	case resolve.Differ:
		var parts []string
		for _, g := range c.Groups {
			parts = append(parts, names(g))
		}
		out = fmt.Sprintf("The servers differ; %d different answers: %s", len(c.Groups), strings.Join(parts, " | "))
	}
	if len(c.Failed) > 0 {
		out += "; no answer from " + names(c.Failed)
	}
	return out + "."
}

func compareJSON(w *bufio.Writer, c *resolve.Comparison) {
	o := &object{b: []byte{'{'}}
	o.str("query", c.Query.Name)
	o.str("QTYPEname", resolve.TypeName(c.Query.Type))
	o.str("verdict", c.Verdict().String())
	list := func(idx []int) {
		o.b = append(o.b, '[')
		for i, n := range idx {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			o.b = appendString(o.b, c.Results[n].Server.String())
		}
		o.b = append(o.b, ']')
	}
	o.key("groups")
	o.b = append(o.b, '[')
	for i, g := range c.Groups {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		list(g)
	}
	o.b = append(o.b, ']')
	o.key("failed")
	list(c.Failed)
	o.key("results")
	o.b = append(o.b, '[')
	for i, r := range c.Results {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendResult(o.b, r)
		o.b = o.b[:len(o.b)-1] // the end of the line
	}
	o.b = append(o.b, "]}\n"...)
	w.Write(o.b)
}

// CacheList prints what a cache holds at now, TTLs counted down.
func CacheList(w io.Writer, k Kind, es []*cache.Entry, now time.Time, opt Options) error {
	bw := bufio.NewWriter(w)
	var rows [][]string
	if k == CSV {
		bw.WriteString("name,type,class,status,left,state,data,server,scope\n")
	}
	for _, e := range es {
		m, err := e.Msg(now)
		if err != nil {
			continue
		}
		state, left := "fresh", int64(e.Left(now)/time.Second)
		if left <= 0 {
			state = "stale"
		}
		status := resolve.RcodeName(m.Rcode)
		var data []string
		for _, rr := range m.Answer {
			data = append(data, rowText(rr, resolve.Query{Type: e.Type}))
		}
		if len(m.Answer) == 0 && m.Rcode == dns.RcodeSuccess {
			status = "NODATA"
		}
		typ := resolve.TypeName(e.Type)
		switch k {
		case JSON:
			o := &object{b: []byte{'{'}}
			o.str("status", status)
			o.str("state", state)
			o.num("left", left)
			o.str("stored", e.Stored.UTC().Format(time.RFC3339))
			o.str("server", e.Server)
			o.str("scope", e.Scope)
			message(o, &resolve.Result{Query: resolve.Query{Name: e.Name, Type: e.Type, Class: e.Class}, Reply: resolve.Reply{Msg: m}})
			bw.Write(append(o.b, '}', '\n'))
		case CSV:
			for _, d := range append(data, "")[:max(1, len(data))] {
				cells := []string{resolve.Escape(e.Name), typ, resolve.ClassName(e.Class), status, fmt.Sprint(left), state, d, resolve.Escape(e.Server), resolve.Escape(e.Scope)}
				for i, c := range cells {
					cells[i] = csvField(c)
				}
				fmt.Fprintln(bw, strings.Join(cells, ","))
			}
		default:
			leftText := fmt.Sprintf("%d s", left)
			if state == "stale" {
				leftText = fmt.Sprintf("stale %d s", -left)
			}
			if len(data) == 0 {
				data = []string{status}
			}
			for i, d := range data {
				row := []string{resolve.DisplayName(e.Name), typ, leftText, resolve.Escape(e.Server), d}
				if i > 0 {
					row[0], row[1], row[2], row[3] = "", "", "", ""
				}
				rows = append(rows, row)
			}
		}
	}
	if k != JSON && k != CSV {
		writeTable(bw, []string{"NAME", "TYPE", "LEFT", "SERVER", "DATA"}, rows, opt.Colour)
	}
	return bw.Flush()
}

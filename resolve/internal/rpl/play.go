package rpl

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Reply is what the scenario's server at addr replies during a step, or nil if
// it stays silent.
func (s *Scenario) Reply(step int, addr netip.Addr, q *dns.Msg, tcp bool) *dns.Msg {
	for _, r := range s.Ranges {
		if step < r.From || step > r.To || len(r.Addrs) > 0 && !slices.Contains(r.Addrs, addr) {
			continue
		}
		for _, e := range r.Entries {
			if e.Matches(q, tcp) {
				return e.Reply(q)
			}
		}
	}
	return nil
}

// Matches says whether the entry answers the query.
func (e *Entry) Matches(q *dns.Msg, tcp bool) bool {
	if len(e.Msg.Question) == 0 || len(q.Question) == 0 {
		return len(q.Question) > 0 && !slices.Contains(e.Match, "qname") && !slices.Contains(e.Match, "question")
	}
	want, have := e.Msg.Question[0], q.Question[0]
	sameName := strings.EqualFold(want.Name, have.Name)
	for _, m := range e.Match {
		ok := true
		switch m {
		case "opcode":
			ok = e.Msg.Opcode == q.Opcode
		case "qtype":
			ok = want.Qtype == have.Qtype
		case "qclass":
			ok = want.Qclass == have.Qclass
		case "qname":
			ok = sameName
		case "question", "all":
			ok = sameName && want.Qtype == have.Qtype
		case "subdomain":
			ok = dns.IsSubDomain(dns.CanonicalName(want.Name), dns.CanonicalName(have.Name))
		case "tcp":
			ok = tcp
		case "udp":
			ok = !tcp
		case "noedns":
			ok = q.IsEdns0() == nil
		case "do":
			ok = q.IsEdns0() != nil && q.IsEdns0().Do() == e.DO
		}
		if !ok {
			return false
		}
	}
	return true
}

// Reply is the entry's message adjusted to the query; nil if it says not to.
func (e *Entry) Reply(q *dns.Msg) *dns.Msg {
	if slices.Contains(e.Adjust, "do_not_answer") {
		return nil
	}
	if e.Raw != nil {
		m := new(dns.Msg)
		if m.Unpack(e.Raw) != nil {
			return nil
		}
		m.Id = q.Id
		return m
	}
	m := e.Msg.Copy()
	m.Id = q.Id
	// A server repeats the question as it was put, case and all; the scenarios
	// were recorded with resolvers that do not mix it.
	if slices.Contains(e.Adjust, "copy_query") || len(m.Question) == 0 ||
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name) && m.Question[0].Qtype == q.Question[0].Qtype {
		m.Question = slices.Clone(q.Question)
	}
	if slices.Contains(e.Adjust, "copy_ednsdata_assume_clientsubnet") {
		return nil
	}
	m.Response = true
	return m
}

// Network plays the servers for a resolver under test: Step says when it is.
type Network struct {
	Scenario *Scenario
	Step     int
	Asked    int                  // queries so far
	Log      func(string, ...any) // nil-able

	used map[*Step]bool
}

// scripted looks for a REPLY step between the present QUERY and its
// CHECK_ANSWER: a reply to whatever is asked then, whoever is asked.
func (n *Network) scripted(q *dns.Msg, tcp bool) *dns.Msg {
	now := false
	for _, st := range n.Scenario.Steps {
		if st.ID == n.Step {
			now = true
			continue
		}
		switch {
		case !now:
		case st.What == "CHECK_ANSWER" || st.What == "QUERY":
			return nil
		case st.What == "REPLY" && st.Entry != nil && !n.used[st] && st.Entry.Matches(q, tcp):
			if n.used == nil {
				n.used = make(map[*Step]bool)
			}
			n.used[st] = true
			return st.Entry.Reply(q)
		}
	}
	return nil
}

// Answer replies to one query; context.DeadlineExceeded stands for silence.
func (n *Network) Answer(server netip.AddrPort, q *dns.Msg, tcp bool) (*dns.Msg, time.Duration, error) {
	n.Asked++
	m := n.Scenario.Reply(n.Step, server.Addr(), q, tcp)
	if m == nil {
		m = n.scripted(q, tcp)
	}
	if n.Log != nil {
		n.Log("step %d %s %s -> %s", n.Step, server.Addr(), question(q), summary(m))
	}
	if m == nil {
		return nil, 0, context.DeadlineExceeded
	}
	return m, 10 * time.Millisecond, nil
}

func question(q *dns.Msg) string {
	return strings.ToLower(q.Question[0].Name) + " " + dns.Type(q.Question[0].Qtype).String()
}

func summary(m *dns.Msg) string {
	if m == nil {
		return "(silence)"
	}
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	for _, s := range [][]dns.RR{m.Answer, m.Ns} {
		b.WriteString(" |")
		for _, rr := range s {
			b.WriteString(" " + rr.Header().Name + "/" + dns.Type(rr.Header().Rrtype).String())
		}
	}
	return b.String()
}

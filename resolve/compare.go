package resolve

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Comparison sets the answers of several servers to one question side by
// side.
type Comparison struct {
	Query   Query
	Results []*Result
	// Groups holds the indexes into Results of those that agree, the largest
	// group first; among equals the one whose server was named first.
	// Failed ones are in no group.
	Groups [][]int
	// Rows are all records that any server gave, and who gave them.
	Rows []ComparisonRow
	// Failed are the indexes of results without an answer.
	Failed []int
}

// A ComparisonRow is one record and the servers that gave it.
type ComparisonRow struct {
	RR dns.RR // with the TTL of the first server that gave it
	// Has tells for each result whether it has the record.
	Has []bool
}

// A Verdict is what a comparison comes to.
type Verdict uint8

// Verdicts.
const (
	Agree    Verdict = iota // all answers are the same
	Differ                  // at least two answers differ
	Unknown                 // fewer than two servers answered
	SomeDown                // the answers agree, but not every server answered
)

// String returns "agree", "differ", "unknown" or "partial".
func (v Verdict) String() string {
	return [...]string{"agree", "differ", "unknown", "partial"}[v&3]
}

// Compare sets results for one question side by side. Answers are the same if
// their response codes and the records of their answer sections are: the
// order of records, TTLs, and the case of names do not matter; signatures,
// which servers make anew, are left out.
func Compare(q Query, rs []*Result) *Comparison {
	c := &Comparison{Query: q, Results: rs}
	keys := make([]string, len(rs))
	rows := make(map[string]int)
	for i, r := range rs {
		if r.Msg == nil {
			c.Failed = append(c.Failed, i)
			continue
		}
		var set []string
		for _, rr := range r.Msg.Answer {
			if t := rr.Header().Rrtype; t == dns.TypeRRSIG && q.Type != dns.TypeRRSIG {
				continue
			}
			k := recordKey(rr)
			set = append(set, k)
			n, ok := rows[k]
			if !ok {
				n = len(c.Rows)
				rows[k] = n
				c.Rows = append(c.Rows, ComparisonRow{rr, make([]bool, len(rs))})
			}
			c.Rows[n].Has[i] = true
		}
		slices.Sort(set)
		keys[i] = RcodeName(r.Msg.Rcode) + "\n" + strings.Join(slices.Compact(set), "\n")
	}
	seen := make(map[string]int)
	for i, r := range rs {
		if r.Msg == nil {
			continue
		}
		g, ok := seen[keys[i]]
		if !ok {
			g = len(c.Groups)
			seen[keys[i]] = g
			c.Groups = append(c.Groups, nil)
		}
		c.Groups[g] = append(c.Groups[g], i)
	}
	slices.SortStableFunc(c.Groups, func(a, b []int) int { return len(b) - len(a) })
	return c
}

// recordKey is a record without its TTL, names in lower case.
func recordKey(rr dns.RR) string {
	cp := dns.Copy(rr)
	h := cp.Header()
	h.Ttl = 0
	h.Name = dns.CanonicalName(h.Name)
	switch x := cp.(type) {
	case *dns.CNAME:
		x.Target = dns.CanonicalName(x.Target)
	case *dns.NS:
		x.Ns = dns.CanonicalName(x.Ns)
	case *dns.PTR:
		x.Ptr = dns.CanonicalName(x.Ptr)
	case *dns.MX:
		x.Mx = dns.CanonicalName(x.Mx)
	case *dns.SRV:
		x.Target = dns.CanonicalName(x.Target)
	case *dns.DNAME:
		x.Target = dns.CanonicalName(x.Target)
	case *dns.SOA:
		x.Ns, x.Mbox = dns.CanonicalName(x.Ns), dns.CanonicalName(x.Mbox)
	}
	return cp.String()
}

// Verdict returns what the comparison comes to.
func (c *Comparison) Verdict() Verdict {
	switch {
	case len(c.Groups) > 1:
		return Differ
	case len(c.Results)-len(c.Failed) < 2:
		return Unknown
	case len(c.Failed) > 0:
		return SomeDown
	}
	return Agree
}

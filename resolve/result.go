package resolve

import (
	"strings"
	"time"

	"github.com/miekg/dns"
)

// An Outcome is what an answer means for whoever asked.
type Outcome uint8

// The outcomes. Failed stands for no answer at all: see [Result.Err].
const (
	Found    Outcome = iota // at least one record of the type asked for
	NoData                  // the name exists, without such a record (RFC 2308)
	Referral                // the server points elsewhere and does not recurse
	NXDomain                // the name does not exist
	Refused                 // the server will not answer
	ServFail                // the server could not answer
	OtherRcode
	Failed // nothing usable arrived
)

// String returns a word for the outcome: "found", "nodata", "nxdomain", ….
func (o Outcome) String() string {
	switch o {
	case Found:
		return "found"
	case NoData:
		return "nodata"
	case Referral:
		return "referral"
	case NXDomain:
		return "nxdomain"
	case Refused:
		return "refused"
	case ServFail:
		return "servfail"
	case OtherRcode:
		return "other"
	}
	return "failed"
}

// A Source is where a result comes from.
type Source uint8

// Sources.
const (
	FromServer Source = iota
	FromCache         // and fresh
	FromStale         // expired, served because no server answered (RFC 8767)
	FromHosts         // the system's hosts file
)

// String returns "server", "cache", "stale" or "hosts".
func (s Source) String() string {
	return [...]string{"server", "cache", "stale", "hosts"}[s&3]
}

// An Attempt is one query sent, and what came of it.
type Attempt struct {
	Server  Upstream
	Started time.Time
	Took    time.Duration // until the answer, the error, or until it was given up
	Rcode   int           // of the answer, if Err is nil
	Err     error
}

// A Reply is what one server said to one query.
type Reply struct {
	Msg  *dns.Msg
	Wire []byte // the message as it came, ID as sent by us

	Server    Upstream      // whom we meant to ask
	Remote    string        // the address that answered, "" where unknown
	Transport Scheme        // what carried the answer: TCP for a truncated UDP one
	Started   time.Time     // when the query was sent
	RTT       time.Duration // from sending the query to its answer
	Setup     time.Duration // connecting and handshake before that; 0 if reused
	Reused    bool          // over a connection that was open already

	Strays       Strays
	Truncated    bool // a first answer over UDP was cut short
	EDNSDropped  bool // the server rejected EDNS and was asked again without
	ServerCookie bool // the server proved that it knows our cookie (RFC 7873)
}

// A Result is the answer to one question as a person asked it. It is whole
// even if it failed: then Msg is nil and Err says why.
type Result struct {
	Asked    string   // the name as it was typed
	Query    Query    // what was asked in the end: an absolute name
	Searched []string // names from the search list that were tried before it
	Outcome  Outcome
	Source   Source
	Err      error // why Outcome is Failed

	// Reply is from the server, the cache (without timings), or made up from
	// the hosts file. Its Msg is nil if Outcome is Failed.
	Reply
	Attempts []Attempt
	// Age is how long ago a cached answer was stored.
	Age time.Duration
	// HostsFile is the file that the answer was read from, if Source is
	// FromHosts.
	HostsFile string
}

// OutcomeOf says what m means as the answer to q.
func OutcomeOf(q Query, m *dns.Msg) Outcome {
	q = q.withDefaults()
	switch m.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		return NXDomain
	case dns.RcodeRefused:
		return Refused
	case dns.RcodeServerFailure:
		return ServFail
	default:
		return OtherRcode
	}
	for _, rr := range m.Answer {
		if t := rr.Header().Rrtype; t == q.Type || q.Type == dns.TypeANY {
			return Found
		}
	}
	if len(m.Answer) == 0 && !m.Authoritative && isReferral(q.Name, m) {
		return Referral
	}
	return NoData
}

func isReferral(name string, m *dns.Msg) bool {
	ns := false
	for _, rr := range m.Ns {
		switch rr.(type) {
		case *dns.SOA:
			return false
		case *dns.NS:
			ns = true
		}
	}
	return ns
}

// Records returns the records of the answer section that have the type asked
// for, wherever a chain of aliases leads, in the order in which they came.
func (r *Result) Records() []dns.RR {
	if r.Msg == nil {
		return nil
	}
	q := r.Query.withDefaults()
	var rrs []dns.RR
	for _, rr := range r.Msg.Answer {
		if rr.Header().Rrtype == q.Type || q.Type == dns.TypeANY {
			rrs = append(rrs, rr)
		}
	}
	return rrs
}

// Aliases returns the CNAME records that lead from the name asked for to the
// one that holds the records, in order. At most 16 steps are followed.
func (r *Result) Aliases() []*dns.CNAME {
	if r.Msg == nil || r.Query.withDefaults().Type == dns.TypeCNAME {
		return nil
	}
	var chain []*dns.CNAME
	for name := r.Query.Name; len(chain) < 16; {
		next := cnameAt(r.Msg.Answer, name)
		if next == nil {
			break
		}
		chain = append(chain, next)
		name = next.Target
	}
	return chain
}

func cnameAt(rrs []dns.RR, name string) *dns.CNAME {
	for _, rr := range rrs {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, name) {
			return c
		}
	}
	return nil
}

// ExtendedError is an extended DNS error (RFC 8914). Text is as the server
// wrote it: escape it before printing.
type ExtendedError struct {
	Code uint16
	Text string
}

// Purpose returns the registered meaning of the code, or "".
func (e ExtendedError) Purpose() string { return dns.ExtendedErrorCodeToString[e.Code] }

// ExtendedErrors returns the extended errors of m.
func ExtendedErrors(m *dns.Msg) []ExtendedError {
	var out []ExtendedError
	if m == nil {
		return nil
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				out = append(out, ExtendedError{e.InfoCode, e.ExtraText})
			}
		}
	}
	return out
}

// NegativeTTL returns how long the absence of a record may be remembered: the
// smaller of the SOA record's own TTL and its minimum field (RFC 2308
// section 5). It is false where m carries no SOA record.
func NegativeTTL(m *dns.Msg) (time.Duration, bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Hdr.Ttl, soa.Minttl)) * time.Second, true
		}
	}
	return 0, false
}

package iterate

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Outcome is why a lookup went on after a hop, or stopped.
type Outcome string

// The outcomes of one query.
const (
	OutAnswer    Outcome = "answer"
	OutAlias     Outcome = "alias"     // CNAME or DNAME: the lookup goes on with the target
	OutReferral  Outcome = "referral"  // the server names a zone further down
	OutNoData    Outcome = "no data"   // the name exists without such records
	OutNXDomain  Outcome = "NXDOMAIN"  // the name does not exist
	OutLame      Outcome = "lame"      // not authoritative for what it was listed for
	OutTruncated Outcome = "truncated" // asked again over TCP
	OutRetry     Outcome = "retry"     // asked the same server again, differently
	OutError     Outcome = "error"     // an rcode that is no answer
	OutTimeout   Outcome = "no reply"
	OutInvalid   Outcome = "invalid" // a reply that does not fit the query
)

// Hop is one query and what came of it.
type Hop struct {
	Zone      string         // the zone whose server was asked
	Server    string         // name of the server; empty for one known by address only
	Addr      netip.AddrPort // where the query went
	Transport Transport
	Name      string // the question
	Type      uint16
	RTT       time.Duration // 0 if nothing came back
	Rcode     int           // -1 if nothing came back
	Outcome   Outcome
	Reason    string // why the lookup goes on, or the failure; safe to print
	Next      string // the zone referred to, or the target of the alias
	Depth     int    // 0 for the question itself; more for addresses of servers on the way
	Purpose   string // what a hop of greater depth was for

	// Aside says that nothing of this hop was used: a failure that another
	// server made good.
	Aside bool
}

// Trace receives events while a lookup runs. Nil functions are skipped, and a
// nil Trace is silent. They are called from the lookup's goroutine.
type Trace struct {
	Hop func(Hop)
}

// LimitError says that a lookup was given up because it had cost too much; such
// limits are what stops zones built to amplify (NXNSAttack, TsuNAME).
type LimitError struct {
	What  string // "queries", "referrals", "name server addresses", "aliases"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("more than %d %s were needed for one lookup", e.Limit, e.What)
}

// LoopError says that a name cannot be resolved without itself.
type LoopError struct {
	Name string
	Via  string // "aliases" or "name servers"
}

func (e *LoopError) Error() string {
	return fmt.Sprintf("%s depends on itself through its %s", e.Name, e.Via)
}

// ServersError says that no server of a zone gave a usable answer.
type ServersError struct {
	Zone     string
	Asked    int
	Last     string // the last failure, safe to print
	NoServer bool   // there was no address to ask at all
	Silent   bool   // none of those asked replied at all
	Err      error  // why the address of a server was not found, if that was it
}

func (e *ServersError) Unwrap() error { return e.Err }

func (e *ServersError) Error() string {
	if e.NoServer && e.Last != "" {
		return fmt.Sprintf("no address is known of any server of %s: %s", e.Zone, e.Last)
	}
	if e.NoServer {
		return fmt.Sprintf("no address is known of any server of %s", e.Zone)
	}
	return fmt.Sprintf("none of %s's servers gave a usable answer (%d asked; %s)", e.Zone, e.Asked, e.Last)
}

// Cost counts what a lookup spent.
type Cost struct {
	Queries   int `json:"queries"`
	Referrals int `json:"referrals"`
	Targets   int `json:"targets"` // addresses of servers looked for on the way
}

// Limits bounds what one lookup may cost. Zero fields take the defaults.
type Limits struct {
	Queries   int // queries sent; default 200
	Referrals int // referrals followed; default 130
	Targets   int // server addresses looked for; default 64
	NXTargets int // of those, how many may turn out not to exist; default 5
	Aliases   int // CNAME and DNAME steps; default 11
}

func (l *Limits) fill() {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	def(&l.Queries, 200)
	def(&l.Referrals, 130)
	def(&l.Targets, 64)
	def(&l.NXTargets, 5)
	def(&l.Aliases, 11)
}

func typeName(t uint16) string { return dns.Type(t).String() }

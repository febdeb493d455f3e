package dnssec

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// State is a security state of RFC 4035, section 4.3.
type State uint8

// The states, ordered so that of two the greater decides for both.
const (
	Unchecked     State = iota // not validated
	Secure                     // a chain of signatures from a trust anchor
	Insecure                   // provably without one
	Indeterminate              // no trust anchor covers the name
	Bogus                      // there should be a chain, and it is broken
)

func (s State) String() string {
	switch s {
	case Secure:
		return "secure"
	case Insecure:
		return "insecure"
	case Indeterminate:
		return "indeterminate"
	case Bogus:
		return "bogus"
	}
	return "unchecked"
}

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// NoEDE stands for "no Extended DNS Error applies"; code 0 means "other error".
const NoEDE = -1

// Verdict is the outcome of validating a response.
type Verdict struct {
	State  State  `json:"state"`
	Zone   string `json:"zone,omitempty"`   // where the chain ends or breaks
	EDE    int    `json:"ede"`              // RFC 8914 INFO-CODE, or NoEDE
	Reason string `json:"reason,omitempty"` // one sentence, safe to print
	Chain  []Link `json:"chain,omitempty"`  // from the anchor down

	// Expires is how long the verdict may be relied on: no signature that it
	// rests on expires before. Zero when it rests on none.
	Expires time.Time `json:"-"`
}

// EDEText is the name of the verdict's EDE code, or empty.
func (v Verdict) EDEText() string {
	if v.EDE < 0 {
		return ""
	}
	return dns.ExtendedErrorCodeToString[uint16(v.EDE)]
}

// Link is one step of a chain of trust: how a zone's keys came to be trusted,
// or why they are not.
type Link struct {
	Zone       string   `json:"zone"`
	State      State    `json:"state"`
	KeyTags    []uint16 `json:"key_tags,omitempty"`
	Algorithms []string `json:"algorithms,omitempty"`
	Text       string   `json:"text"` // one sentence, safe to print
}

// String tells the chain in plain words, a line a link and the verdict last.
func (v Verdict) String() string {
	var b strings.Builder
	for _, l := range v.Chain {
		fmt.Fprintf(&b, "%-13s %s\n", l.State, l.Text)
	}
	fmt.Fprintf(&b, "%s: %s", v.State, v.Reason)
	if t := v.EDEText(); t != "" {
		fmt.Fprintf(&b, " (EDE %d: %s)", v.EDE, t)
	}
	return b.String()
}

func verdict(s State, zone string, ede int, format string, args ...any) Verdict {
	return Verdict{State: s, Zone: zone, EDE: ede, Reason: fmt.Sprintf(format, args...)}
}

// Join is the verdict on a whole of which a and b judge parts: the worse of the
// two states, with both chains.
func Join(a, b Verdict) Verdict {
	out := a
	if b.State > a.State || b.State == Secure && a.State == Secure {
		out = b // of two secure parts the later one is what was asked for
	}
	out.Expires = earliest(a.Expires, b.Expires)
	seen := make(map[string]bool)
	out.Chain = nil
	for _, l := range append(append([]Link{}, a.Chain...), b.Chain...) {
		if k := l.Zone + "\x00" + l.Text; !seen[k] {
			seen[k] = true
			out.Chain = append(out.Chain, l)
		}
	}
	return out
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Show makes a name safe and pleasant to print: anything but printable ASCII
// is escaped, and the final dot goes, except from the root.
func Show(name string) string {
	if name == "." {
		return "the root"
	}
	return strings.TrimSuffix(Escape(name), ".")
}

// Escape replaces everything but printable ASCII by \DDD, as zone files do.
func Escape(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			clean = false
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			fmt.Fprintf(&b, "\\%03d", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func typeName(t uint16) string { return dns.Type(t).String() }

func algorithmName(a uint8) string {
	if s, ok := dns.AlgorithmToString[a]; ok {
		return s
	}
	return fmt.Sprintf("algorithm %d", a)
}

func stamp(t uint32) string {
	return time.Unix(int64(t), 0).UTC().Format("2006-01-02 15:04 UTC")
}

// broken explains a failed signature check of a set.
func broken(set *RRset, zone string, e *verifyError) Verdict {
	what := fmt.Sprintf("%s's %s set", Show(set.Name), typeName(set.Type))
	switch e.why {
	case failExpired:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeSignatureExpired),
			"the signature of %s expired on %s; its servers still serve it", what, stamp(e.sig.Expiration))
	case failNotYet:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeSignatureNotYetValid),
			"the signature of %s is not valid before %s", what, stamp(e.sig.Inception))
	case failSignature:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeDNSBogus),
			"the signature of %s (key %d, %s) does not match its content", what, e.sig.KeyTag, algorithmName(e.sig.Algorithm))
	case failNoKey:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeDNSKEYMissing),
			"%s is signed with key %d (%s), which is not among %s's trusted keys",
			what, e.sig.KeyTag, algorithmName(e.sig.Algorithm), Show(zone))
	case failAlgorithm:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeUnsupportedDNSKEYAlgorithm),
			"%s is signed only with %s, which the zone's DS records do not announce", what, algorithmName(e.sig.Algorithm))
	case failLimit:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeDNSBogus),
			"%s has more signatures or colliding keys than are worth trying (%d signatures, %d keys)", what, MaxSignatures, MaxKeys)
	case failMalformed:
		return verdict(Bogus, zone, int(dns.ExtendedErrorCodeRRSIGsMissing),
			"%s has a signature, but none by %s that could cover it", what, Show(zone))
	}
	return verdict(Bogus, zone, int(dns.ExtendedErrorCodeRRSIGsMissing),
		"%s has no signature, though %s is signed", what, Show(zone))
}

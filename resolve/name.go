package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// NameError says that a name cannot be asked for, and why.
type NameError struct {
	Name   string // as it was given
	Reason string
}

func (e *NameError) Error() string {
	return fmt.Sprintf("name %q: %s", Escape(e.Name), e.Reason)
}

// idnaProfile maps as UTS #46 does for lookups, and lets names keep the
// underscores that service records are made of. Most names need none of it,
// so it is made on first use.
var idnaProfile = sync.OnceValue(func() *idna.Profile {
	return idna.New(
		idna.MapForLookup(),
		idna.BidiRule(),
		idna.Transitional(false),
		idna.StrictDomainName(false),
		idna.CheckHyphens(false),
	)
})

// ParseName turns what a person typed into a name in the presentation format
// of RFC 1035: international labels become A-labels (IDNA 2008 with the
// mapping of UTS #46), backslash escapes are kept. The answer ends in a dot
// only if name did; [Resolver] completes it from the search list.
//
// Errors are of type [*NameError].
func ParseName(name string) (string, error) {
	if name == "" {
		return "", &NameError{name, "empty"}
	}
	if name == "." {
		return name, nil
	}
	ascii := name
	if !isASCII(name) {
		var err error
		if ascii, err = toASCII(name); err != nil {
			return "", &NameError{name, "not a valid international name: " + err.Error()}
		}
	}
	for i := 0; i < len(ascii); i++ {
		if c := ascii[i]; c <= ' ' || c == 0x7f {
			return "", &NameError{name, "holds a space or a control character"}
		}
	}
	// Packing is the one check that knows escapes, label and name lengths.
	var buf [256]byte
	if _, err := dns.PackDomainName(dns.Fqdn(ascii), buf[:], 0, nil, false); err != nil {
		return "", &NameError{name, nameReason(dns.Fqdn(ascii))}
	}
	return ascii, nil
}

// toASCII converts the labels that need it and leaves the others, escapes
// included, as they are.
func toASCII(name string) (string, error) {
	// The ideographic full stops separate labels too (RFC 3490 section 3.1).
	name = strings.NewReplacer("。", ".", "．", ".", "｡", ".").Replace(name)
	labels := strings.Split(name, ".")
	for i, l := range labels {
		if isASCII(l) {
			continue
		}
		a, err := idnaProfile().ToASCII(l)
		if err != nil {
			return "", err
		}
		if a == "" { // of characters that are left out, like soft hyphens
			return "", errors.New("a label of nothing that is seen")
		}
		labels[i] = a
	}
	return strings.Join(labels, "."), nil
}

func nameReason(fqdn string) string {
	if strings.Contains(fqdn, "..") || strings.HasPrefix(fqdn, ".") {
		return "has an empty label"
	}
	for _, l := range dns.SplitDomainName(fqdn) {
		if len(l) > 63 && !strings.Contains(l, `\`) {
			return fmt.Sprintf("has a label of %d octets; 63 is the most (RFC 1035)", len(l))
		}
	}
	if len(fqdn) > 255 {
		return fmt.Sprintf("is %d octets long; 255 is the most (RFC 1035)", len(fqdn))
	}
	return "not a domain name"
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// DisplayName returns name as people read it: A-labels become Unicode where
// that is unambiguous, and nothing in it can steer a terminal. A label whose
// Unicode form does not convert back to the same A-label, or that holds
// invisible characters, stays as it is.
func DisplayName(name string) string {
	if !strings.Contains(name, "xn--") && !strings.Contains(name, "XN--") {
		return Escape(name)
	}
	labels := strings.Split(name, ".")
	for i, l := range labels {
		if len(l) < 4 || !strings.EqualFold(l[:4], "xn--") {
			continue
		}
		u, err := idnaProfile().ToUnicode(l)
		if err != nil || strings.ContainsFunc(u, Unprintable) || strings.ContainsAny(u, ". \\") {
			continue
		}
		if back, err := idnaProfile().ToASCII(u); err != nil || !strings.EqualFold(back, l) {
			continue
		}
		labels[i] = u
	}
	return Escape(strings.Join(labels, "."))
}

// ReverseLimit is the most names that [ReverseNames] makes of one prefix:
// a /16 of IPv4.
const ReverseLimit = 1 << 16

// IsAddress reports whether s is an IP address or a prefix (CIDR), that is,
// something that [ReverseNames] takes.
func IsAddress(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	_, err := netip.ParsePrefix(s)
	return err == nil
}

// ReverseName returns the name under in-addr.arpa or ip6.arpa that holds the
// PTR record of a (RFC 1035 section 3.5, RFC 3596 section 2.5). A zone is
// ignored, an IPv4-mapped address is taken as IPv4.
func ReverseName(a netip.Addr) string {
	a = a.Unmap()
	const hex = "0123456789abcdef"
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.%d.in-addr.arpa.", b[3], b[2], b[1], b[0])
	}
	b := a.As16()
	out := make([]byte, 0, 73)
	for i := 15; i >= 0; i-- {
		out = append(out, hex[b[i]&15], '.', hex[b[i]>>4], '.')
	}
	return string(append(out, "ip6.arpa."...))
}

// ReverseNames returns the reverse names of an address, or of every address
// in a prefix such as 192.0.2.0/28, in order. A prefix of more than
// [ReverseLimit] addresses is refused with a [*NameError].
func ReverseNames(s string) ([]string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return []string{ReverseName(a)}, nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return nil, &NameError{s, "not an IP address or prefix"}
	}
	host := p.Addr().BitLen() - p.Bits()
	if host > 16 {
		return nil, &NameError{s, fmt.Sprintf("a /%d holds too many addresses; 65536 is the most", p.Bits())}
	}
	names := make([]string, 0, 1<<host)
	for a := p.Masked().Addr(); p.Contains(a); a = a.Next() {
		names = append(names, ReverseName(a))
		if !a.Next().IsValid() { // 255.255.255.255 has no successor
			break
		}
	}
	return names, nil
}

// ReverseAddr is the inverse of [ReverseName]: the address that a full name
// under in-addr.arpa or ip6.arpa stands for.
func ReverseAddr(name string) (netip.Addr, bool) {
	name = strings.ToLower(dns.Fqdn(name))
	if n, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		l := strings.Split(n, ".")
		if len(l) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
		return a, err == nil
	}
	n, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(n) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := 0; i < 32; i++ {
		c := n[62-2*i]
		if i > 0 && n[63-2*i] != '.' {
			return netip.Addr{}, false
		}
		v := strings.IndexByte("0123456789abcdef", c)
		if v < 0 {
			return netip.Addr{}, false
		}
		b[i/2] = b[i/2]<<4 | byte(v)
	}
	return netip.AddrFrom16(b), true
}

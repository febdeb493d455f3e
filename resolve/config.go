package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A Config says how this system looks names up.
type Config struct {
	// Servers are asked in order. On Unix they come from resolv.conf, at
	// most three of them as in the C library.
	Servers []netip.AddrPort
	// Domains are servers for names below certain domains only (macOS).
	Domains []DomainServers
	// Search is the list of domains that names with fewer than Ndots dots
	// are completed from.
	Search []string
	Ndots  int
	// Timeout is how long one server is waited for; Attempts is how often
	// all of them are gone through.
	Timeout  time.Duration
	Attempts int
	// Rotate spreads the load over the servers (option rotate), UseTCP asks
	// over TCP only (use-vc), EDNS0 and TrustAD are the options of that name.
	Rotate, UseTCP, EDNS0, TrustAD bool
	// Source tells where this was read: a file's name, or the system's means.
	Source string
}

// DomainServers are the servers for the names below one domain.
type DomainServers struct {
	Domain  string // without dots at its ends
	Servers []netip.AddrPort
}

// The C library's limits (resolv.conf(5), resolv.h).
const (
	maxServers    = 3
	maxNdots      = 15
	maxTimeout    = 30
	maxAttempts   = 5
	maxSearch     = 32
	maxConfigSize = 256 << 10
)

func defaultConfig() *Config {
	return &Config{Ndots: 1, Timeout: 5 * time.Second, Attempts: 2}
}

// ServersFor returns the servers to ask about name.
func (c *Config) ServersFor(name string) []netip.AddrPort {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	best := -1
	for i, d := range c.Domains {
		if (name == d.Domain || strings.HasSuffix(name, "."+d.Domain)) &&
			(best < 0 || len(d.Domain) > len(c.Domains[best].Domain)) {
			best = i
		}
	}
	if best >= 0 {
		return c.Domains[best].Servers
	}
	return c.Servers
}

// ResolvConf reads the Unix resolver's configuration at path with the
// environment's LOCALDOMAIN and RES_OPTIONS (resolv.conf(5)). A file that is
// missing or names no server means the server on this host.
func ResolvConf(path string) (*Config, error) {
	f, err := os.Open(path)
	var r io.Reader = strings.NewReader("")
	switch {
	case err == nil:
		defer f.Close()
		r = f
	case !os.IsNotExist(err):
		return nil, err
	}
	host, _ := os.Hostname()
	c := ParseResolvConf(r, host, os.Getenv)
	c.Source = path
	return c, nil
}

// ParseResolvConf reads what resolv.conf(5) describes; what it does not know
// or understand it leaves out, as the C library does. hostname supplies the
// search list if the file has none; getenv may be nil.
func ParseResolvConf(r io.Reader, hostname string, getenv func(string) string) *Config {
	c := defaultConfig()
	searchSet := false
	sc := bufio.NewScanner(io.LimitReader(r, maxConfigSize))
	sc.Buffer(make([]byte, 0, 4096), 64<<10)
	for sc.Scan() {
		line := sc.Text()
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.Servers) < maxServers {
				c.Servers = append(c.Servers, netip.AddrPortFrom(a, 53))
			}
		case "domain":
			c.Search, searchSet = searchList(f[1:2]), true
		case "search": // with domain, the last one counts
			c.Search, searchSet = searchList(f[1:]), true
		case "options":
			c.options(f[1:])
		}
	}
	if !searchSet {
		if _, domain, ok := strings.Cut(hostname, "."); ok {
			c.Search = searchList([]string{domain})
		}
	}
	if getenv != nil {
		if l := getenv("LOCALDOMAIN"); l != "" {
			c.Search = searchList(strings.Fields(l))
		}
		c.options(strings.Fields(getenv("RES_OPTIONS")))
	}
	if len(c.Servers) == 0 {
		c.Servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return c
}

func searchList(in []string) []string {
	var out []string
	for _, d := range in {
		if d = strings.TrimSuffix(d, "."); d == "" || len(out) == maxSearch {
			continue
		}
		if a, err := ParseName(d); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func (c *Config) options(opts []string) {
	for _, o := range opts {
		name, val, _ := strings.Cut(o, ":")
		n, err := strconv.Atoi(val)
		number := err == nil && n >= 0
		switch name {
		case "ndots":
			if number {
				c.Ndots = min(n, maxNdots)
			}
		case "timeout":
			if number {
				c.Timeout = time.Duration(max(1, min(n, maxTimeout))) * time.Second
			}
		case "attempts":
			if number {
				c.Attempts = max(1, min(n, maxAttempts))
			}
		case "rotate":
			c.Rotate = true
		case "use-vc", "usevc", "tcp":
			c.UseTCP = true
		case "edns0":
			c.EDNS0 = true
		case "trust-ad":
			c.TrustAD = true
		}
	}
}

// candidates returns the absolute names to try for name, in order
// (resolv.conf(5), ndots).
func (c *Config) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	asIs := name + "."
	if c == nil || len(c.Search) == 0 {
		return []string{asIs}
	}
	var out []string
	first := strings.Count(name, ".") >= c.Ndots
	if first {
		out = append(out, asIs)
	}
	for _, d := range c.Search {
		if full := name + "." + d + "."; len(full) <= 255 {
			out = append(out, full)
		}
	}
	if !first {
		out = append(out, asIs)
	}
	return out
}

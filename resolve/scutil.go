package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ParseScutil reads what macOS prints for "scutil --dns": numbered resolvers,
// of which the first without a domain is the default one and those with a
// domain serve the names below it. Scoped queries, which depend on the
// interface, and multicast DNS are left out.
func ParseScutil(r io.Reader) *Config {
	c := defaultConfig()
	c.Source = "scutil --dns"
	type block struct {
		domain  string
		mdns    bool
		servers []netip.AddrPort
		search  []string
		timeout int
		port    uint16
	}
	var cur *block
	flush := func() {
		b := cur
		cur = nil
		if b == nil || b.mdns || len(b.servers) == 0 {
			return
		}
		if b.port != 0 {
			for i, s := range b.servers {
				b.servers[i] = netip.AddrPortFrom(s.Addr(), b.port)
			}
		}
		if b.domain != "" {
			c.Domains = append(c.Domains, DomainServers{b.domain, b.servers})
			return
		}
		if c.Servers == nil {
			c.Servers, c.Search = b.servers, b.search
			if b.timeout > 0 {
				c.Timeout = time.Duration(min(b.timeout, maxTimeout)) * time.Second
			}
		}
	}
	sc := bufio.NewScanner(io.LimitReader(r, maxConfigSize))
	sc.Buffer(make([]byte, 0, 4096), 64<<10)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if strings.HasPrefix(line, "DNS configuration (for scoped") {
			break
		}
		if strings.HasPrefix(line, "resolver #") {
			flush()
			cur = new(block)
			continue
		}
		key, val, ok := strings.Cut(line, ":")
		if !ok || cur == nil {
			continue
		}
		key, val = strings.TrimSpace(key), strings.TrimSpace(val)
		switch {
		case strings.HasPrefix(key, "nameserver["):
			if a, err := netip.ParseAddr(val); err == nil && len(cur.servers) < 8 {
				cur.servers = append(cur.servers, netip.AddrPortFrom(a, 53))
			}
		case strings.HasPrefix(key, "search domain["):
			cur.search = append(cur.search, searchList([]string{val})...)
			cur.search = cur.search[:min(len(cur.search), maxSearch)]
		case key == "domain":
			if d := searchList([]string{val}); len(d) == 1 {
				cur.domain = strings.ToLower(d[0])
			}
		case key == "options":
			cur.mdns = cur.mdns || strings.Contains(val, "mdns")
		case key == "timeout":
			cur.timeout, _ = strconv.Atoi(val)
		case key == "port":
			p, _ := strconv.ParseUint(val, 10, 16)
			cur.port = uint16(p)
		}
	}
	flush()
	return c
}

package rpl

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const sample = `server:
	trust-anchor: "example. IN DS 1 8 2 00" ; a comment
	val-override-date: "20181130101800"
	query-minimization: off
stub-zone:
	name: "."
	stub-addr: 193.0.14.129 	# K.ROOT-SERVERS.NET.
forward-zone:
	name: "fwd."
	forward-addr: 192.0.2.1@5300
CONFIG_END
SCENARIO_BEGIN a title
RANGE_BEGIN 0 10
	ADDRESS 193.0.14.129
ENTRY_BEGIN
MATCH opcode subdomain
ADJUST copy_id copy_query
REPLY QR AA NXDOMAIN
SECTION QUESTION
com. IN A
SECTION AUTHORITY
com. IN TXT "semicolon ; inside"
ENTRY_END
RANGE_END
STEP 1 QUERY
ENTRY_BEGIN
REPLY RD DO
SECTION QUESTION
www.com. IN AAAA
ENTRY_END
STEP 2 TIME_PASSES ELAPSE 1.5
SCENARIO_END
`

func TestParse(t *testing.T) {
	s, err := Parse(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	c := s.Config
	if s.Title != "a title" || len(c.Anchors) != 1 || c.Minimise || !c.Date.Equal(time.Date(2018, 11, 30, 10, 18, 0, 0, time.UTC)) {
		t.Errorf("%+v", c)
	}
	if len(c.Zones) != 2 || c.Zones[0].Name != "." || c.Zones[0].Forward || c.Zones[1].Name != "fwd." || !c.Zones[1].Forward || c.Zones[1].Addrs[0].Port() != 5300 {
		t.Errorf("%+v", c.Zones)
	}
	if len(s.Steps) != 2 || s.Steps[1].Elapse != 1500*time.Millisecond || !s.Steps[0].Entry.DO {
		t.Errorf("%+v", s.Steps)
	}
	addr := netip.MustParseAddr("193.0.14.129")
	q := new(dns.Msg).SetQuestion("WwW.cOm.", dns.TypeMX)
	m := s.Reply(5, addr, q, false)
	if m == nil || m.Id != q.Id || m.Question[0].Name != "WwW.cOm." || m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].Header().Ttl != 3600 {
		t.Errorf("%v", m)
	}
	if s.Reply(11, addr, q, false) != nil || s.Reply(5, addr.Next(), q, false) != nil || s.Reply(5, addr, new(dns.Msg).SetQuestion("net.", dns.TypeA), false) != nil {
		t.Error("a reply out of range")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		q := new(dns.Msg).SetQuestion("www.com.", dns.TypeA)
		s.Reply(1, netip.MustParseAddr("193.0.14.129"), q, false)
	})
}
